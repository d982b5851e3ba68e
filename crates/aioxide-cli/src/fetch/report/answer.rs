//! Which answers are the whole thing that was asked for: only those become files.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::failure::Failed;
use super::record::Outcome;
use crate::fetch::manners::Retry;
use crate::fetch::resume::content_range;

/// What the user's own headers ask for beside the whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// A part: 206 is its answer.
    range: Option<HeaderValue>,
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
    /// Nothing but the whole.
    pub(crate) fn whole(discard: bool) -> Self {
        Asked { discard, ..Asked::default() }
    }

    /// With the headers given by `-H`, or by a list for one of its URLs.
    pub(crate) fn with<'a>(
        &self,
        headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Self {
        let mut asked = self.clone();
        for (name, value) in headers {
            if *name == header::RANGE {
                asked.range = Some(value.clone());
            }
            asked.condition |= [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE].contains(name);
        }
        asked
    }

    /// Whether the user asks for a part: then nothing is added to what is asked for.
    pub(crate) fn is_part(&self) -> bool {
        self.range.is_some()
    }

    /// How long the part is that the user has asked for and an answer of 206 brings; `None`: it is not known.
    ///
    /// # Errors
    /// It is another part.
    pub(crate) fn part(&self, headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
        let range = self.range.as_ref().and_then(|range| range.to_str().ok()?.trim().strip_prefix("bytes="));
        let several = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"multipart/byteranges"));
        let Some((begin, end)) = range.filter(|_| !several).and_then(|range| range.split_once('-')) else {
            return Ok(None);
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (begin, end) = match (number(begin), number(end)) {
            _ if end.contains(',') => return Ok(None),
            (None, None) => return Ok(None),
            both => both,
        };
        let Some(told) = headers.get(header::CONTENT_RANGE) else {
            let most = match (begin, end) {
                (Some(begin), Some(end)) => end.saturating_sub(begin).saturating_add(1),
                (None, Some(count)) => count,
                _ => u64::MAX,
            };
            let length = headers.get(header::CONTENT_LENGTH).and_then(|length| number(length.to_str().ok()?));
            return match length {
                Some(length) if length > most => Err("a part that is longer than was asked for"),
                Some(0) => Err("a part with nothing in it"),
                _ => Ok(None),
            };
        };
        let told = told.to_str().ok().and_then(content_range);
        let (first, last, total) = told.ok_or("a part whose Content-Range cannot be read")?;
        let asked = match (begin, end, total) {
            // The last so many bytes.
            (None, Some(count), Some(total)) => (Some(total.saturating_sub(count)), total.checked_sub(1)),
            (None, ..) => (None, None),
            (Some(begin), end, Some(total)) => {
                let end = end.unwrap_or(u64::MAX).min(total.saturating_sub(1));
                (Some(begin), Some(end))
            }
            (Some(begin), end, None) => (Some(begin), end.map(|end| end.min(last))),
        };
        if asked.0.is_some_and(|begin| begin != first) || asked.1.is_some_and(|end| end != last) {
            return Err("another part than was asked for");
        }
        Ok((last - first).checked_add(1))
    }

    /// Judges an answer by its head.
    ///
    /// `condition`: the request has one of ours.
    pub(crate) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        condition: bool,
    ) -> Result<Answer, Failed> {
        let why = match status.as_u16() {
            202 => "the server has not made it yet",
            204 | 205 if !self.discard => "there is no content",
            207 | 208 => "a report on several things",
            226 => "a difference from an earlier version",
            206 if self.range.is_none() => "a part, where the whole was asked for",
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
        let retry = match (status.as_u16(), aioxide_http::retry_after(headers)) {
            (202 | 408 | 425 | 429 | 500..=599, Some(pause)) => Retry::After(pause),
            (408 | 425 | 429 | 500 | 502 | 503 | 504, None) => Retry::Worthwhile,
            _ => Retry::Never,
        };
        Err(Failed::new(Outcome::HttpError, format!("{status}{colon}{why}")).worth(retry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[HeaderName], discard: bool, expected: &[(u16, Option<Answer>)]) {
        let value = HeaderValue::from_static("bytes=0-9");
        let asked = Asked::whole(discard).with(headers.iter().map(|name| (name, &value)));
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
    fn part_is_the_one_that_was_asked_for() {
        for (asked, told, length) in [
            ("bytes=0-9", "bytes 0-9/100", Ok(Some(10))),
            ("bytes=0-9", "bytes 0-9/*", Ok(Some(10))),
            ("bytes=0-999", "bytes 0-99/100", Ok(Some(100))),
            ("bytes=90-", "bytes 90-99/100", Ok(Some(10))),
            ("bytes=-10", "bytes 90-99/100", Ok(Some(10))),
            ("bytes=-1000", "bytes 0-99/100", Ok(Some(100))),
            ("bytes=0-1,5-6", "", Ok(None)),
            ("lines=0-1", "", Ok(None)),
            ("bytes=0-9", "10", Ok(None)),
            ("bytes=0-9", "11", Err(())),
            ("bytes=-5", "6", Err(())),
            ("bytes=0-9", "0", Err(())),
            ("bytes=5-", "6", Ok(None)),
            ("bytes=0-1,5-6", "100", Ok(None)),
            ("bytes=0-9", "", Err(())),
            ("bytes=0-9", "bytes 10-19/100", Err(())),
            ("bytes=0-9", "bytes 0-4/100", Err(())),
            ("bytes=0-9", "bytes 0-19/100", Err(())),
            ("bytes=0-9", "bytes 0-19/*", Err(())),
            ("bytes=90-", "bytes 90-95/100", Err(())),
            ("bytes=-10", "bytes 0-9/100", Err(())),
        ] {
            let (range, told_value) = (HeaderValue::from_static(asked), HeaderValue::from_static(told));
            let mut headers: HeaderMap = [(header::CONTENT_RANGE, told_value)].into_iter().collect();
            // No Content-Range but a length.
            if told.bytes().all(|byte| byte.is_ascii_digit()) && !told.is_empty() {
                headers =
                    [(header::CONTENT_LENGTH, headers[header::CONTENT_RANGE].clone())].into_iter().collect();
            }
            let asked_for = Asked::whole(false).with([(&header::RANGE, &range)]);
            assert_eq!(asked_for.part(&headers).map_err(|_| ()), length, "{asked} {told}");
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
