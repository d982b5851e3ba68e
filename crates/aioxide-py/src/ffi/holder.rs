//! Classes with a Rust struct behind the object's header, made for Python classes to derive from.
//!
//! A struct that implements [`Contents`] gets the collector's functions and the end of its instances from here. With
//! [`Constructed`] its class can be called, with [`Shown`] it has a `repr` of its own and sees what is assigned to an
//! instance. The Python class that derives from it adds the dict, the weak references and asyncio's own class as a second
//! base, so that `isinstance` holds.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::ancestor::Ancestor;
use super::arguments::parse_init;
use super::instance;
use super::kind::KindBuilder;
use super::method::{guard, guard_always, guard_object};
use super::object::{Object, Outcome, Owned, Slot, Visit};
use super::{Class, Confined, call, cast, end};

/// What the instances of a class hold.
pub(crate) trait Contents: Sized + 'static {
    /// Where the type is kept: a static of the struct's own.
    fn home() -> &'static Kind;
    /// The class of ours that it derives from, if it does.
    #[inline]
    fn ancestor() -> Option<&'static Ancestor> {
        None
    }
    /// Whether the finalizer, which is the ancestor's, has anything to do at the end of an instance.
    #[inline]
    fn wants_finalizer(_this: &Holder<Self>) -> bool {
        false
    }
    /// Shows what it holds to the collector.
    fn traverse(&self, visit: Visit) -> c_int;
    /// Lets go of what it holds.
    fn clear(&self);
}

/// The contents of a class that is called to make an instance.
pub(crate) trait Constructed: Contents {
    /// An instance before its `__init__`.
    fn new() -> Self;
    /// `__init__`, which may be called again.
    fn init(this: &Holder<Self>, arguments: &InitArguments) -> Outcome<()>;
}

/// The contents of a class that takes neither `repr` nor the assignment of attributes from asyncio's.
pub(crate) trait Shown: Constructed {
    /// `repr`.
    fn repr(this: &Holder<Self>) -> Outcome;
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
        // SAFETY: written by `make_instance`, before anybody could see the instance.
        unsafe { &*place::<T>(self.0.as_ptr()) }
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

    /// A new instance of the type.
    #[inline]
    pub(crate) fn make(contents: impl FnOnce() -> T) -> Outcome<Held<T>> {
        // SAFETY: the type that holds a `T`; nobody has an instance before it is made.
        unsafe { make_instance(T::home().0.get(), contents) }
    }

    /// A new instance of `class`, without its `__init__`.
    ///
    /// # Safety
    /// A class that is derived from the type.
    #[inline]
    pub(crate) unsafe fn make_derived(class: &Object, contents: impl FnOnce() -> T) -> Outcome<Held<T>> {
        // SAFETY: the caller's promise.
        unsafe { make_instance(class.as_ptr().cast(), contents) }
    }

    /// What makes the type, but for its methods and attributes; nobody can call it.
    pub(crate) fn builder() -> KindBuilder {
        const { assert!(align_of::<T>() <= align_of::<c::PyObject>()) };
        KindBuilder::new()
            .slot(c::Py_tp_traverse, traverse::<T> as *mut c_void)
            .slot(c::Py_tp_clear, clear::<T> as *mut c_void)
            .slot(c::Py_tp_dealloc, dealloc::<T> as *mut c_void)
    }

