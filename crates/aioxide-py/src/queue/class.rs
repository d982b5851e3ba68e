//! The base of the three classes, and the methods that they get.

use pyo3::ffi as c;

use super::{Queue, face, nowait, store, traits, wait};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::{add_method, attribute, method_fast, method_none, method_one};
use crate::ffi::{Object, Outcome, Owned, call, function, raised};
use crate::interp::names;

fn get(this: &Queue) -> Outcome {
    wait::get(this)
}

fn put(this: &Queue, arguments: &Arguments<'_>) -> Outcome {
    wait::put(this, item_of("put", arguments)?)
}

#[inline]
fn item_of<'a>(function: &str, arguments: &Arguments<'a>) -> Outcome<&'a Object> {
    match arguments.single() {
        Some(item) => Ok(item),
        None => parse_item(function, arguments),
    }
}

#[cold]
fn parse_item<'a>(function: &str, arguments: &Arguments<'a>) -> Outcome<&'a Object> {
    let [item] = arguments.parse(function, &[&names().item], 1)?;
    item.ok_or_else(|| {
        let message = format!("Queue.{function}() missing 1 required positional argument: 'item'");
        raised::raise(raised::type_error(), &message)
    })
}

fn get_nowait(this: &Queue) -> Outcome {
    nowait::get(this, traits(this)?)
}

fn put_nowait(this: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let item = item_of("put_nowait", arguments)?;
    nowait::put(this, traits(this)?, item.own())?;
    Ok(Owned::none())
}

fn qsize(this: &Queue) -> Outcome {
    call::integer(this.items.len()? as i64)
}

fn empty(this: &Queue) -> Outcome {
    this.items.is_empty().map(Owned::boolean)
}

fn full(this: &Queue) -> Outcome {
    store::is_full_by_size(this, traits(this)?).map(Owned::boolean)
}

fn task_done(this: &Queue) -> Outcome {
    nowait::task_done(this)
}

fn shutdown(this: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let [immediate] = arguments.parse("shutdown", &[&names().immediate], 1)?;
    nowait::shutdown(this, immediate.map_or(Ok(false), call::truth)?)
}

fn start_deque(this: &Queue, _: &Object) -> Outcome {
    this.items.replace(None);
    Ok(Owned::none())
}

fn start_list(this: &Queue, _: &Object) -> Outcome {
    store::start_list(this)?;
    Ok(Owned::none())
}

fn add_last(this: &Queue, item: &Object) -> Outcome {
    this.items.push(item.own())?;
    Ok(Owned::none())
}

fn add_sorted(this: &Queue, item: &Object) -> Outcome {
    store::add_sorted(this, item)?;
    Ok(Owned::none())
}

/// The methods that are called once per item: each class has them itself, because the interpreter takes its short way to
/// a method only where the method is of the very class of the instance.
fn hot_methods() -> [c::PyMethodDef; 8] {
    [
        method_none!(c"get", get, c"get($self)\n--\n\nRemove and return an item; wait until there is one."),
        method_fast!(
            c"put",
            put,
            c"put($self, item)\n--\n\nPut an item into the queue; wait until there is room."
        ),
        method_none!(
            c"get_nowait",
            get_nowait,
            c"get_nowait($self)\n--\n\nRemove and return an item; raise QueueEmpty without one."
        ),
        method_fast!(
            c"put_nowait",
            put_nowait,
            c"put_nowait($self, item)\n--\n\nPut an item into the queue; raise QueueFull without room."
        ),
        method_none!(c"qsize", qsize, c"qsize($self)\n--\n\nReturn the number of items."),
        method_none!(c"empty", empty, c"empty($self)\n--\n\nReturn True if there is no item."),
        method_none!(c"full", full, c"full($self)\n--\n\nReturn True if there are maxsize items."),
        method_none!(
            c"task_done",
            task_done,
            c"task_done($self)\n--\n\nTell that an item that was taken out has been dealt with."
        ),
    ]
}

