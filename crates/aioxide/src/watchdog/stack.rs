//! What a thread is doing, in words.

use std::io;

use aioxide_core::sys::sample::{Polled, Sample};
use aioxide_core::task::{current_id, with_current_meta};

use super::StackFrame;
use crate::task::Meta;

/// Gets ready to take stacks.
///
/// # Errors
/// None can be taken.
#[expect(unsafe_code, reason = "a function of ours runs in a signal's handler")]
pub(super) fn prepare() -> io::Result<()> {
    // SAFETY: it reads which task the thread polls, one word, and what a task never changes; it neither allocates nor locks.
    unsafe { aioxide_core::sys::sample::prepare(polled) }
}

/// What the running thread polls: called in a signal's handler, so it reads what a task never changes.
fn polled() -> Polled {
    let place = with_current_meta::<Meta, _>(|meta| (meta.place(), meta.is_hidden()));
    match place {
        Some((place, false)) => Polled { id: current_id().unwrap_or(0), place: Some(place) },
        Some((place, true)) => Polled { id: 0, place: Some(place) },
        None => Polled::default(),
    }
}

/// Whose function a frame is. A function that was inlined has a name without a path where there are line tables alone: then its file
/// tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The loop's: of no interest.
    Loop,
    /// The standard library's, libc's, the system's: called by programs, not written by them.
    Library,
    Program,
}

fn owner(frame: &StackFrame) -> Owner {
    let file = frame.place.as_ref().map_or("", |(file, _)| file);
    let is_of = |crate_name: &str| {
        let name = frame.function.trim_start_matches('<');
        name.strip_prefix(crate_name).is_some_and(|rest| rest.starts_with("::"))
    };
    let is_rust = frame.function.contains("::") || file.ends_with(".rs");
    if is_of("aioxide_core") || file.contains("/aioxide-core") && file.contains("/src/") {
        Owner::Loop
    } else if !is_rust || file.starts_with("/rustc/") || ["std", "core", "alloc"].into_iter().any(is_of) {
        Owner::Library
    } else {
        Owner::Program
    }
}

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
        if let Some(end) = stack[before..].iter().position(|frame| owner(frame) == Owner::Loop) {
            stack.truncate(before + end);
            break;
        }
    }
    // What stands between the loop and the task's future is the library's.
    if innermost(&stack).is_some() {
        while stack.last().is_some_and(|frame| owner(frame) == Owner::Library) {
            stack.pop();
        }
    }
    // What the program has called is enough: how the standard library and libc do it is not.
    if let Some(called) = innermost(&stack).and_then(|place| place.checked_sub(1)) {
        stack.drain(..called);
    }
    stack
}

/// Where in a stack the program's own functions begin.
pub(super) fn innermost(stack: &[StackFrame]) -> Option<usize> {
    stack.iter().position(|frame| owner(frame) == Owner::Program)
}

/// The place that a stack is reported for: the innermost line of an asynchronous function or a closure of the program, from
/// where what blocks was called. What is called there may be somewhere else at each look.
pub(super) fn place(stack: &[StackFrame]) -> String {
    let is_asynchronous =
        |frame: &&StackFrame| owner(frame) == Owner::Program && frame.function.contains('{');
    let found = stack.iter().find(is_asynchronous).or_else(|| stack.last());
    found.map_or_else(String::new, |frame| format!("{frame:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_belong_to_the_program_the_library_or_the_loop() {
        for (function, file, expected) in [
            ("service::build", "/srv/src/main.rs", Owner::Program),
            ("<service::Job as core::future::Future>::poll", "", Owner::Program),
            ("{async_fn#0}", "/srv/src/main.rs", Owner::Program),
            ("aioxide::time::sleep", "/srv/aioxide/src/time/sleep.rs", Owner::Program),
            ("std::thread::sleep", "", Owner::Library),
            ("<alloc::boxed::Box<F> as core::ops::FnOnce<A>>::call_once", "", Owner::Library),
            (
                "call_once<service::main::{closure#0}, ()>",
                "/rustc/5980/library/core/src/ops/function.rs",
                Owner::Library,
            ),
            ("__GI___clock_nanosleep", "./time/../sysdeps/unix/sysv/linux/clock_nanosleep.c", Owner::Library),
            ("syscall", "", Owner::Library),
            ("aioxide_core::task::raw::poll", "", Owner::Loop),
            (
                "{closure#0}<service::F>",
                "/home/me/.cargo/registry/src/x/aioxide-core-0.1.0/src/task/raw.rs",
                Owner::Loop,
            ),
        ] {
            let place = (!file.is_empty()).then(|| (file.to_owned(), 1));
            let frame = StackFrame { function: function.to_owned(), place };
            assert!(owner(&frame) == expected, "{function} {file}");
        }
    }
}