    /// Makes the type of `T`; `name` with its module.
    pub(crate) fn make_kind(builder: KindBuilder, name: &'static CStr) -> Outcome {
        debug_assert!(T::ancestor().is_none(), "it has a base");
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

    /// Makes the type of `T`, which derives from `base`, a class of ours whose instances its `__new__` completes.
    pub(crate) fn make_kind_over(builder: KindBuilder, name: &'static CStr, base: &Object) -> Outcome {
        if let Some(ancestor) = T::ancestor() {
            ancestor.learn(base);
        }
        let kind = Self::derive_kind(builder, name, base)?;
        T::home().0.set(kind.clone().into_ptr().cast());
        Ok(kind)
    }

    fn size() -> usize {
        offset::<T>() + size_of::<T>()
    }
}

impl<T: Constructed> Holder<T> {
    /// `builder` of a class that can be called.
    pub(crate) fn constructed() -> KindBuilder {
        Self::builder()
            .slot(c::Py_tp_new, new::<T> as *mut c_void)
            .slot(c::Py_tp_init, init::<T> as *mut c_void)
    }
}

impl<T: Shown> Holder<T> {
    /// `constructed` with a `repr` of its own, and an eye on what is assigned.
    pub(crate) fn shown() -> KindBuilder {
        Self::constructed()
            .slot(c::Py_tp_repr, repr::<T> as *mut c_void)
            .slot(c::Py_tp_setattro, set_attribute::<T> as *mut c_void)
    }
}

/// A reference of one's own to an instance.
pub(crate) struct Held<T>(Owned, PhantomData<T>);

impl<T> Held<T> {
    /// The reference as one to an object.
    #[inline]
    pub(crate) fn into_object(self) -> Owned {
        self.0
    }
}

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

/// Where the struct begins in an instance.
#[inline]
fn offset<T: Contents>() -> usize {
    T::ancestor().map_or(size_of::<c::PyObject>(), Ancestor::end)
}

/// The struct in an instance.
///
/// # Safety
/// An instance of the type of `T`, or of one derived from it.
#[inline]
unsafe fn place<T: Contents>(instance: *mut c::PyObject) -> *mut T {
    // SAFETY: the type's instances are large enough.
    unsafe { instance.byte_add(offset::<T>()).cast() }
}

/// A new instance.
///
/// # Safety
/// `kind` is the type of `T`, or one derived from it.
#[inline]
unsafe fn make_instance<T: Contents>(
    kind: *mut c::PyTypeObject,
    contents: impl FnOnce() -> T,
) -> Outcome<Held<T>> {
    // SAFETY: the caller's promise; the collector does not run between the allocation and the end of this.
    unsafe {
        let made = match T::ancestor() {
            None => instance::make_plain(kind, |instance| place::<T>(instance).write(contents()))?,
            Some(ancestor) => {
                let made = ancestor.make(kind)?;
                place::<T>(made.as_ptr()).write(contents());
                made
            }
        };
        Ok(Held(made, PhantomData))
    }
}

unsafe extern "C" fn new<T: Constructed>(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the interpreter passes the type or one derived from it.
    guard_object(|| unsafe { make_instance(kind, T::new).map(Held::into_object) })
}

unsafe extern "C" fn init<T: Constructed>(
    this: *mut c::PyObject,
    positional: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    // SAFETY: an instance of ours.
    guard(-1, || T::init(unsafe { cast(this) }, &InitArguments { positional, named }).map(|()| 0))
}

unsafe extern "C" fn repr<T: Shown>(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    guard_object(|| T::repr(unsafe { cast(this) }))
}

unsafe extern "C" fn set_attribute<T: Shown>(
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
    let status = match T::ancestor() {
        None => visit.object(this.object().class()),
        Some(ancestor) => ancestor.traverse(this.object(), visit),
    };
    if status != 0 { status } else { T::traverse(this, visit) }
}

unsafe extern "C" fn clear<T: Contents>(this: *mut c::PyObject) -> c_int {
    guard_always(0, || {
        // SAFETY: an instance of ours.
        let this: &Holder<T> = unsafe { cast(this) };
        T::clear(this);
        if let Some(ancestor) = T::ancestor() {
            ancestor.clear(this.object());
        }
        Ok(0)
    })
}

unsafe extern "C" fn dealloc<T: Contents>(this: *mut c::PyObject) {
    guard_always((), || {
        // SAFETY: the last reference to an instance of ours is gone; a class derived in Python has ended its own part.
        unsafe {
            if T::wants_finalizer(cast(this)) && !instance::finalize(this) {
                return Ok(());
            }
            instance::untrack(this);
            if T::ancestor().is_some() {
                // What is dropped next may run Python code, which must not find the instance.
                instance::clear_weak_references(this);
            }
            end::take_apart(this, end_of::<T>);
        }
        Ok(())
    });
}

/// The end of an instance that nobody can reach any more.
unsafe fn end_of<T: Contents>(this: *mut c::PyObject) {
    // SAFETY: as above.
    unsafe {
        place::<T>(this).drop_in_place();
        match T::ancestor() {
            None => instance::release_plain(this),
            Some(ancestor) => ancestor.end_instance(this),
        }
    }
}
