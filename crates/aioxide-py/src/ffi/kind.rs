//! Making heap types: methods, attributes and slots from Rust functions.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::object::{Object, Outcome, Owned, Raised};
use super::{call, raised};

/// Collects what a type has; `build` makes it. Everything given lives as long as the process, as types do.
pub(crate) struct KindBuilder {
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    attributes: Vec<ffi::PyGetSetDef>,
    flags: std::os::raw::c_ulong,
}

impl KindBuilder {
    pub(crate) fn new() -> Self {
        let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
        Self { slots: Vec::new(), methods: Vec::new(), attributes: Vec::new(), flags }
    }

    /// Nobody may derive from the type, nor make an instance by calling it.
    pub(crate) fn final_type(mut self) -> Self {
        self.flags &= !ffi::Py_TPFLAGS_BASETYPE;
        self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
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

/// Runs what a C function stands for: a panic becomes an exception, for it must not pass through C.
#[inline]
pub(crate) fn guard<T>(failure: T, body: impl FnOnce() -> Outcome<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => result,
        Ok(Err(Raised)) => failure,
        Err(payload) => {
            let Raised = raised::panicked(&*payload);
            failure
        }
    }
}

/// `guard` for functions that return an object.
#[inline]
pub(crate) fn guard_object(body: impl FnOnce() -> Outcome) -> *mut ffi::PyObject {
    guard(std::ptr::null_mut(), || body().map(Owned::into_ptr))
}

/// The arguments of a fast call: positional ones, then those with names.
pub(crate) struct Arguments<'a> {
    values: &'a [*mut ffi::PyObject],
    names: Option<&'a Object>,
    positional: usize,
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// As the interpreter passes them to a function of the kind METH_FASTCALL | METH_KEYWORDS.
    #[inline]
    pub(crate) unsafe fn new(
        values: *const *mut ffi::PyObject,
        positional: isize,
        names: *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: null, or a tuple that lives during the call.
        let names = (!names.is_null()).then(|| unsafe { Object::from_ptr(names) });
        // SAFETY: a tuple.
        let named = names.map_or(0, |names| unsafe { ffi::PyTuple_GET_SIZE(names.as_ptr()) as usize });
        let count = positional as usize + named;
        // SAFETY: as many values as positional ones and names together.
        let values = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(values, count) } };
        Self { values, names, positional: positional as usize }
    }

    /// Calls `function(...)` with the same arguments.
    pub(crate) fn forward_all(&self, function: &Object) -> Outcome {
        let names = self.names.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: the arguments of the call that is under way.
        unsafe {
            let result =
                ffi::PyObject_Vectorcall(function.as_ptr(), self.values.as_ptr(), self.positional, names);
            Owned::from_new(result)
        }
    }

    /// Whether any argument is given by name.
    pub(crate) fn has_named(&self) -> bool {
        self.names.is_some()
    }

    /// The values of `parameters` where there is one argument without a name and, beside it, only these; else nothing.
    #[inline]
    pub(crate) fn one_and_named<const N: usize>(
        &self,
        parameters: [&Object; N],
    ) -> Option<[Option<&'a Object>; N]> {
        if self.positional != 1 {
            return None;
        }
        let mut found = [None; N];
        let Some(names) = self.names else { return Some(found) };
        for (index, value) in self.values[1..].iter().enumerate() {
            // SAFETY: within the tuple's length.
            let name = unsafe { Object::from_ptr(ffi::PyTuple_GET_ITEM(names.as_ptr(), index as isize)) };
            let place = parameters.iter().position(|parameter| parameter.is(name))?;
            // SAFETY: the caller of the function keeps its arguments alive during the call.
            found[place] = Some(unsafe { Object::from_ptr(*value) });
        }
        Some(found)
    }

    /// The value of the only argument that may be given by name.
    pub(crate) fn only_named(&self, function: &str, name: &Object) -> Outcome<Option<&'a Object>> {
        let named = Self { values: &self.values[self.positional..], names: self.names, positional: 0 };
        named.parse(function, &[name], 0).map(|[value]| value)
    }

    /// Calls `function(first, ...)` with all the arguments.
    pub(crate) fn forward(&self, function: &Object, first: &Object) -> Outcome {
        let mut values = vec![std::ptr::null_mut(), first.as_ptr()];
        values.extend(self.values);
        let names = self.names.map_or(std::ptr::null_mut(), Object::as_ptr);
        let flagged = (self.positional + 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: live arguments with a spare place in front, the last ones named.
        unsafe {
            Owned::from_new(ffi::PyObject_Vectorcall(
                function.as_ptr(),
                values.as_ptr().add(1),
                flagged,
                names,
            ))
        }
    }

    /// The arguments given without a name.
    pub(crate) fn positional(&self) -> impl ExactSizeIterator<Item = &'a Object> + 'a {
        let values = &self.values[..self.positional];
        // SAFETY: the caller of the function keeps its arguments alive during the call.
        values.iter().map(|value| unsafe { Object::from_ptr(*value) })
    }

    /// The argument at a place or of a name; those that are not asked for are no error.
    pub(crate) fn find(&self, place: usize, name: &Object) -> Outcome<Option<&'a Object>> {
        if let Some(found) = self.positional().nth(place) {
            return Ok(Some(found));
        }
        let Some(names) = self.names else { return Ok(None) };
        for (index, value) in self.values[self.positional..].iter().enumerate() {
            // SAFETY: within the tuple's length.
            let given = unsafe { Object::from_ptr(ffi::PyTuple_GET_ITEM(names.as_ptr(), index as isize)) };
            if given.is(name) || call::equal(given, name)? {
                // SAFETY: the caller of the function keeps its arguments alive during the call.
                return Ok(Some(unsafe { Object::from_ptr(*value) }));
            }
        }
        Ok(None)
    }

    /// The argument of a call with nothing but one, given without a name.
    #[inline]
    pub(crate) fn single(&self) -> Option<&'a Object> {
        match (self.values, self.names) {
            // SAFETY: the caller of the function keeps its arguments alive during the call.
            ([value], None) => Some(unsafe { Object::from_ptr(*value) }),
            _ => None,
        }
    }

    /// Sorts the arguments by `parameters`, of which the first `positional` may be given without a name.
    ///
    /// # Errors
    /// TypeError for too many, unknown or doubled ones. Which may be missing is for the caller to say.
    #[inline]
    pub(crate) fn parse<const N: usize>(
        &self,
        function: &str,
        parameters: &[&Object; N],
        positional: usize,
    ) -> Outcome<[Option<&'a Object>; N]> {
        let mut found = [None; N];
        if self.positional > positional {
            let message = format!(
                "{function}() takes at most {positional} positional arguments ({} given)",
                self.positional
            );
            return Err(raised::raise(raised::type_error(), &message));
        }
        for (place, value) in found.iter_mut().zip(&self.values[..self.positional]) {
            // SAFETY: the caller of the function keeps its arguments alive during the call.
            *place = Some(unsafe { Object::from_ptr(*value) });
        }
        let Some(names) = self.names else { return Ok(found) };
        for (index, value) in self.values[self.positional..].iter().enumerate() {
            // SAFETY: within the tuple's length.
            let name = unsafe { Object::from_ptr(ffi::PyTuple_GET_ITEM(names.as_ptr(), index as isize)) };
            let place = match parameters.iter().position(|parameter| parameter.is(name)) {
                Some(place) => place,
                None => self.find_by_text(function, parameters, name)?,
            };
            if found[place].is_some() {
                let message = format!("{function}() got multiple values for an argument");
                return Err(raised::raise(raised::type_error(), &message));
            }
            // SAFETY: as above.
            found[place] = Some(unsafe { Object::from_ptr(*value) });
        }
        Ok(found)
    }

    /// Names are nearly always interned, and then found by their address.
    #[cold]
    fn find_by_text<const N: usize>(
        &self,
        function: &str,
        parameters: &[&Object; N],
        name: &Object,
    ) -> Outcome<usize> {
        for (index, parameter) in parameters.iter().enumerate() {
            if call::equal(parameter, name)? {
                return Ok(index);
            }
        }
        let shown = show(name);
        let message = format!("{function}() got an unexpected keyword argument {shown}");
        Err(raised::raise(raised::type_error(), &message))
    }
}

