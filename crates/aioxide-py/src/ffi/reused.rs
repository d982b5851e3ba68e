//! `bytes` of a message's size that are filled again once nobody but us refers to them.
//!
//! From 512 bytes on CPython takes the memory of an object from malloc, which costs more than copying a message into it.
//! Most programs let a message go before many more have come. Rules:
//! 1. An object is written to only while its reference count is 1 and the reference is the pool's: nobody can see that an
//!    immutable object changes. Views of its memory count as references.
//! 2. An object has less than 256 bytes of memory that it does not use: a program may keep it.

use std::cell::{Cell, RefCell};

use super::bytes;
use super::object::{Object, Outcome, Owned};

/// How many objects are remembered: no more than as many times `LARGEST` is kept.
const PLACES: usize = 64;

/// How many of them are looked at.
const TRIES: usize = 3;

/// Up to this size the interpreter's own allocator is as fast.
const SMALLEST: usize = 448;

/// What is larger costs more to copy than to allocate.
const LARGEST: usize = 8 * 1024;

/// Sizes are rounded up to a multiple of this.
const STEP: usize = 256;

/// The objects that were given out last, and the memory that each has.
pub(crate) struct Pool {
    places: RefCell<Vec<(usize, Owned)>>,
    next: Cell<usize>,
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self { places: RefCell::new(Vec::new()), next: Cell::new(0) }
    }

    /// A `bytes` with this content.
    pub(crate) fn bytes(&self, content: &[u8]) -> Outcome {
        if content.len() < SMALLEST || content.len() > LARGEST {
            return bytes::bytes(content);
        }
        let memory = content.len().next_multiple_of(STEP);
        let mut places = self.places.borrow_mut();
        let start = self.next.get();
        self.next.set((start + 1) % PLACES);
        for index in start..start + TRIES {
            if let Some((found, object)) = places.get(index % PLACES)
                && *found == memory
                && bytes::has_one_owner(object, 1)
            {
                // SAFETY: rule 1; the object has the memory.
                unsafe { fill(object, content) };
                return Ok(object.own());
            }
        }
        let made = bytes::with_memory(memory)?;
        // SAFETY: nobody else knows the object, which has the memory.
        unsafe { fill(&made, content) };
        // What is replaced is a bytes object: releasing it runs no Python code.
        match places.get_mut(start) {
            Some(place) => *place = (memory, made.clone()),
            None => places.push((memory, made.clone())),
        }
        Ok(made)
    }
}

/// Makes it an object with this content, as if it were new.
///
/// # Safety
/// Nobody else refers to the `bytes`, and it has memory for the content and a zero.
unsafe fn fill(object: &Object, content: &[u8]) {
    // SAFETY: the caller's promise.
    unsafe {
        bytes::start(object).copy_from_nonoverlapping(content.as_ptr(), content.len());
        bytes::set_length(object, content.len());
    }
}
