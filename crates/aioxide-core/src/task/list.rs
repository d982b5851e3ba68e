//! The tasks that a loop keeps alive: an intrusive list, so that spawning and ending cost two pointer writes each.
//!
//! The list owns one handle of each task in it. All of it happens on the loop's thread (`TaskList` is `!Send`).

use std::cell::Cell;
use std::ptr::NonNull;

use super::TaskRef;
use super::raw::{self, Header};

/// The neighbours of a task in its list.
#[derive(Default)]
pub(crate) struct Links {
    before: Cell<Option<NonNull<Header>>>,
    after: Cell<Option<NonNull<Header>>>,
    linked: Cell<bool>,
}

/// The unfinished tasks of one loop, oldest first.
#[derive(Debug, Default)]
pub struct TaskList {
    first: Cell<Option<NonNull<Header>>>,
    last: Cell<Option<NonNull<Header>>>,
    len: Cell<usize>,
    closed: Cell<bool>,
}

/// The links of a task that is alive.
///
/// # Safety
/// On the loop's thread; `header` is alive for `'a`.
unsafe fn links<'a>(header: NonNull<Header>) -> &'a Links {
    // SAFETY: the caller's contract.
    unsafe { &(*header.as_ptr()).links }
}

impl TaskList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tasks are unfinished.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether no task is unfinished.
    pub fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Whether the loop was closed: nothing more can be spawned.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Handles of all unfinished tasks, oldest first.
    pub fn snapshot(&self) -> Vec<TaskRef> {
        let mut tasks = Vec::with_capacity(self.len());
        let mut next = self.first.get();
        while let Some(header) = next {
            // SAFETY: what is in the list is alive by the list's own handle.
            unsafe {
                raw::add_handle(header);
                tasks.push(TaskRef::from_header(header));
                next = links(header).after.get();
            }
        }
        tasks
    }

    /// Drops the future of every unfinished task, the newest first, and refuses new ones.
    ///
    /// A destructor that spawns in spite of it finds the list closed.
    pub fn shut_down(&self) {
        self.closed.set(true);
        // A task that is being polled further up this stack ends, and leaves the list, at the end of its poll.
        self.snapshot().into_iter().rev().for_each(|task| task.shut_down());
    }

    /// Appends a task; the caller's handle becomes the list's.
    pub(crate) fn push(&self, header: NonNull<Header>) {
        // SAFETY: alive by the handle given; the neighbours are alive by the list's handles.
        unsafe {
            let own = links(header);
            own.before.set(self.last.get());
            own.after.set(None);
            own.linked.set(true);
            match self.last.get() {
                Some(last) => links(last).after.set(Some(header)),
                None => self.first.set(Some(header)),
            }
        }
        self.last.set(Some(header));
        self.len.set(self.len.get() + 1);
    }

    /// Takes a task out; `true` if it was in, and then the list's handle is the caller's.
    pub(crate) fn remove(&self, header: NonNull<Header>) -> bool {
        // SAFETY: the caller holds a handle; the neighbours are alive by the list's handles.
        unsafe {
            let own = links(header);
            if !own.linked.replace(false) {
                return false;
            }
            let (before, after) = (own.before.take(), own.after.take());
            match before {
                Some(before) => links(before).after.set(after),
                None => self.first.set(after),
            }
            match after {
                Some(after) => links(after).before.set(before),
                None => self.last.set(before),
            }
        }
        self.len.set(self.len.get() - 1);
        true
    }
}
