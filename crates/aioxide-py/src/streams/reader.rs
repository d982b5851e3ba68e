//! `aioxide.streams.StreamReader`: the buffer, and the waiter that is told when something comes.
//!
//! `_buffer` is a bytearray as in asyncio. What was received last may stand in `pending`, a `bytes`, while the bytearray is
//! empty and nobody else refers to it: whoever reads all of it gets that very object, and nothing was copied. Before
//! anybody looks at `_buffer` it is moved there. So: `pending` is empty or the bytearray is.

use super::stock::{OfReader, stock};
use super::{is_true, read, required, some};
use crate::ffi::arguments::Arguments;
use crate::ffi::layout::{Instance, fields};
use crate::ffi::method::{attribute, method_fast, method_none};
use crate::ffi::reused::Pool;
use crate::ffi::{Confined, Object, Outcome, Owned, bytes, call, raised};
use crate::future::{self, Future, State};
use crate::interp::names;
use crate::kernel::state_of;

fields! {
    /// asyncio's attributes, and two of ours.
    pub(crate) struct ReaderFields {
        buffer = c"_buffer",
        end = c"_eof",
        exception = c"_exception",
        limit = c"_limit",
        event_loop = c"_loop",
        /// Something of the instance is not as the class has it: only asyncio's own code does for it.
        odd = c"_odd",
        paused = c"_paused",
        pending = c"_pending",
        transport = c"_transport",
        waiter = c"_waiter",
    }
}

/// An instance.
pub(crate) type Reader = Instance<ReaderFields>;

/// What small pieces are received into.
static PIECES: Confined<Pool> = Confined::new(Pool::new());

/// asyncio's default.
const DEFAULT_LIMIT: i64 = 1 << 16;