fn fifo_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(
            c"_init",
            start_deque,
            c"_init($self, maxsize, /)\n--\n\nMake the store of a queue of maxsize items."
        ),
        method_one!(c"_put", add_last, c"_put($self, item, /)\n--\n\nPut an item into the store."),
        method_none!(
            c"_get",
            store::take_first,
            c"_get($self)\n--\n\nTake the oldest item out of the store."
        ),
    ]
}

fn lifo_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(
            c"_init",
            start_list,
            c"_init($self, maxsize, /)\n--\n\nMake the store of a queue of maxsize items."
        ),
        method_one!(c"_put", add_last, c"_put($self, item, /)\n--\n\nPut an item into the store."),
        method_none!(c"_get", store::take_last, c"_get($self)\n--\n\nTake the newest item out of the store."),
    ]
}

fn sorted_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(
            c"_init",
            start_list,
            c"_init($self, maxsize, /)\n--\n\nMake the store of a queue of maxsize items."
        ),
        method_one!(c"_put", add_sorted, c"_put($self, item, /)\n--\n\nPut an item into the store."),
        method_none!(c"_get", store::take_least, c"_get($self)\n--\n\nTake the least item out of the store."),
    ]
}

/// Gives `aioxide.Queue`, `LifoQueue` and `PriorityQueue`, which derive from the base, their methods.
fn equip(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let classes: Vec<&Object> = arguments.positional().collect();
    let [fifo, lifo, sorted] = classes[..] else {
        return Err(raised::raise(raised::type_error(), "three classes are needed"));
    };
    for (class, own) in [(fifo, fifo_methods()), (lifo, lifo_methods()), (sorted, sorted_methods())] {
        for method in hot_methods().into_iter().chain(own) {
            // SAFETY: the module's own classes, which derive from the base.
            unsafe { add_method(class.as_ptr().cast(), method)? };
        }
    }
    let queues = call::import(c"asyncio.queues")?;
    let stock = |name| call::get_attribute(&queues, &*call::interned(name)?);
    // What they inherit from Queue and its base is asyncio.Queue's, whatever else has the name in theirs.
    let base = call::get_attribute(fifo, &*call::interned(c"__base__")?)?;
    for class in [&base, fifo] {
        function::dress_methods(class, &*stock(c"Queue")?)?;
    }
    for (class, name) in [(sorted, c"PriorityQueue"), (lifo, c"LifoQueue"), (fifo, c"Queue")] {
        function::dress(class, &*stock(name)?)?;
    }
    traits::learn(fifo, lifo, sorted)?;
    Ok(Owned::none())
}

/// Makes the base of the classes, and the function that completes these.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    wait::make_kinds()?;
    let builder = Queue::shown()
        .methods([
            method_fast!(
                c"shutdown",
                shutdown,
                c"shutdown($self, immediate=False)\n--\n\nMake put raise QueueShutDown, and get once there is no item."
            ),
            method_none!(c"_format", face::format, c"_format($self)\n--\n\nReturn what the repr shows."),
        ])
        .attributes([
            attribute!(c"maxsize", face::get_maxsize),
            attribute!(c"_maxsize", face::get_maxsize, face::set_maxsize),
            attribute!(c"_queue", face::get_items, face::set_items),
            attribute!(c"_getters", face::get_getters, face::set_getters),
            attribute!(c"_putters", face::get_putters, face::set_putters),
            attribute!(c"_unfinished_tasks", face::get_unfinished, face::set_unfinished),
            attribute!(c"_finished", face::get_finished, face::set_finished),
            attribute!(c"_is_shutdown", face::get_is_shutdown, face::set_is_shutdown),
            attribute!(c"_loop", face::get_loop, face::set_loop),
        ]);
    exports.add("_QueueCore", Queue::make_kind(builder, c"aioxide._QueueCore")?)?;
    exports.function(method_fast!(c"equip_queues", equip, c"Complete the classes of queues."))
}
