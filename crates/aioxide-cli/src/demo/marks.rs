//! The marks that tell which site a finished download belongs to.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use url::Url;

/// What stands for a download that failed.
const FAILED: char = '!';

/// The mark of a site: `J` for jython and `R` for realpython, as in the lesson; else the host's first letter or digit.
pub(crate) fn of_site(url: &Url) -> char {
    let text = url.as_str();
    if text.contains("jython") {
        return 'J';
    }
    if text.contains("realpython") {
        return 'R';
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host);
    host.chars()
        .find(|character| character.is_ascii_alphanumeric())
        .map_or('*', |letter| letter.to_ascii_uppercase())
}

/// Collects the marks of one variety, and prints each at once, unbuffered, unless told to be silent.
#[derive(Debug)]
pub(crate) struct Marks {
    print: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) marks: String,
    pub(crate) failed: usize,
    /// What went wrong first.
    pub(crate) error: Option<String>,
}

impl Marks {
    /// Nothing seen yet.
    pub(crate) fn new(print: bool) -> Self {
        Marks { print, seen: Mutex::default() }
    }

    /// A download of the site with this mark has ended.
    pub(crate) fn ended(&self, mark: char, result: Result<(), String>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = if result.is_ok() { mark } else { FAILED };
        seen.marks.push(mark);
        if let Err(error) = result {
            seen.failed += 1;
            seen.error.get_or_insert(error);
        }
        if self.print {
            // Printed under the lock, so that what is seen and what is collected have one order.
            let mut bytes = [0; 4];
            let mut out = io::stdout().lock();
            let _ = out.write_all(mark.encode_utf8(&mut bytes).as_bytes()).and_then(|()| out.flush());
        }
    }

    /// Takes what was collected.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_tells_the_site() {
        for (url, mark) in [
            ("https://www.jython.org", 'J'),
            ("https://realpython.com", 'R'),
            ("http://127.0.0.1:4000/www.jython.org/", 'J'),
            ("http://127.0.0.1:4001/realpython.com/", 'R'),
            ("https://www.example.org/", 'E'),
            ("http://[::1]/", '1'),
        ] {
            assert_eq!(of_site(&Url::parse(url).unwrap()), mark, "{url}");
        }
    }

    #[test]
    fn failures_are_marked_and_the_first_is_kept() {
        let marks = Marks::new(false);
        marks.ended('J', Ok(()));
        marks.ended('R', Err("refused".to_owned()));
        marks.ended('J', Err("reset".to_owned()));
        let seen = marks.take_seen();
        assert_eq!((seen.marks.as_str(), seen.failed, seen.error.as_deref()), ("J!!", 2, Some("refused")));
    }
}
