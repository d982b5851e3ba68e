//! When a failed attempt is made again, and after what pause.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// How often and after what pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    /// How many attempts follow the first one.
    pub(crate) times: u32,
    /// The first pause; each one after is twice as long.
    pub(crate) wait: Duration,
    /// No pause is longer, and no server is waited for longer.
    pub(crate) longest: Duration,
}

/// Whether an attempt that failed is worth another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail again.
    Never,
    /// It may have been an accident.
    Worthwhile,
    /// The server says when.
    After(Duration),
}

impl Retries {
    /// The pause after the attempt with this number, the first being 1; `None`: give up.
    ///
    /// Half of a pause is left to chance, so that what failed together does not come back together. A server that asks for
    /// more patience than there is, is not waited for.
    pub(crate) fn pause(&self, attempt: u32, retry: Retry) -> Option<Duration> {
        // A job that was cancelled before its first attempt has none.
        if retry == Retry::Never || attempt > self.times {
            return None;
        }
        let doubled = self.wait.saturating_mul(1 << attempt.saturating_sub(1).min(30)).min(self.longest);
        let own = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        match retry {
            Retry::Never => None,
            Retry::Worthwhile => Some(own),
            Retry::After(asked) if asked > self.longest => None,
            // Not earlier than asked, and not all at the same moment.
            Retry::After(asked) => Some(asked + own.min(Duration::from_secs(1))),
        }
    }
}

/// What a server that is busy says about when to come back: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than there is a number for is still a number: as long as can be.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    // By the server's own clock, if it tells it: ours may be another.
    let told = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let now = told.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries =
        Retries { times: 5, wait: Duration::from_secs(1), longest: Duration::from_secs(6) };

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        for (attempt, most) in [(1, 1), (2, 2), (3, 4), (4, 6), (5, 6)] {
            let pauses: Vec<_> =
                (0..100).map(|_| RETRIES.pause(attempt, Retry::Worthwhile).unwrap().as_secs_f64()).collect();
            let most = f64::from(most);
            assert!(pauses.iter().all(|pause| (most / 2.0..=most).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        assert_eq!(RETRIES.pause(6, Retry::Worthwhile), None);
        assert_eq!((RETRIES.pause(0, Retry::Never), RETRIES.pause(1, Retry::Never)), (None, None));
    }

    #[test]
    fn server_is_waited_for_but_not_longer_than_the_longest_pause() {
        let asked = Duration::from_secs(5);
        let pause = RETRIES.pause(1, Retry::After(asked)).unwrap();
        assert!((asked..=asked + Duration::from_secs(1)).contains(&pause));
        assert_eq!(RETRIES.pause(1, Retry::After(Duration::from_secs(7))), None);
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
