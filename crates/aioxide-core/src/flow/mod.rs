//! The parts of a transport that do no I/O: what is to be written, and when a producer is to pause.

mod watermarks;
mod write_buffer;

pub use watermarks::{Change, InvalidLimits, Watermarks};
pub use write_buffer::WriteBuffer;
