//! Requests that are made once more: which, how often, and after what pause.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, RETRY_AFTER};
use http::{Method, StatusCode};

use crate::error::{Error, TimeoutPhase};
use crate::random;

/// How requests that fail are made once more; a session makes none but [the one](crate::SessionBuilder::retry) for a
/// connection that was found dead, unless this is set.
///
/// What may be done twice (`GET`, `HEAD`, `PUT`, `DELETE`, `OPTIONS`) is made once more after a connection that failed or
/// broke, after a time-out of a phase, and after answers that say so: 408, 429, 500, 502, 503 and 504. Other methods only when
/// no connection was made. The pause doubles each time and is shortened at random by up to its half; a `Retry-After`
/// counts in its place. The time-out for the whole request goes on: a pause that would pass it is not begun, and the answer or
/// the error stands. A body that cannot be sent twice is not.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Retries, Session};
/// use std::time::Duration;
///
/// let retries = Retries::new(4).pause(Duration::from_millis(200)).longest_pause(Duration::from_secs(5));
/// let session = Session::builder().retries(retries).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "it does nothing until a session or a request is given it"]
pub struct Retries {
    most: u32,
    pause: Duration,
    longest_pause: Duration,
    longest_wait: Duration,
    statuses: Vec<StatusCode>,
    any_method: bool,
}

impl Retries {
    /// At most so many more attempts after the first; the first pause is 500 ms, the longest 30 s.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            longest_wait: Duration::from_secs(300),
            statuses: vec![
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::INTERNAL_SERVER_ERROR,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ],
            any_method: false,
        }
    }

    /// The first pause; each one after it is twice as long.
    pub fn pause(mut self, first: Duration) -> Self {
        self.pause = first;
        self
    }

    /// The longest pause of our own.
    pub fn longest_pause(mut self, longest: Duration) -> Self {
        self.longest_pause = longest;
        self
    }

    /// The longest pause that a server may ask for by `Retry-After`, 300 s unless set: one that wants more gets no retry.
    pub fn longest_wait(mut self, longest: Duration) -> Self {
        self.longest_wait = longest;
        self
    }

    /// The statuses after which a request is made once more, in place of those named above.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Whether requests that may not be done twice are made once more, too: the server may do them twice. No unless set.
    pub fn any_method(mut self, yes: bool) -> Self {
        self.any_method = yes;
        self
    }

    /// How long to wait before the next attempt after an answer; `None` when it stands.
    pub(crate) fn after_answer(
        &self,
        attempts: u32,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Duration> {
        if !self.statuses.contains(&status) || !self.may_repeat(attempts, method) {
            return None;
        }
        match retry_after(headers) {
            Some(wait) => (wait <= self.longest_wait).then_some(wait),
            None => Some(self.backoff(attempts)),
        }
    }

    /// How long to wait before the next attempt after an error; `None` when it stands.
    pub(crate) fn after_error(&self, attempts: u32, method: &Method, error: &Error) -> Option<Duration> {
        let nothing_sent = error.is_connect() && !error.is_denied();
        let broken = error.is_closed() || error.timeout_phase() == Some(TimeoutPhase::Read);
        let may = nothing_sent && attempts <= self.most || broken && self.may_repeat(attempts, method);
        may.then(|| self.backoff(attempts))
    }

    fn may_repeat(&self, attempts: u32, method: &Method) -> bool {
        attempts <= self.most && (self.any_method || method.is_idempotent())
    }

    /// From the half to the whole of a pause that doubles: so those that failed together do not come back together.
    pub(crate) fn backoff(&self, attempts: u32) -> Duration {
        let whole = self.pause.saturating_mul(1 << (attempts - 1).min(20)).min(self.longest_pause);
        let chance = f64::from(u32::from_le_bytes(random::bytes())) / f64::from(u32::MAX);
        whole.mul_f64(1.0 - chance / 2.0)
    }
}

/// What an answer says in `Retry-After` about when to come back: seconds, or a date (RFC 9110, 10.2.3). A date is taken by the
/// server's own clock, if the answer's `Date` tells it: ours may be another. `None` where nothing is said, or nothing that can be read.
///
/// # Examples
///
/// ```
/// use aioxide_http::{HeaderMap, header, retry_after};
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::RETRY_AFTER, "120".parse()?);
/// assert_eq!(retry_after(&headers), Some(Duration::from_secs(120)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than there is a number for is still a number: as long as can be.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let told = headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = told.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    #[test]
    fn pauses_double_up_to_the_longest_and_lose_at_most_their_half() {
        let retries = Retries::new(100).pause(Duration::from_secs(1)).longest_pause(Duration::from_secs(5));
        for (attempts, whole) in [(1, 1), (2, 2), (3, 4), (4, 5), (99, 5)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..20 {
                let pause = retries.backoff(attempts);
                assert!(pause <= whole && pause >= whole / 2, "{attempts}: {pause:?}");
            }
        }
    }

    #[test]
    fn what_a_server_asks_for_counts_within_reason() {
        let retries = Retries::new(1).longest_wait(Duration::from_secs(60));
        let after = |status: u16, method: &Method, value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            retries.after_answer(1, method, StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(after(429, &Method::GET, "7"), Some(Duration::from_secs(7)));
        assert_eq!(after(503, &Method::GET, "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after(503, &Method::GET, "61"), None);
        assert!(after(503, &Method::GET, "soon").unwrap() <= Duration::from_millis(500));
        assert_eq!(after(503, &Method::GET, "99999999999999999999"), None);
        assert_eq!(after(503, &Method::POST, "1"), None);
        assert_eq!(after(404, &Method::GET, "1"), None);
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let told = |pairs: &[(http::HeaderName, &str)]| {
            retry_after(&pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect())
        };
        let date = (header::DATE, "Tue, 01 Jan 2030 00:00:00 GMT");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(told(&[(header::RETRY_AFTER, " 120 ")]), seconds(120));
        assert_eq!(
            told(&[(header::RETRY_AFTER, "Tue, 01 Jan 2030 00:01:30 GMT"), date.clone()]),
            seconds(90)
        );
        assert_eq!(told(&[(header::RETRY_AFTER, "Mon, 31 Dec 2029 00:00:00 GMT"), date]), seconds(0));
        assert_eq!(told(&[(header::RETRY_AFTER, "99999999999999999999")]), seconds(u64::MAX));
        for text in ["soon", "-5", "+5", "1e3", "0.5", ""] {
            assert_eq!(told(&[(header::RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(told(&[]), None);
        assert!(told(&[(header::RETRY_AFTER, "Fri, 01 Jan 2100 00:00:00 GMT")]) > seconds(3600));
    }
}
