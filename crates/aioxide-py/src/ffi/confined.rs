//! Values that only the thread attached to the interpreter touches.

/// Lets a class hold a value that is neither `Send` nor `Sync`.
///
/// The module says `gil_used = true`: every method of a class runs with the interpreter's lock held, so two threads never
/// touch the value at the same time. Code that gives the lock up must not hold a borrow of it meanwhile.
#[derive(Debug)]
pub(crate) struct Confined<T>(T);

// SAFETY: see the type: the interpreter's lock makes the accesses exclusive and orders them.
unsafe impl<T> Send for Confined<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Confined<T> {}

impl<T> Confined<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> std::ops::Deref for Confined<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
