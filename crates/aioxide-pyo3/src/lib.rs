//! For authors of Python extensions in Rust: Rust futures on aioxide's own loop, without a second runtime.
//!
//! [`into_awaitable`] makes a Python awaitable of a Rust future, which may be `!Send`; [`spawn`] runs one as a task;
//! [`await_python`] lets Rust wait for Python; [`sleep`] and [`AsyncFd`] wait for the loop's timers and descriptors. Any
//! future that needs no more of its surroundings than a waker (channels, locks, `select!`, `join!`) works inside.
//!
//! ```no_run,standalone_crate
//! use std::{cell::RefCell, rc::Rc, time::Duration};
//! use pyo3::prelude::*;
//!
//! /// `await count_to(3)` returns 3 after 3 ms. The future holds an `Rc`: it never leaves the loop's thread.
//! #[pyfunction]
//! fn count_to(py: Python<'_>, limit: u32) -> PyResult<Bound<'_, PyAny>> {
//!     aioxide_pyo3::into_awaitable(py, async move {
//!         let count = Rc::new(RefCell::new(0));
//!         while *count.borrow() < limit {
//!             aioxide_pyo3::sleep(Duration::from_millis(1)).await;
//!             *count.borrow_mut() += 1;
//!         }
//!         Ok(*count.borrow())
//!     })
//! }
//! ```
//!
//! An extension is linked by itself and shares no Rust code with aioxide: this crate reaches the loop through a table of C
//! functions that the package `aioxide` publishes ([`abi`]). The extension needs that package installed, not linked.
//!
//! One thread owns a loop and everything in it. What other threads may do is to wake: a `Waker` from these futures needs
//! neither the interpreter's lock nor the loop's thread.

pub mod abi;
mod api;
mod awaitable;
mod fd;
mod python;
mod sleep;
mod waker;

pub use awaitable::{into_awaitable, spawn};
pub use fd::AsyncFd;
pub use python::{AwaitPython, await_python};
pub use sleep::{Sleep, sleep};
