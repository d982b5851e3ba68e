//! `aioxide.streams.StreamWriter`: what wraps a transport.

use super::drain;
use super::reader::Reader;
use super::stock::{OfWriter, stock};
use crate::ffi::arguments::Arguments;
use crate::ffi::layout::{Instance, fields};
use crate::ffi::method::{method_fast, method_none};
use crate::ffi::{Object, Outcome, Owned, call, raised};
use crate::future::Future;
use crate::interp::names;
use crate::kernel::state_of;

fields! {
    /// asyncio's attributes.
    pub(super) struct WriterFields {
        complete = c"_complete_fut",
        event_loop = c"_loop",
        protocol = c"_protocol",
        reader = c"_reader",
        transport = c"_transport",
    }
}

/// An instance.
pub(super) type Writer = Instance<WriterFields>;

/// `__init__(transport, protocol, reader, loop)`.
fn init(this: &Writer, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let parameters = [&*names.transport, &names.protocol, &names.reader, &names.loop_];
    if let Ok([Some(transport), Some(protocol), Some(reader), Some(event_loop)]) =
        arguments.parse("__init__", &parameters, 4)
        && (reader.is_none() || Reader::exact(reader).is_some())
        && let Some(state) = state_of(event_loop)
        && state.makes_futures()
    {
        let complete = Future::make(event_loop, state)?;
        if let Some(future) = Future::exact(&complete) {
            future.finish_with_result(Owned::none())?;
        }
        this.transport.set(transport.own());
        this.protocol.set(protocol.own());
        this.reader.set(reader.own());
        this.event_loop.set(event_loop.own());
        this.complete.set(complete);
        return Ok(Owned::none());
    }
    raised::clear_pending();
    stock().of_writer(OfWriter::Init, this.object(), arguments)
}

/// `write(data)`.
fn write(this: &Writer, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    match (given.next(), given.next(), this.transport.get()) {
        (Some(data), None, Some(transport)) => {
            call::call_method(&names().write, &[&transport, data], None)?;
            Ok(Owned::none())
        }
        _ => stock().of_writer(OfWriter::Write, this.object(), arguments),
    }
}

fn drain(this: &Writer) -> Outcome {
    match drain::make(this)? {
        Some(drain) => Ok(drain),
        None => stock().call_writer(OfWriter::Drain, &[this.object()]),
    }
}

/// Gives the class its methods.
pub(super) fn equip(class: &Object) -> Outcome<()> {
    let methods = [
        method_fast!(c"__init__", init, c"Initialize self."),
        method_fast!(
            c"write",
            write,
            c"write($self, data)\n--\n\nSend data, or keep what cannot be sent now."
        ),
        method_none!(c"drain", drain, c"drain($self)\n--\n\nWait until there is room to write."),
    ];
    Writer::equip(class, &[], methods, [])
}
