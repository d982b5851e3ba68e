//! Open files: the process's limit is raised as far as it may be; beyond it downloads wait.

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::io;
use std::time::Duration;

use aioxide::time::{Instant, sleep};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a run needs besides its downloads: the loop's own, look-ups of names, certificates.
const RESERVE: u64 = 24;
/// With fewer, not even one download gets anywhere.
const LEAST: u64 = 10;
/// How many are open at the start, where the system does not tell.
const USUAL: u64 = 8;
/// How often one that was not to be had is asked for again, and how long the pause is: half a minute in all.
const TRIES: u32 = 150;
const PAUSE: Duration = Duration::from_millis(200);

/// Raises the soft limit to what `jobs` downloads need of `each`; returns how many of them may run at a time.
///
/// # Errors
/// The limit leaves no room for one.
pub(crate) fn make_room(jobs: usize, each: u64) -> io::Result<usize> {
    let used = fs::read_dir("/dev/fd").map_or(USUAL, |open| open.count() as u64);
    let needed = used + RESERVE + jobs as u64 * each;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(mut limit) = current else { return Ok(jobs) };
    if limit < needed {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
            limit = raised;
        }
    }
    if limit < used + LEAST {
        return Err(io::Error::other(format!(
            "only {limit} files may be open at a time here, of which {used} are: raise the limit (ulimit -n {})",
            used + RESERVE + each
        )));
    }
    Ok(fitting(limit.saturating_sub(used + RESERVE), each).min(jobs))
}

/// How many downloads fit in `room`; one always runs.
fn fitting(room: u64, each: u64) -> usize {
    usize::try_from(room / each).map_or(usize::MAX, |fitting| fitting.max(1))
}

/// How long all who want the same have waited in vain; past half a minute none waits any more until one has got it.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    since: Cell<Option<Instant>>,
}

impl Shortage {
    /// Makes the attempt again as long as it fails for want of a descriptor, of this process or of the whole system, and there is
    /// time left: those that other downloads and other programs give back serve it.
    pub(crate) async fn outlast<T, E: Error + 'static>(
        &self,
        until: Option<Instant>,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..TRIES {
            match attempt().await {
                Err(error) if is_shortage(&error) => {
                    let since = self.since.get().unwrap_or_else(Instant::now);
                    self.since.set(Some(since));
                    let is_late = until.is_some_and(|until| Instant::now() + PAUSE > until);
                    if is_late || since.elapsed() >= PAUSE * TRIES {
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
                result => {
                    self.since.set(None);
                    return result;
                }
            }
        }
        attempt().await
    }
}

/// Whether no descriptor was left.
fn is_shortage(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        if matches!(number, Some(Errno::MFILE | Errno::NFILE)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes attempts that fail with each of `failures` in turn, the last one ever after; returns how many were made.
    async fn attempts_in(shortage: &Shortage, failures: &[Option<Errno>]) -> (u32, Option<Errno>) {
        attempts_within(None, shortage, failures).await
    }

    async fn attempts_within(
        left: Option<Duration>,
        shortage: &Shortage,
        failures: &[Option<Errno>],
    ) -> (u32, Option<Errno>) {
        let mut tries = 0;
        let until = left.map(|left| Instant::now() + left);
        let result = shortage.outlast(until, async || {
            tries += 1;
            let failure = failures.get(tries as usize - 1).or(failures.last()).copied().flatten();
            failure.map_or(Ok(()), |number| Err(io::Error::from(number)))
        });
        let result = result.await;
        (tries, result.err().as_ref().and_then(Errno::from_io_error))
    }

    fn on_virtual_clock<T: 'static>(test: impl Future<Output = T> + 'static) -> T {
        aioxide::Runtime::builder().virtual_clock(true).build().unwrap().block_on(test).unwrap()
    }

    fn attempts(failures: &'static [Option<Errno>]) -> (u32, Option<Errno>) {
        on_virtual_clock(async { attempts_in(&Shortage::default(), failures).await })
    }

    #[test]
    fn shortage_that_lasts_is_waited_for_once_and_not_by_each() {
        on_virtual_clock(async {
            let (shortage, lasts) = (Shortage::default(), [Some(Errno::MFILE)]);
            assert_eq!(attempts_in(&shortage, &lasts).await, (TRIES + 1, Some(Errno::MFILE)));
            assert_eq!(attempts_in(&shortage, &lasts).await, (1, Some(Errno::MFILE)));
            assert_eq!(attempts_in(&shortage, &[None]).await, (1, None));
            assert_eq!(
                attempts_in(&shortage, &[Some(Errno::MFILE), None]).await,
                (2, None),
                "there is hope again"
            );
        });
    }

    #[test]
    fn shortage_is_waited_for_within_the_time_of_the_download() {
        on_virtual_clock(async {
            for (left, tries) in [(0, 1), (1000, 6), (60_000, TRIES + 1)] {
                let left = Some(Duration::from_millis(left));
                let ended = attempts_within(left, &Shortage::default(), &[Some(Errno::MFILE)]).await;
                assert_eq!(ended, (tries, Some(Errno::MFILE)));
            }
        });
    }

    #[test]
    fn one_download_runs_in_whatever_room() {
        assert_eq!((fitting(0, 2), fitting(1, 2), fitting(100, 2), fitting(100, 1)), (1, 1, 50, 100));
    }

    #[test]
    fn attempt_is_made_again_until_a_descriptor_is_free() {
        assert_eq!(attempts(&[Some(Errno::MFILE), Some(Errno::NFILE), None]), (3, None));
    }

    #[test]
    fn other_failures_and_a_lasting_shortage_are_told() {
        assert_eq!(attempts(&[Some(Errno::ACCESS)]), (1, Some(Errno::ACCESS)));
        assert_eq!(attempts(&[Some(Errno::MFILE)]), (TRIES + 1, Some(Errno::MFILE)));
    }
}
