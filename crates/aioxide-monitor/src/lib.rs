//! What a running aioxide program shows of itself, and how another program asks for it. No Python in here.
//!
//! ```text
//! program                                          aioxide top, a script
//!   Source  <- a face implements it                  client: find, ask
//!     └─ server: a thread, a UNIX socket  <──────────────┘      one line of JSON each way: protocol
//!          ├─ schema: Snapshot ─> graph: groups, cycles, trees ─> deadlock: who can never go on
//!          └─ timeline: what has run ─> chrome: for Perfetto
//! ```
//!
//! [`schema`] is the snapshot, [`protocol`] the questions and answers, [`place`] where the sockets are, [`pulse`] what a
//! watchdog knows of a loop.
//!
//! **Invariant:** only the user who runs the program, and root, can ask: the folder and the socket are closed to others, and the
//! server looks at the peer's id besides.
//!
//! **Invariant:** nothing here runs on a loop's thread.

#![forbid(unsafe_code)]

pub mod chrome;
pub mod client;
pub mod clock;
pub mod deadlock;
pub mod ends;
pub mod graph;
pub mod memory;
pub mod moment;
pub mod place;
pub mod protocol;
pub mod pulse;
pub mod schema;
pub mod server;
pub mod source;
pub mod timeline;

pub use client::Client;
pub use server::Server;
pub use source::Source;
