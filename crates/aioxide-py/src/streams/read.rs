//! What `await reader.read(n)`, `readexactly`, `readuntil`, `readline` and `async for` await: no coroutine frame.
//!
//! States: NEW until it is first resumed; WAITING for the reader's waiter, as often as it takes; DONE. As in asyncio nothing
//! happens before the first resumption, and whatever ends a wait takes the waiter out of the reader.

use std::cell::Cell;

use super::reader::Reader;
use super::stock::{OfReader, stock};
use super::{is_true, some};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{method_fast, method_none};
use crate::ffi::{Object, Outcome, Owned, Raised, Slot, bytes, call, raised};
use crate::future::{Future, is_done, mark_blocking};
use crate::interp::names;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// `read(n)`, n at least 0.
    Some,
    /// `read(-1)`.
    All,
    Exactly,
    Until,
    Line,
    /// `__anext__`.
    NextLine,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Done,
}

/// See the module.
struct Read {
    operation: Operation,
    state: Cell<State>,
    /// How many bytes are wanted.
    count: i64,
    /// `readuntil`: where the separator may begin.
    offset: Cell<usize>,
    /// `read(-1)`: what was read.
    blocks: Cell<Vec<u8>>,
    reader: Slot,
    separator: Slot,
    waiter: Slot,
}

static HOME: Home = Home::new();

impl Steps for Read {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Some | Operation::All => "StreamReader.read",
            Operation::Exactly => "StreamReader.readexactly",
            Operation::Until => "StreamReader.readuntil",
            Operation::Line => "StreamReader.readline",
            Operation::NextLine => "StreamReader.__anext__",
        }
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            State::Waiting => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.waiter.get()
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.reader, &self.separator, &self.waiter].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(owner) = this.reader.get() else { return Err(reused()) };
        // A reader of ours: `make` is only called with such.
        let Some(reader) = Reader::exact(&owner) else { return Err(reused()) };
        match (step(this, reader), this.operation) {
            (Err(raised), Operation::Line | Operation::NextLine) => {
                line_after_error(reader, raised).and_then(|line| finish(this, line))
            }
            (stepped, _) => stepped,
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        end(this);
        Ok(())
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        end(self);
    }
}

fn end(this: &Read) {
    if this.state.replace(State::Done) == State::Waiting
        && let Some(owner) = this.reader.get()
        && let Some(reader) = Reader::exact(&owner)
    {
        reader.end_wait();
    }
    this.waiter.clear();
}

fn step(this: &Read, reader: &Reader) -> Outcome<Next> {
    let waited = match this.state.get() {
        State::New => {
            this.state.set(State::Done);
            if let Some(value) = begin(this, reader)? {
                return finish(this, value);
            }
            false
        }
        State::Waiting => {
            let Some(waiter) = this.waiter.get() else { return Err(reused()) };
            if !is_done(&waiter)? {
                return Err(resumed_too_early());
            }
            end(this);
            match Future::exact(&waiter) {
                Some(future) => future.result_or_raise()?,
                None => call::call_method(&names().result, &[&waiter], None)?,
            };
            true
        }
        State::Done => return Err(reused()),
    };
    if let Some(value) = attempt(this, reader, waited)? {
        return finish(this, value);
    }
    let waiter = reader.begin_wait(match this.operation {
        Operation::Some | Operation::All => "read",
        Operation::Exactly => "readexactly",
        Operation::Until | Operation::Line | Operation::NextLine => "readuntil",
    })?;
    mark_blocking(&waiter)?;
    this.waiter.set(waiter.clone());
    this.state.set(State::Waiting);
    Ok(Next::Yield(waiter))
}

fn finish(this: &Read, value: Owned) -> Outcome<Next> {
    if this.operation == Operation::NextLine && !call::truth(&value)? {
        return Err(raised::raise_value(raised::stop_async_iteration(), crate::ffi::none()));
    }
    Ok(Next::Return(value))
}

