//! The loop that an object belongs to from its first wait on.

use crate::ffi::text::{show, type_name};
use crate::ffi::{Object, Outcome, Slot, call, raised};
use crate::future;
use crate::interp::names;

pub(crate) struct Bound(Slot);

impl Bound {
    pub(crate) const fn new() -> Self {
        Self(Slot::new())
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0
    }

    /// The running loop, which `owner` belongs to from now on if it did to none.
    ///
    /// # Errors
    /// RuntimeError when it belongs to another.
    pub(crate) fn running(&self, owner: &Object) -> Outcome {
        let running = call::call(&names().get_running_loop_or_none, &[])?;
        if self.0.is_empty() && !running.is_none() {
            self.0.set(running.clone());
        } else if !self.0.holds(&running) && !self.0.is_empty() {
            let message = format!("{} is bound to a different event loop", show(owner));
            return Err(raised::raise(raised::runtime_error(), &message));
        }
        Ok(running)
    }

    /// A future of the running loop.
    pub(crate) fn future(&self, owner: &Object) -> Outcome {
        future::create(&*self.running(owner)?)
    }

    /// The attribute `_loop`.
    pub(crate) fn get(&self) -> Outcome {
        Ok(self.0.get_or_none())
    }

    /// Writes the attribute; deleting it is as good as None.
    pub(crate) fn set(&self, value: Option<&Object>) -> Outcome<()> {
        self.0.put(value.filter(|value| !value.is_none()).map(Object::own));
        Ok(())
    }
}

/// Refuses the argument `loop`, as Python 3.10 does; later ones have no such argument.
pub(crate) fn refuse_loop(this: &Object, event_loop: Option<&Object>) -> Outcome<()> {
    if event_loop.is_none() {
        return Ok(());
    }
    let name = type_name(this);
    let message = if cfg!(Py_3_11) {
        format!("{name}.__init__() got an unexpected keyword argument 'loop'")
    } else {
        format!("As of 3.10, the *loop* parameter was removed from {name}() since it is no longer necessary")
    };
    Err(raised::raise(raised::type_error(), &message))
}