/// The arguments of an `__init__`, as [`Arguments::parse`] sorts them.
///
/// # Safety
/// A tuple, and a dict or null, that live as long as what is found is used.
pub(crate) unsafe fn parse_init<'a, const N: usize>(
    function: &str,
    arguments: *mut ffi::PyObject,
    named: *mut ffi::PyObject,
    parameters: &[&Object; N],
    positional: usize,
) -> Outcome<[Option<&'a Object>; N]> {
    // SAFETY: a tuple.
    let given = unsafe { ffi::PyTuple_GET_SIZE(arguments) } as usize;
    if given > positional {
        let message = format!("{function}() takes at most {positional} positional arguments ({given} given)");
        return Err(raised::raise(raised::type_error(), &message));
    }
    let mut found = [None; N];
    for (index, place) in found.iter_mut().take(given).enumerate() {
        // SAFETY: within the tuple's length.
        *place = Some(unsafe { Object::from_ptr(ffi::PyTuple_GET_ITEM(arguments, index as isize)) });
    }
    if named.is_null() {
        return Ok(found);
    }
    let (mut position, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a dict that nobody changes meanwhile.
    while unsafe { ffi::PyDict_Next(named, &mut position, &mut key, &mut value) } != 0 {
        // SAFETY: both are in the dict.
        let (key, value) = unsafe { (Object::from_ptr(key), Object::from_ptr(value)) };
        let mut place = None;
        for (index, parameter) in parameters.iter().enumerate() {
            if call::equal(parameter, key)? {
                place = Some(index);
            }
        }
        match place {
            Some(place) if found[place].is_none() => found[place] = Some(value),
            Some(_) => {
                let message = format!("{function}() got multiple values for argument {}", show(key));
                return Err(raised::raise(raised::type_error(), &message));
            }
            None => {
                let message = format!("{function}() got an unexpected keyword argument {}", show(key));
                return Err(raised::raise(raised::type_error(), &message));
            }
        }
    }
    Ok(found)
}

/// Adds a method to a class that PyO3 made.
///
/// # Safety
/// The method is one for instances of `kind`.
pub(crate) unsafe fn add_method(kind: *mut ffi::PyTypeObject, method: ffi::PyMethodDef) -> Outcome<()> {
    let method = Box::leak(Box::new(method));
    // SAFETY: a type and a definition that live for ever.
    unsafe {
        let descriptor = Owned::from_new(ffi::PyDescr_NewMethod(kind, method))?;
        call::check(ffi::PyObject_SetAttrString(kind.cast(), method.ml_name, descriptor.as_ptr()))
    }
}

/// `object.__setattr__`, and `object.__delattr__` without a value.
pub(crate) fn generic_set_attribute(
    this: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: attached; live objects, or null for `del`.
    let status = unsafe { ffi::PyObject_GenericSetAttr(this.as_ptr(), name.as_ptr(), value) };
    if status < 0 { Err(PyErr::fetch(this.py())) } else { Ok(()) }
}

/// The description of a function, which the interpreter refers to for ever.
pub(crate) struct Definition(pub(crate) ffi::PyMethodDef);

// SAFETY: it is only read.
unsafe impl Send for Definition {}
// SAFETY: as above.
unsafe impl Sync for Definition {}

impl Definition {
    /// The function, bound to an object.
    pub(crate) fn bind(&'static self, this: &Object) -> Outcome {
        bind_function(std::ptr::from_ref(&self.0).cast_mut(), this)
    }
}

/// A function bound to an object.
fn bind_function(definition: *mut ffi::PyMethodDef, this: &Object) -> Outcome {
    // SAFETY: attached; a definition that lives for ever, of a function for objects like this.
    unsafe { Owned::from_new(ffi::PyCFunction_New(definition, this.as_ptr())) }
}

/// `repr(object)` for messages; what cannot be shown is shown as its type.
pub(crate) fn show(object: &Object) -> String {
    match call::repr(object) {
        Ok(text) => to_string(&text),
        Err(raised) => {
            raised::clear(raised);
            type_name(object)
        }
    }
}

/// The text of a string object.
pub(crate) fn to_string(text: &Object) -> String {
    let mut length = 0;
    // SAFETY: attached; null with an exception when it is not a string or has lone surrogates.
    let start = unsafe { ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut length) };
    if start.is_null() {
        raised::clear(Raised);
        return String::from("?");
    }
    // SAFETY: UTF-8 of that length, kept by the string object.
    let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length as usize) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// `type(object).__name__`.
