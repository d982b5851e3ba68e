//! The name that the file of an entry is to have, from the options and the list.

use std::rc::Rc;

use url::Url;

use super::directory::Directory;
use super::template::{Template, path};

/// How the run names its files.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The name of the only file, as it is.
    pub(crate) only: Option<String>,
    /// For those that the list has no name for.
    pub(crate) template: Option<Template>,
    /// Where names are told apart by the list.
    pub(crate) directory: Option<Rc<Directory>>,
}

impl Wanted {
    /// The name of a file; `listed` is the one that the list has for it, `own` the one that it has by itself.
    pub(crate) fn name(
        &self,
        url: &Url,
        number: u64,
        line: u64,
        listed: Option<&str>,
        own: String,
    ) -> String {
        let wanted = self.plain(url, number, line, listed, own);
        match &self.directory {
            Some(directory) => directory.claimed(wanted, number),
            None => wanted,
        }
    }

    /// An entry comes, in the order of the list, which wants a name.
    pub(crate) fn claim(&self, url: &Url, number: u64, line: u64, listed: Option<&str>) {
        if let Some(directory) = &self.directory {
            directory.claim(&self.plain(url, number, line, listed, super::from_url(url)), number);
        }
    }

    /// Whether the user has chosen the name, or a part of it.
    pub(crate) fn is_chosen(&self, listed: Option<&str>) -> bool {
        self.only.is_some() || listed.is_some() || self.template.is_some()
    }

    fn plain(&self, url: &Url, number: u64, line: u64, listed: Option<&str>, own: String) -> String {
        match (&self.only, listed, &self.template) {
            (Some(only), ..) => only.clone(),
            (None, Some(listed), _) => path(listed, &own, url),
            (None, None, Some(template)) => template.name(url, number + 1, line, &own),
            (None, None, None) => own,
        }
    }
}
