//! The attributes that asyncio's queues have, and the text of the repr.

use super::Queue;
use super::limit::Limit;
use crate::ffi::text::{to_string, type_name};
use crate::ffi::{Object, Outcome, Owned, Raised, call, raised};
use crate::interp::names;
use crate::sync;
use crate::sync::deque::Deque;

fn given(value: Option<&Object>) -> Outcome<&Object> {
    value.ok_or_else(cannot_delete)
}

fn cannot_delete() -> Raised {
    raised::raise(raised::attribute_error(), "cannot delete attribute")
}

pub(super) fn get_maxsize(this: &Queue) -> Outcome {
    Ok(this.maxsize.get_or_none())
}

pub(super) fn set_maxsize(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    let value = given(value)?;
    this.limit.set(Limit::of(value));
    this.maxsize.set(value.own());
    Ok(())
}

/// The row itself from now on, in Python: who holds it may change it.
pub(super) fn get_items(this: &Queue) -> Outcome {
    this.items.show()
}

pub(super) fn set_items(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    set_line(&this.items, value)
}

pub(super) fn get_getters(this: &Queue) -> Outcome {
    this.getters.show()
}

pub(super) fn set_getters(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    set_line(&this.getters, value)
}

pub(super) fn get_putters(this: &Queue) -> Outcome {
    this.putters.show()
}

pub(super) fn set_putters(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    set_line(&this.putters, value)
}

fn set_line(line: &Deque, value: Option<&Object>) -> Outcome<()> {
    line.replace(Some(given(value)?.own()));
    Ok(())
}

pub(super) fn get_unfinished(this: &Queue) -> Outcome {
    call::integer(this.unfinished.get())
}

pub(super) fn set_unfinished(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    this.unfinished.set(call::to_integer(given(value)?)?);
    Ok(())
}

/// The Event that `join` waits for, made when it is first asked for.
pub(super) fn get_finished(this: &Queue) -> Outcome {
    if let Some(event) = this.finished.get() {
        return Ok(event);
    }
    let event = call::call(&*sync::ours(c"Event")?, &[])?;
    if this.is_finished.get() {
        call::call_method(&names().set, &[&event], None)?;
    }
    this.finished.set(event.clone());
    Ok(event)
}

pub(super) fn set_finished(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    this.finished.set(given(value)?.own());
    Ok(())
}

pub(super) fn get_is_shutdown(this: &Queue) -> Outcome {
    Ok(Owned::boolean(this.is_shutdown.get()))
}

pub(super) fn set_is_shutdown(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    this.is_shutdown.set(call::truth(given(value)?)?);
    Ok(())
}

pub(super) fn get_loop(this: &Queue) -> Outcome {
    this.bound.get()
}

pub(super) fn set_loop(this: &Queue, value: Option<&Object>) -> Outcome<()> {
    this.bound.set(value)
}

/// `repr`, with what a derived class has for `_format`.
pub(super) fn repr(this: &Queue) -> Outcome {
    let shown = call::call_method(&names().format, &[this.object()], None)?;
    let (name, address) = (type_name(this.object()), this.object().as_ptr() as usize);
    call::text(&format!("<{name} at {address:#x} {}>", to_string(&*call::to_text(&shown)?)))
}

/// `_format()`: without showing any row, which would make the queue slower.
pub(super) fn format(this: &Queue) -> Outcome {
    let mut text = format!("maxsize={}", to_string(&*call::repr(&this.maxsize.get_or_none())?));
    if !this.items.is_empty()? {
        text += &format!(" _queue={}", to_string(&*call::repr(&*this.items.to_list()?)?));
    }
    for (line, name) in [(&this.getters, "getters"), (&this.putters, "putters")] {
        let length = line.len()?;
        if length > 0 {
            text += &format!(" _{name}[{length}]");
        }
    }
    if this.unfinished.get() != 0 {
        text += &format!(" tasks={}", this.unfinished.get());
    }
    if this.is_shutdown.get() {
        text += " shutdown";
    }
    call::text(&text)
}
