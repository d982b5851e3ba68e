//! A result cell that is set from outside and awaited by any number of tasks.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::{Cancelled, ResultError};
use crate::line::Line;
use crate::report::{Report, ReportKind, report};
use crate::task::{Awaited, Waiting, raise, spawn_hidden};
use crate::wake::{HeldPanic, Taken};

/// A result that somebody will set: `Pending`, then once and for all `Finished` or `Cancelled`.
///
/// Clones are the same cell. `future.await` gives a copy of the value to each who awaits it; [`take`](Self::take) gives
/// the value itself, to one. If the cell was cancelled, whoever awaits it is cancelled too. A task that is cancelled
/// while it awaits a cell cancels the cell, unless there is a [`shield`](crate::shield) between.
///
/// # Examples
/// ```
/// use aioxide::{Future, ResultError, spawn};
/// aioxide::run(async {
///     let answer = Future::new();
///     let readers = [spawn(answer.clone()), spawn(answer.clone())];
///     assert_eq!(answer.result(), Err(ResultError::InvalidState));
///     answer.set_result(42).unwrap();
///     assert!(answer.set_result(43).is_err());
///     for reader in readers { assert_eq!(reader.await, 42); }
/// }).unwrap();
/// ```
/// asyncio: `Future`. Its `set_exception` is `set_result(Err(..))`, or [`set_exception`](Self::set_exception).
pub struct Future<T: 'static> {
    cell: Rc<RefCell<Inner<T>>>,
    /// Our waker's place in the cell, while this clone waits.
    key: u64,
    awaited: Awaited,
}

/// Once it is done it is only read: `T`'s `Clone`, which is the program's, runs while it is borrowed, and may look at it.
struct Inner<T: 'static> {
    state: State<T>,
    /// One waits in most cases: its place needs no list.
    first: Option<Waker>,
    extra: Option<Box<Extra<T>>>,
    place: &'static Location<'static>,
}

/// The place of the one that stands in no list.
const FIRST: u64 = u64::MAX;

/// What most cells never need.
struct Extra<T: 'static> {
    others: Line<Waker>,
    callbacks: Vec<Callback<T>>,
    /// The error to report when nobody has looked at it.
    failure: Option<String>,
}

impl<T: 'static> Inner<T> {
    fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending)
    }

    fn extra(&mut self) -> &mut Extra<T> {
        self.extra.get_or_insert_with(|| {
            Box::new(Extra { others: Line::default(), callbacks: Vec::new(), failure: None })
        })
    }

    /// The waker in a place.
    fn waker(&mut self, key: u64) -> Option<&mut Waker> {
        match key {
            FIRST => self.first.as_mut(),
            key => self.extra.as_mut()?.others.get_mut(key),
        }
    }
}

type Callback<T> = Box<dyn FnOnce(&Future<T>)>;

enum State<T> {
    Pending,
    Finished(T),
    Taken,
    Cancelled(Cancelled),
}

impl<T: 'static> Default for Future<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Clone for Future<T> {
    fn clone(&self) -> Self {
        Self { cell: Rc::clone(&self.cell), key: 0, awaited: Awaited::Never }
    }
}