impl Reader {
    /// The object as a reader, if what it does may be done without calling it.
    #[inline]
    pub(crate) fn plain(object: &Object) -> Option<&Self> {
        Self::exact(object).filter(|reader| reader.is_plain())
    }

    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.odd.is_empty() && !self.buffer.is_empty()
    }

    fn array(&self) -> Outcome {
        required(&self.buffer, "_buffer")
    }

    /// The bytearray with everything that was received.
    pub(super) fn whole(&self) -> Outcome {
        let array = self.array()?;
        if let Some(pending) = self.pending.take() {
            let moved = bytes::extend(&array, bytes::content(&pending));
            if moved.is_err() {
                self.pending.set(pending);
            }
            moved?;
        }
        Ok(array)
    }

    /// How much there is to read.
    #[inline]
    pub(super) fn length(&self) -> Outcome<usize> {
        if let Some(pending) = self.pending.get() {
            return Ok(bytes::content(&pending).len());
        }
        Ok(bytes::length(&*self.array()?))
    }

    /// Looks at what there is to read; `look` runs no Python code.
    #[inline]
    pub(super) fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        if let Some(pending) = self.pending.get() {
            return Ok(look(bytes::content(&pending)));
        }
        Ok(bytes::look(&*self.array()?, look))
    }

    pub(super) fn limit(&self) -> i64 {
        // An int, else the reader would be odd; one that does not fit is as good as none.
        match self.limit.get().map(|limit| call::to_integer(&limit)) {
            Some(Ok(limit)) => limit,
            Some(Err(raised)) => {
                raised::clear(raised);
                i64::MAX
            }
            None => DEFAULT_LIMIT,
        }
    }

    /// Takes the first `count` bytes, or all if there are fewer.
    pub(super) fn take(&self, count: usize) -> Outcome {
        if let Some(pending) = self.pending.take() {
            if bytes::content(&pending).len() <= count {
                return Ok(pending);
            }
            self.pending.set(pending);
        }
        let array = self.whole()?;
        let taken = bytes::look(&array, |content| bytes::bytes(&content[..content.len().min(count)]))?;
        bytes::remove_front(&array, count)?;
        Ok(taken)
    }

    /// Throws the first `count` bytes away.
    pub(super) fn discard(&self, count: usize) -> Outcome<()> {
        bytes::remove_front(&*self.whole()?, count)
    }

    /// Whether a new piece may stand beside the bytearray.
    #[inline]
    fn takes_pending(&self) -> Outcome<bool> {
        let array = self.array()?;
        // One reference is the field's, one is `array`.
        Ok(self.pending.is_empty() && bytes::length(&array) == 0 && bytes::has_one_owner(&array, 2))
    }

    /// Adds what was received; `fed` is to follow.
    pub(crate) fn put(&self, data: &[u8]) -> Outcome<()> {
        if self.takes_pending()? {
            self.pending.set(PIECES.bytes(data)?);
            return Ok(());
        }
        bytes::extend(&*self.whole()?, data)
    }

    /// As `put`, without a copy where that can be.
    pub(crate) fn put_bytes(&self, data: Owned) -> Outcome<()> {
        if self.takes_pending()? {
            self.pending.set(data);
            return Ok(());
        }
        bytes::extend(&*self.whole()?, bytes::content(&data))
    }

    /// What may not come after the end.
    pub(crate) fn refuse_after_end(&self) -> Outcome<()> {
        if is_true(&self.end)? {
            return Err(raised::raise(raised::assertion_error(), "feed_data after feed_eof"));
        }
        Ok(())
    }

    /// The rest of asyncio's `feed_data`: wakes the waiter, pauses the transport when there is too much.
    pub(crate) fn fed(&self) -> Outcome<()> {
        self.wake()?;
        let length = self.length()? as i64;
        if length <= self.limit().saturating_mul(2) || is_true(&self.paused)? {
            return Ok(());
        }
        let Some(transport) = some(&self.transport) else { return Ok(()) };
        match call::call_method(&names().pause_reading, &[&transport], None) {
            Ok(_) => self.paused.set(Owned::boolean(true)),
            Err(raised) if raised::matches(raised::not_implemented_error()) => {
                raised::clear(raised);
                self.transport.set(Owned::none());
            }
            Err(raised) => return Err(raised),
        }
        Ok(())
    }

    /// asyncio: `_wakeup_waiter`.
    fn wake(&self) -> Outcome<()> {
        let Some(waiter) = some(&self.waiter) else { return Ok(()) };
        self.waiter.set(Owned::none());
        if let Some(future) = Future::exact(&waiter) {
            match future.state.get() {
                State::Pending => return future.finish_with_result(Owned::none()),
                State::Cancelled => return Ok(()),
                State::Finished => {}
            }
        } else if call::truth(&*call::call_method(&names().cancelled, &[&waiter], None)?)? {
            return Ok(());
        }
        call::call_method(&names().set_result, &[&waiter, crate::ffi::none()], None).map(drop)
    }

    /// asyncio: `_maybe_resume_transport`.
    #[inline]
    pub(super) fn maybe_resume(&self) -> Outcome<()> {
        if is_true(&self.paused)? && self.length()? as i64 <= self.limit() {
            self.resume()?;
        }
        Ok(())
    }

    fn resume(&self) -> Outcome<()> {
        self.paused.set(Owned::boolean(false));
        let transport = self.transport.get_or_none();
        call::call_method(&names().resume_reading, &[&transport], None).map(drop)
    }

    /// The beginning of asyncio's `_wait_for_data`: the future to wait for.
    pub(super) fn begin_wait(&self, function: &str) -> Outcome {
        if some(&self.waiter).is_some() {
            let message =
                format!("{function}() called while another coroutine is already waiting for incoming data");
            return Err(raised::raise(raised::runtime_error(), &message));
        }
        if is_true(&self.paused)? {
            // Else one that wants more than the limit would wait for ever.
            self.resume()?;
        }
        let waiter = future::create(&*required(&self.event_loop, "_loop")?)?;
        self.waiter.set(waiter.clone());
        Ok(waiter)
    }

    /// The end of it, however it ends.
    pub(super) fn end_wait(&self) {
        self.waiter.set(Owned::none());
    }
}

