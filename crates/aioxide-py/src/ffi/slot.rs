//! Methods and attributes in Rust for classes that are written in Python.
//!
//! A transport must derive from `asyncio.Transport`, a Python class with a slot, which no class of PyO3's can. So the class
//! is a Python one with a slot that holds the Rust half (its *core*), and its methods are CPython's own method descriptors
//! around functions of this crate. CPython checks that `self` is of the class before it calls one; the core is found at
//! the slot's offset. The slot's own descriptor is taken out of the class, so nothing but `attach` ever fills it.

use std::ffi::{CStr, CString, c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicIsize, Ordering};

use pyo3::PyClass;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::layout::slot_offset;
use super::object::{Object, Raised};
use super::{arguments, method, raised, recursion};

/// Where the instances of a class written in Python keep their core.
pub(crate) struct Place {
    class: PyOnceLock<Py<PyType>>,
    offset: AtomicIsize,
}

impl Place {
    pub(crate) const fn new() -> Self {
        Self { class: PyOnceLock::new(), offset: AtomicIsize::new(0) }
    }

    /// A new instance without its `__init__`, with `core` in it.
    pub(crate) fn attach<'py>(
        &self,
        py: Python<'py>,
        core: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class =
            self.class.get(py).ok_or_else(|| PyRuntimeError::new_err("import aioxide first"))?.bind(py);
        // SAFETY: attached; a heap type that is ready; a new reference or NULL with an exception.
        let instance =
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class.as_type_ptr(), 0))? };
        // SAFETY: the slot of a new instance is empty; it takes the reference over.
        unsafe { self.slot(instance.as_ptr()).write(core.into_ptr()) };
        Ok(instance)
    }

    /// Puts `core` into an instance that has none.
    pub(crate) fn fill(&self, instance: &Bound<'_, PyAny>, core: Bound<'_, PyAny>) -> PyResult<()> {
        let py = instance.py();
        let class =
            self.class.get(py).ok_or_else(|| PyRuntimeError::new_err("import aioxide first"))?.bind(py);
        if !instance.is_instance(class)? {
            return Err(PyTypeError::new_err("not an instance of the class"));
        }
        // SAFETY: an instance of the class has the slot.
        let slot = unsafe { self.slot(instance.as_ptr()) };
        // SAFETY: as above.
        if unsafe { !slot.read().is_null() } {
            return Err(PyRuntimeError::new_err("the transport is made already"));
        }
        // SAFETY: an empty slot; it takes the reference over.
        unsafe { slot.write(core.into_ptr()) };
        Ok(())
    }

    /// The core of an instance of the class, which the caller knows it to be.
    pub(crate) fn core<'a, 'py, C: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync>(
        &self,
        instance: &'a Bound<'py, PyAny>,
    ) -> PyResult<&'a C> {
        // SAFETY: the caller's instance has the slot.
        let core = unsafe { self.slot(instance.as_ptr()).read() };
        if core.is_null() {
            return Err(PyRuntimeError::new_err("a transport is made by its event loop only"));
        }
        // SAFETY: only `attach` fills the slot, with a core of this type, and it stays for the instance's life.
        let core = unsafe { &*(&raw const core).cast::<Py<C>>() };
        // SAFETY: as above: the reference lives as long as the instance.
        Ok(unsafe { &*std::ptr::from_ref::<C>(core.get()) })
    }

    /// The core of an object, if the object is of this very class and was made by `attach`.
    #[inline]
    pub(crate) fn core_of_exact<'a, C: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync>(
        &self,
        object: &'a Object,
    ) -> Option<&'a C> {
        let class = self.class.get(super::python(object))?;
        if !std::ptr::eq(object.kind(), class.as_ptr().cast()) {
            return None;
        }
        // SAFETY: an instance of the class has the slot; only `attach` fills it, with a core of this type.
        let core = unsafe { (*self.slot(object.as_ptr()).cast::<Option<Py<C>>>()).as_ref()? };
        // SAFETY: the core stays for the instance's life.
        Some(unsafe { &*std::ptr::from_ref::<C>(core.get()) })
    }

    /// # Safety
    /// `instance` is of the class.
    unsafe fn slot(&self, instance: *mut ffi::PyObject) -> *mut *mut ffi::PyObject {
        // SAFETY: the offset is that of a slot of the class.
        unsafe { instance.cast::<u8>().offset(self.offset.load(Ordering::Relaxed)).cast() }
    }

    /// Remembers `class`, whose slot `slot` will hold cores, and gives it its methods and attributes.
    pub(crate) fn equip(
        &'static self,
        class: &Bound<'_, PyType>,
        slot: &str,
        methods: &'static [Method],
        attributes: &'static [Attribute],
    ) -> PyResult<()> {
        let py = class.py();
        let offset = CString::new(slot)?;
        let offset =
            slot_offset(Object::of(class), &offset).map_err(|raised| raised::to_pyerr(py, raised))?;
        self.offset.store(offset as isize, Ordering::Relaxed);
        class.delattr(slot)?;
        equip(class, methods, attributes)?;
        self.class.set(py, class.clone().unbind()).map_err(|_| PyRuntimeError::new_err("equipped already"))
    }
}

