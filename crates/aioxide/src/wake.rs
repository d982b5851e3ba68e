//! Waking many, each of them whatever becomes of the others.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// Wakes all; a waker that panics does so once the others have been woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut held = HeldPanic::default();
    for waker in wakers {
        held.run(|| waker.wake());
    }
    held.resume();
}

/// Runs other people's code one after the other, and keeps the first panic until all has run.
#[derive(Default)]
pub(crate) struct HeldPanic {
    first: Option<Box<dyn Any + Send>>,
}

impl HeldPanic {
    pub(crate) fn run(&mut self, code: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
            match self.first {
                None => self.first = Some(payload),
                Some(_) => aioxide_core::destroy(payload),
            }
        }
    }

    /// Lets the panic end here.
    pub(crate) fn end(self) {
        aioxide_core::destroy(self.first);
    }

    /// Lets the panic go on, if there was one, unless the thread unwinds already.
    pub(crate) fn resume(self) {
        match self.first {
            Some(payload) if std::thread::panicking() => aioxide_core::destroy(payload),
            Some(payload) => resume_unwind(payload),
            None => {}
        }
    }
}

/// Other people's values, to be taken one after the other. Those that are left are dropped one by one: of two destructors that
/// panic within one drop, the second would end the process.
pub(crate) struct Taken<T>(std::vec::IntoIter<T>);

impl<T> Taken<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        Self(values.into_iter())
    }
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.0.by_ref().for_each(aioxide_core::destroy);
    }
}
