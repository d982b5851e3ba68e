//! Tests of time without waiting: a loop whose clock jumps to the next deadline when it is idle.

use std::future::IntoFuture;
use std::panic::Location;

use crate::runtime::Runtime;

/// Runs `future` on a new loop with a virtual clock, as [`run`](crate::run) does on a real one.
///
/// The clock starts at zero and moves only when nothing is ready; while a call runs on another thread it stands still.
///
/// # Panics
/// With the panic of `future`, or when it was cancelled.
///
/// # Examples
/// ```
/// use aioxide::{testing, time::{Instant, sleep}};
/// use std::time::Duration;
/// let hour = testing::run(async {
///     let start = Instant::now();
///     sleep(Duration::from_secs(3600)).await;
///     start.elapsed()
/// });
/// assert_eq!(hour, Duration::from_secs(3600));
/// ```
#[track_caller]
pub fn run<F: IntoFuture>(future: F) -> F::Output
where
    F::IntoFuture: 'static,
{
    let place = Location::caller();
    let ended = Runtime::builder()
        .virtual_clock(true)
        .build()
        .and_then(|runtime| runtime.run_and_close(future.into_future(), place));
    match ended {
        Ok(output) => output,
        Err(error) => panic!("{error}"),
    }
}
