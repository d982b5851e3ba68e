//! Where bodies go, and the streams that a run writes to.

use std::path::Path;
use std::rc::Rc;

mod cdxj;
mod place;
mod shards;
mod sink;
mod sort;
pub(crate) mod streams;
mod volumes;
mod warc;

pub(crate) use place::followed;
pub(crate) use shards::Shards;
pub(crate) use sink::Sink;
pub(crate) use volumes::{Position, Volumes};
pub(crate) use warc::Warc;

/// Whether a file of this name can be one of WARC.
pub(crate) fn is_warc(path: &Path) -> bool {
    Warc::split(path).is_some()
}

/// Large files that downloads go into, in place of a file for each.
#[derive(Debug)]
pub(crate) enum Archive {
    Tar(Shards),
    Warc(Warc),
}

impl Archive {
    /// The files that it is made of.
    pub(crate) fn volumes(&self) -> &Rc<Volumes> {
        match self {
            Archive::Tar(shards) => shards.volumes(),
            Archive::Warc(warc) => warc.volumes(),
        }
    }
}