impl<T: 'static> Future<T> {
    /// A cell that is not set.
    #[track_caller]
    pub fn new() -> Self {
        let inner = Inner { state: State::Pending, first: None, extra: None, place: Location::caller() };
        Self { cell: Rc::new(RefCell::new(inner)), key: 0, awaited: Awaited::Never }
    }

    /// Sets the value.
    ///
    /// # Errors
    /// [`ResultError`] with the reason when the cell is done already.
    pub fn set_result(&self, value: T) -> Result<(), ResultError> {
        self.settle(State::Finished(value))
    }

    /// Cancels the cell; `false` if it is done already.
    pub fn cancel(&self) -> bool {
        self.settle(State::Cancelled(Cancelled::new(None))).is_ok()
    }

    /// Cancels the cell with a message for whoever awaits it.
    pub fn cancel_with(&self, message: impl Into<Rc<str>>) -> bool {
        self.settle(State::Cancelled(Cancelled::new(Some(message.into())))).is_ok()
    }

    /// Whether it has a value or was cancelled.
    pub fn done(&self) -> bool {
        !self.cell.borrow().is_pending()
    }

    /// Whether it was cancelled.
    pub fn cancelled(&self) -> bool {
        matches!(self.cell.borrow().state, State::Cancelled(_))
    }

    /// A copy of the value, without waiting.
    ///
    /// # Errors
    /// [`ResultError::InvalidState`] when there is none yet or it was taken, [`ResultError::Cancelled`] when it was
    /// cancelled.
    pub fn result(&self) -> Result<T, ResultError>
    where
        T: Clone,
    {
        self.mark_retrieved();
        match &self.cell.borrow().state {
            State::Finished(value) => Ok(value.clone()),
            State::Pending | State::Taken => Err(ResultError::InvalidState),
            State::Cancelled(cancelled) => Err(ResultError::Cancelled(cancelled.clone())),
        }
    }

    /// Awaits the value itself, for types that are not `Clone`; whoever comes later finds none.
    ///
    /// # Panics
    /// When awaited after the value was taken.
    pub fn take(self) -> Take<T> {
        Take { future: self }
    }

    /// Calls `callback` with the cell, from the loop, once it is done, in the order of the calls.
    ///
    /// It is the loop of the thread that sets the cell; where none runs then, it is not called.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) {
        let callback: Callback<T> = Box::new(callback);
        if self.done() {
            self.schedule(vec![callback]);
        } else {
            self.cell.borrow_mut().extra().callbacks.push(callback);
        }
    }

    /// Somebody looks at the result: there is nothing to report any more.
    #[inline]
    fn mark_retrieved(&self) {
        let is_reported =
            |inner: &Inner<T>| inner.extra.as_ref().is_some_and(|extra| extra.failure.is_some());
        let has_failure = is_reported(&self.cell.borrow());
        if has_failure {
            self.cell.borrow_mut().extra().failure = None;
        }
    }

    #[inline]
    fn settle(&self, state: State<T>) -> Result<(), ResultError> {
        // A cell that is being looked at is done: see `Inner`.
        let Some(mut inner) = self.cell.try_borrow_mut().ok().filter(|inner| inner.is_pending()) else {
            return Err(self.settled());
        };
        inner.state = state;
        let first = inner.first.take();
        let more = inner.extra.is_some();
        // No borrow is alive while a waker runs.
        drop(inner);
        match (first, more) {
            (first, true) => self.tell_all(first),
            (Some(waker), false) => waker.wake(),
            (None, false) => {}
        }
        Ok(())
    }

    /// Why it cannot be settled any more.
    #[cold]
    fn settled(&self) -> ResultError {
        match &self.cell.borrow().state {
            State::Cancelled(cancelled) => ResultError::Cancelled(cancelled.clone()),
            State::Pending | State::Finished(_) | State::Taken => ResultError::InvalidState,
        }
    }

    #[cold]
    fn tell_all(&self, first: Option<Waker>) {
        let (others, has_callbacks) = {
            let mut inner = self.cell.borrow_mut();
            let extra = inner.extra();
            (extra.others.take_all(), !extra.callbacks.is_empty())
        };
        let mut held = HeldPanic::default();
        first.into_iter().chain(others).for_each(|waker| held.run(|| waker.wake()));
        if has_callbacks {
            self.schedule_callbacks();
        }
        held.resume();
    }

    /// Calls what was added, each in a task of its own: a panic in one is reported and the others are called.
    fn schedule_callbacks(&self) {
        let callbacks = std::mem::take(&mut self.cell.borrow_mut().extra().callbacks);
        self.schedule(callbacks);
    }

    fn schedule(&self, callbacks: Vec<Callback<T>>) {
        let callbacks = Taken::new(callbacks);
        // Without a loop nothing runs any more, as in asyncio after the close.
        if aioxide_core::current::try_with(|_| ()).is_none() {
            return;
        }
        for callback in callbacks {
            let future = self.clone();
            spawn_hidden(async move { callback(&future) }).detach();
        }
    }

    /// Ready once done; `Err` when it was cancelled.
    #[inline]
    fn poll_done<R>(
        &mut self,
        cx: &mut Context<'_>,
        get: impl FnOnce(&RefCell<Inner<T>>) -> R,
    ) -> Poll<Result<R, Cancelled>> {
        let is_pending = match &self.cell.borrow().state {
            State::Pending => true,
            State::Cancelled(cancelled) => return Poll::Ready(Err(cancelled.clone())),
            State::Finished(_) | State::Taken => false,
        };
        if !is_pending {
            self.key = 0;
            self.mark_retrieved();
            return Poll::Ready(Ok(get(&self.cell)));
        }
        let key = self.key;
        let known =
            key != 0 && self.cell.borrow_mut().waker(key).is_some_and(|held| held.will_wake(cx.waker()));
        if !known {
            // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
            let waker = cx.waker().clone();
            let mut inner = self.cell.borrow_mut();
            let mut old = None;
            match key {
                // The first place is not taken again by one who came later: they are woken in the order in which they came.
                0 if inner.first.is_none() && inner.extra.is_none() => {
                    self.key = FIRST;
                    inner.first = Some(waker);
                }
                0 => self.key = inner.extra().others.push(waker),
                key => old = inner.waker(key).map(|held| std::mem::replace(held, waker)),
            }
            drop(inner);
            drop(old);
        }
        self.awaited = Awaited::wait_for(Waiting::alone("Future"), cx);
        Poll::Pending
    }
}

