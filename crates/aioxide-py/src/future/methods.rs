//! The methods and attributes that Python sees of a future, most of which a task has as they are.

use pyo3::ffi as c;

use super::{Future, State, Waiter};
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{attribute, method_fast, method_none, method_one};
use crate::ffi::{Object, Outcome, Owned, Raised, call, raised};
use crate::interp::{Captured, names};

fn result(this: &Future) -> Outcome {
    this.result_or_raise()
}

fn exception(this: &Future) -> Outcome {
    match this.state.get() {
        State::Pending => Err(raised::raise(&names().invalid_state_error, "Exception is not set.")),
        State::Cancelled => Err(this.raise(this.make_cancelled_error()?)),
        State::Finished => {
            this.log_traceback.set(false);
            Ok(this.exception.get_or_none())
        }
    }
}

fn set_result(this: &Future, result: &Object) -> Outcome {
    this.loop_or_raise()?;
    this.finish_with_result(result.own())?;
    Ok(Owned::none())
}

fn set_exception(this: &Future, exception: &Object) -> Outcome {
    this.refuse_when_done()?;
    let exception = raised::settable(exception)?;
    let wraps = names().wraps_stop_iteration;
    let stop = raised::stop_iteration();
    // What refuses them looks at the class alone; what wraps them at those derived from it too.
    let is_stop = if wraps { raised::is_kind(&exception, stop) } else { exception.class().is(stop) };
    let exception = if is_stop {
        const TEXT: &str = "StopIteration interacts badly with generators and cannot be raised into a Future";
        if !wraps {
            return Err(raised::raise(raised::type_error(), TEXT));
        }
        let wrapped = raised::take(raised::raise(raised::runtime_error(), TEXT));
        raised::set_cause(&wrapped, &exception);
        wrapped
    } else {
        exception
    };
    this.finish_with_exception(exception)?;
    Ok(Owned::none())
}

fn add_done_callback(this: &Future, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [callback, given] = arguments.parse("add_done_callback", &[&names.value, &names.context], 1)?;
    let Some(callback) = callback else {
        return Err(raised::raise(
            raised::type_error(),
            "add_done_callback() takes exactly 1 positional argument (0 given)",
        ));
    };
    this.loop_or_raise()?;
    let context = match given {
        Some(given) if !given.is_none() => Captured::given(given.own()),
        _ => Captured::current()?,
    };
    this.add_waiter(Waiter::Callback(callback.own(), context))?;
    Ok(Owned::none())
}

fn remove_done_callback(this: &Future, callback: &Object) -> Outcome {
    this.loop_or_raise()?;
    let mut removed = 0;
    let mut kept = Vec::new();
    let mut failure = None;
    // Comparing runs user code, which may add and remove others: it sees an empty list, and what it adds comes last.
    for waiter in this.take_waiters() {
        let same = failure.is_none()
            && match call::equal(waiter.object(), callback) {
                Ok(same) => same,
                Err(raised) => {
                    failure = Some(raised);
                    false
                }
            };
        if same && matches!(waiter, Waiter::Callback(..)) {
            removed += 1;
        } else {
            kept.push(waiter);
        }
    }
    let added = this.take_waiters();
    if this.is_done() {
        // It became done meanwhile: those that were out of the list are due too.
        for waiter in kept {
            this.schedule(waiter)?;
        }
    } else {
        this.put_waiters(kept.into_iter().chain(added));
    }
    match failure {
        Some(raised) => Err(raised),
        None => call::integer(removed),
    }
}

/// The argument `msg` of `cancel(msg=None)`.
pub(crate) fn cancel_message(arguments: &Arguments<'_>) -> Outcome<Option<Owned>> {
    let [message] = arguments.parse("cancel", &[&names().msg], 1)?;
    Ok(message.filter(|message| !message.is_none()).map(Object::own))
}

fn cancel(this: &Future, arguments: &Arguments<'_>) -> Outcome {
    let message = cancel_message(arguments)?;
    this.loop_or_raise()?;
    this.finish_cancelled(message).map(Owned::boolean)
}

fn cancelled(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.state.get() == State::Cancelled))
}

fn done(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.is_done()))
}

fn get_loop(this: &Future) -> Outcome {
    this.loop_or_raise()
}

fn make_cancelled_error(this: &Future) -> Outcome {
    this.make_cancelled_error()
}

