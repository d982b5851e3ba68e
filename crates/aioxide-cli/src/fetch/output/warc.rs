//! WARC/1.1 files: what servers answered, heads and all, for archives and the tools that replay them.
//!
//! ```text
//! warcinfo                what wrote the file, and how: its first record
//! response, request       a redirect that was followed, and what was asked
//! response, request       the answer that it led to; CONCURRENT-TO binds the two
//! ```
//!
//! In a compressed file each record is a gzip member of its own, so that a reader can begin at each. A body is written as it came,
//! with its content coding, out of its chunks. Records of one download are appended in one step of the loop, after another
//! thread has compressed what is long. What a crash leaves is told in [`volumes`](super::volumes).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use aioxide_http::{Transcript, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Version;
use sha1::{Digest as _, Sha1};

use super::cdxj::{self, Line};
use super::volumes::{Added, Layout, Limit, Position, Volumes, Whole};
use crate::fetch::naming::{Directory, PartFile};

/// Where records go.
#[derive(Debug)]
pub(crate) struct Warc {
    volumes: Rc<Volumes>,
    is_compressed: bool,
    /// Fields of the first record.
    about: String,
}

/// A record, as it is to stand in the file.
#[derive(Debug)]
struct Record {
    data: Data,
    bytes: u64,
    /// Its line in the index, if it has one.
    line: Option<Line>,
}

#[derive(Debug)]
enum Data {
    Small(Vec<u8>),
    File(PartFile),
    /// A body between what goes before and behind it.
    Framed(Vec<u8>, PartFile),
}

/// What a record is made of: all but the body, whose length and digests are not known yet.
#[derive(Debug, Clone)]
struct Draft {
    fields: String,
    head: Vec<u8>,
}

/// Behind each record.
const END: &[u8] = b"\r\n\r\n";

impl Warc {
    /// The name of a file without its extension, and the extension.
    pub(crate) fn split(path: &Path) -> Option<(&str, &'static str)> {
        let name = path.file_name()?.to_str()?;
        let stem = |extension| name.strip_suffix(extension).filter(|stem| !stem.is_empty());
        stem(".warc.gz").map(|stem| (stem, "warc.gz")).or_else(|| Some((stem(".warc")?, "warc")))
    }

