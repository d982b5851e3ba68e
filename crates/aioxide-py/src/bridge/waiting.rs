//! A Rust future's wait for Python: for a future, a task, a coroutine or whatever else can be awaited.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use crate::awaitable;
use crate::ffi::{self, Class, Confined, Object, Outcome, Owned, call, raised};
use crate::future::parent::{Parent, ParentKind};
use crate::future::{Future, Waiter, is_done};
use crate::interp::{current, names};
use crate::kernel::{LoopState, running};
use crate::task::step::{different_loop, loop_of};
use crate::task::{self, Start, Task};

/// Wakes a Rust future when a Python one is done: a waiter of ours, and a callback for the futures of others.
#[pyclass(frozen, freelist = 64, module = "aioxide._aioxide")]
pub(crate) struct Notifier {
    waker: Confined<Cell<Option<Waker>>>,
}

#[pymethods]
impl Notifier {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.notify();
    }
}

/// The object behind a `Notifier`.
#[repr(transparent)]
struct Told(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Told {}

static NOTIFIER: ParentKind = ParentKind::of::<Told>("Notifier.notify");

impl Told {
    fn notify(&self) {
        // SAFETY: only notifiers are watched with this kind.
        unsafe { ffi::frozen::<Notifier>(&self.0) }.notify();
    }
}

impl Parent for Told {
    fn kind() -> &'static ParentKind {
        &NOTIFIER
    }

    /// It queues what waits for it itself.
    fn needs_entry(&self, _: &Future) -> bool {
        self.notify();
        false
    }

    fn child_done(&self, _: &Object) -> Outcome<()> {
        self.notify();
        Ok(())
    }
}

impl Notifier {
    fn notify(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn watch(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }
}

/// A wait under way.
pub(super) struct Waiting {
    awaited: Owned,
    /// It is of another loop, whose affair it stays.
    refused: Cell<bool>,
    notifier: Option<Py<Notifier>>,
}

impl Waiting {
    /// Starts to wait: a coroutine begins to run.
    pub(super) fn start(awaitable: &Object) -> Outcome<Self> {
        let Some(state) = running() else {
            let message = "Python is awaited by a Rust future on a loop that is not aioxide's";
            return Err(raised::raise(raised::runtime_error(), message));
        };
        Ok(Self { awaited: future_of(awaitable, state)?, refused: Cell::new(false), notifier: None })
    }

    /// What came of it, once it has.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        match self.try_poll(cx) {
            Ok(poll) => poll.map(Ok),
            Err(raised) => Poll::Ready(Err(raised)),
        }
    }

    fn try_poll(&mut self, cx: &Context<'_>) -> Outcome<Poll<Owned>> {
        let ours = Future::exact(&self.awaited);
        if let Some(future) = ours {
            if future.is_done() {
                return future.result_or_raise().map(Poll::Ready);
            }
        } else if is_done(&self.awaited)? {
            return call::call_method(&names().result, &[&self.awaited], None).map(Poll::Ready);
        }
        if let Some(notifier) = &self.notifier {
            notifier.get().watch(cx.waker());
            return Ok(Poll::Pending);
        }
        self.refuse_another_loop(ours)?;
        let py = ffi::python(&self.awaited);
        let waker = Confined::new(Cell::new(Some(cx.waker().clone())));
        let notifier = Py::new(py, Notifier { waker }).map_err(|error| raised::from_pyerr(error, py))?;
        let callback = Owned::from(notifier.clone_ref(py));
        match ours {
            Some(future) => future.add_waiter(Waiter::Parent(callback, Told::kind()))?,
            None => {
                call::call_method(&names().add_done_callback, &[&self.awaited, &callback], None)?;
            }
        }
        self.notifier = Some(notifier);
        Ok(Poll::Pending)
    }

    /// As the step of a task does: the end of a future of another loop would not come while this one runs.
    fn refuse_another_loop(&self, ours: Option<&Future>) -> Outcome<()> {
        let Some(state) = running() else { return Ok(()) };
        let event_loop = state.object()?;
        let is_here = match ours {
            Some(future) => future.event_loop.holds(event_loop),
            None => std::ptr::eq(loop_of(&self.awaited)?.as_ptr(), event_loop.as_ptr()),
        };
        if is_here {
            return Ok(());
        }
        self.refused.set(true);
        let task = current::get(event_loop).unwrap_or_else(Owned::none);
        Err(raised::raise(raised::runtime_error(), &different_loop(&task, &self.awaited)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.refused.get() {
            return;
        }
        if let Some(notifier) = &self.notifier {
            drop(notifier.get().waker.take());
        }
        let cancelled = match is_done(&self.awaited) {
            Ok(true) => return,
            Ok(false) => task::cancel(&self.awaited, None).map(drop),
            Err(raised) => Err(raised),
        };
        if let Err(raised) = cancelled {
            // On a loop that is closed nothing can be cancelled any more, nor need be.
            if running().is_none() {
                raised::clear(raised);
            } else {
                raised::unraisable(raised, &self.awaited);
            }
        }
    }
}

/// The future to wait for: a coroutine becomes a task, which starts now.
fn future_of(awaitable: &Object, state: &LoopState) -> Outcome {
    if Future::exact(awaitable).is_some() {
        return Ok(awaitable.own());
    }
    let names = names();
    let event_loop = state.object()?;
    if !awaitable::is_coroutine(awaitable) || !state.makes_tasks() {
        return call::call(&names.ensure_future, &[awaitable]);
    }
    match current::get(event_loop).as_deref().and_then(Task::from_object) {
        Some(awaiter) => Task::make_inside(event_loop, state, awaitable, awaiter),
        None => {
            Task::make(event_loop, state, &Start { coro: awaitable, name: None, context: None, eager: true })
        }
    }
}