pub(crate) fn type_name(object: &Object) -> String {
    // SAFETY: a type is alive while its instance is.
    let kind = unsafe { Object::from_ptr(object.kind().cast()) };
    match call::get_attribute(kind, &super::names().name_dunder) {
        Ok(name) => to_string(&name),
        Err(raised) => {
            raised::clear(raised);
            String::from("object")
        }
    }
}

/// A method without arguments: `fn(&Object) -> Outcome`.
macro_rules! method_none {
    ($name:literal, $function:expr, $doc:literal) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            _: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter passes a live object of the type that the method belongs to.
            $crate::ffi::kind::guard_object(|| $function(unsafe { $crate::ffi::cast(this) }))
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: raw },
            ml_flags: pyo3::ffi::METH_NOARGS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with one argument: `fn(&Object, &Object) -> Outcome`.
macro_rules! method_one {
    ($name:literal, $function:expr, $doc:literal) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            argument: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter passes live objects, the first of the type that the method belongs to.
            $crate::ffi::kind::guard_object(|| unsafe {
                $function($crate::ffi::cast(this), $crate::ffi::cast(argument))
            })
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: raw },
            ml_flags: pyo3::ffi::METH_O,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with any arguments: `fn(&Object, &Arguments) -> Outcome`.
macro_rules! method_fast {
    ($name:literal, $function:expr, $doc:literal) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            values: *const *mut pyo3::ffi::PyObject,
            positional: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            $crate::ffi::kind::guard_object(|| {
                // SAFETY: what the interpreter passes to a function of this kind.
                let arguments = unsafe { $crate::ffi::kind::Arguments::new(values, positional, names) };
                // SAFETY: the object that the method belongs to.
                $function(unsafe { $crate::ffi::cast(this) }, &arguments)
            })
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: raw },
            ml_flags: pyo3::ffi::METH_FASTCALL | pyo3::ffi::METH_KEYWORDS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// An attribute: `fn(&Object) -> Outcome`, and for writing `fn(&Object, Option<&Object>) -> Outcome<()>`.
