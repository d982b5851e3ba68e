//! Making heap types, of slots, methods and attributes.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};

use pyo3::ffi;

use super::call;
use super::object::{Object, Outcome, Owned};

/// Collects what a type has; `build` makes it. Everything given lives as long as the process, as types do.
pub(crate) struct KindBuilder {
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    attributes: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
    flags: std::os::raw::c_ulong,
}

impl KindBuilder {
    pub(crate) fn new() -> Self {
        let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
        Self { slots: Vec::new(), methods: Vec::new(), attributes: Vec::new(), members: Vec::new(), flags }
    }

    /// Nobody may derive from the type, nor make an instance by calling it.
    pub(crate) fn final_type(mut self) -> Self {
        self.flags &= !ffi::Py_TPFLAGS_BASETYPE;
        self.uncallable()
    }

    /// Nobody may make an instance by calling the type.
    pub(crate) fn uncallable(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self
    }

    /// Instances have the list of their weak references at `offset`.
    pub(crate) fn weak_references(self, offset: usize) -> Self {
        self.place(c"__weaklistoffset__", offset)
    }

    /// Instances are called by the vectorcall function at `offset`, and as methods without being bound; they live for ever.
    pub(crate) fn function(mut self, offset: usize) -> Self {
        self.flags &= !ffi::Py_TPFLAGS_HAVE_GC;
        self.flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
        // CPython remembers where a method was found only if its type cannot change.
        self.flags |= ffi::Py_TPFLAGS_IMMUTABLETYPE;
        self.place(c"__vectorcalloffset__", offset)
    }

    fn place(mut self, name: &'static CStr, offset: usize) -> Self {
        self.members.push(ffi::PyMemberDef {
            name: name.as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: std::ptr::null(),
        });
        self
    }

    /// Adds a slot; `function` must be of the type that the slot asks for.
    pub(crate) fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
        self
    }

    pub(crate) fn methods(mut self, methods: impl IntoIterator<Item = ffi::PyMethodDef>) -> Self {
        self.methods.extend(methods);
        self
    }

    pub(crate) fn attributes(mut self, attributes: impl IntoIterator<Item = ffi::PyGetSetDef>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Makes the type; `name` with its module, `size` that of the whole instance.
    ///
    /// # Safety
    /// Slots, methods and attributes agree with `size` and with the layout of `base`.
    pub(crate) unsafe fn build(self, name: &'static CStr, size: usize, base: Option<&Object>) -> Outcome {
        let bases = base.map(|base| call::tuple(&[base])).transpose()?;
        // SAFETY: the caller's promise.
        unsafe { self.build_over(name, size, bases) }
    }

    /// `build` with two bases, both derived from the same: `second` is a type of ours.
    ///
    /// # Safety
    /// As `build`; and the data that `second` adds lies in the new type's instances where it lies in its own.
    pub(crate) unsafe fn build_with(
        self,
        name: &'static CStr,
        size: usize,
        first: &Object,
        second: &Object,
    ) -> Outcome {
        let bases = call::tuple(&[first, second])?;
        let kind = second.as_ptr().cast::<ffi::PyTypeObject>();
        // Python refuses two bases of which each adds data, since it knows no way to place both. The place is common
        // here: for as long as the type is made, the second base says that it adds none.
        // SAFETY: a ready type, of which nobody makes an instance meanwhile; then the caller's promise.
        unsafe {
            let own = (*kind).tp_basicsize;
            (*kind).tp_basicsize = (*(*kind).tp_base).tp_basicsize;
            let made = self.build_over(name, size, Some(bases));
            (*kind).tp_basicsize = own;
            made
        }
    }

    unsafe fn build_over(mut self, name: &'static CStr, size: usize, bases: Option<Owned>) -> Outcome {
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.attributes.push(ffi::PyGetSetDef::default());
        if !self.members.is_empty() {
            self.members.push(ffi::PyMemberDef {
                name: std::ptr::null(),
                type_code: 0,
                offset: 0,
                flags: 0,
                doc: std::ptr::null(),
            });
            let members = Box::leak(self.members.into_boxed_slice()).as_mut_ptr();
            self.slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: members.cast() });
        }
        let methods = Box::leak(self.methods.into_boxed_slice()).as_mut_ptr();
        let attributes = Box::leak(self.attributes.into_boxed_slice()).as_mut_ptr();
        self.slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.cast() });
        self.slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: attributes.cast() });
        self.slots.push(ffi::PyType_Slot { slot: 0, pfunc: std::ptr::null_mut() });
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size as c_int,
            itemsize: 0,
            flags: self.flags as u32,
            slots: self.slots.as_mut_ptr(),
        };
        let bases = bases.map_or(std::ptr::null_mut(), Owned::into_ptr);
        // SAFETY: the caller's promise; the interpreter copies the spec and keeps the tables, which are leaked.
        unsafe { Owned::from_new(ffi::PyType_FromSpecWithBases(&mut spec, bases)) }
    }
}
