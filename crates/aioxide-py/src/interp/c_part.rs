//! The C part of tasks and futures, from Python 3.14 on: kept as `_asyncio`'s own code keeps it.
//!
//! `python -m asyncio ps` and profilers look at the tasks of a process from outside: they walk a list that begins in the
//! thread's state and runs through the C part of each task, and read name, coroutine and awaiters there. Our tasks derive
//! from the C type, so they have that part; here it is filled in. The same fields, read and written in place, stand for
//! calls of `_asyncio`'s functions: the list, the current task, who awaits whom.
//!
//! Where the fields are, the interpreter tells nobody inside the process. It is learned when the package is imported,
//! from two tasks of asyncio's own that hold known objects; everything found is checked against what the fields must hold.
//! What does not fit is not used: then those functions are called, and `ps` cannot show our tasks.
//!
//! Rules of the fields, as of C: each owns a reference, but for the list's nodes, which own nothing; a node that is not in
//! a list is zero. All of it is confined to whoever holds the interpreter's lock, which is why a build without one learns
//! nothing.

use std::cell::OnceCell;

use pyo3::ffi;

use super::probe::{Sample, only};
use crate::ffi::{Confined, Object, Outcome, Owned, call};

/// Offsets into a task, and into the thread's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    coro: usize,
    name: usize,
    awaited_by: usize,
    awaited_by_is_set: usize,
    is_task: usize,
    node: usize,
    tasks_head: usize,
    running_loop: usize,
    running_task: usize,
    /// `_asyncio.Future`, whose instances have the future's part.
    future: *mut ffi::PyTypeObject,
}

/// A node of the interpreter's doubly linked, circular lists.
#[repr(C)]
struct Node {
    next: *mut Node,
    previous: *mut Node,
}

static LAYOUT: Confined<OnceCell<Layout>> = Confined::new(OnceCell::new());

/// What is learned from: two tasks of asyncio's own that were made one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Samples<'a> {
    /// Awaited by `awaiter`, and the current task of `event_loop`, which is the running one.
    pub(crate) first: &'a Object,
    /// Awaited by two.
    pub(crate) second: &'a Object,
    pub(crate) coro: &'a Object,
    pub(crate) name: &'a Object,
    /// A future.
    pub(crate) awaiter: &'a Object,
    pub(crate) event_loop: &'a Object,
}

const WORD: usize = size_of::<usize>();

/// How many words before the head the current task is looked for.
const NEIGHBOURS: usize = 8;

/// How far into the thread's state the head of the list is looked for.
const MAX_THREAD_STATE_BYTES: usize = 64 * 1024;

/// Whether the layout is known.
#[inline]
pub(crate) fn is_known() -> bool {
    LAYOUT.get().is_some()
}

/// Learns the layout; `false` if what is found is not what was expected.
pub(crate) fn learn(samples: Samples<'_>) -> bool {
    if cfg!(Py_GIL_DISABLED) {
        return false;
    }
    let learned = find(samples);
    if let Some(layout) = learned {
        let _ = LAYOUT.set(layout);
    }
    is_known()
}

fn find(samples: Samples<'_>) -> Option<Layout> {
    let [first, second, awaiter] = [samples.first, samples.second, samples.awaiter].map(Sample::of);
    // The only place in the task that holds `value`.
    let place_of = |value: &Object| only(first.holding(value.as_ptr() as usize));
    let coro = place_of(samples.coro)?;
    let name = place_of(samples.name)?;
    let awaited_by = place_of(samples.awaiter)?;
    // An enum, then two bytes.
    let is_task = awaited_by + WORD + size_of::<i32>();
    let awaited_by_is_set = is_task + 1;
    let flags = |sample: Sample<'_>| Some((sample.read(is_task)?, sample.read(awaited_by_is_set)?));
    let expected: [(u8, u8); 3] = [(1, 0), (1, 1), (0, 0)];
    if [first, second, awaiter].map(flags) != expected.map(Some) {
        return None;
    }
    let node = first.places::<usize>().find(|offset| {
        first.read(*offset) == Some(second.address() + offset)
            && second.read(offset + WORD) == Some(first.address() + offset)
    })?;
    // The second one is the last of the list, and so points to the head.
    let thread = Sample::of_thread(MAX_THREAD_STATE_BYTES);
    let tasks_head = second.read::<usize>(node)?.checked_sub(thread.address())?;
    // Loop and task stand before the list, with one or two fields between.
    let place_before_head = |value: &Object| {
        (1..=NEIGHBOURS)
            .filter_map(|distance| tasks_head.checked_sub(distance * WORD))
            .find(|offset| thread.read(*offset) == Some(value.as_ptr() as usize))
    };
    let running_loop = place_before_head(samples.event_loop)?;
    let running_task = place_before_head(samples.first)?;
    let fits = thread.read(tasks_head + WORD) == Some(second.address() + node);
    fits.then_some(Layout {
        coro,
        name,
        awaited_by,
        awaited_by_is_set,
        is_task,
        node,
        tasks_head,
        running_loop,
        running_task,
        future: samples.awaiter.kind(),
    })
}

/// A field of an instance that holds an object or null.
fn field(object: &Object, offset: usize) -> *mut *mut ffi::PyObject {
    // SAFETY: the offsets are inside of the C part of an instance.
    unsafe { object.as_ptr().byte_add(offset).cast() }
}

/// Puts `value` into a field, and then lets go of what was there.
///
/// # Safety
/// A field of a live object, or of this thread's state.
unsafe fn replace(field: *mut *mut ffi::PyObject, value: Option<Owned>) {
    let value = value.map_or(std::ptr::null_mut(), Owned::into_ptr);
    // SAFETY: the caller's promise; the field owned what it held.
    unsafe {
        let before = field.replace(value);
        ffi::Py_XDECREF(before);
    }
}