/// `__init__(limit=65536, loop=None)`.
fn init(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    if let Ok([limit, Some(event_loop)]) = arguments.parse("__init__", &[&names.limit, &names.loop_], 2)
        && limit.is_none_or(call::is_integer)
        && let Some(state) = state_of(event_loop)
        && !state.debug.get()
    {
        let limit = match limit {
            Some(limit) => limit.own(),
            None => call::integer(DEFAULT_LIMIT)?,
        };
        this.limit.set(limit);
        if this.limit() > 0 {
            this.event_loop.set(event_loop.own());
            this.pending.clear();
            this.buffer.set(bytes::new_array()?);
            for field in [&this.end, &this.paused] {
                field.set(Owned::boolean(false));
            }
            for field in [&this.waiter, &this.exception, &this.transport] {
                field.set(Owned::none());
            }
            return Ok(Owned::none());
        }
    }
    raised::clear_pending();
    stock().of_reader(OfReader::Init, this.object(), arguments)
}

fn feed_data(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(data), None) = (given.next(), given.next()) else {
        return stock().of_reader(OfReader::FeedData, this.object(), arguments);
    };
    feed(this, data)
}

/// `feed_data(data)` of a reader of ours.
pub(super) fn feed(this: &Reader, data: &Object) -> Outcome {
    if Reader::plain(this.object()).is_none() || !bytes::is_bytes(data) {
        return stock().call_reader(OfReader::FeedData, &[this.object(), data]);
    }
    this.refuse_after_end()?;
    if !bytes::content(data).is_empty() {
        this.put_bytes(data.own())?;
        this.fed()?;
    }
    Ok(Owned::none())
}

fn at_eof(this: &Reader) -> Outcome {
    // As `self._eof and not self._buffer`.
    if !is_true(&this.end)? {
        return Ok(this.end.get_or_none());
    }
    match this.pending.is_empty() {
        true => Ok(Owned::boolean(!call::truth(&*this.array()?)?)),
        false => Ok(Owned::boolean(false)),
    }
}

fn exception(this: &Reader) -> Outcome {
    required(&this.exception, "_exception")
}

fn get_buffer(this: &Reader) -> Outcome {
    this.whole()
}

fn set_buffer(this: &Reader, value: Option<&Object>) -> Outcome<()> {
    this.pending.clear();
    this.buffer.put(value.map(Object::own));
    Ok(())
}

/// `__setattr__(name, value)`.
fn set_attribute(this: &Reader, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(name), Some(value)) = (given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "expected 2 arguments"));
    };
    let names = names();
    let odd = (name.is(&names.buffer) && !bytes::is_array(value))
        || (name.is(&names.limit_attribute) && !call::is_integer(value));
    super::set_attribute(this.object(), &this.odd, name, value, odd)
}

/// Gives the class its methods.
pub(super) fn equip(class: &Object) -> Outcome<()> {
    let methods = [
        method_fast!(c"__init__", init, c"Initialize self."),
        method_fast!(c"__setattr__", set_attribute, c"Implement setattr(self, name, value)."),
        method_fast!(c"feed_data", feed_data, c"feed_data($self, data)\n--\n\nAdd what was received."),
        method_none!(
            c"at_eof",
            at_eof,
            c"at_eof($self)\n--\n\nReturn True if the buffer is empty and feed_eof was called."
        ),
        method_none!(
            c"exception",
            exception,
            c"exception($self)\n--\n\nReturn the exception that ended the stream, or None."
        ),
    ];
    let hidden = [c"_odd", c"_pending", c"_buffer"];
    let attributes = [attribute!(c"_buffer", get_buffer, set_buffer)];
    Reader::equip(class, &hidden, methods.into_iter().chain(read::methods()), attributes)
}
