//! asyncio's classes and methods as they were when ours were made, and whether somebody has changed them since.

use std::cell::OnceCell;
use std::ffi::CStr;

use crate::ffi::arguments::Arguments;
use crate::ffi::stock::StockClass;
use crate::ffi::{Confined, Object, Outcome, call};

/// The three classes.
pub(super) struct Stock {
    pub(super) reader: StockClass,
    pub(super) protocol: StockClass,
    pub(super) writer: StockClass,
}

/// Methods of asyncio's that ours do without, by their place below; a program that replaces one of them gets asyncio's.
#[derive(Clone, Copy)]
pub(super) enum OfReader {
    Init,
    FeedData,
    Read,
    ReadExactly,
    ReadUntil,
    ReadLine,
    Next,
}

const READER: &[&CStr] = &[
    c"__init__",
    c"feed_data",
    c"read",
    c"readexactly",
    c"readuntil",
    c"readline",
    c"__anext__",
    c"__aiter__",
    c"_wait_for_data",
    c"_wakeup_waiter",
    c"_maybe_resume_transport",
    c"at_eof",
    c"exception",
    c"feed_eof",
];

/// As `OfReader`.
#[derive(Clone, Copy)]
pub(super) enum OfProtocol {
    DataReceived,
}

const PROTOCOL: &[&CStr] = &[c"data_received", c"_drain_helper", c"_stream_reader"];

/// As `OfReader`.
#[derive(Clone, Copy)]
pub(super) enum OfWriter {
    Init,
    Write,
    Drain,
}

const WRITER: &[&CStr] = &[c"__init__", c"write", c"drain"];

impl Stock {
    pub(super) fn of_reader(&self, method: OfReader, this: &Object, arguments: &Arguments<'_>) -> Outcome {
        self.reader.forward(method as usize, this, arguments)
    }

    pub(super) fn call_reader(&self, method: OfReader, arguments: &[&Object]) -> Outcome {
        self.reader.call(method as usize, arguments)
    }

    pub(super) fn call_protocol(&self, method: OfProtocol, arguments: &[&Object]) -> Outcome {
        self.protocol.call(method as usize, arguments)
    }

    pub(super) fn of_writer(&self, method: OfWriter, this: &Object, arguments: &Arguments<'_>) -> Outcome {
        self.writer.forward(method as usize, this, arguments)
    }

    pub(super) fn call_writer(&self, method: OfWriter, arguments: &[&Object]) -> Outcome {
        self.writer.call(method as usize, arguments)
    }
}

static STOCK: Confined<OnceCell<Stock>> = Confined::new(OnceCell::new());

/// Looks at asyncio's classes.
pub(super) fn load() -> Outcome<()> {
    let module = call::import(c"asyncio.streams")?;
    let stock = Stock {
        reader: StockClass::load(&module, c"StreamReader", READER)?,
        protocol: StockClass::load(&module, c"StreamReaderProtocol", PROTOCOL)?,
        writer: StockClass::load(&module, c"StreamWriter", WRITER)?,
    };
    let _ = STOCK.set(stock);
    Ok(())
}

/// The three classes.
#[inline]
pub(super) fn stock() -> &'static Stock {
    STOCK.get().expect("`equip_streams` loads it before any instance can be made")
}
