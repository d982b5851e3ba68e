//! When a download starts, and what ends a run early.

mod addresses;
mod bandwidth;
pub(crate) mod descriptors;
mod pace;
mod retry;
mod robots;
mod schedule;
mod slots;
mod speed;
mod starter;
pub(crate) mod stop;

pub(crate) use addresses::Finder;
pub(crate) use bandwidth::Bandwidth;
pub(crate) use pace::Seen;
pub(crate) use retry::{Retries, Retry};
pub(crate) use robots::{Named, Redirects, Robots};
pub(crate) use schedule::{PerHost, Schedule};
pub(crate) use speed::Speed;
pub(crate) use starter::{Next, Starter};
pub(crate) use stop::{Signals, Stop};
