//! How a list becomes shards: by a hash of each URL's host, so that what is owed to a host is one worker's business.
//!
//! The list may be longer than memory, and come from a pipe: it is first spread over temporary files by the hash. A file is
//! then as many shards as it has room for; files with few URLs become one together.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};

use super::{Filling, other};
use crate::fetch::input::Entry;
use crate::fetch::{fnv1a, make_room};

/// How a list is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// How many URLs a shard has at least, where there are so many.
    pub(super) size: u64,
    pub(super) by: By,
}

/// What decides which shard a URL is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum By {
    /// All URLs of a host are in one shard, however many they are
    Host,
    /// Also those of one host are spread: several workers ask it at a time
    Url,
}

/// What has become of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) shards: u64,
    pub(super) urls: u64,
    pub(super) invalid: u64,
    /// The number of URLs of the longest.
    pub(super) longest: u64,
    /// Of all lists, compressed.
    pub(super) bytes: u64,
}

/// Temporary files at most.
const FILES: usize = 512;
/// Shards that are put together at a time: each takes a compressor's two megabytes.
const TOGETHER: u64 = 32;
/// Hexadecimal digits of a hash.
const DIGITS: usize = 16;

/// URLs with the same remainder of their hashes.
#[derive(Debug, Default)]
struct Heap {
    file: Option<BufWriter<File>>,
    urls: u64,
}

/// Divides a list; what is not a URL is `refused`.
///
/// # Errors
/// The list cannot be read, or a shard cannot be written.
pub(super) fn distribute(
    entries: impl Iterator<Item = io::Result<Entry>>,
    plan: Plan,
    filling: &mut dyn Filling,
    mut refused: impl FnMut(&Entry, &str),
) -> io::Result<Sums> {
    let mut heaps: Vec<Heap> = Vec::new();
    heaps.resize_with(make_room(FILES, 1)?, Heap::default);
    let mut sums = Sums::default();
    for entry in entries {
        let entry = entry?;
        let url = match &entry.url {
            Ok(url) => url,
            Err(reason) => {
                sums.invalid += 1;
                refused(&entry, reason);
                continue;
            }
        };
        let hash = mixed(match plan.by {
            By::Host => fnv1a(url.host_str().unwrap_or_default().as_bytes()),
            By::Url => fnv1a(url.as_str().as_bytes()),
        });
        let place = hash as usize % heaps.len();
        let heap = &mut heaps[place];
        let file = match &mut heap.file {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(32 << 10, tempfile::tempfile()?)),
        };
        write!(file, "{hash:0DIGITS$x}")?;
        serde_json::to_writer(&mut *file, &entry.to_json())?;
        file.write_all(b"\n")?;
        heap.urls += 1;
        sums.urls += 1;
    }
    let (mut group, mut urls) = (Vec::new(), 0);
    for heap in heaps {
        let Some(file) = heap.file else { continue };
        group.push(file.into_inner().map_err(io::IntoInnerError::into_error)?);
        urls += heap.urls;
        if urls >= plan.size {
            put_together(&mut group, (urls / plan.size).max(1), filling, &mut sums)?;
            (group, urls) = (Vec::new(), 0);
        }
    }
    put_together(&mut group, 1, filling, &mut sums)?;
    Ok(sums)
}

