//! Which answers are the whole thing that was asked for: only those become files.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::failure::Failed;
use super::record::Outcome;
use crate::fetch::input::Entry;
use crate::fetch::manners::{Retry, retry_after};

/// What the user's own headers ask for beside the whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// A part: 206 is its answer.
    range: bool,
    /// The whole unless it is known already: 304 is an answer, too.
    condition: bool,
    /// Nothing is kept, so that an answer without content is as good as any.
    discard: bool,
}

/// What becomes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its body is what was asked for.
    Whole,
    /// There is nothing newer than what the user has.
    NotModified,
}

impl Asked {
    /// Reads the headers given by `-H`.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a HeaderName>, discard: bool) -> Self {
        let mut asked = Asked { discard, ..Asked::default() };
        for name in names {
            asked.range |= *name == header::RANGE;
            asked.condition |= [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE].contains(name);
        }
        asked
    }

    /// Whether the user asks for a part: then nothing is added to what is asked for.
    pub(crate) fn is_part(self) -> bool {
        self.range
    }

    /// Judges an answer by its head.
    ///
    /// `condition`: the request has one of ours.
    pub(crate) fn judge(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        condition: bool,
    ) -> Result<Answer, Failed> {
        let why = match status.as_u16() {
            202 => "the server has not made it yet",
            204 | 205 if !self.discard => "there is no content",
            207 | 208 => "a report on several things",
            226 => "a difference from an earlier version",
            206 if !self.range => "a part, where the whole was asked for",
            // RFC 9110, 15: a client takes a status it does not know for the first of its class.
            200..300 => return Ok(Answer::Whole),
            304 if self.condition || condition => return Ok(Answer::NotModified),
            304 => "not asked for, since no header made a condition",
            300 | 301 | 302 | 303 | 307 | 308 if !headers.contains_key(header::LOCATION) => {
                "a redirect that does not say where to"
            }
            _ => "",
        };
        let colon = if why.is_empty() { "" } else { ": " };
        let retry = match (status.as_u16(), retry_after(headers)) {
            (202 | 408 | 425 | 429 | 500..=599, Some(pause)) => Retry::After(pause),
            (408 | 425 | 429 | 500 | 502 | 503 | 504, None) => Retry::Worthwhile,
            _ => Retry::Never,
        };
        Err(Failed::new(Outcome::HttpError, format!("{status}{colon}{why}")).worth(retry))
    }
}

/// Refuses a page where the URL, or the name in the list, promises something that is none: a picture, an archive, a film. Sites
/// that want a proof of being human, a consent or a login answer so, with 200.
///
/// # Errors
/// `unexpected_content`.
pub(crate) fn check_content(entry: &Entry, beginning: &[u8]) -> Result<(), Failed> {
    let named = entry.more.as_ref().and_then(|more| more.name.as_deref());
    let promised = named.or(entry.url.as_ref().ok().map(|url| url.path())).unwrap_or_default();
    let extension =
        promised.rsplit('/').next().and_then(|last| last.rsplit_once('.')).map(|(_, extension)| extension);
    let Some(extension) =
        extension.filter(|extension| BINARY.iter().any(|known| extension.eq_ignore_ascii_case(known)))
    else {
        return Ok(());
    };
    let beginning = beginning.strip_prefix("\u{feff}".as_bytes()).unwrap_or(beginning).trim_ascii_start();
    let is_page = PAGE.iter().any(|tag| {
        beginning.len() >= tag.len() && beginning[..tag.len()].eq_ignore_ascii_case(tag.as_bytes())
    });
    match is_page {
        true => Err(Failed::new(Outcome::UnexpectedContent, format!("a web page in place of .{extension}"))),
        false => Ok(()),
    }
}

/// How a web page begins.
const PAGE: [&str; 3] = ["<!doctype html", "<html", "<head"];

/// Extensions of what never begins like one.
const BINARY: [&str; 40] = [
    "jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "bmp", "tif", "tiff", "ico", "jxl", "mp3", "mp4",
    "m4a", "m4v", "mov", "mkv", "webm", "avi", "ogg", "flac", "wav", "pdf", "zip", "gz", "tgz", "bz2", "xz",
    "zst", "7z", "rar", "tar", "whl", "jar", "exe", "deb", "rpm", "parquet", "warc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[HeaderName], discard: bool, expected: &[(u16, Option<Answer>)]) {
        let asked = Asked::new(headers.iter(), discard);
        for (status, expected) in expected {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(
                asked.judge(status, &HeaderMap::new(), false).ok().as_ref(),
                expected.as_ref(),
                "{status}"
            );
        }
    }

    #[test]
    fn page_in_place_of_a_picture_is_told() {
        let entry = |url: &str| Entry::new(1, url.to_owned());
        for (url, body, fine) in [
            ("http://a/b.jpg", &b"\xff\xd8\xff\xe0"[..], true),
            ("http://a/b.JPG?x=1", b"\n <!DOCTYPE html><title>Just a moment...", false),
            ("http://a/b.pdf", b"<HTML>", false),
            ("http://a/b.html", b"<html>", true),
            ("http://a/b", b"<html>", true),
            ("http://a.jpg/", b"<html>", true),
            ("http://a/b.zip", b"<h", true),
            ("http://a/b.zip", b"", true),
        ] {
            assert_eq!(check_content(&entry(url), body).is_ok(), fine, "{url}");
        }
    }

    #[test]
    fn only_the_whole_thing_asked_for_is_an_answer() {
        let never = [101, 202, 207, 208, 226, 300, 302, 305, 399, 400, 404, 500, 599, 999]
            .map(|status| (status, None));
        check(&[], true, &never);
        for whole in [200, 201, 203, 299] {
            check(&[], false, &[(whole, Some(Answer::Whole))]);
        }
        check(&[], false, &[(204, None), (205, None), (206, None), (304, None)]);
        check(&[], true, &[(204, Some(Answer::Whole)), (206, None), (304, None)]);
        check(
            &[header::RANGE],
            false,
            &[(206, Some(Answer::Whole)), (200, Some(Answer::Whole)), (304, None)],
        );
        check(&[header::IF_NONE_MATCH], false, &[(304, Some(Answer::NotModified)), (206, None)]);
    }
}
