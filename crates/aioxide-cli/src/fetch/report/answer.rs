//! Which answers are the whole thing that was asked for: only those become files.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::failure::Failed;
use super::record::Outcome;

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

    /// Judges an answer by its head.
    pub(crate) fn judge(self, status: StatusCode, headers: &HeaderMap) -> Result<Answer, Failed> {
        let why = match status.as_u16() {
            202 => "the server has not made it yet",
            204 | 205 if !self.discard => "there is no content",
            207 | 208 => "a report on several things",
            226 => "a difference from an earlier version",
            206 if !self.range => "a part, where the whole was asked for",
            // RFC 9110, 15: a client takes a status it does not know for the first of its class.
            200..300 => return Ok(Answer::Whole),
            304 if self.condition => return Ok(Answer::NotModified),
            304 => "not asked for, since no header made a condition",
            300 | 301 | 302 | 303 | 307 | 308 if !headers.contains_key(header::LOCATION) => {
                "a redirect that does not say where to"
            }
            _ => "",
        };
        let colon = if why.is_empty() { "" } else { ": " };
        Err(Failed { outcome: Outcome::HttpError, error: format!("{status}{colon}{why}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[HeaderName], discard: bool, expected: &[(u16, Option<Answer>)]) {
        let asked = Asked::new(headers.iter(), discard);
        for (status, expected) in expected {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(asked.judge(status, &HeaderMap::new()).ok().as_ref(), expected.as_ref(), "{status}");
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
