//! Where bodies go, and the streams that a run writes to.

mod shards;
mod sink;
pub(crate) mod streams;

pub(crate) use shards::{Position, Shards};
pub(crate) use sink::Sink;
