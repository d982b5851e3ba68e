//! Fields of instances of a class that is written in Python, read and written where they lie.
//!
//! A class that derives from one of Python's can have no Rust struct in its instances, but it can have `__slots__`. The
//! interpreter lays them out by name, a pointer each: `fields!` declares the same as a struct, `equip` checks that the
//! class agrees, and from then on a field costs a load. For Python they are attributes as ever.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;

use pyo3::ffi as c;

use super::arguments::Arguments;
use super::method;
use super::object::{Object, Outcome, Owned};
use super::{Class, Confined, call, raised};

/// A struct of slots; made by `fields!`.
///
/// # Safety
/// `repr(C)`, with a `Slot` for each of `NAMES`, in their order.
pub(crate) unsafe trait Fields: Sized + 'static {
    /// The attributes, in the order of their spelling.
    const NAMES: &'static [&'static CStr];
    fn layout() -> &'static Layout;
}

/// Which class has the fields, and where.
pub(crate) struct Layout {
    kind: Confined<Cell<*mut c::PyTypeObject>>,
    offset: Confined<Cell<usize>>,
}

impl Layout {
    pub(crate) const fn new() -> Self {
        Self { kind: Confined::new(Cell::new(std::ptr::null_mut())), offset: Confined::new(Cell::new(0)) }
    }

    /// The class, for comparing.
    pub(crate) fn kind(&self) -> *mut c::PyTypeObject {
        self.kind.get()
    }
}

/// An instance of the class that has the fields, or of one derived from it.
#[repr(transparent)]
pub(crate) struct Instance<F>(Object, PhantomData<F>);

// SAFETY: transparent over `Object`.
unsafe impl<F> Class for Instance<F> {}

impl<F: Fields> Deref for Instance<F> {
    type Target = F;

    #[inline]
    fn deref(&self) -> &F {
        // SAFETY: `equip` has checked that the class has exactly these slots here.
        unsafe { &*self.0.as_ptr().byte_add(F::layout().offset.get()).cast::<F>() }
    }
}

impl<F: Fields> Instance<F> {
    /// The object as an instance, if its class is the very one: a class derived from it may override anything.
    #[inline]
    pub(crate) fn exact(object: &Object) -> Option<&Self> {
        // SAFETY: an instance of the class.
        (object.kind() == F::layout().kind.get()).then(|| unsafe { super::cast(object.as_ptr()) })
    }

    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    /// A new instance with empty fields, without its `__init__`.
    pub(crate) fn make() -> Outcome {
        // SAFETY: attached; a ready type; a new reference or null with an exception.
        unsafe { Owned::from_new(c::PyType_GenericAlloc(F::layout().kind.get(), 0)) }
    }

    /// Remembers the class and gives it what is in Rust; the attributes `hidden` are taken from it.
    ///
    /// # Errors
    /// TypeError when the class does not have the slots, one behind the other.
    pub(crate) fn equip(
        class: &Object,
        hidden: &[&CStr],
        methods: impl IntoIterator<Item = c::PyMethodDef>,
        attributes: impl IntoIterator<Item = c::PyGetSetDef>,
    ) -> Outcome<()> {
        let mut first = 0;
        for (index, name) in F::NAMES.iter().enumerate() {
            let offset = slot_offset(class, name)?;
            if index == 0 {
                first = offset;
            } else if offset != first + index * size_of::<*mut c::PyObject>() {
                return Err(raised::raise(raised::type_error(), "the slots are not in order"));
            }
        }
        for name in hidden {
            // SAFETY: attached; a text that ends in a zero.
            call::check(unsafe {
                c::PyObject_SetAttrString(class.as_ptr(), name.as_ptr(), std::ptr::null_mut())
            })?;
        }
        let kind = class.as_ptr().cast::<c::PyTypeObject>();
        for method in methods {
            // SAFETY: a method for instances of the class.
            unsafe { method::add_method(kind, method)? };
        }
        for attribute in attributes {
            // SAFETY: an attribute of instances of the class.
            unsafe { method::add_attribute(kind, attribute)? };
        }
        let layout = F::layout();
        layout.offset.set(first);
        layout.kind.set(kind);
        // The class lives as long as the process.
        let _ = class.own().into_ptr();
        Ok(())
    }
}