    /// Goes on at `position`, or beside the files that are there.
    ///
    /// # Errors
    /// The file that was being written is gone, or cannot be read.
    pub(crate) fn open(
        directory: Rc<Directory>,
        (stem, extension): (&str, &'static str),
        most: Option<u64>,
        agent: &str,
        is_polite: bool,
        job: Option<String>,
        position: Option<Position>,
    ) -> io::Result<Self> {
        let layout = Layout {
            stem: stem.to_owned(),
            extension,
            index: "cdxj",
            limit: most.map_or(Limit::None, Limit::Bytes),
            zeros: 0,
            is_sorted: true,
        };
        let about = format!(
            "software: aioxide/{}\r\nformat: WARC File Format 1.1\r\nconformsTo: \
             http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/\r\n\
             http-header-user-agent: {agent}\r\nrobots: {}\r\n",
            env!("CARGO_PKG_VERSION"),
            if is_polite { "obey" } else { "ignore" },
        );
        let volumes = Rc::new(Volumes::open(directory, layout, job, position)?);
        Ok(Warc { volumes, is_compressed: extension == "warc.gz", about })
    }

    /// The files that they are.
    pub(crate) fn volumes(&self) -> &Rc<Volumes> {
        &self.volumes
    }

    /// Makes the records of a download: of the answers that led to it, and of the last one with its body.
    ///
    /// # Errors
    /// A file could not be read or written.
    pub(crate) async fn prepare(&self, exchanges: Vec<Transcript>, body: Whole) -> io::Result<Prepared> {
        let mut records = Vec::new();
        let last = exchanges.len().saturating_sub(1);
        let mut body = Some(body);
        for (place, exchange) in exchanges.iter().enumerate() {
            let body = match exchange.body() {
                _ if place == last => body.take(),
                redirect => redirect.map(|bytes| Whole::Small(vec![bytes.clone()])),
            };
            // What did not come whole is not written.
            let Some(body) = body else { continue };
            let id = record_id();
            let (mut response, line) = response(exchange, &id);
            let mut request = request(exchange, &id);
            let line = Some(line);
            records.push(match body {
                Whole::Small(pieces) => self.small(&mut response, &pieces.concat(), line)?,
                Whole::File(part, bytes) => self.long(response, part, bytes, line).await?,
            });
            records.push(self.small(&mut request, &[], None)?);
        }
        Ok(Prepared { records })
    }

    /// Adds the records of a download; returns the file's name and where the answer stands in it.
    ///
    /// # Errors
    /// They could not be written, and are not there.
    pub(crate) fn add(&self, prepared: Prepared) -> io::Result<String> {
        self.volumes.append(|place| {
            let (mut file, mut offset, mut index) = (place.file, place.offset, Vec::new());
            let mut answer = offset;
            if offset == 0 {
                let info = self.small(&mut self.info(place.name), &[], None)?;
                offset += info.append(&mut file)?;
            }
            for mut record in prepared.records {
                if let Some(line) = record.line.take() {
                    answer = offset;
                    // As cdxj-indexer counts: of a plain record without the empty lines behind it.
                    let behind = if self.is_compressed { 0 } else { END.len() as u64 };
                    line.write(place.name, offset, record.bytes - behind, &mut index)?;
                }
                offset += record.append(&mut file)?;
            }
            Ok((Added { end: offset, index }, format!("{}#{answer}", place.name)))
        })
    }

    /// What stands first in a file.
    fn info(&self, name: &str) -> Draft {
        let (date, _) = cdxj::dates(SystemTime::now());
        let mut fields = fields("warcinfo", &record_id(), &date);
        let _ = write!(fields, "WARC-Filename: {name}\r\nContent-Type: application/warc-fields\r\n");
        Draft { fields, head: self.about.clone().into_bytes() }
    }

    /// A record that is made in memory.
    fn small(&self, draft: &mut Draft, body: &[u8], mut line: Option<Line>) -> io::Result<Record> {
        let payload = sha1(body);
        let block = base32(Sha1::new().chain_update(&draft.head).chain_update(body).finalize());
        let mut text = draft.begin(&block, line.as_mut().map(|line| (line, payload)), body.len() as u64);
        text.extend_from_slice(body);
        text.extend_from_slice(END);
        if self.is_compressed {
            let mut coded = GzEncoder::new(Vec::new(), Compression::default());
            coded.write_all(&text)?;
            text = coded.finish()?;
        }
        Ok(Record { bytes: text.len() as u64, data: Data::Small(text), line })
    }

    /// A record with a long body: another thread reads it, and compresses it into a file of its own.
    async fn long(
        &self,
        mut draft: Draft,
        part: PartFile,
        bytes: u64,
        line: Option<Line>,
    ) -> io::Result<Record> {
        let from = part.file().clone();
        let directory = self.volumes.directory();
        let coded = match self.is_compressed {
            true => Some(directory.shortage.outlast(None, async || directory.start()).await?),
            false => None,
        };
        let to = coded.as_ref().map(|coded| coded.file().clone());
        let made = aioxide::spawn_blocking(move || {
            let mut line = line;
            let (mut payload, mut block) = (Sha1::new(), Sha1::new().chain_update(&draft.head));
            read(&from, bytes, |piece| {
                payload.update(piece);
                block.update(piece);
                Ok(())
            })?;
            let payload = base32(payload.finalize());
            let begin =
                draft.begin(&base32(block.finalize()), line.as_mut().map(|line| (line, payload)), bytes);
            let Some(to) = to else { return Ok((begin, line)) };
            let mut coder = GzEncoder::new(BufWriter::new(&*to), Compression::default());
            coder.write_all(&begin)?;
            read(&from, bytes, |piece| coder.write_all(piece))?;
            coder.write_all(END)?;
            coder.finish()?.flush()?;
            Ok::<_, io::Error>((begin, line))
        });
        let (begin, line) = made.await.map_err(|error| io::Error::other(error.to_string()))??;
        let (data, bytes) = match coded {
            Some(coded) => {
                let length = coded.file().metadata()?.len();
                (Data::File(coded), length)
            }
            None => {
                let length = begin.len() as u64 + bytes + END.len() as u64;
                (Data::Framed(begin, part), length)
            }
        };
        Ok(Record { data, bytes, line })
    }
}

/// The records of a download, to be added.
#[derive(Debug)]
pub(crate) struct Prepared {
    records: Vec<Record>,
}

impl Record {
    /// Writes it; returns its length.
    fn append(self, mut to: &mut &File) -> io::Result<u64> {
        let (part, behind, before) = match self.data {
            Data::Small(text) => {
                to.write_all(&text)?;
                return Ok(self.bytes);
            }
            Data::File(part) => (part, &b""[..], 0),
            Data::Framed(begin, part) => {
                to.write_all(&begin)?;
                (part, END, begin.len())
            }
        };
        let mut from = part.file().as_ref();
        from.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut from, &mut to)?;
        to.write_all(behind)?;
        if copied + (behind.len() + before) as u64 != self.bytes {
            return Err(io::Error::other("the body has another length than was written"));
        }
        Ok(self.bytes)
    }
}

impl Draft {
    /// All that stands before the body.
    fn begin(&mut self, block: &str, payload: Option<(&mut Line, String)>, bytes: u64) -> Vec<u8> {
        let fields = &mut self.fields;
        let _ = write!(fields, "WARC-Block-Digest: sha1:{block}\r\n");
        if let Some((line, payload)) = payload {
            let _ = write!(fields, "WARC-Payload-Digest: sha1:{payload}\r\n");
            line.digest = format!("sha1:{payload}");
        }
        let _ = write!(fields, "Content-Length: {}\r\n\r\n", self.head.len() as u64 + bytes);
        [fields.as_bytes(), &self.head].concat()
    }
}

