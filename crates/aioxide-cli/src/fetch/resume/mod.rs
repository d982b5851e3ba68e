//! Certainty: going on from what is there, and proof that it is right.

mod digest;
mod partial;

pub(crate) use digest::{Digest, Hasher};
pub(crate) use partial::{OVERLAP, Partial, Validator, Version};