/// What comes before the first look at the buffer; a value if that is all.
fn begin(this: &Read, reader: &Reader) -> Outcome<Option<Owned>> {
    match this.operation {
        Operation::All => return Ok(None),
        Operation::Exactly if this.count < 0 => {
            let message = "readexactly size can not be less than zero";
            return Err(raised::raise(raised::value_error(), message));
        }
        Operation::Until if this.separator.get().is_some_and(|given| bytes::content(&given).is_empty()) => {
            let message = "Separator should be at least one-byte string";
            return Err(raised::raise(raised::value_error(), message));
        }
        _ => {}
    }
    raise_exception(reader)?;
    match this.operation {
        Operation::Some | Operation::Exactly if this.count == 0 => bytes::bytes(b"").map(Some),
        _ => Ok(None),
    }
}

fn raise_exception(reader: &Reader) -> Outcome<()> {
    match some(&reader.exception) {
        Some(exception) => Err(raised::raise_given(exception)),
        None => Ok(()),
    }
}

/// What is read if that can be said now; nothing if more must come.
fn attempt(this: &Read, reader: &Reader, waited: bool) -> Outcome<Option<Owned>> {
    match this.operation {
        Operation::Some => read_some(this, reader, waited),
        Operation::All => read_all(this, reader, waited),
        Operation::Exactly => read_exactly(this, reader),
        Operation::Until | Operation::Line | Operation::NextLine => read_until(this, reader),
    }
}

fn read_some(this: &Read, reader: &Reader, waited: bool) -> Outcome<Option<Owned>> {
    if !waited && reader.length()? == 0 && !is_true(&reader.end)? {
        return Ok(None);
    }
    let data = reader.take(usize::try_from(this.count).unwrap_or(usize::MAX))?;
    reader.maybe_resume()?;
    Ok(Some(data))
}

/// Block by block, so that the transport may go on whenever there is room.
fn read_all(this: &Read, reader: &Reader, waited: bool) -> Outcome<Option<Owned>> {
    let mut waited = waited;
    loop {
        if !waited {
            raise_exception(reader)?;
        }
        let limit = usize::try_from(reader.limit()).unwrap_or(0);
        if limit != 0 && !waited && reader.length()? == 0 && !is_true(&reader.end)? {
            return Ok(None);
        }
        waited = false;
        let block = reader.take(limit)?;
        reader.maybe_resume()?;
        let mut blocks = this.blocks.take();
        if bytes::content(&block).is_empty() {
            return bytes::bytes(&blocks).map(Some);
        }
        blocks.extend_from_slice(bytes::content(&block));
        this.blocks.set(blocks);
    }
}

fn read_exactly(this: &Read, reader: &Reader) -> Outcome<Option<Owned>> {
    let wanted = usize::try_from(this.count).unwrap_or(0);
    if reader.length()? < wanted {
        if is_true(&reader.end)? {
            let partial = reader.take(usize::MAX)?;
            return Err(incomplete(&partial, &*call::integer(this.count)?));
        }
        return Ok(None);
    }
    let data = reader.take(wanted)?;
    reader.maybe_resume()?;
    Ok(Some(data))
}

fn read_until(this: &Read, reader: &Reader) -> Outcome<Option<Owned>> {
    let given = this.separator.get();
    let separator = given.as_deref().map_or(b"\n".as_slice(), bytes::content);
    let limit = reader.limit();
    let length = reader.length()?;
    let mut found = None;
    if length >= this.offset.get() + separator.len() {
        found = reader.look(|content| bytes::find(content, separator, this.offset.get()))?;
        if found.is_none() {
            this.offset.set(length + 1 - separator.len());
            if this.offset.get() as i64 > limit {
                let message = "Separator is not found, and chunk exceed the limit";
                return Err(overrun(message, this.offset.get()));
            }
        }
    }
    let Some(start) = found else {
        if is_true(&reader.end)? {
            let partial = reader.take(usize::MAX)?;
            return Err(incomplete(&partial, crate::ffi::none()));
        }
        return Ok(None);
    };
    if start as i64 > limit {
        return Err(overrun("Separator is found, but chunk is longer than limit", start));
    }
    let line = reader.take(start + separator.len())?;
    reader.maybe_resume()?;
    Ok(Some(line))
}

fn incomplete(partial: &Object, expected: &Object) -> Raised {
    raise_new(call::call(&names().incomplete_read_error, &[partial, expected]))
}

fn overrun(message: &str, consumed: usize) -> Raised {
    let make = || {
        let consumed = call::integer(consumed as i64)?;
        call::call(&names().limit_overrun_error, &[&*call::text(message)?, &consumed])
    };
    raise_new(make())
}

