//! What this interpreter and its asyncio are like, found out while the module is imported: the objects that are used again
//! and again, and where the interpreter keeps what its own functions would be too slow to ask for.
//!
//! ```text
//!   names             interned names, imported objects
//!   captured          the context of a callback, shared until somebody could tell
//!    └ context_layout where a context keeps its variables
//!   current, interop  the current task and the interpreter's lists of tasks
//!    └ c_part         (from 3.14 on) the fields of a task that the interpreter reads itself
//!   descriptor        where a socket object keeps its number
//! ```
//!
//! Each place is looked for with a sample whose content is known. It is used if it was found exactly once; else the public
//! way is taken: slower, never wrong.

#[cfg(Py_3_14)]
mod c_part;
pub(crate) mod captured;
pub(crate) mod context_layout;
pub(crate) mod current;
pub(crate) mod descriptor;
pub(crate) mod interop;
mod names;

pub(crate) use captured::Captured;
pub(crate) use descriptor::{Descriptor, descriptor_of};
pub(crate) use names::{load, names};
