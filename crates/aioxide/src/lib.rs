//! asyncio's model in Rust: tasks, futures, `gather`, cancellation and introspection.

#![deny(unsafe_code)]

pub mod io;
pub mod net;