fn raise_new(made: Outcome) -> Raised {
    match made {
        Ok(exception) => raised::raise_given(exception),
        Err(raised) => raised,
    }
}

/// What `readline` makes of the errors of `readuntil`.
#[cold]
fn line_after_error(reader: &Reader, raised: Raised) -> Outcome {
    let names = names();
    if raised::matches(&names.incomplete_read_error) {
        return call::get_attribute(&raised::take(raised), &names.partial);
    }
    if !raised::matches(&names.limit_overrun_error) {
        return Err(raised);
    }
    let error = raised::take(raised);
    let consumed = call::to_integer(&*call::get_attribute(&error, &names.consumed)?)?;
    let consumed = usize::try_from(consumed).unwrap_or(0);
    let ends_there = reader.look(|content| content.get(consumed) == Some(&b'\n'))?;
    reader.discard(if ends_there { consumed + 1 } else { usize::MAX })?;
    reader.maybe_resume()?;
    let message = call::to_text(&error)?;
    let shown = raised::take(raised::raise_value(raised::value_error(), &message));
    raised::set_context(&shown, error);
    Err(raised::put_back(shown))
}

fn make(operation: Operation, reader: &Reader, count: i64, separator: Option<&Object>) -> Outcome {
    let read = Read {
        operation,
        state: Cell::new(State::New),
        count,
        offset: Cell::new(0),
        blocks: Cell::new(Vec::new()),
        reader: Slot::new(),
        separator: Slot::new(),
        waiter: Slot::new(),
    };
    read.reader.set(reader.object().own());
    read.separator.put(separator.map(Object::own));
    Awaitable::make(read)
}

/// `read(n=-1)`.
fn read(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    if Reader::plain(this.object()).is_some()
        && let Ok([count]) = arguments.parse("read", &[&names().n], 1)
        && let Some(count) = count.map_or(Some(-1), call::to_exact_integer)
    {
        return make(if count < 0 { Operation::All } else { Operation::Some }, this, count, None);
    }
    raised::clear_pending();
    stock().of_reader(OfReader::Read, this.object(), arguments)
}

/// `readexactly(n)`.
fn readexactly(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    if Reader::plain(this.object()).is_some()
        && let Ok([Some(count)]) = arguments.parse("readexactly", &[&names().n], 1)
        && let Some(count) = call::to_exact_integer(count)
    {
        return make(Operation::Exactly, this, count, None);
    }
    raised::clear_pending();
    stock().of_reader(OfReader::ReadExactly, this.object(), arguments)
}

/// `readuntil(separator=b"\n")`: other separators than bytes are asyncio's business, which changed with 3.13.
fn readuntil(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    if Reader::plain(this.object()).is_some()
        && let Ok([separator]) = arguments.parse("readuntil", &[&names().separator], 1)
        && separator.is_none_or(bytes::is_bytes)
    {
        return make(Operation::Until, this, 0, separator);
    }
    raised::clear_pending();
    stock().of_reader(OfReader::ReadUntil, this.object(), arguments)
}

fn readline(this: &Reader) -> Outcome {
    if Reader::plain(this.object()).is_some() {
        return make(Operation::Line, this, 0, None);
    }
    stock().call_reader(OfReader::ReadLine, &[this.object()])
}

fn next(this: &Reader) -> Outcome {
    if Reader::plain(this.object()).is_some() {
        return make(Operation::NextLine, this, 0, None);
    }
    stock().call_reader(OfReader::Next, &[this.object()])
}

/// The methods that read.
pub(super) fn methods() -> impl Iterator<Item = pyo3::ffi::PyMethodDef> {
    [
        method_fast!(c"read", read, c"read($self, n=-1)\n--\n\nRead up to n bytes, or all until the end."),
        method_fast!(c"readexactly", readexactly, c"readexactly($self, n)\n--\n\nRead exactly n bytes."),
        method_fast!(
            c"readuntil",
            readuntil,
            c"readuntil($self, separator=b'\\n')\n--\n\nRead until the separator is found."
        ),
        method_none!(c"readline", readline, c"readline($self)\n--\n\nRead until a newline is found."),
        method_none!(c"__anext__", next, c"__anext__($self)\n--\n\nRead the next line."),
    ]
    .into_iter()
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<Read>::make_kind(c"aioxide.StreamRead")
}