/// Makes so many shards of a group of files.
fn put_together(
    files: &mut [File],
    shards: u64,
    filling: &mut dyn Filling,
    sums: &mut Sums,
) -> io::Result<()> {
    for first in (0..shards).step_by(TOGETHER as usize) {
        let mut lists: Vec<Option<(zstd::Encoder<'_, Vec<u8>>, u64)>> = Vec::new();
        lists.resize_with(TOGETHER.min(shards - first) as usize, || None);
        for file in &mut *files {
            file.seek(SeekFrom::Start(0))?;
            for line in BufReader::with_capacity(256 << 10, file).split(b'\n') {
                let line = line?;
                let (hash, text) = line.split_at_checked(DIGITS).unwrap_or_default();
                let hash = std::str::from_utf8(hash).ok().and_then(|hash| u64::from_str_radix(hash, 16).ok());
                let hash = hash.ok_or_else(|| other("a temporary file was changed by others"))?;
                // The lower half has chosen the file.
                let Some(at) = ((hash >> 32) % shards).checked_sub(first) else { continue };
                let Some(list) = lists.get_mut(at as usize) else { continue };
                let (list, urls) = match list {
                    Some(list) => list,
                    none => none.insert((zstd::Encoder::new(Vec::new(), 3)?, 0)),
                };
                list.write_all(text)?;
                list.write_all(b"\n")?;
                *urls += 1;
            }
        }
        for (list, urls) in lists.into_iter().flatten() {
            let list = list.finish()?;
            filling.add(&format!("{:06}", sums.shards), &list)?;
            sums.shards += 1;
            sums.bytes += list.len() as u64;
            sums.longest = sums.longest.max(urls);
        }
    }
    Ok(())
}

/// Lets every bit of a hash depend on every bit of it.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    /// Keeps the URLs of each shard.
    #[derive(Debug, Default)]
    struct Kept(BTreeMap<String, Vec<String>>);

    impl Filling for Kept {
        fn add(&mut self, shard: &str, list: &[u8]) -> io::Result<()> {
            let text = String::from_utf8(zstd::decode_all(list)?).unwrap();
            let urls = text.lines().map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["url"].as_str().unwrap().to_owned()
            });
            assert!(self.0.insert(shard.to_owned(), urls.collect()).is_none());
            Ok(())
        }

        fn finish(self: Box<Self>) -> io::Result<()> {
            Ok(())
        }
    }

    fn divide(urls: &[String], size: u64, by: By) -> (Kept, Sums) {
        let mut kept = Kept::default();
        let entries = urls.iter().zip(1..).map(|(url, line)| Ok(Entry::new(line, url.clone())));
        let sums = distribute(entries, Plan { size, by }, &mut kept, |_, _| {}).unwrap();
        (kept, sums)
    }

    #[test]
    fn every_url_is_in_one_shard_and_every_host_too() {
        for hosts in [1, 7, 1000] {
            let urls: Vec<String> =
                (0..5000).map(|number| format!("http://host-{}.example/{number}", number % hosts)).collect();
            let (kept, sums) = divide(&urls, 100, By::Host);
            let mut all: Vec<&String> = kept.0.values().flatten().collect();
            all.sort_unstable();
            let mut expected: Vec<&String> = urls.iter().collect();
            expected.sort_unstable();
            assert_eq!(all, expected);
            let mut seen = HashSet::new();
            for shard in kept.0.values() {
                let hosts: HashSet<&str> = shard.iter().map(|url| url.split('/').nth(2).unwrap()).collect();
                assert!(hosts.iter().all(|host| seen.insert((*host).to_owned())));
            }
            assert_eq!((sums.urls, sums.shards), (5000, kept.0.len() as u64));
            let shards = kept.0.len();
            assert!(
                if hosts == 1000 { (20..=50).contains(&shards) } else { (1..=hosts).contains(&shards) },
                "{shards}"
            );
        }
    }

    #[test]
    fn shards_are_about_as_long_as_asked_for() {
        let urls: Vec<String> = (0..100_000).map(|number| format!("http://host/{number}")).collect();
        for (size, shards) in [(1_000_000, 1..=1), (10_000, 8..=10), (10, 5_000..=10_000)] {
            let (kept, sums) = divide(&urls, size, By::Url);
            assert!(shards.contains(&kept.0.len()), "{size}: {}", kept.0.len());
            assert_eq!(sums.urls, 100_000);
            let longest = kept.0.values().map(Vec::len).max().unwrap() as u64;
            assert_eq!(longest, sums.longest);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let urls = ["http://a/", "nothing", "ftp://a/"].map(str::to_owned);
        let (kept, sums) = divide(&urls, 10, By::Host);
        assert_eq!((kept.0.len(), sums.urls, sums.invalid), (1, 1, 2));
        assert_eq!(divide(&[], 10, By::Host).1, Sums::default());
    }
}
