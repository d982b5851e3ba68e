//! What a running aioxide program shows of itself, and how another program asks for it. No Python in here.
//!
//! ```text
//! program                                          aioxide top, a script
//!   Source  <- a face implements it                  client: find, ask
//!     └─ server: a thread, a UNIX socket  <──────────────┘      one line of JSON each way: protocol
//!          └─ schema: Snapshot ─> graph: groups, cycles, trees
//! ```
//!
//! [`schema`] is the snapshot, [`protocol`] the questions and answers, [`place`] where the sockets are.

#![forbid(unsafe_code)]

pub mod place;
pub mod protocol;
pub mod schema;
