//! When a download starts, and what ends a run early.

pub(crate) mod descriptors;
mod schedule;
mod slots;
mod starter;
pub(crate) mod stop;

pub(crate) use schedule::Schedule;
pub(crate) use starter::{Next, Starter};
pub(crate) use stop::{Signals, Stop};
