//! Where bodies go, and the streams that a run writes to.

pub(crate) mod sink;
pub(crate) mod streams;
