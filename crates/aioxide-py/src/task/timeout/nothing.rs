//! The awaitable of a timeout's `__aexit__` when the call has done all.

use crate::awaitable::{Awaitable, Home, Next, Steps};
use crate::ffi::{Confined, Outcome, Owned, Slot};

/// What ends at once, with `None`: one instance does for all.
pub(super) struct Nothing;

static NOTHING: Home = Home::new();

impl Steps for Nothing {
    fn name(&self) -> &'static str {
        "Timeout.__aexit__"
    }

    fn home() -> &'static Home {
        &NOTHING
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [].into_iter()
    }

    fn advance(_: &Awaitable<Self>) -> Outcome<Next> {
        Ok(Next::Return(Owned::none()))
    }

    fn give_up(_: &Awaitable<Self>) -> Outcome<()> {
        Ok(())
    }
}

/// An awaitable that returns `None`.
pub(super) fn nothing() -> Outcome {
    static SHARED: Confined<Slot> = Confined::new(Slot::new());
    if let Some(shared) = SHARED.get() {
        return Ok(shared);
    }
    let made = Awaitable::make(Nothing)?;
    SHARED.set(made.clone());
    Ok(made)
}
