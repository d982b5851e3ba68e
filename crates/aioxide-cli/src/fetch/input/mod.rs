//! What is to be fetched: entries, and where they come from.

mod entry;
mod lines;
mod pipe;
mod source;

pub(crate) use entry::Entry;
pub(crate) use lines::Lines;
pub(crate) use source::Source;