macro_rules! attribute {
    ($name:literal, $get:expr) => {
        $crate::ffi::kind::attribute!(@ $name, $get, None)
    };
    ($name:literal, $get:expr, $set:expr) => {{
        unsafe extern "C" fn raw_set(
            this: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            _: *mut std::os::raw::c_void,
        ) -> std::os::raw::c_int {
            $crate::ffi::kind::guard(-1, || {
                // SAFETY: a live value, or null for `del`.
                let value = (!value.is_null()).then(|| unsafe { $crate::ffi::cast(value) });
                // SAFETY: the object that the attribute belongs to.
                $set(unsafe { $crate::ffi::cast(this) }, value).map(|()| 0)
            })
        }
        $crate::ffi::kind::attribute!(@ $name, $get, Some(raw_set))
    }};
    (@ $name:literal, $get:expr, $set:expr) => {{
        unsafe extern "C" fn raw_get(
            this: *mut pyo3::ffi::PyObject,
            _: *mut std::os::raw::c_void,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the object that the attribute belongs to.
            $crate::ffi::kind::guard_object(|| $get(unsafe { $crate::ffi::cast(this) }))
        }
        pyo3::ffi::PyGetSetDef {
            name: $name.as_ptr(),
            get: Some(raw_get),
            set: $set,
            doc: std::ptr::null(),
            closure: std::ptr::null_mut(),
        }
    }};
}

pub(crate) use {attribute, method_fast, method_none, method_one};
