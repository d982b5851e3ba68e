//! A part of a list that is read once more, later, since there was no room for its entries.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::fetch::naming;

/// Entries that stand one after the other in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where the first one begins: byte and line.
    pub(super) at: u64,
    pub(super) line: u64,
    /// Its place among all entries.
    pub(super) number: u64,
    /// How many they are.
    pub(super) count: u64,
}

impl Stretch {
    /// One entry.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        Some(Stretch { at: entry.at?, line: entry.line, number: entry.number, count: 1 })
    }

    /// Adds an entry if it is the next one.
    pub(crate) fn takes(&mut self, entry: &Entry) -> bool {
        let is_next = entry.number == self.number + self.count;
        self.count += u64::from(is_next);
        is_next
    }

    /// Whether all have been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// How far a list has been read, and what stood there: another list, or one that was changed before that place, is not the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Far {
    pub(super) entries: u64,
    hash: u64,
}

impl Far {
    /// One entry further.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        let text = naming::fnv1a(entry.text.as_bytes());
        self.hash = (self.hash ^ text).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}

/// A file from a byte on, whoever else reads it.
#[derive(Debug)]
pub(super) struct From {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
}

impl Read for From {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
