//! What is to be fetched: entries, and where they come from.

mod again;
mod arguments;
mod compressed;
mod entry;
mod expand;
mod failed;
mod format;
mod lines;
mod pipe;
mod source;
mod url;

use std::fs::File;
use std::io::{self, BufRead};
use std::path::Path;

use super::output::streams::Patient;

pub(crate) use again::{Far, Stretch};
pub(crate) use entry::Entry;
pub(crate) use failed::{Failed, check_report};
pub(crate) use format::{Format, frames_a_body};
pub(crate) use lines::Lines;
pub(crate) use source::Source;

/// Reads a whole list, `-` for the standard input, waiting for it.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn read(path: &Path, format: Format) -> io::Result<Lines<Box<dyn BufRead + Send>>> {
    let reader = match path == Path::new("-") {
        true => compressed::plain(Patient(io::stdin()))?,
        false => compressed::plain(File::open(path)?)?,
    };
    Ok(Lines::of(reader, format))
}
