//! One URL on its way through the run, from the list to its record.

use std::net::IpAddr;
use std::rc::Rc;

use super::input::Entry;
use super::report::Progress;
use super::resume::Partial;

/// An entry, how far it has come, and what a new attempt can go on from.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) entry: Entry,
    pub(crate) progress: Progress,
    pub(crate) partial: Option<Box<Partial>>,
    /// The host and port a connection goes to; empty for an invalid URL.
    pub(crate) host: Rc<str>,
    /// Which limit of its host the attempt started under.
    pub(crate) epoch: u32,
    /// Where it has a place, with `--per-address`.
    pub(crate) address: Option<IpAddr>,
}

/// Makes jobs of entries. One that has the host of the one before shares its name.
#[derive(Debug)]
pub(crate) struct Jobs {
    host: Rc<str>,
}

impl Jobs {
    /// A job that has not been tried yet.
    pub(crate) fn job(&mut self, entry: Entry) -> Box<Job> {
        if !entry.is_of(&self.host) {
            self.host = entry.host().into();
        }
        let host = Rc::clone(&self.host);
        Box::new(Job { entry, progress: Progress::default(), partial: None, host, epoch: 0, address: None })
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs { host: Rc::from("") }
    }
}
