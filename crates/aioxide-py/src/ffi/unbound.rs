//! asyncio's own methods on our objects: they lead to ours.
//!
//! Our two types derive from `_asyncio`'s and have everything themselves; the C part of their instances lies idle. But
//! programs name asyncio's classes too, as in `map(asyncio.Task.cancel, tasks)`, and a class between ours and asyncio's may
//! call `super()`. So each descriptor of asyncio's classes gets, once, a function that looks whose object it is given: for
//! ours it calls what our type of the same name has, for all others C's function, as before.
//!
//! What changes is one pointer in each descriptor, to a definition that is a copy but for the function. Descriptors keep
//! their identity, type, flags and texts, the classes their version, and both stay those of this interpreter alone.
//! `__new__` is left as it is: a class derived from asyncio's finds out by its function that C's may be taken at once.

use std::cell::Cell;
use std::os::raw::{c_int, c_void};

use pyo3::ffi;

use super::object::{Object, Outcome, Owned, Raised};
use super::{Confined, call, raised};

/// A class of asyncio's and the one of ours that stands for it.
pub(crate) struct Pair<'a> {
    pub(crate) stock: &'a Object,
    pub(crate) ours: &'a Object,
}

/// How many methods both classes have together, at most.
const MOST_METHODS: usize = 32;

/// Two functions that are called in the same way, the second by its descriptor.
#[derive(Clone, Copy)]
struct Method {
    stock: ffi::PyMethodDefPointer,
    ours: *mut ffi::PyObject,
}

struct Routes {
    /// Our type of futures, from which that of tasks derives.
    future: Cell<*mut ffi::PyTypeObject>,
    /// The size of its instances: those of asyncio's types are smaller.
    size: Cell<ffi::Py_ssize_t>,
    methods: [Cell<Option<Method>>; MOST_METHODS],
    slots: [Cell<Slots>; 2],
}

/// The functions behind the slots of a class of asyncio's, as its descriptors have them, and our class.
#[derive(Clone, Copy)]
struct Slots {
    ours: *mut ffi::PyTypeObject,
    init: Option<ffi::initproc>,
    repr: Option<ffi::reprfunc>,
    iter: Option<ffi::getiterfunc>,
    am_await: Option<ffi::unaryfunc>,
    finalize: Option<ffi::destructor>,
}

impl Slots {
    const NONE: Self = Self {
        ours: std::ptr::null_mut(),
        init: None,
        repr: None,
        iter: None,
        am_await: None,
        finalize: None,
    };
}

static ROUTES: Confined<Routes> = Confined::new(Routes {
    future: Cell::new(std::ptr::null_mut()),
    size: Cell::new(ffi::Py_ssize_t::MAX),
    methods: [const { Cell::new(None) }; MOST_METHODS],
    slots: [const { Cell::new(Slots::NONE) }; 2],
});

/// Whether an object that asyncio's descriptors accept is of our types: four instructions for those that are not.
///
/// # Safety
/// A live object.
#[inline(always)]
unsafe fn is_ours(this: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise; types are ready.
    unsafe {
        let kind = ffi::Py_TYPE(this);
        (*kind).tp_basicsize >= ROUTES.size.get() && ffi::PyType_IsSubtype(kind, ROUTES.future.get()) != 0
    }
}

