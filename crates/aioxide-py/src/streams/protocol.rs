//! `aioxide.streams.StreamReaderProtocol`: between a transport and a reader.

use super::reader::{self, Reader};
use super::stock::{OfProtocol, stock};
use crate::ffi::arguments::Arguments;
use crate::ffi::layout::{Fields, Instance, fields};
use crate::ffi::method::{method_fast, method_one};
use crate::ffi::{Object, Outcome, Owned, call, raised};
use crate::interp::names;
use crate::transports;

fields! {
    /// Those of asyncio's attributes that are looked at here, and one of ours.
    pub(super) struct ProtocolFields {
        connection_lost = c"_connection_lost",
        drain_waiters = c"_drain_waiters",
        event_loop = c"_loop",
        /// As the reader's.
        odd = c"_odd",
        paused = c"_paused",
        reader = c"_stream_reader_wr",
    }
}

/// An instance.
pub(super) type Protocol = Instance<ProtocolFields>;

impl Protocol {
    /// The object as a protocol, if what it does may be done without calling it.
    #[inline]
    pub(super) fn plain(object: &Object) -> Option<&Self> {
        Self::exact(object).filter(|protocol| protocol.odd.is_empty())
    }

    /// The reader, while it is alive.
    #[inline]
    fn reader(&self) -> Outcome<Option<Owned>> {
        let Some(weak) = super::some(&self.reader) else { return Ok(None) };
        call::weak_target(&weak)
    }
}

/// The reader behind a protocol, if it can be fed without calling the protocol: then it is a plain `Reader`.
#[inline]
pub(super) fn reader_of(protocol: &Object) -> Outcome<Option<Owned>> {
    let Some(protocol) = Protocol::plain(protocol) else { return Ok(None) };
    Ok(protocol.reader()?.filter(|reader| Reader::plain(reader).is_some()))
}

fn data_received(this: &Protocol, data: &Object) -> Outcome {
    if Protocol::plain(this.object()).is_none() {
        return stock().call_protocol(OfProtocol::DataReceived, &[this.object(), data]);
    }
    let Some(reader) = this.reader()? else { return Ok(Owned::none()) };
    match Reader::plain(&reader) {
        Some(reader) => reader::feed(reader, data),
        None => call::call_method(&names().feed_data, &[&reader, data], None),
    }
}

/// `__setattr__(name, value)`.
fn set_attribute(this: &Protocol, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(name), Some(value)) = (given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "expected 2 arguments"));
    };
    super::set_attribute(this.object(), &this.odd, name, value, false)
}

/// Gives the class its methods.
pub(super) fn equip(class: &Object) -> Outcome<()> {
    let methods = [
        method_one!(
            c"data_received",
            data_received,
            c"data_received($self, data, /)\n--\n\nFeed the reader."
        ),
        method_fast!(c"__setattr__", set_attribute, c"Implement setattr(self, name, value)."),
    ];
    Protocol::equip(class, &[c"_odd"], methods, [])?;
    transports::receive_for(ProtocolFields::layout().kind(), super::receive::receive);
    Ok(())
}
