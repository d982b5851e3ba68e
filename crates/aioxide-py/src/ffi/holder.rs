//! Classes with a Rust struct behind the object's header, made for Python classes to derive from.
//!
//! A struct that implements [`Contents`] gets construction, `__init__`, the collector's functions and the end of its
//! instances from here. The Python class that derives from it adds the dict, the weak references and asyncio's own class
//! as a second base, so that `isinstance` holds.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::arguments::parse_init;
use super::instance;
use super::kind::KindBuilder;
use super::method::{guard, guard_object};
use super::object::{Object, Outcome, Owned, Slot, Visit};
use super::{Class, Confined, call, cast};

/// What the instances of a class hold.
pub(crate) trait Contents: Sized + 'static {
    /// Where the type is kept: a static of the struct's own.
    fn home() -> &'static Kind;
    /// An instance before its `__init__`.
    fn new() -> Self;
    /// `__init__`, which may be called again.
    fn init(this: &Holder<Self>, arguments: &InitArguments) -> Outcome<()>;
    /// `repr`.
    fn repr(this: &Holder<Self>) -> Outcome;
    /// Shows what it holds to the collector.
    fn traverse(&self, visit: Visit) -> c_int;
    /// Lets go of what it holds.
    fn clear(&self);
    /// Is told about each assignment to an attribute of an instance.
    fn assigned(&self, _name: &Object) -> Outcome<()> {
        Ok(())
    }
}

/// A type, once it is made.
pub(crate) struct Kind(Confined<Cell<*mut c::PyTypeObject>>);

impl Kind {
    pub(crate) const fn new() -> Self {
        Self(Confined::new(Cell::new(std::ptr::null_mut())))
    }
}

/// The arguments of an `__init__`.
pub(crate) struct InitArguments {
    positional: *mut c::PyObject,
    named: *mut c::PyObject,
}

impl InitArguments {
    /// Sorts them by `parameters`, of which the first `positional` may be given without a name.
    pub(crate) fn parse<const N: usize>(
        &self,
        function: &str,
        parameters: &[&Object; N],
        positional: usize,
    ) -> Outcome<[Option<&Object>; N]> {
        // SAFETY: made by `init` below from what the interpreter passes, and gone before that is.
        unsafe { parse_init(function, self.positional, self.named, parameters, positional) }
    }
}

/// An instance of the class that holds a `T`, or of one derived from it.
#[repr(transparent)]
pub(crate) struct Holder<T>(Object, PhantomData<T>);

// SAFETY: transparent over `Object`.
unsafe impl<T> Class for Holder<T> {}

impl<T: Contents> Deref for Holder<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: written by `new`, before anybody could see the instance.
        unsafe { &*self.0.as_ptr().byte_add(size_of::<c::PyObject>()).cast::<T>() }
    }
}

impl<T: Contents> Holder<T> {
    /// The instance as an object.
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    /// The object as one that holds a `T`, if it does.
    #[inline]
    pub(crate) fn from_object(object: &Object) -> Option<&Self> {
        // SAFETY: an instance of the type.
        object.is_instance(T::home().0.get()).then(|| unsafe { cast(object.as_ptr()) })
    }

    /// A reference of one's own.
    #[inline]
    pub(crate) fn own(&self) -> Held<T> {
        Held(self.0.own(), PhantomData)
    }

    /// What makes the type, but for its methods and attributes.
    pub(crate) fn builder() -> KindBuilder {
        const { assert!(align_of::<T>() <= align_of::<c::PyObject>()) };
        KindBuilder::new()
            .slot(c::Py_tp_new, new::<T> as *mut c_void)
            .slot(c::Py_tp_init, init::<T> as *mut c_void)
            .slot(c::Py_tp_repr, repr::<T> as *mut c_void)
            .slot(c::Py_tp_setattro, set_attribute::<T> as *mut c_void)
            .slot(c::Py_tp_traverse, traverse::<T> as *mut c_void)
            .slot(c::Py_tp_clear, clear::<T> as *mut c_void)
            .slot(c::Py_tp_dealloc, dealloc::<T> as *mut c_void)
    }

