//! Where a file gets its name: safe names, and a directory in which none is given twice.

mod claims;
mod directory;
mod disposition;
mod names;
mod template;
mod wanted;

pub(crate) use directory::{Directory, PartFile};
pub(crate) use disposition::from_disposition;
pub(crate) use names::{extension, fnv1a, from_url, last_part};
pub(crate) use template::Template;
pub(crate) use wanted::Wanted;
