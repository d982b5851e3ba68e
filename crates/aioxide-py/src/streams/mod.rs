//! asyncio's streams: the same classes, with what runs once per message in Rust.
//!
//! `aioxide.streams` derives three classes from asyncio's `StreamReader`, `StreamReaderProtocol` and `StreamWriter`. Their
//! attributes are slots with asyncio's names (see `ffi::layout`): what is inherited from asyncio works on them, and so does
//! whoever looks at `_buffer`. Calling asyncio's own classes with one of our loops makes instances of these (`create`).
//!
//! * `stock`: asyncio's classes and methods, and whether somebody has changed them.
//! * `reader`: the buffer and who waits for it; `protocol` what the transport calls, `receive` how it is spared the call.
//! * `read`: what `await reader.read(...)` and its like await.
//! * `writer`: `write`; `drain` what `await writer.drain()` awaits.
//! * `create`: which class an instance is made of.
//!
//! What is done without a call is done only if nobody can tell: for instances of exactly these classes, none of whose
//! methods was replaced (the field `odd`). All others get asyncio's own methods and coroutines.
//!
//! ```text
//!   a connection is readable ──> receive ──> reader (the buffer) ──> wakes ──> read (what `await reader.read()` awaits)
//!   writer.write ──> the transport            await writer.drain() ──> drain
//! ```

mod create;
mod drain;
mod protocol;
mod read;
mod reader;
mod receive;
mod stock;
mod writer;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::exports::{Exports, export_functions};
use crate::ffi::{Object, Outcome, Owned, Slot, boolean, call, function, none, raised};

/// Gives the classes of `aioxide.streams` their methods, and lets asyncio's classes make instances of them.
#[pyfunction]
fn equip_streams(
    reader: &Bound<'_, PyType>,
    protocol: &Bound<'_, PyType>,
    writer: &Bound<'_, PyType>,
) -> PyResult<()> {
    let classes = [reader, protocol, writer].map(|class| Owned::from(class.clone()));
    let equip = || {
        stock::load()?;
        read::make_kind()?;
        drain::make_kind()?;
        let [reader, protocol, writer] = &classes;
        reader::equip(reader)?;
        protocol::equip(protocol)?;
        writer::equip(writer)?;
        let stock = stock::stock();
        for (class, theirs) in classes.iter().zip([&stock.reader, &stock.protocol, &stock.writer]) {
            function::dress_methods(class, &theirs.class)?;
        }
        create::hook()
    };
    equip().map_err(|raised| raised::to_pyerr(reader.py(), raised))
}

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    export_functions!(exports, equip_streams)
}

/// What a field holds, or AttributeError.
fn required(field: &Slot, name: &str) -> Outcome {
    field.get().ok_or_else(|| raised::raise(raised::attribute_error(), name))
}

/// Whether a field is true.
#[inline]
fn is_true(field: &Slot) -> Outcome<bool> {
    if field.holds(boolean(false)) {
        return Ok(false);
    }
    field.get().map_or(Ok(false), |value| call::truth(&value))
}

/// What a field holds if that is not None.
#[inline]
fn some(field: &Slot) -> Option<Owned> {
    if field.holds(none()) { None } else { field.get() }
}

/// `__setattr__`: remembers in `odd` that a method was replaced in the instance, or what `also_odd` says.
fn set_attribute(this: &Object, odd: &Slot, name: &Object, value: &Object, also_odd: bool) -> Outcome {
    // What is called when it is read, a property or a slot, is set as ever.
    let replaced = || call::find_in_class(this, name).is_some_and(|found| call::is_callable(&found));
    if also_odd || replaced() {
        odd.set(Owned::boolean(true));
    }
    call::set_attribute_plainly(this, name, value)?;
    Ok(Owned::none())
}