/// Leads every method, attribute and slot of asyncio's classes to ours, of futures first, then of tasks.
pub(crate) fn lead([futures, tasks]: [Pair<'_>; 2]) -> Outcome<()> {
    let ours = futures.ours.as_ptr().cast::<ffi::PyTypeObject>();
    ROUTES.future.set(ours);
    // SAFETY: a ready type.
    ROUTES.size.set(unsafe { (*ours).tp_basicsize });
    let mut place = 0;
    for (which, pair) in [futures, tasks].into_iter().enumerate() {
        // Our types live for ever.
        let ours = pair.ours.own().into_ptr().cast();
        ROUTES.slots[which].set(Slots { ours, ..Slots::NONE });
        let attributes = call::get_attribute(pair.stock, &*call::interned(c"__dict__")?)?;
        call::any_item(&attributes, |name| {
            let descriptor = call::get_attribute(pair.stock, name)?;
            let kind = descriptor.kind();
            let ours = call::find_attribute(pair.ours, name)?;
            // What only asyncio's class has is the C part's own business.
            let ours = ours.filter(|ours| ours.kind() == kind && !ours.is(&descriptor));
            // SAFETY: descriptors of these kinds, as was just compared; the types of descriptors live for ever.
            unsafe {
                if std::ptr::eq(kind, &raw mut ffi::PyWrapperDescr_Type) {
                    lead_slot(&descriptor, which);
                } else if let Some(ours) = ours {
                    if std::ptr::eq(kind, &raw mut ffi::PyMethodDescr_Type) {
                        place += usize::from(lead_method(&descriptor, ours, place));
                    } else if std::ptr::eq(kind, &raw mut ffi::PyGetSetDescr_Type) {
                        lead_attribute(&descriptor, &ours);
                    }
                }
            }
            Ok(false)
        })?;
    }
    Ok(())
}

/// # Safety
/// A descriptor of a method of asyncio's.
unsafe fn lead_method(descriptor: &Object, ours: Owned, place: usize) -> bool {
    // SAFETY: the caller's promise; definitions live as long as their descriptors.
    unsafe {
        let descriptor = descriptor.as_ptr().cast::<ffi::PyMethodDescrObject>();
        let stock = *(*descriptor).d_method;
        let Some(function) = trampoline(stock.ml_flags, place) else { return false };
        ROUTES.methods[place].set(Some(Method { stock: stock.ml_meth, ours: ours.into_ptr() }));
        (*descriptor).d_method = Box::leak(Box::new(ffi::PyMethodDef { ml_meth: function, ..stock }));
    }
    true
}

/// # Safety
/// Both are descriptors of attributes, the first of asyncio's.
unsafe fn lead_attribute(descriptor: &Object, ours: &Object) {
    // SAFETY: the caller's promise; definitions live as long as their descriptors, and ours for ever.
    unsafe {
        let descriptor = descriptor.as_ptr().cast::<ffi::PyGetSetDescrObject>();
        let stock = *(*descriptor).d_getset;
        let ours = *(*ours.as_ptr().cast::<ffi::PyGetSetDescrObject>()).d_getset;
        let route = Box::leak(Box::new([stock, ours]));
        (*descriptor).d_getset = Box::leak(Box::new(ffi::PyGetSetDef {
            get: stock.get.and(Some(get)),
            set: stock.set.and(Some(set)),
            closure: std::ptr::from_mut(route).cast(),
            ..stock
        }));
    }
}

/// # Safety
/// A descriptor of a slot of asyncio's.
unsafe fn lead_slot(descriptor: &Object, which: usize) {
    // SAFETY: the caller's promise; the interpreter's tables live for ever. A slot's function is of the type that its name says.
    unsafe {
        let descriptor = descriptor.as_ptr().cast::<ffi::PyWrapperDescrObject>();
        let name = std::ffi::CStr::from_ptr((*(*descriptor).d_base).name);
        let mut slots = ROUTES.slots[which].get();
        let wrapped = &mut (*descriptor).d_wrapped;
        let is_task = which == 1;
        let function = if name == c"__init__" {
            slots.init = Some(std::mem::transmute::<*mut c_void, ffi::initproc>(*wrapped));
            if is_task { init::<1> as *mut c_void } else { init::<0> as *mut c_void }
        } else if name == c"__repr__" {
            slots.repr = Some(std::mem::transmute::<*mut c_void, ffi::reprfunc>(*wrapped));
            if is_task { repr::<1> as *mut c_void } else { repr::<0> as *mut c_void }
        } else if name == c"__iter__" {
            slots.iter = Some(std::mem::transmute::<*mut c_void, ffi::getiterfunc>(*wrapped));
            if is_task { iter::<1> as *mut c_void } else { iter::<0> as *mut c_void }
        } else if name == c"__await__" {
            slots.am_await = Some(std::mem::transmute::<*mut c_void, ffi::unaryfunc>(*wrapped));
            if is_task { am_await::<1> as *mut c_void } else { am_await::<0> as *mut c_void }
        } else if name == c"__del__" {
            slots.finalize = Some(std::mem::transmute::<*mut c_void, ffi::destructor>(*wrapped));
            if is_task { finalize::<1> as *mut c_void } else { finalize::<0> as *mut c_void }
        } else {
            return;
        };
        ROUTES.slots[which].set(slots);
        *wrapped = function;
    }
}

/// A function for a slot: C's for C's objects, else that of our type.
macro_rules! slot {
    ($name:ident($($argument:ident: $kind:ty),*) -> $result:ty, $failed:expr, $ours:expr) => {
        unsafe extern "C" fn $name<const WHICH: usize>(this: *mut ffi::PyObject $(, $argument: $kind)*) -> $result {
            // SAFETY: the interpreter's arguments, passed on to a function of the same slot.
            unsafe {
                let slots = &*ROUTES.slots[WHICH].as_ptr();
                let function = if is_ours(this) { $ours(&*slots.ours) } else { slots.$name };
                match function {
                    Some(function) => function(this $(, $argument)*),
                    None => $failed,
                }
            }
        }
    };
}

slot!(init(arguments: *mut ffi::PyObject, named: *mut ffi::PyObject) -> c_int, -1, |ours: &ffi::PyTypeObject| ours.tp_init);
slot!(repr() -> *mut ffi::PyObject, std::ptr::null_mut(), |ours: &ffi::PyTypeObject| ours.tp_repr);
slot!(iter() -> *mut ffi::PyObject, std::ptr::null_mut(), |ours: &ffi::PyTypeObject| ours.tp_iter);
slot!(am_await() -> *mut ffi::PyObject, std::ptr::null_mut(), |ours: &ffi::PyTypeObject| (*ours.tp_as_async).am_await);
slot!(finalize() -> (), (), |ours: &ffi::PyTypeObject| ours.tp_finalize);

unsafe extern "C" fn get(this: *mut ffi::PyObject, route: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the route that `lead_attribute` made; the getters are called with their own closures.
    unsafe {
        let definition = &(*route.cast::<[ffi::PyGetSetDef; 2]>())[usize::from(is_ours(this))];
        match definition.get {
            Some(get) => get(this, definition.closure),
            None => std::ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn set(this: *mut ffi::PyObject, value: *mut ffi::PyObject, route: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        let definition = &(*route.cast::<[ffi::PyGetSetDef; 2]>())[usize::from(is_ours(this))];
        match definition.set {
            Some(set) => set(this, value, definition.closure),
            None => {
                let Raised = raised::raise(raised::attribute_error(), "the attribute is not writable");
                -1
            }
        }
    }
}

/// C's function of a method for an object that is not ours.
///
/// # Safety
/// A live object, and the place of a method that was led.
#[inline(always)]
unsafe fn stock_of<const N: usize>(
    this: *mut ffi::PyObject,
) -> Result<ffi::PyMethodDefPointer, *mut ffi::PyObject> {
    // SAFETY: the caller's promise: `lead_method` has written the place, for ever.
    unsafe {
        let method = (*ROUTES.methods[N].as_ptr()).unwrap_unchecked();
        if is_ours(this) { Err(method.ours) } else { Ok(method.stock) }
    }
}

/// Calls our method by its descriptor.
///
/// # Safety
/// Live objects: `count` positional arguments, then those that the tuple `names`, if any, names.
#[cold]
unsafe fn call_ours(
    ours: *mut ffi::PyObject,
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) as usize };
        let mut all = Vec::with_capacity(1 + count + named);
        all.push(this);
        if count + named > 0 {
            all.extend_from_slice(std::slice::from_raw_parts(arguments, count + named));
        }
        ffi::PyObject_Vectorcall(ours, all.as_ptr(), 1 + count, names)
    }
}