/// Gives `class` methods and attributes.
pub(crate) fn equip(
    class: &Bound<'_, PyType>,
    methods: &'static [Method],
    attributes: &'static [Attribute],
) -> PyResult<()> {
    let kind = class.as_type_ptr();
    let failed = |raised| raised::to_pyerr(class.py(), raised);
    for method in methods {
        let definition = ffi::PyMethodDef {
            ml_name: method.name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method.call },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: method.text()?.into_raw(),
        };
        // SAFETY: a method of instances of the class.
        unsafe { method::add_method(kind, definition) }.map_err(failed)?;
    }
    for attribute in attributes {
        let definition = ffi::PyGetSetDef {
            name: attribute.name.as_ptr(),
            get: Some(attribute.get),
            set: attribute.set,
            doc: std::ptr::null(),
            closure: std::ptr::null_mut(),
        };
        // SAFETY: an attribute of instances of the class.
        unsafe { method::add_attribute(kind, definition) }.map_err(failed)?;
    }
    Ok(())
}

/// A method; made by `slot_method!`.
pub(crate) struct Method {
    pub(crate) name: &'static CStr,
    pub(crate) doc: &'static str,
    pub(crate) signature: Signature,
    pub(crate) call: ffi::PyCFunctionFastWithKeywords,
}

impl Method {
    /// The documentation, preceded by the signature as `inspect` reads it; kept for ever.
    fn text(&self) -> PyResult<CString> {
        let Signature { name, parameters, required } = self.signature;
        let mut text = format!("{name}($self");
        for (index, parameter) in parameters.iter().enumerate() {
            text.push_str(", ");
            text.push_str(parameter);
            text.push_str(if index < required { "" } else { "=None" });
        }
        text.push_str(")\n--\n\n");
        text.push_str(self.doc);
        Ok(CString::new(text)?)
    }
}

/// An attribute; made by `slot_attribute!`.
pub(crate) struct Attribute {
    pub(crate) name: &'static CStr,
    pub(crate) get: ffi::getter,
    pub(crate) set: Option<ffi::setter>,
}

/// A method's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [&'static str],
    pub(crate) required: usize,
}

/// Most parameters that a method has.
pub(crate) const MAX_PARAMETERS: usize = 4;

/// The arguments at their parameters' places.
pub(crate) type Arguments<'a, 'py> = [Option<Borrowed<'a, 'py, PyAny>>; MAX_PARAMETERS];

