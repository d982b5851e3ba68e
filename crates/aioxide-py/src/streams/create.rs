//! `__new__` of asyncio's stream classes: with one of our loops it makes an instance of ours, which then is initialized.
//!
//! So `asyncio.open_connection` and its like give them, and whoever made `asyncio.StreamReader(loop=loop)` by hand, with no
//! name in asyncio replaced. A class derived from asyncio's in Python gets its own instances, as ever.

use std::ffi::CStr;
use std::sync::OnceLock;

use super::protocol::ProtocolFields;
use super::reader::ReaderFields;
use super::stock::stock;
use super::writer::WriterFields;
use crate::ffi::arguments::Arguments;
use crate::ffi::layout::{Fields, Instance, inherited_new};
use crate::ffi::method::{Definition, method_fast};
use crate::ffi::stock::StockClass;
use crate::ffi::{Object, Outcome, Owned, call, none, raised};
use crate::interp::names;
use crate::kernel::state_of;

/// `place`: where the parameter `loop` stands, the class before it counted.
fn make<F: Fields>(stock: &StockClass, place: usize, arguments: &Arguments<'_>) -> Outcome {
    let Some(class) = arguments.positional().next() else {
        return Err(raised::raise(raised::type_error(), "__new__() needs a class"));
    };
    if class.is(&stock.class) {
        let given = arguments.find(place, &names().loop_)?.filter(|given| !given.is_none());
        let event_loop = match given {
            Some(event_loop) => event_loop.own(),
            None => call::call(&names().get_running_loop_or_none, &[])?,
        };
        if state_of(&event_loop).is_some() && stock.is_unchanged()? {
            return Instance::<F>::make();
        }
    }
    inherited_new(class, &stock.class, arguments)
}

fn new_reader(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    make::<ReaderFields>(&stock().reader, 2, arguments)
}

fn new_protocol(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    make::<ProtocolFields>(&stock().protocol, 3, arguments)
}

fn new_writer(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    make::<WriterFields>(&stock().writer, 4, arguments)
}

/// Gives asyncio's classes the function.
pub(super) fn hook() -> Outcome<()> {
    const NAME: &CStr = c"__new__";
    static FUNCTIONS: OnceLock<[Definition; 3]> = OnceLock::new();
    let functions = FUNCTIONS.get_or_init(|| {
        [
            Definition(method_fast!(c"__new__", new_reader, c"Create a reader.")),
            Definition(method_fast!(c"__new__", new_protocol, c"Create a protocol.")),
            Definition(method_fast!(c"__new__", new_writer, c"Create a writer.")),
        ]
    });
    let name = call::interned(NAME)?;
    let stock = stock();
    let classes: [&Owned; 3] = [&stock.reader.class, &stock.protocol.class, &stock.writer.class];
    for (class, function) in classes.into_iter().zip(functions) {
        call::set_attribute(class, &name, &*function.bind(none())?)?;
    }
    Ok(())
}
