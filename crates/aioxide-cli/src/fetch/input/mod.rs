//! What is to be fetched: entries, and where they come from.

mod arguments;
mod compressed;
mod entry;
mod expand;
mod format;
mod lines;
mod pipe;
mod source;

pub(crate) use entry::Entry;
pub(crate) use format::Format;
pub(crate) use lines::Lines;
pub(crate) use source::Source;