/// The methods that a task refuses or has in its own way.
pub(super) fn own_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(
            c"set_result",
            set_result,
            c"set_result($self, result, /)\n--\n\nMark the future done and set its result."
        ),
        method_one!(
            c"set_exception",
            set_exception,
            c"set_exception($self, exception, /)\n--\n\nMark the future done and set an exception."
        ),
        method_fast!(
            c"cancel",
            cancel,
            c"cancel($self, /, msg=None)\n--\n\nCancel the future and schedule callbacks."
        ),
    ]
}

/// The methods of the future that tasks have as they are.
pub(crate) fn common_methods() -> Vec<c::PyMethodDef> {
    vec![
        method_none!(c"result", result, c"result($self, /)\n--\n\nReturn the result this future represents."),
        method_none!(c"exception", exception, c"exception($self, /)\n--\n\nReturn the exception that was set on this future."),
        method_fast!(
            c"add_done_callback",
            add_done_callback,
            c"add_done_callback($self, fn, /, *, context=None)\n--\n\nAdd a callback to be run when the future becomes done."
        ),
        method_one!(
            c"remove_done_callback",
            remove_done_callback,
            c"remove_done_callback($self, fn, /)\n--\n\nRemove all instances of a callback; return how many."
        ),
        method_none!(c"cancelled", cancelled, c"cancelled($self, /)\n--\n\nReturn True if the future was cancelled."),
        method_none!(c"done", done, c"done($self, /)\n--\n\nReturn True if the future is done."),
        method_none!(c"get_loop", get_loop, c"get_loop($self, /)\n--\n\nReturn the event loop the future is bound to."),
        method_none!(
            c"_make_cancelled_error",
            make_cancelled_error,
            c"_make_cancelled_error($self, /)\n--\n\nCreate the CancelledError to raise if cancelled."
        ),
    ]
}

fn get_state(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    call::interned(match this.state.get() {
        State::Pending => c"PENDING",
        State::Cancelled => c"CANCELLED",
        State::Finished => c"FINISHED",
    })
}

fn get_blocking(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.blocking.get()))
}

fn cannot_delete() -> Raised {
    raised::raise(raised::attribute_error(), "cannot delete attribute")
}

fn set_blocking(this: &Future, value: Option<&Object>) -> Outcome<()> {
    // As from 3.14 on, asyncio looks at the value first.
    if value.is_some() || cfg!(not(Py_3_14)) {
        this.loop_or_raise()?;
    }
    let Some(value) = value else { return Err(cannot_delete()) };
    this.blocking.set(call::truth(value)?);
    Ok(())
}

fn get_loop_attribute(this: &Future) -> Outcome {
    Ok(this.event_loop.get_or_none())
}

fn get_callbacks(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    let all = this.take_waiters();
    let shown: Outcome<Vec<Owned>> = all
        .iter()
        .map(|waiter| {
            let (callback, context) = waiter.as_callback()?;
            call::tuple(&[&callback, &context])
        })
        .collect();
    this.put_waiters(all.into_iter());
    let shown = shown?;
    if shown.is_empty() { Ok(Owned::none()) } else { call::list(shown.into_iter()) }
}

fn get_result_attribute(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    Ok(this.result.get_or_none())
}

fn get_exception_attribute(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    Ok(this.exception.get_or_none())
}

fn get_log_traceback(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    Ok(Owned::boolean(this.log_traceback.get()))
}

fn set_log_traceback(this: &Future, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else { return Err(cannot_delete()) };
    if call::truth(value)? {
        return Err(raised::raise(raised::value_error(), "_log_traceback can only be set to False"));
    }
    this.log_traceback.set(false);
    Ok(())
}

fn get_source_traceback(this: &Future) -> Outcome {
    Ok(this.source_traceback.get_or_none())
}

fn get_cancel_message(this: &Future) -> Outcome {
    Ok(this.cancel_message.get_or_none())
}

fn set_cancel_message(this: &Future, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else { return Err(cannot_delete()) };
    this.cancel_message.set(value.own());
    Ok(())
}

/// The attributes of the future that tasks have as they are.
pub(crate) fn common_attributes() -> Vec<c::PyGetSetDef> {
    vec![
        attribute!(c"_state", get_state),
        attribute!(c"_asyncio_future_blocking", get_blocking, set_blocking),
        attribute!(c"_loop", get_loop_attribute),
        attribute!(c"_callbacks", get_callbacks),
        attribute!(c"_result", get_result_attribute),
        attribute!(c"_exception", get_exception_attribute),
        attribute!(c"_log_traceback", get_log_traceback, set_log_traceback),
        attribute!(c"_source_traceback", get_source_traceback),
        attribute!(c"_cancel_message", get_cancel_message, set_cancel_message),
    ]
}
