//! The base of the three classes, and the methods that they get: slots, arguments, tables.

use std::os::raw::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi as c;

use super::limit::Limit;
use super::nowait;
use super::{Queue, QueueData, face, store, traits, wait};
use crate::ffi::instance;
use crate::ffi::kind::{
    Arguments, Definition, KindBuilder, add_method, attribute, guard, guard_object, method_fast, method_none,
    method_one, parse_init,
};
use crate::ffi::{Object, Outcome, Owned, Visit, call, cast, names, raised};

unsafe extern "C" fn new(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: the interpreter passes our type or one derived from it; the data lies behind the header.
        unsafe {
            instance::make_plain(kind, |instance| {
                instance.byte_add(size_of::<c::PyObject>()).cast::<QueueData>().write(QueueData::new());
            })
        }
    })
}

unsafe extern "C" fn init(
    this: *mut c::PyObject,
    arguments: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        // SAFETY: an instance of ours.
        let this: &Queue = unsafe { cast(this) };
        let names = names();
        // SAFETY: the arguments of a call, as the interpreter passes them.
        let [maxsize] = unsafe { parse_init("Queue", arguments, named, &[&names.maxsize], 1) }?;
        let maxsize = maxsize.map_or_else(|| call::integer(0), |maxsize| Ok(maxsize.own()))?;
        this.limit.set(Limit::of(&maxsize));
        this.maxsize.set(maxsize.clone());
        for line in this.lines() {
            line.replace(None);
        }
        this.unfinished.set(0);
        this.finished.clear();
        this.is_finished.set(true);
        this.is_shutdown.set(false);
        call::call_method(&names.init_store, &[this.object(), &maxsize], None)?;
        Ok(0)
    })
}

unsafe extern "C" fn set_attribute(
    this: *mut c::PyObject,
    name: *mut c::PyObject,
    value: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        // SAFETY: an instance of ours, a string, and a value or null, for `del`.
        let status = unsafe { c::PyObject_GenericSetAttr(this, name, value) };
        call::check(status)?;
        // SAFETY: as above.
        let (this, name): (&Queue, &Object) = unsafe { (cast(this), cast(name)) };
        this.seen.note_attribute(name)?;
        Ok(0)
    })
}

unsafe extern "C" fn traverse(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visit = Visit { function, argument };
    // SAFETY: an instance of ours; it owns a reference to its type, which lives on the heap.
    let this: &Queue = unsafe { cast(this) };
    let mut status = visit.object(this.object().class());
    for line in this.lines() {
        if status == 0 {
            status = line.traverse(visit);
        }
    }
    for slot in this.slots() {
        if status == 0 {
            status = slot.visit(visit);
        }
    }
    status
}

fn take_apart(this: &Queue) {
    for line in this.lines() {
        line.replace(None);
    }
    for slot in this.slots() {
        slot.clear();
    }
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    guard(0, || {
        // SAFETY: an instance of ours.
        take_apart(unsafe { cast(this) });
        Ok(0)
    })
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            instance::untrack(this);
            this.byte_add(size_of::<c::PyObject>()).cast::<QueueData>().drop_in_place();
            instance::release_plain(this);
        }
        Ok(())
    });
}

// The methods.

fn get(this: &Queue) -> Outcome {
    wait::get(this)
}

fn put(this: &Queue, arguments: &Arguments<'_>) -> Outcome {
    wait::put(this, item_of("put", arguments)?)
}

fn item_of<'a>(function: &str, arguments: &Arguments<'a>) -> Outcome<&'a Object> {
    let [item] = arguments.parse(function, &[&names().item], 1)?;
    item.ok_or_else(|| {
        let message = format!("Queue.{function}() missing 1 required positional argument: 'item'");
        raised::raise(raised::type_error(), &message)
    })
}

fn get_nowait(this: &Queue) -> Outcome {
    nowait::get(this, this.traits()?)
}

fn put_nowait(this: &Queue, arguments: &Arguments<'_>) -> Outcome {
    let item = item_of("put_nowait", arguments)?;
    nowait::put(this, this.traits()?, item.own())?;
    Ok(Owned::none())
}

fn qsize(this: &Queue) -> Outcome {
    call::integer(this.items.len()? as i64)
}

fn empty(this: &Queue) -> Outcome {
    this.items.is_empty().map(Owned::boolean)
}

fn full(this: &Queue) -> Outcome {
    store::is_full_by_size(this, this.traits()?).map(Owned::boolean)
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
        method_none!(c"get", get, c"Remove and return an item; wait until there is one."),
        method_fast!(c"put", put, c"Put an item into the queue; wait until there is room."),
        method_none!(c"get_nowait", get_nowait, c"Remove and return an item; raise QueueEmpty without one."),
        method_fast!(c"put_nowait", put_nowait, c"Put an item into the queue; raise QueueFull without room."),
        method_none!(c"qsize", qsize, c"Return the number of items."),
        method_none!(c"empty", empty, c"Return True if there is no item."),
        method_none!(c"full", full, c"Return True if there are maxsize items."),
        method_none!(c"task_done", task_done, c"Tell that an item that was taken out has been dealt with."),
    ]
}

fn fifo_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(c"_init", start_deque, c"Make the store of a queue of maxsize items."),
        method_one!(c"_put", add_last, c"Put an item into the store."),
        method_none!(c"_get", store::take_first, c"Take the oldest item out of the store."),
    ]
}

fn lifo_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(c"_init", start_list, c"Make the store of a queue of maxsize items."),
        method_one!(c"_put", add_last, c"Put an item into the store."),
        method_none!(c"_get", store::take_last, c"Take the newest item out of the store."),
    ]
}

fn sorted_methods() -> [c::PyMethodDef; 3] {
    [
        method_one!(c"_init", start_list, c"Make the store of a queue of maxsize items."),
        method_one!(c"_put", add_sorted, c"Put an item into the store."),
        method_none!(c"_get", store::take_least, c"Take the least item out of the store."),
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
    traits::learn(fifo, lifo, sorted)?;
    Ok(Owned::none())
}

/// Makes the base of the classes, and the function that completes these.
pub(crate) fn make_base() -> Outcome<[(&'static str, Owned); 2]> {
    static EQUIP: OnceLock<Definition> = OnceLock::new();
    wait::make_kinds()?;
    let builder = KindBuilder::new()
        .slot(c::Py_tp_new, new as *mut c_void)
        .slot(c::Py_tp_init, init as *mut c_void)
        .slot(c::Py_tp_setattro, set_attribute as *mut c_void)
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods([
            method_fast!(
                c"shutdown",
                shutdown,
                c"Make put raise QueueShutDown, and get once there is no item."
            ),
            method_none!(c"_format", face::format, c"Return what the repr shows."),
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
    let size = size_of::<c::PyObject>() + size_of::<QueueData>();
    // SAFETY: every slot is of its type, and the data lies behind the header.
    let base = unsafe { builder.build(c"aioxide._QueueCore", size, None)? };
    let equip = EQUIP
        .get_or_init(|| Definition(method_fast!(c"equip_queues", equip, c"Complete the classes of queues.")));
    Ok([("_QueueCore", base), ("equip_queues", equip.bind(crate::ffi::none())?)])
}
