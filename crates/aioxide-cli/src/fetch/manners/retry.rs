//! When a failed attempt is made again, and after what pause.

use std::time::Duration;

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
}