unsafe extern "C" fn plain<const N: usize>(
    this: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter's arguments, passed on to a function with the same flags; without an argument it is null.
    unsafe {
        match stock_of::<N>(this) {
            Ok(stock) => (stock.PyCFunction)(this, argument),
            Err(ours) => call_ours(
                ours,
                this,
                &raw const argument,
                usize::from(!argument.is_null()),
                std::ptr::null_mut(),
            ),
        }
    }
}

unsafe extern "C" fn fast<const N: usize>(
    this: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        match stock_of::<N>(this) {
            Ok(stock) => (stock.PyCFunctionFast)(this, arguments, count),
            Err(ours) => call_ours(ours, this, arguments, count as usize, std::ptr::null_mut()),
        }
    }
}

unsafe extern "C" fn named<const N: usize>(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        match stock_of::<N>(this) {
            Ok(stock) => (stock.PyCFunctionFastWithKeywords)(this, arguments, count, names),
            Err(ours) => call_ours(ours, this, arguments, count as usize, names),
        }
    }
}

unsafe extern "C" fn defined<const N: usize>(
    this: *mut ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        match stock_of::<N>(this) {
            Ok(stock) => (stock.PyCMethod)(this, class, arguments, count as _, names),
            Err(ours) => call_ours(ours, this, arguments, count as usize, names),
        }
    }
}

/// The function of a method's place, as its flags want it called; `None` if there is none.
fn trampoline(flags: c_int, place: usize) -> Option<ffi::PyMethodDefPointer> {
    macro_rules! places {
        ($variant:ident: $function:ident) => {
            places!(@ $variant, $function, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
        };
        (@ $variant:ident, $function:ident, $($place:literal)*) => {{
            const ALL: [ffi::PyMethodDefPointer; MOST_METHODS] =
                [$(ffi::PyMethodDefPointer { $variant: $function::<$place> }),*];
            ALL.get(place).copied()
        }};
    }
    const FAST_NAMED: c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    const DEFINED: c_int = ffi::METH_METHOD | FAST_NAMED;
    match flags {
        ffi::METH_NOARGS | ffi::METH_O => places!(PyCFunction: plain),
        ffi::METH_FASTCALL => places!(PyCFunctionFast: fast),
        FAST_NAMED => places!(PyCFunctionFastWithKeywords: named),
        DEFINED => places!(PyCMethod: defined),
        _ => None,
    }
}