/// Runs `body` attached, and turns errors and panics into a raised exception.
fn guarded<T>(failed: T, body: impl FnOnce(Python<'_>) -> PyResult<T>) -> T {
    super::outlive_interpreter();
    if let Err(Raised) = recursion::check_stack() {
        return failed;
    }
    let call = |py: Python<'_>| {
        let error = match std::panic::catch_unwind(AssertUnwindSafe(|| body(py))) {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => error,
            Err(_panic) => PyRuntimeError::new_err("aioxide: internal error (a panic, see standard error)"),
        };
        error.restore(py);
        failed
    };
    // SAFETY: it may be called at any time.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        // The interpreter is on its way out and finalizes what is left: PyO3 would refuse to attach, but CPython has called
        // this function, so the thread is attached.
        // SAFETY: as said.
        return call(unsafe { Python::assume_attached() });
    }
    // Attaching where the thread is attached already costs a counter, by which `Py`'s destructor knows that it may act.
    // SAFETY: the interpreter is initialized.
    unsafe { Python::attach_unchecked(call) }
}

/// What the function behind a method descriptor does.
///
/// # Safety
/// To be called by CPython through a descriptor only, with the arguments of METH_FASTCALL | METH_KEYWORDS.
pub(crate) unsafe fn call_method<'a>(
    instance: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    signature: &Signature,
    body: impl for<'py> FnOnce(&Bound<'py, PyAny>, Arguments<'a, 'py>) -> PyResult<Py<PyAny>>,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), |py| {
        // SAFETY: the caller's promise: `instance` is alive during the call.
        let instance = unsafe { Bound::from_borrowed_ptr(py, instance) };
        // SAFETY: the caller's promise.
        let given = unsafe { arguments::Arguments::new(arguments, count, names) };
        let Signature { name, parameters, required } = signature;
        let placed =
            given.place(name, parameters, *required).map_err(|raised| raised::to_pyerr(py, raised))?;
        body(&instance, placed.map(|value| value.map(|value| value.bind(py)))).map(Py::into_ptr)
    })
}

/// The core and the arguments of a call with nothing but positional arguments.
///
/// # Safety
/// As [`call_method`], through a descriptor of the class that `place` was equipped with.
#[inline]
pub(crate) unsafe fn positional<'a, C>(
    place: &Place,
    instance: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> Option<(&'a Object, &'a C, &'a [&'a Object])>
where
    C: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
{
    if count < 1 || !names.is_null() {
        return None;
    }
    // SAFETY: the instance has the slot; only `attach` fills it, with a core of this type, which lives as long as the instance.
    let core = unsafe { place.slot(instance).cast::<Option<Py<C>>>().as_ref()? }.as_ref()?;
    // SAFETY: the vectorcall protocol: `count` references that live during the call, none of them NULL.
    let arguments = unsafe { std::slice::from_raw_parts(arguments.cast::<&Object>(), count as usize) };
    // SAFETY: the instance lives during the call.
    let this = unsafe { Object::from_ptr(instance) };
    // SAFETY: the core lives as long as the instance.
    Some((this, unsafe { &*std::ptr::from_ref::<C>(core.get()) }, arguments))
}

/// What the function behind an attribute's getter does.
///
/// # Safety
/// To be called by CPython through a descriptor only.
pub(crate) unsafe fn get_attribute(
    instance: *mut ffi::PyObject,
    body: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Py<PyAny>>,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), |py| {
        // SAFETY: the caller's promise: `instance` is alive during the call.
        let instance = unsafe { Bound::from_borrowed_ptr(py, instance) };
        body(&instance).map(Py::into_ptr)
    })
}

/// What the function behind an attribute's setter does.
///
/// # Safety
/// To be called by CPython through a descriptor only.
pub(crate) unsafe fn set_attribute(
    instance: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _closure: *mut c_void,
    body: impl for<'py> FnOnce(&Bound<'py, PyAny>, Bound<'py, PyAny>) -> PyResult<()>,
) -> c_int {
    guarded(-1, |py| {
        if value.is_null() {
            return Err(pyo3::exceptions::PyAttributeError::new_err("it cannot be deleted"));
        }
        // SAFETY: the caller's promise: both are alive during the call.
        let (instance, value) =
            unsafe { (Bound::from_borrowed_ptr(py, instance), Bound::from_borrowed_ptr(py, value)) };
        body(&instance, value).map(|()| 0)
    })
}

