//! `race!`: the first of several unlike futures.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use aioxide::time::{Instant, sleep};
use aioxide::{catch_cancel, race, spawn, testing, yield_now};

const SECOND: Duration = Duration::from_secs(1);

/// Sets its cell when it is dropped.
struct Dropped(Rc<Cell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn first_that_is_ready_wins_and_the_others_are_dropped_before_it_goes_on() {
    testing::run(async {
        let (start, dropped) = (Instant::now(), Rc::new(Cell::new(false)));
        let guard = Dropped(Rc::clone(&dropped));
        let winner = race! {
            never = async move { let _guard = guard; pending::<u8>().await } => never.to_string(),
            () = sleep(SECOND) => {
                assert!(dropped.get());
                sleep(SECOND).await;
                "slept".to_owned()
            },
            text = async { sleep(2 * SECOND).await; "late" } => text.to_owned(),
        };
        assert_eq!((winner.as_str(), start.elapsed()), ("slept", 2 * SECOND));
    });
}

#[test]
fn of_those_that_are_ready_at_once_the_first_wins() {
    testing::run(async {
        assert_eq!(race! { a = ready(1) => a, b = ready("2") => b.len() }, 1);
        assert_eq!(race! { _ = pending::<()>() => 0, (a, b) = ready((2, 3)) => a + b, c = ready(4) => c }, 5);
        assert_eq!(race! { only = ready(6) => only }, 6);
    });
}

#[test]
fn handlers_leave_loops_and_functions() {
    async fn first_error(texts: &[&str]) -> Result<u32, std::num::ParseIntError> {
        let mut sum = 0;
        let mut texts = texts.iter();
        loop {
            race! {
                text = ready(texts.next()) => match text {
                    Some(text) => sum += text.parse::<u32>()?,
                    None => break,
                },
                () = sleep(SECOND) => return Ok(0),
            }
        }
        Ok(sum)
    }
    testing::run(async {
        assert_eq!(first_error(&["1", "2"]).await, Ok(3));
        assert!(first_error(&["1", "x"]).await.is_err());
    });
}

#[test]
fn cancelled_task_drops_all_and_a_borrowed_task_is_handed_the_cancellation() {
    testing::run(async {
        let inner = Rc::new(spawn(pending::<()>()));
        let awaited = Rc::clone(&inner);
        let racing = spawn(async move {
            catch_cancel(async {
                race! {
                    () = sleep(60 * SECOND) => "slept",
                    () = async { *(&*awaited).await } => "ended",
                }
            })
            .await
            .is_err()
        });
        yield_now().await;
        racing.cancel();
        assert!(racing.await);
        assert!(inner.cancelled());
    });
}

#[test]
fn losing_task_runs_on() {
    testing::run(async {
        let task = spawn(async {
            sleep(2 * SECOND).await;
            7
        });
        race! {
            _ = &task => unreachable!("it takes longer"),
            () = sleep(SECOND) => {},
        }
        assert!(!task.done());
        assert_eq!(task.await, 7);
    });
}