    /// Makes the type of `T`; `name` with its module.
    pub(crate) fn make_kind(builder: KindBuilder, name: &'static CStr) -> Outcome {
        // SAFETY: every slot of `builder` is of its type, and the struct lies behind the header.
        let kind = unsafe { builder.build(name, Self::size(), None)? };
        T::home().0.set(kind.clone().into_ptr().cast());
        Ok(kind)
    }

    /// Makes a type that derives from that of `T` and holds nothing more; its slots are the same.
    pub(crate) fn derive_kind(builder: KindBuilder, name: &'static CStr, base: &Object) -> Outcome {
        // SAFETY: as above.
        unsafe { builder.build(name, Self::size(), Some(base)) }
    }

    fn size() -> usize {
        size_of::<c::PyObject>() + size_of::<T>()
    }
}

/// A reference of one's own to an instance.
pub(crate) struct Held<T>(Owned, PhantomData<T>);

impl<T: Contents> Deref for Held<T> {
    type Target = Holder<T>;

    #[inline]
    fn deref(&self) -> &Holder<T> {
        // SAFETY: made from a `Holder` only.
        unsafe { cast(self.0.as_ptr()) }
    }
}

/// A `Slot` for instances of one class.
pub(crate) struct Link<T>(Slot, PhantomData<T>);

impl<T: Contents> Link<T> {
    pub(crate) fn new(target: &Holder<T>) -> Self {
        let slot = Slot::new();
        slot.set(target.0.own());
        Self(slot, PhantomData)
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Held<T>> {
        self.0.get().map(|object| Held(object, PhantomData))
    }

    /// A look at the instance, during which nothing may run that could empty the field.
    ///
    /// # Safety
    /// No Python code runs while the result is used, no object is released.
    #[inline]
    pub(crate) unsafe fn peek(&self) -> Option<&Holder<T>> {
        // SAFETY: made from a `Holder` only; the field holds a reference as long as nobody empties it.
        unsafe { self.0.peek().map(|object| cast(object.as_ptr())) }
    }

    /// Takes the reference out.
    #[inline]
    pub(crate) fn take(&self) -> Option<Held<T>> {
        self.0.take().map(|object| Held(object, PhantomData))
    }

    /// Puts a reference back.
    #[inline]
    pub(crate) fn put(&self, held: Held<T>) {
        self.0.set(held.0);
    }

    /// The slot, for emptying it and for the collector.
    pub(crate) fn slot(&self) -> &Slot {
        &self.0
    }
}

unsafe extern "C" fn new<T: Contents>(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: the interpreter passes the type or one derived from it.
        unsafe {
            instance::make_plain(kind, |instance| {
                instance.byte_add(size_of::<c::PyObject>()).cast::<T>().write(T::new());
            })
        }
    })
}

unsafe extern "C" fn init<T: Contents>(
    this: *mut c::PyObject,
    positional: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    // SAFETY: an instance of ours.
    guard(-1, || T::init(unsafe { cast(this) }, &InitArguments { positional, named }).map(|()| 0))
}

unsafe extern "C" fn repr<T: Contents>(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    guard_object(|| T::repr(unsafe { cast(this) }))
}

unsafe extern "C" fn set_attribute<T: Contents>(
    this: *mut c::PyObject,
    name: *mut c::PyObject,
    value: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        // SAFETY: an instance of ours, a string, and a value or null; -1 with an exception.
        unsafe {
            cast::<Holder<T>>(this).assigned(cast(name))?;
            call::check(c::PyObject_GenericSetAttr(this, name, value)).map(|()| 0)
        }
    })
}

unsafe extern "C" fn traverse<T: Contents>(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visit = Visit { function, argument };
    // SAFETY: an instance of ours; it owns a reference to its type, which lives on the heap.
    let this: &Holder<T> = unsafe { cast(this) };
    let status = visit.object(this.object().class());
    if status != 0 { status } else { T::traverse(this, visit) }
}

unsafe extern "C" fn clear<T: Contents>(this: *mut c::PyObject) -> c_int {
    // SAFETY: an instance of ours.
    T::clear(unsafe { cast::<Holder<T>>(this) });
    0
}

unsafe extern "C" fn dealloc<T: Contents>(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone; a class derived in Python has ended its own part.
        unsafe {
            instance::untrack(this);
            this.byte_add(size_of::<c::PyObject>()).cast::<T>().drop_in_place();
            instance::release_plain(this);
        }
        Ok(())
    });
}
