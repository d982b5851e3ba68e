//! Reading URLs: in a list, most stand on the host of the one before.

use std::cell::RefCell;

use url::{ParseError, Url};

/// The beginning of the URL that was read last, `http://host:port`, as it was written.
#[derive(Debug, Default)]
struct Last {
    written: String,
    /// What it says, once a second URL began with it.
    base: Option<Url>,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// What `Url::parse` says. A host that is written as the last one was is not read again: that is two thirds of the work.
pub(super) fn parse(text: &str) -> Result<Url, ParseError> {
    LAST.with_borrow_mut(|last| {
        let path = text.strip_prefix(&*last.written).filter(|path| is_path(path));
        match (path, &last.base) {
            (Some(path), Some(base)) => base.join(path),
            (Some(_), None) => {
                let url = Url::parse(text)?;
                last.base = Some(url.clone());
                Ok(url)
            }
            (None, _) => {
                let url = Url::parse(text)?;
                last.base = None;
                last.written.clear();
                last.written.push_str(origin(text));
                Ok(url)
            }
        }
    })
}

/// What stands before the path; nothing, if that is not plain to see. More than two slashes are skipped in front of a host.
fn origin(text: &str) -> &str {
    let host =
        ["http://", "https://"].into_iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or_default();
    match host.find(['/', '\\', '?', '#']) {
        None | Some(0) => "",
        // What is skipped in a URL is no host.
        Some(end) if host[..end].contains(['\t', '\n', '\r']) => "",
        Some(end) => &text[..text.len() - host.len() + end],
    }
}

/// Whether a host may stand before `text`: it is not the beginning of another one. Tabs and ends of lines are skipped in URLs.
fn is_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beginning_is_what_stands_before_the_path() {
        for (text, expected) in [
            ("http://a:1/b", "http://a:1"),
            ("https://me:secret@a/b?c", "https://me:secret@a"),
            ("http://a?b/", "http://a"),
            ("http://a", ""),
            ("HTTP://a/", ""),
            ("ftp://a/", ""),
            ("http:///a/b", ""),
            ("http://\t/a/b", ""),
        ] {
            assert_eq!(origin(text), expected, "{text}");
        }
    }

    #[test]
    fn urls_of_one_host_are_what_they_are_alone() {
        for text in [
            "http://a/1",
            "http://a/2",
            "http://a/3",
            "http://a//b",
            "http://a/\\b",
            "http://a/\t/b",
            "http://a/../c?d#e",
            "http://a?x",
            "http://a:1/",
            "http://a:1/",
            "http://a:1/2",
            "http://a:12/",
            "http://ab/",
            "http:///c/d",
            "http:///c/d",
            "http:///c/d",
            "http://\t/a/b",
            "http://\t/c/d",
            "http://\t/e/f",
            "http://u:p@a/1",
            "http://u:p@a/2",
            "http://u:p@a/3 ",
            "http://",
            "http://a/\u{e9}",
        ] {
            assert_eq!(parse(text), Url::parse(text), "{text:?}");
        }
    }

    /// Beginnings, of which some are hosts, some the beginning of others, and some nothing of the kind.
    fn beginning() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "http://a",
                "http://a",
                "https://A.b:443",
                "http://a:1",
                "http://u:p@a",
                "http://",
                "http:",
                "http:/",
                "ftp://a",
                "http://[::1]",
                "http://0x7f.1",
                "http://\u{e9}.fr",
                " http://a",
                "http://a\t",
                "file://",
                "http://a@",
                "http://a/x",
            ])
            .prop_map(str::to_owned),
            "https?://[a-c.:@0-9]{0,4}",
        ]
    }

    proptest! {
        #[test]
        fn what_came_before_changes_nothing(
            beginnings in prop::collection::vec(beginning(), 1..3),
            rests in prop::collection::vec("[/\\\\?#a.% \\t\\n@:\u{e9}-]{0,8}|\\PC{0,8}", 1..9),
        ) {
            for (place, rest) in rests.iter().enumerate() {
                let text = format!("{}{rest}", beginnings[place * 7 / 4 % beginnings.len()]);
                prop_assert_eq!(parse(&text), Url::parse(&text), "{:?}", text);
            }
        }
    }
}
