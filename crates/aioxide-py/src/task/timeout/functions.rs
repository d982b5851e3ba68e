//! `timeout` and `timeout_at`.

use super::{TimeoutData, make as make_timeout};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::holder::Held;
use crate::ffi::method::method_fast;
use crate::ffi::{Object, Outcome, call, number, raised};
use crate::interp::names;
use crate::kernel::state_of;

/// `timeout(delay)`.
fn timeout(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [delay] = arguments.parse("timeout", &[&names.delay], 1)?;
    let Some(delay) = delay else {
        let message = "timeout() missing 1 required positional argument: 'delay'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let running = call::call(&names.get_running_loop, &[])?;
    if delay.is_none() {
        return make_timeout(TimeoutData::unlimited).map(Held::into_object);
    }
    if let Some(state) = state_of(&running)
        && !state.replaces_timers.get()
        && let Some(seconds) = number::plain(delay)
    {
        let when = state.now() + seconds;
        return make_timeout(|| TimeoutData::at(when, None)).map(Held::into_object);
    }
    let now = call::call_method(&names.time, &[&running], None)?;
    timeout_at_time(&*call::add(&now, delay)?)
}

fn timeout_at_time(when: &Object) -> Outcome {
    let made = make_timeout(TimeoutData::unlimited)?;
    made.set_when(when)?;
    Ok(made.into_object())
}

/// `timeout_at(when)`.
fn timeout_at(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let [when] = arguments.parse("timeout_at", &[&names().when], 1)?;
    let Some(when) = when else {
        let message = "timeout_at() missing 1 required positional argument: 'when'";
        return Err(raised::raise(raised::type_error(), message));
    };
    timeout_at_time(when)
}

/// Makes the functions.
pub(super) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    exports.function(method_fast!(
        c"timeout",
        timeout,
        c"timeout(delay)\n--\n\nA context that is cancelled after `delay` seconds."
    ))?;
    exports.function(method_fast!(
        c"timeout_at",
        timeout_at,
        c"timeout_at(when)\n--\n\nA context that is cancelled at the loop's time `when`."
    ))
}
