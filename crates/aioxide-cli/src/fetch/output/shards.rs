//! Tar shards in WebDataset's layout: what is downloaded goes into few large files in place of many small ones.
//!
//! A sample is two members in a row, `000000012.jpg` and `000000012.json`: the body, and the report's record of it. An index beside
//! each shard has one JSON line per sample: its key, where the body begins in the shard, and how long it is. Behind the last
//! sample there is always the end of an archive. What a crash leaves is told in [`volumes`](super::volumes).

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use serde::Serialize;
use tar::{EntryType, Header};

use super::volumes::{Added, Layout, Limit, Position, Volumes, Whole};
use crate::fetch::naming::Directory;
use crate::fetch::report::{Record, secret};

/// Where samples go.
#[derive(Debug)]
pub(crate) struct Shards {
    volumes: Rc<Volumes>,
}

/// A line of an index.
#[derive(Debug, Serialize)]
struct Line<'a> {
    key: &'a str,
    member: &'a str,
    offset: u64,
    bytes: u64,
    line: u64,
    url: &'a str,
}

/// Tar's unit.
const BLOCK: u64 = 512;
/// Two empty blocks are the end.
const END: u64 = 2 * BLOCK;

impl Shards {
    /// Goes on at `position`, or after the shards that are there; each has so many samples.
    ///
    /// # Errors
    /// The shard that was being written is gone, or cannot be read.
    pub(crate) fn open(
        directory: Rc<Directory>,
        samples: u64,
        job: Option<String>,
        position: Option<Position>,
    ) -> io::Result<Self> {
        let layout = Layout {
            stem: "shard".to_owned(),
            extension: "tar",
            index: "jsonl",
            limit: Limit::Downloads(samples),
            zeros: END,
            is_sorted: false,
        };
        Ok(Shards { volumes: Rc::new(Volumes::open(directory, layout, job, position)?) })
    }

    /// The files that they are.
    pub(crate) fn volumes(&self) -> &Rc<Volumes> {
        &self.volumes
    }

    /// Adds a sample; returns the name of its member. `number` is the entry's.
    ///
    /// # Errors
    /// It could not be written, and is not there.
    pub(crate) fn add(
        &self,
        number: u64,
        extension: &str,
        body: Whole,
        mut record: Record,
    ) -> io::Result<String> {
        let key = format!("{number:09}");
        let (member, about) = (format!("{key}.{extension}"), format!("{key}.json"));
        self.volumes.append(|place| {
            let path = format!("{}/{member}", place.name);
            record.path = Some(path.clone());
            // Shards are given to others.
            record.url = secret::hidden(&record.url);
            record.final_url = record.final_url.as_deref().map(secret::hidden);
            let text = serde_json::to_vec(&record)?;
            let offset = place.offset + BLOCK;
            let about_bytes = BLOCK + (text.len() as u64).next_multiple_of(BLOCK);
            let bytes = append(place.file, &member, body, 0)?;
            append(place.file, &about, Whole::Small(vec![text.into()]), END)?;
            let (line, url) = (record.line, record.url.as_str());
            let line = Line { key: &key, member: &member, offset, bytes, line, url };
            let mut index = serde_json::to_vec(&line)?;
            index.push(b'\n');
            Ok((Added { end: offset + bytes.next_multiple_of(BLOCK) + about_bytes, index }, path))
        })
    }
}

/// Appends a member and `zeros` so many; returns the length of its body.
fn append(mut tar: &File, name: &str, body: Whole, zeros: u64) -> io::Result<u64> {
    let bytes = match &body {
        Whole::Small(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        Whole::File(_, bytes) => *bytes,
    };
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let padding = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes + zeros).unwrap_or(0);
    match body {
        Whole::Small(pieces) => {
            let mut text = header.as_bytes().to_vec();
            pieces.iter().for_each(|piece| text.extend_from_slice(piece));
            text.resize(text.len() + padding, 0);
            tar.write_all(&text)?;
        }
        Whole::File(part, _) => {
            tar.write_all(header.as_bytes())?;
            let mut file = part.file().as_ref();
            file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(&mut file, &mut tar)?;
            if copied != bytes {
                return Err(io::Error::other("the body has another length than was written"));
            }
            tar.write_all(&vec![0; padding])?;
        }
    }
    Ok(bytes)
}