/// Where a slot of a class lies in its instances.
pub(super) fn slot_offset(class: &Object, name: &CStr) -> Outcome<usize> {
    let descriptor = call::get_attribute(class, &*call::interned(name)?)?;
    // SAFETY: a type object that lives for ever.
    if !std::ptr::eq(descriptor.kind(), &raw mut c::PyMemberDescr_Type) {
        let message = format!("{} is no slot", name.to_string_lossy());
        return Err(raised::raise(raised::type_error(), &message));
    }
    // The cast is for 3.10, where PyO3's declaration has another structure's name here.
    // SAFETY: a member descriptor, as was just checked, and what it describes, which lives as long as the class.
    let offset = unsafe {
        let member = (*descriptor.as_ptr().cast::<c::PyMemberDescrObject>()).d_member;
        (*member.cast::<c::PyMemberDef>()).offset
    };
    Ok(offset as usize)
}

/// A number that changes whenever the class does; 0 says nothing.
pub(crate) fn version_of(class: &Object) -> u32 {
    let kind = class.as_ptr().cast::<c::PyTypeObject>();
    // Before 3.12 the number counts only with this flag.
    const VALID: std::os::raw::c_ulong = 1 << 19;
    // SAFETY: a ready type.
    unsafe {
        if cfg!(not(Py_3_12)) && c::PyType_GetFlags(kind) & VALID == 0 {
            return 0;
        }
        (*kind).tp_version_tag
    }
}

/// What `__new__` does for `class` beyond that of `hooked`, a class whose own is `object`'s but for ours.
///
/// `class` is what a program gave: for what is no class, or none that derives from `hooked`, `object`'s answers.
pub(crate) fn inherited_new(class: &Object, hooked: &Object, arguments: &Arguments<'_>) -> Outcome {
    if !class.derives_from(hooked) {
        // SAFETY: a type of the interpreter, which lives for ever.
        let object = unsafe { Object::from_ptr((&raw mut c::PyBaseObject_Type).cast()) };
        let new = call::get_attribute(object, &*call::interned(c"__new__")?)?;
        return call::call(&new, &arguments.positional().collect::<Vec<_>>());
    }
    let new = |kind: *mut c::PyTypeObject| {
        // SAFETY: a ready type.
        unsafe { (*kind).tp_new }
    };
    let address = |kind| new(kind).map(|function| function as usize);
    let kind = class.as_ptr().cast::<c::PyTypeObject>();
    let mut base = kind;
    while address(base) == address(hooked.as_ptr().cast()) {
        // SAFETY: a ready type, which derives from `object` in the end.
        base = unsafe { (*base).tp_base };
    }
    let takes_none = address(base) == address(&raw mut c::PyBaseObject_Type);
    let rest: Vec<&Object> = arguments.positional().skip(1).collect();
    let given = call::tuple(if takes_none { &[] } else { &rest })?;
    match new(base) {
        // SAFETY: the type's own function, for a type derived from it.
        Some(new) => unsafe { Owned::from_new(new(kind, given.as_ptr(), std::ptr::null_mut())) },
        None => Err(raised::raise(raised::type_error(), "cannot create instances")),
    }
}

/// Declares a struct of slots: `fields! { struct Name { field = c"attribute", ... } }`, in the order of the attributes.
macro_rules! fields {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        $visibility struct $name {
            $($(#[$field_doc])* $visibility $field: $crate::ffi::Slot,)*
        }

        // SAFETY: as the trait asks.
        unsafe impl $crate::ffi::layout::Fields for $name {
            const NAMES: &'static [&'static std::ffi::CStr] = &[$($text),*];

            fn layout() -> &'static $crate::ffi::layout::Layout {
                static LAYOUT: $crate::ffi::layout::Layout = $crate::ffi::layout::Layout::new();
                &LAYOUT
            }
        }
    };
}
pub(crate) use fields;
