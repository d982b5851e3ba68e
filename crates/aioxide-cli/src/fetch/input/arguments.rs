//! The URLs of the command line, with what their ranges stand for.

use std::path::Path;

use super::entry::Entry;
use super::expand::Expand;

/// URLs still to come.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    texts: std::iter::Enumerate<std::vec::IntoIter<String>>,
    current: Option<(u64, Expand)>,
}

impl Arguments {
    /// All are still to come.
    pub(super) fn new(texts: Vec<String>) -> Self {
        Arguments { texts: texts.into_iter().enumerate(), current: None }
    }

    /// How many are to come, if none has.
    pub(super) fn total(&self) -> u64 {
        self.texts.clone().fold(0_u64, |total, (_, text)| total.saturating_add(Expand::new(&text).total()))
    }

    /// The texts that are still to come, as they were given.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        self.texts.clone().map(|(_, text)| text)
    }
}

impl Iterator for Arguments {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some((place, expand)) = &mut self.current
                && let Some(text) = expand.next()
            {
                return Some(entry(*place, text));
            }
            let (place, text) = self.texts.next()?;
            self.current = Some((place as u64 + 1, Expand::new(&text)));
        }
    }
}

fn entry(place: u64, text: String) -> Entry {
    let mut entry = Entry::new(place, text);
    if let Some(fault) = Expand::fault(&entry.text) {
        entry.url = Err(format!("[{fault}] is no range: it runs backwards, has no step, or is too large"));
    } else if entry.url.is_err() && Path::new(&entry.text).is_file() {
        entry.url = Err("a file, not a URL; -i FILE reads URLs from a file".to_owned());
    } else if entry.url.is_err()
        && let Some(meant) = entry.meant()
    {
        entry.url = Err(format!("no http:// or https:// in front; is {meant} meant?"));
    }
    entry
}
