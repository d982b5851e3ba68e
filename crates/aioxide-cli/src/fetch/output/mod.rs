//! Where bodies go, and the streams that a run writes to.

mod sink;
pub(crate) mod streams;

pub(crate) use sink::Sink;
