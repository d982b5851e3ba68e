//! The smallest face that can do everything: callbacks, watched descriptors, tasks.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Mutex;

use aioxide_core::clock::Clock;
use aioxide_core::{EventLoop, JoinHandle, Notified, Runnable, Token};

pub(crate) type Loop = Rc<EventLoop<Entry>>;

/// What the ready queue of the tests holds.
pub(crate) enum Entry {
    Task(Notified),
    Call(Box<dyn FnOnce()>),
    Io(Token),
    /// Ends the batch.
    Break,
    /// Is dropped without being run.
    Cancelled,
}

/// What the tests post from other threads.
pub(crate) enum Posted {
    Task(Notified),
    Call(Box<dyn FnOnce() + Send>),
}

/// The tokens of descriptors that were ready, in order.
#[derive(Default)]
pub(crate) struct Fired(pub(crate) Vec<u64>);

impl From<Notified> for Entry {
    fn from(task: Notified) -> Self {
        Self::Task(task)
    }
}

impl From<Posted> for Entry {
    fn from(posted: Posted) -> Self {
        match posted {
            Posted::Task(task) => Self::Task(task),
            Posted::Call(call) => Self::Call(call),
        }
    }
}

impl From<Notified> for Posted {
    fn from(task: Notified) -> Self {
        Self::Task(task)
    }
}

impl Runnable for Entry {
    type Posted = Posted;
    type Context<'a> = Fired;

    fn from_io(token: Token) -> Self {
        Self::Io(token)
    }

    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    fn run(self, fired: &mut Fired) -> ControlFlow<()> {
        match self {
            Self::Task(task) => task.run(),
            Self::Call(call) => call(),
            Self::Io(token) => fired.0.push(token.0),
            Self::Break => return ControlFlow::Break(()),
            Self::Cancelled => panic!("a cancelled entry was run"),
        }
        ControlFlow::Continue(())
    }
}

pub(crate) fn new_loop() -> Loop {
    EventLoop::new().unwrap()
}

pub(crate) fn virtual_loop() -> Loop {
    EventLoop::with_clock(Clock::virtual_from(0)).unwrap()
}

pub(crate) fn call(function: impl FnOnce() + 'static) -> Entry {
    Entry::Call(Box::new(function))
}

/// Runs one iteration and gives back the tokens that fired.
#[track_caller]
pub(crate) fn iterate(event_loop: &Loop) -> Vec<u64> {
    let _entered = event_loop.enter();
    let mut fired = Fired::default();
    let _ = event_loop.run_once(&mut fired).unwrap();
    fired.0
}

/// Runs `future` to its end, then closes the loop.
#[track_caller]
pub(crate) fn block_on<T: 'static>(event_loop: &Loop, future: impl Future<Output = T> + 'static) -> T {
    let mut task: JoinHandle<T> = aioxide_core::spawn(&**event_loop, future, ());
    while !task.task().is_complete() {
        iterate(event_loop);
    }
    match task.take_output().unwrap() {
        Ok(output) => output,
        Err(error) => match error.into_panic() {
            Some(payload) => std::panic::resume_unwind(payload),
            None => panic!("the task was cancelled"),
        },
    }
}

/// Keeps `value` for ever, where a leak checker still finds it.
///
/// For signal listeners: a signal still on its way to some thread would kill the process after the last one's end.
pub(crate) fn keep<T>(value: T) {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    KEPT.lock().unwrap().push(Box::into_raw(Box::new(value)) as usize);
}
