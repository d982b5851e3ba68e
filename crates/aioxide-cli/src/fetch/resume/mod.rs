//! Certainty: going on from what is there, and proof that it is right.

mod digest;
mod journal;
mod partial;
mod ranges;
mod segments;

pub(crate) use digest::{Digest, Hasher};
pub(crate) use journal::{Journal, Part};
pub(crate) use partial::{OVERLAP, Partial, Validator, Version, content_range};
pub(crate) use ranges::Ranges;
pub(crate) use segments::{Segment, Segments};
