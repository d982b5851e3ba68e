//! The items: put in and taken out in the order of the queue's kind, or by the methods of a derived class.
//!
//! The heap of a `PriorityQueue` is `heapq`'s: its order, and what a comparison that fails leaves behind, are the same.

use pyo3::ffi as c;

use super::Queue;
use super::limit::Limit;
use super::traits::Traits;
use crate::ffi::{self, Object, Outcome, Owned, call};
use crate::interp::names;

/// `_put(item)`.
#[inline(always)]
pub(super) fn add(queue: &Queue, traits: Traits, item: Owned) -> Outcome<()> {
    if traits.is_plain() {
        return queue.items.push(item);
    }
    ffi::outlive_interpreter();
    if traits.has(Traits::ADD) {
        return call::call_method(&names().put_item, &[queue.object(), &item], None).map(drop);
    }
    if traits.has(Traits::ADD_LAST) {
        return add_last(queue, item);
    }
    if traits.has(Traits::ADD_SORTED) {
        return add_sorted(queue, &item);
    }
    queue.items.push(item)
}

/// `_get()`, of a queue that has an item as far as it knows.
#[inline(always)]
pub(super) fn take(queue: &Queue, traits: Traits) -> Outcome {
    if traits.is_plain() {
        return take_first(queue);
    }
    // Python code that compares items or stands in the place of a method may be what a thread without a loop is ended in.
    ffi::outlive_interpreter();
    if traits.has(Traits::TAKE) {
        return call::call_method(&names().get_item, &[queue.object()], None);
    }
    if traits.has(Traits::TAKE_LAST) {
        return take_last(queue);
    }
    if traits.has(Traits::TAKE_LEAST) {
        return take_least(queue);
    }
    take_first(queue)
}

#[inline]
pub(super) fn take_first(queue: &Queue) -> Outcome {
    match queue.items.pop()? {
        Some(item) => Ok(item),
        None => take_of_empty(queue),
    }
}

#[cold]
fn take_of_empty(queue: &Queue) -> Outcome {
    // A derived class has said that it is not empty: what it has in the place of the deque tells what is wrong.
    call::call_method(&names().popleft, &[&*queue.items.show()?], None)
}

pub(super) fn add_last(queue: &Queue, item: Owned) -> Outcome<()> {
    queue.items.push(item)
}

pub(super) fn take_last(queue: &Queue) -> Outcome {
    let items = queue.items.show()?;
    match call::pop_of_list(&items)? {
        Some(item) => Ok(item),
        None => call::call_method(&names().pop, &[&items], None),
    }
}

pub(super) fn add_sorted(queue: &Queue, item: &Object) -> Outcome<()> {
    call::call(&names().heappush, &[&*queue.items.show()?, item]).map(drop)
}

pub(super) fn take_least(queue: &Queue) -> Outcome {
    call::call(&names().heappop, &[&*queue.items.show()?])
}

/// An empty list for the items of a `LifoQueue` or a `PriorityQueue`.
pub(super) fn start_list(queue: &Queue) -> Outcome<()> {
    queue.items.replace(Some(call::list(std::iter::empty())?));
    Ok(())
}

/// Whether the queue has no item.
#[inline(always)]
pub(super) fn is_empty(queue: &Queue, traits: Traits) -> Outcome<bool> {
    if traits.has(Traits::EMPTY) {
        return call::truth(&*call::call_method(&names().empty, &[queue.object()], None)?);
    }
    queue.items.is_empty()
}

/// Whether the queue has no room.
#[inline(always)]
pub(super) fn is_full(queue: &Queue, traits: Traits) -> Outcome<bool> {
    if traits.has(Traits::FULL) {
        return call::truth(&*call::call_method(&names().full, &[queue.object()], None)?);
    }
    is_full_by_size(queue, traits)
}

/// `not maxsize <= 0 and qsize() >= maxsize`.
#[inline(always)]
pub(super) fn is_full_by_size(queue: &Queue, traits: Traits) -> Outcome<bool> {
    match queue.limit.get() {
        Limit::None => Ok(false),
        Limit::At(limit) if !traits.has(Traits::QSIZE) => Ok(queue.items.len()? >= limit),
        Limit::At(_) | Limit::Unknown => is_full_by_objects(queue, traits),
    }
}

/// asyncio's own comparisons, where what is compared may be any object.
#[cold]
fn is_full_by_objects(queue: &Queue, traits: Traits) -> Outcome<bool> {
    let maxsize = queue.maxsize.get_or_none();
    if call::compare(&maxsize, &*call::integer(0)?, c::Py_LE)? {
        return Ok(false);
    }
    let size = if traits.has(Traits::QSIZE) {
        call::call_method(&names().qsize, &[queue.object()], None)?
    } else {
        call::integer(queue.items.len()? as i64)?
    };
    call::compare(&size, &maxsize, c::Py_GE)
}
