//! What a thread is doing, in words.

use aioxide_core::sys::sample::{Polled, Sample};
use aioxide_core::task::{current_id, with_current_meta};

use super::StackFrame;
use crate::task::Meta;

/// What the running thread polls: called in a signal's handler, so it reads what a task never changes.
pub(super) fn polled() -> Polled {
    let place = with_current_meta::<Meta, _>(|meta| (meta.place(), meta.is_hidden()));
    match place {
        Some((place, false)) => Polled { id: current_id().unwrap_or(0), place: Some(place) },
        Some((place, true)) => Polled { id: 0, place: Some(place) },
        None => Polled::default(),
    }
}

/// The loop's own part of a stack begins here, and is of no interest.
const LOOP: &str = "aioxide_core::";

/// Between the loop and the task's future.
const AROUND: [&str; 5] =
    ["std::panic", "core::panic", "core::ops::function::", "__rust_try", "<core::panic::unwind_safe::"];

/// The frames of a sample with names, the innermost first, out to the task's future.
pub(super) fn resolve(sample: &Sample) -> Vec<StackFrame> {
    let mut stack = Vec::new();
    for (place, address) in sample.frames.iter().enumerate() {
        // A return address belongs to the instruction after the call.
        let address = if place == 0 { *address } else { address.saturating_sub(1) };
        let before = stack.len();
        backtrace::resolve(address as *mut _, |symbol| {
            let Some(function) = symbol.name() else { return };
            let file = symbol.filename().map(|file| file.display().to_string());
            // Without the hash.
            stack.push(StackFrame { function: format!("{function:#}"), place: file.zip(symbol.lineno()) });
        });
        if stack.len() == before {
            stack.push(StackFrame { function: format!("{address:#x}"), place: None });
        }
        if let Some(end) = stack[before..].iter().position(|frame| is_of(&frame.function, LOOP)) {
            stack.truncate(before + end);
            break;
        }
    }
    while stack.last().is_some_and(|frame| AROUND.iter().any(|around| is_of(&frame.function, around))) {
        stack.pop();
    }
    // What the program has called is enough: how the standard library and libc do it is not.
    if let Some(called) = innermost(&stack).and_then(|place| place.checked_sub(1)) {
        stack.drain(..called);
    }
    stack
}

/// Crates whose functions are called by programs and not written by them.
const LIBRARY: [&str; 3] = ["std::", "core::", "alloc::"];

/// Where in a stack the program's own functions begin.
pub(super) fn innermost(stack: &[StackFrame]) -> Option<usize> {
    let of_program = |frame: &StackFrame| {
        frame.function.contains("::") && !LIBRARY.iter().any(|path| is_of(&frame.function, path))
    };
    stack.iter().position(of_program)
}

/// The place that a stack is reported for: the innermost line of an asynchronous function or a closure of the program, from
/// where what blocks was called. What is called there may be somewhere else at each look.
pub(super) fn place(stack: &[StackFrame]) -> String {
    let of_program = |frame: &&StackFrame| {
        frame.function.contains('{') && !LIBRARY.iter().any(|path| is_of(&frame.function, path))
    };
    stack
        .iter()
        .find(of_program)
        .or_else(|| stack.last())
        .map_or_else(String::new, |frame| format!("{frame:?}"))
}

/// Whether a function is of a crate or module, or a method of one of its types.
fn is_of(function: &str, path: &str) -> bool {
    function.trim_start_matches('<').starts_with(path.trim_start_matches('<'))
}