/// `slot_method!("name", [parameters], required, "doc", body)`: a method whose body takes `(&Bound<instance>, Arguments)`.
macro_rules! slot_method {
    ($name:literal, [$($parameter:literal),*], $required:literal, $doc:literal, $body:expr) => {{
        const SIGNATURE: $crate::ffi::slot::Signature = $crate::ffi::slot::Signature {
            name: $name,
            parameters: &[$($parameter),*],
            required: $required,
        };
        unsafe extern "C" fn call(
            instance: *mut pyo3::ffi::PyObject,
            arguments: *const *mut pyo3::ffi::PyObject,
            count: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: this function is reached through its method descriptor only.
            unsafe { $crate::ffi::slot::call_method(instance, arguments, count, names, &SIGNATURE, $body) }
        }
        $crate::ffi::slot::Method {
            // SAFETY: the literal ends with its only NUL.
            name: unsafe { std::ffi::CStr::from_bytes_with_nul_unchecked(concat!($name, "\0").as_bytes()) },
            doc: $doc,
            signature: SIGNATURE,
            call,
        }
    }};
}

/// `fast_method!(PLACE, Core, fast, slot_method!(...))`: the method, preceded by a function that may do the plain case at once.
///
/// `fast(&Object, &Core, &[&Object]) -> Option<Owned>` is called where there are positional arguments and no others; it must not panic, drops
/// no reference of PyO3's, and returns `None` for what the method itself is to do.
macro_rules! fast_method {
    ($place:expr, $core:ty, $fast:path, $method:expr) => {{
        static GENERAL: $crate::ffi::slot::Method = $method;
        unsafe extern "C" fn call(
            instance: *mut pyo3::ffi::PyObject,
            arguments: *const *mut pyo3::ffi::PyObject,
            count: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            use $crate::ffi::slot::positional;
            let place = &$place;
            // SAFETY: this function is reached through its method descriptor only.
            let plain = unsafe { positional::<$core>(place, instance, arguments, count, names) };
            if let Some((this, core, arguments)) = plain
                && let Some(answer) = $fast(this, core, arguments)
            {
                return answer.into_ptr();
            }
            // SAFETY: as above.
            unsafe { (GENERAL.call)(instance, arguments, count, names) }
        }
        $crate::ffi::slot::Method { call, ..GENERAL }
    }};
}

/// `slot_attribute!("name", get)` or `slot_attribute!("name", get, set)`.
macro_rules! slot_attribute {
    ($name:literal, $get:expr) => {
        $crate::ffi::slot_attribute!(@ $name, $get, None)
    };
    ($name:literal, $get:expr, $set:expr) => {{
        unsafe extern "C" fn set(
            instance: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            closure: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            // SAFETY: this function is reached through its descriptor only.
            unsafe { $crate::ffi::slot::set_attribute(instance, value, closure, $set) }
        }
        $crate::ffi::slot_attribute!(@ $name, $get, Some(set))
    }};
    (@ $name:literal, $get:expr, $set:expr) => {{
        unsafe extern "C" fn get(
            instance: *mut pyo3::ffi::PyObject,
            _closure: *mut std::ffi::c_void,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: this function is reached through its descriptor only.
            unsafe { $crate::ffi::slot::get_attribute(instance, $get) }
        }
        $crate::ffi::slot::Attribute {
            // SAFETY: the literal ends with its only NUL.
            name: unsafe { std::ffi::CStr::from_bytes_with_nul_unchecked(concat!($name, "\0").as_bytes()) },
            get,
            set: $set,
        }
    }};
}

pub(crate) use {fast_method, slot_attribute, slot_method};