impl<T: 'static, E: fmt::Debug + 'static> Future<Result<T, E>> {
    /// Sets an error, which is reported if nobody ever looks at it.
    ///
    /// # Errors
    /// As [`set_result`](Self::set_result).
    pub fn set_exception(&self, error: E) -> Result<(), ResultError> {
        let text = format!("{error:?}");
        self.settle(State::Finished(Err(error)))?;
        self.cell.borrow_mut().extra().failure = Some(text);
        Ok(())
    }
}

impl<T: Clone + 'static> std::future::Future for Future<T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.poll_done(cx, |cell| match &cell.borrow().state {
            State::Finished(value) => value.clone(),
            _ => panic!("the value that was awaited was taken before"),
        }) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(cancelled)) => raise(cancelled.shared_message()),
        }
    }
}

impl<T: 'static> Drop for Future<T> {
    fn drop(&mut self) {
        if self.key == 0 {
            return;
        }
        if self.done() {
            return;
        }
        let mut inner = self.cell.borrow_mut();
        let removed = match self.key {
            FIRST => inner.first.take(),
            key => inner.extra.as_mut().and_then(|extra| extra.others.remove(key)),
        };
        drop(inner);
        drop(removed);
        if self.awaited.is_unwinding() {
            self.cancel();
        }
    }
}

impl<T: 'static> Drop for Inner<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(extra) = self.extra.take() {
            extra.end(self.place);
        }
    }
}

impl<T: 'static> Extra<T> {
    #[cold]
    fn end(self, place: &'static Location<'static>) {
        drop(Taken::new(self.callbacks));
        if let Some(detail) = self.failure {
            let detail = Some(format!("{detail} (made at {place})"));
            report(&Report { kind: ReportKind::NeverRetrieved, task: None, detail });
        }
    }
}

impl<T: 'static> fmt::Debug for Future<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.cell.borrow();
        let state = match inner.state {
            State::Pending => "pending",
            State::Finished(_) => "finished",
            State::Taken => "taken",
            State::Cancelled(_) => "cancelled",
        };
        formatter.debug_struct("Future").field("state", &state).field("place", &inner.place).finish()
    }
}

/// The future of [`Future::take`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Take<T: 'static> {
    future: Future<T>,
}

impl<T: 'static> std::future::Future for Take<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let take = |cell: &RefCell<Inner<T>>| std::mem::replace(&mut cell.borrow_mut().state, State::Taken);
        let taken = self.future.poll_done(cx, take);
        match taken {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(State::Finished(value))) => Poll::Ready(value),
            Poll::Ready(Ok(_)) => panic!("the value that was awaited was taken before"),
            Poll::Ready(Err(cancelled)) => raise(cancelled.shared_message()),
        }
    }
}