/// Fills in what a task is shown by: its coroutine, and its name or number.
#[inline]
pub(crate) fn describe(task: &Object, coro: &Object, name: Option<&Object>, number: u64) -> Outcome<()> {
    let Some(layout) = LAYOUT.get() else { return Ok(()) };
    let name = match name {
        Some(name) => name.own(),
        // As C does: the text is made by who asks for it.
        None => call::integer(number as i64)?,
    };
    // SAFETY: fields of a task's C part.
    unsafe {
        task.as_ptr().byte_add(layout.is_task).cast::<u8>().write(1);
        replace(field(task, layout.coro), Some(coro.own()));
        replace(field(task, layout.name), Some(name));
    }
    Ok(())
}

/// The task is called `name` now.
pub(crate) fn rename(task: &Object, name: &Object) {
    if let Some(layout) = LAYOUT.get() {
        // SAFETY: a field of a task's C part.
        unsafe { replace(field(task, layout.name), Some(name.own())) };
    }
}

/// The coroutine of the task is let go.
pub(crate) fn forget_coro(task: &Object) {
    if let Some(layout) = LAYOUT.get() {
        // SAFETY: as above.
        unsafe { replace(field(task, layout.coro), None) };
    }
}

/// Appends a task to the thread's list; `false` if the layout is not known.
#[inline]
pub(crate) fn link(task: &Object) -> bool {
    let Some(layout) = LAYOUT.get() else { return false };
    // SAFETY: a node of a task's C part and the head of this thread's list, which is never empty of itself.
    unsafe {
        let node = task.as_ptr().byte_add(layout.node).cast::<Node>();
        if (*node).next.is_null() {
            let head = ffi::PyThreadState_Get().byte_add(layout.tasks_head).cast::<Node>();
            let last = (*head).previous;
            node.write(Node { next: head, previous: last });
            (*last).next = node;
            (*head).previous = node;
        }
    }
    true
}

/// Takes a task out of its list; `false` if the layout is not known.
#[inline]
pub(crate) fn unlink(task: &Object) -> bool {
    let Some(layout) = LAYOUT.get() else { return false };
    // SAFETY: a node of a task's C part; its neighbours are in the same list, whichever thread's that is.
    unsafe {
        let node = task.as_ptr().byte_add(layout.node).cast::<Node>();
        let (next, previous) = ((*node).next, (*node).previous);
        if !next.is_null() {
            (*previous).next = next;
            (*next).previous = previous;
            node.write(Node { next: std::ptr::null_mut(), previous: std::ptr::null_mut() });
        }
    }
    true
}

/// Notes that `waiter` awaits `awaited`, of which nobody else does; `false` if it is not as simple as that.
#[inline]
pub(crate) fn add_awaiter(awaited: &Object, waiter: &Object) -> bool {
    let Some(layout) = LAYOUT.get() else { return false };
    if !awaited.is_instance(layout.future) || !waiter.is_instance(layout.future) {
        return false;
    }
    let place = field(awaited, layout.awaited_by);
    // SAFETY: a field of a future's C part.
    unsafe {
        if !place.read().is_null() {
            return false;
        }
        place.write(waiter.own().into_ptr());
    }
    true
}

/// Undoes `add_awaiter`; `false` if there are others, or if it is no future of C's.
#[inline]
pub(crate) fn discard_awaiter(awaited: &Object, waiter: &Object) -> bool {
    let Some(layout) = LAYOUT.get() else { return false };
    if !awaited.is_instance(layout.future) {
        return false;
    }
    let place = field(awaited, layout.awaited_by);
    // SAFETY: fields of a future's C part.
    unsafe {
        let set = awaited.as_ptr().byte_add(layout.awaited_by_is_set).cast::<u8>().read() != 0;
        if place.read() != waiter.as_ptr() || set {
            return place.read().is_null();
        }
        replace(place, None);
    }
    true
}

/// Whether the interpreter's own functions know the future: a future in Python keeps its awaiters itself.
pub(crate) fn is_of_c(future: &Object) -> bool {
    LAYOUT.get().is_none_or(|layout| future.is_instance(layout.future))
}

/// Where the current task of `event_loop` is kept, if that is what this thread runs.
#[inline]
fn running_task(event_loop: &Object) -> Option<*mut *mut ffi::PyObject> {
    let layout = LAYOUT.get()?;
    // SAFETY: attached; fields of this thread's state.
    unsafe {
        let thread = ffi::PyThreadState_Get();
        let running = thread.byte_add(layout.running_loop).cast::<*mut ffi::PyObject>().read();
        (running == event_loop.as_ptr()).then(|| thread.byte_add(layout.running_task).cast())
    }
}

/// Makes `task`, or none, the current one; `false` if that is not this thread's loop, or nothing is known.
#[inline]
pub(crate) fn set_current(event_loop: &Object, task: Option<&Object>) -> bool {
    let Some(place) = running_task(event_loop) else { return false };
    // SAFETY: a field of this thread's state.
    unsafe { replace(place, task.map(Object::own)) };
    true
}

/// The current task of this thread's loop; `Err` if that is another loop, or nothing is known.
#[inline]
pub(crate) fn current(event_loop: &Object) -> Result<Option<Owned>, ()> {
    let place = running_task(event_loop).ok_or(())?;
    // SAFETY: a field of this thread's state.
    let task = unsafe { place.read() };
    // SAFETY: the field owns what it holds.
    Ok((!task.is_null()).then(|| unsafe { Object::from_ptr(task) }.own()))
}