/// The first fields of a record.
fn fields(kind: &str, id: &str, date: &str) -> String {
    format!("WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: {id}\r\nWARC-Date: {date}\r\n")
}

fn of_exchange(kind: &str, id: &str, exchange: &Transcript) -> String {
    let (date, _) = cdxj::dates(exchange.began());
    let mut fields = fields(kind, id, &date);
    let _ = write!(fields, "WARC-Target-URI: {}\r\n", target(exchange));
    if let Some(address) = exchange.remote_addr() {
        let _ = write!(fields, "WARC-IP-Address: {}\r\n", address.ip().to_canonical());
    }
    if exchange.version() == Some(Version::HTTP_2) {
        fields.push_str("WARC-Protocol: h2\r\n");
    }
    let _ = write!(fields, "Content-Type: application/http;msgtype={kind}\r\n");
    fields
}

/// What was asked: the fragment is not.
fn target(exchange: &Transcript) -> String {
    let mut url = exchange.url().clone();
    url.set_fragment(None);
    url.into()
}

fn response(exchange: &Transcript, id: &str) -> (Draft, Line) {
    let draft = Draft {
        fields: of_exchange("response", id, exchange),
        head: out_of_chunks(&exchange.response_head()),
    };
    let content_type =
        exchange.headers().and_then(|headers| headers.get(header::CONTENT_TYPE)?.to_str().ok());
    let mime =
        content_type.and_then(|text| text.split(';').next()).map(str::trim).filter(|text| !text.is_empty());
    let line = Line {
        key: cdxj::surt(exchange.url()),
        timestamp: cdxj::dates(exchange.began()).1,
        url: target(exchange),
        mime: mime.map(str::to_owned),
        status: exchange.status().map_or(String::new(), |status| status.as_str().to_owned()),
        digest: String::new(),
    };
    (draft, line)
}

fn request(exchange: &Transcript, response: &str) -> Draft {
    let mut fields = of_exchange("request", &record_id(), exchange);
    let _ = write!(fields, "WARC-Concurrent-To: {response}\r\n");
    // An archive is handed on: what proves who one is does not belong there.
    Draft { fields, head: exchange.request_head(false) }
}

/// A head without the transfer coding, which the body no longer has; it is told under the name that Common Crawl has for it.
fn out_of_chunks(head: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"transfer-encoding";
    let mut told = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            told.extend_from_slice(b"X-Crawler-");
        }
        told.extend_from_slice(line);
    }
    told
}

/// Reads the first `bytes` of a file.
fn read(file: &File, bytes: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buf = vec![0; 256 * 1024];
    let mut at = 0;
    while at < bytes {
        let some = usize::try_from(bytes - at).map_or(buf.len(), |rest| rest.min(buf.len()));
        file.read_exact_at(&mut buf[..some], at)?;
        each(&buf[..some])?;
        at += some as u64;
    }
    Ok(())
}

/// A name that no other record has: a UUID of random numbers.
fn record_id() -> String {
    let number = fastrand::u128(..) & !(0xf000 << 64 | 0xc << 60) | 0x4000 << 64 | 0x8 << 60;
    let hex = format!("{number:032x}");
    format!("<urn:uuid:{}-{}-{}-{}-{}>", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn sha1(bytes: &[u8]) -> String {
    base32(Sha1::digest(bytes))
}

/// 20 bytes as 32 letters and digits.
fn base32(digest: impl AsRef<[u8]>) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(32);
    for five in digest.as_ref().chunks(5) {
        let number = five.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        (0..8).rev().for_each(|place| text.push(char::from(LETTERS[(number >> (5 * place) & 31) as usize])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_other_tools() {
        assert_eq!(sha1(b""), "3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ");
        assert_eq!(sha1(b"abc"), "VGMT4NSHA2AWVOR6EVYXQUGCNSONBWE5");
    }

    #[test]
    fn names_of_records_are_random_uuids() {
        let id = record_id();
        assert_eq!(id.len(), "<urn:uuid:00000000-0000-4000-8000-000000000000>".len());
        assert_eq!(&id[24..25], "4");
        assert!("89ab".contains(&id[29..30]), "{id}");
        assert_ne!(id, record_id());
    }

    #[test]
    fn head_tells_of_chunks_under_another_name() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-encoding: chunked\r\nX-Transfer-Encoding: a\r\n\r\n";
        let told =
            b"HTTP/1.1 200 OK\r\nX-Crawler-Transfer-encoding: chunked\r\nX-Transfer-Encoding: a\r\n\r\n";
        assert_eq!(out_of_chunks(head), told);
    }

    #[test]
    fn only_warc_files_are_names() {
        let split =
            |path: &str| Warc::split(Path::new(path)).map(|(stem, extension)| format!("{stem} {extension}"));
        assert_eq!(split("a/b.c.warc.gz"), Some("b.c warc.gz".to_owned()));
        assert_eq!(split("b.warc"), Some("b warc".to_owned()));
        for path in ["b.gz", "b", ".warc", "a/.warc.gz", "/"] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
