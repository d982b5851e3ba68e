//! What is told of a run: each URL's record, the report, and what a person sees.

mod account;
pub(crate) mod answer;
mod closing;
pub(crate) mod content;
pub(crate) mod display;
mod failure;
mod meter;
mod progress;
mod record;
pub(crate) mod secret;
mod writer;

pub(crate) use account::Account;
pub(crate) use display::Display;
pub(crate) use failure::Failed;
pub(crate) use progress::{Progress, Told};
pub(crate) use record::{Listed, Outcome, Record};
pub(crate) use writer::Report;
