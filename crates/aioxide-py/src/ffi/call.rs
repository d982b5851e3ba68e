//! Calls of Python callables, attributes and small values.

use std::cell::RefCell;
use std::ffi::CStr;

use pyo3::ffi;

use super::confined::Confined;
use super::object::{Object, Outcome, Owned, Raised};

/// `callable(*arguments)`, at most four.
#[inline]
pub(crate) fn call(callable: &Object, arguments: &[&Object]) -> Outcome {
    call_with_names(callable, arguments, None)
}

/// `callable(*positional, **named)`: `names` is a tuple of the names of the last arguments.
pub(crate) fn call_with_names(callable: &Object, arguments: &[&Object], names: Option<&Object>) -> Outcome {
    let count = arguments.len() - names.map_or(0, tuple_length);
    let mut room = [std::ptr::null_mut(); 8];
    for (place, argument) in room[1..].iter_mut().zip(arguments) {
        *place = argument.as_ptr();
    }
    debug_assert!(arguments.len() < room.len());
    let names = names.map_or(std::ptr::null_mut(), Object::as_ptr);
    let flagged = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: attached; live arguments with a spare place in front; a new reference or null with an exception.
    unsafe {
        Owned::from_new(ffi::PyObject_Vectorcall(callable.as_ptr(), room.as_ptr().add(1), flagged, names))
    }
}

/// `arguments[0].name(*arguments[1:])`, the last ones by name.
pub(crate) fn call_method(name: &Object, arguments: &[&Object], names: Option<&Object>) -> Outcome {
    let count = arguments.len() - names.map_or(0, tuple_length);
    let mut room = [std::ptr::null_mut(); 8];
    for (place, argument) in room[1..].iter_mut().zip(arguments) {
        *place = argument.as_ptr();
    }
    debug_assert!(arguments.len() < room.len());
    let names = names.map_or(std::ptr::null_mut(), Object::as_ptr);
    let flagged = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: as above; the first argument is the object whose method is called.
    unsafe {
        Owned::from_new(ffi::PyObject_VectorcallMethod(name.as_ptr(), room.as_ptr().add(1), flagged, names))
    }
}

/// `callable(*positional, **keywords)`: a tuple and a dict.
pub(crate) fn call_with(callable: &Object, positional: &Object, keywords: &Object) -> Outcome {
    super::outlive_interpreter();
    // SAFETY: attached; a tuple and a dict, as the callers promise by the names of the parameters.
    unsafe { Owned::from_new(ffi::PyObject_Call(callable.as_ptr(), positional.as_ptr(), keywords.as_ptr())) }
}

fn tuple_length(tuple: &Object) -> usize {
    // SAFETY: a tuple, as the callers promise by the name of the parameter.
    unsafe { ffi::PyTuple_GET_SIZE(tuple.as_ptr()) as usize }
}

/// `object.name`.
#[inline]
pub(crate) fn get_attribute(object: &Object, name: &Object) -> Outcome {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe { Owned::from_new(ffi::PyObject_GetAttr(object.as_ptr(), name.as_ptr())) }
}

/// `descriptor.__get__(object)`: a field of an object as the class that has the descriptor shows it.
pub(crate) fn described(descriptor: &Object, object: &Object) -> Outcome {
    // SAFETY: attached; a live object's class.
    let get = unsafe { (*descriptor.kind()).tp_descr_get };
    let Some(get) = get else { return Ok(descriptor.own()) };
    // SAFETY: the class's own function; it takes any object, and the object's class; a new reference or null with an exception.
    unsafe { Owned::from_new(get(descriptor.as_ptr(), object.as_ptr(), object.kind().cast())) }
}

/// `getattr(object, name, None)`, where a missing attribute is nothing.
pub(crate) fn find_attribute(object: &Object, name: &Object) -> Outcome<Option<Owned>> {
    match get_attribute(object, name) {
        Ok(found) => Ok(Some(found)),
        Err(raised) if super::raised::matches(super::raised::attribute_error()) => {
            super::raised::clear(raised);
            Ok(None)
        }
        Err(raised) => Err(raised),
    }
}

/// `object.name = value`.
pub(crate) fn set_attribute(object: &Object, name: &Object, value: &Object) -> Outcome<()> {
    // SAFETY: attached; -1 with an exception.
    check(unsafe { ffi::PyObject_SetAttr(object.as_ptr(), name.as_ptr(), value.as_ptr()) })
}

/// `bool(object)`.
pub(crate) fn truth(object: &Object) -> Outcome<bool> {
    // SAFETY: attached; -1 with an exception.
    match unsafe { ffi::PyObject_IsTrue(object.as_ptr()) } {
        -1 => Err(Raised),
        other => Ok(other != 0),
    }
}

/// `left == right`.
pub(crate) fn equal(left: &Object, right: &Object) -> Outcome<bool> {
    // SAFETY: attached; -1 with an exception.
    match unsafe { ffi::PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), ffi::Py_EQ) } {
        -1 => Err(Raised),
        other => Ok(other != 0),
    }
}

/// `left < right`.
pub(crate) fn less(left: &Object, right: &Object) -> Outcome<bool> {
    // SAFETY: attached; -1 with an exception.
    match unsafe { ffi::PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), ffi::Py_LT) } {
        -1 => Err(Raised),
        other => Ok(other != 0),
    }
}

/// `left - right`.
pub(crate) fn subtract(left: &Object, right: &Object) -> Outcome {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe { Owned::from_new(ffi::PyNumber_Subtract(left.as_ptr(), right.as_ptr())) }
}

/// The value of an int that fits; nothing for all else, which raises nothing.
#[inline]
pub(crate) fn small_integer(object: &Object) -> Option<i64> {
    // SAFETY: attached; a macro over a live object.
    if unsafe { ffi::PyLong_Check(object.as_ptr()) } == 0 {
        return None;
    }
    let mut overflow = 0;
    // SAFETY: an int; no exception for one that is too large.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(value)
}

/// `object.__repr__(object)` of the class `object`: the class's name and the address.
pub(crate) fn plain_repr(object: &Object) -> Outcome {
    // SAFETY: attached; the function of the class that all derive from takes every object.
    unsafe {
        match ffi::PyBaseObject_Type.tp_repr {
            Some(repr) => Owned::from_new(repr(object.as_ptr())),
            None => super::call::repr(object),
        }
    }
}

/// A comparison by one of `Py_LT` and so on.
pub(crate) fn compare(left: &Object, right: &Object, operator: std::os::raw::c_int) -> Outcome<bool> {
    super::outlive_interpreter();
    // SAFETY: attached; a new reference or null with an exception.
    let outcome =
        unsafe { Owned::from_new(ffi::PyObject_RichCompare(left.as_ptr(), right.as_ptr(), operator))? };
    truth(&outcome)
}

/// An interned string.
pub(crate) fn interned(text: &CStr) -> Outcome {
    // SAFETY: attached; ends in a zero.
    unsafe { Owned::from_new(ffi::PyUnicode_InternFromString(text.as_ptr())) }
}

/// A string.
pub(crate) fn text(text: &str) -> Outcome {
    // SAFETY: attached; pointer and length of one slice.
    unsafe { Owned::from_new(ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as isize)) }
}

/// An int.
pub(crate) fn integer(value: i64) -> Outcome {
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PyLong_FromLongLong(value)) }
}

/// A tuple of new references.
pub(crate) fn tuple(items: &[&Object]) -> Outcome {
    // SAFETY: attached.
    let made = unsafe { Owned::from_new(ffi::PyTuple_New(items.len() as isize))? };
    for (index, item) in items.iter().enumerate() {
        // SAFETY: a tuple just made, within its length; the reference is handed over.
        unsafe { ffi::PyTuple_SET_ITEM(made.as_ptr(), index as isize, item.own().into_ptr()) };
    }
    Ok(made)
}

/// A list of the items.
pub(crate) fn list(items: impl ExactSizeIterator<Item = Owned>) -> Outcome {
    // SAFETY: attached.
    let made = unsafe { Owned::from_new(ffi::PyList_New(items.len() as isize))? };
    for (index, item) in items.enumerate() {
        // SAFETY: a list just made, within its length; the reference is handed over.
        unsafe { ffi::PyList_SET_ITEM(made.as_ptr(), index as isize, item.into_ptr()) };
    }
    Ok(made)
}

/// `list(iterable)`.
pub(crate) fn list_of(iterable: &Object) -> Outcome {
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PySequence_List(iterable.as_ptr())) }
}

/// `list.pop()`; nothing from an empty list, or from what is no list.
pub(crate) fn pop_of_list(list: &Object) -> Outcome<Option<Owned>> {
    // SAFETY: attached; the macro looks at the type, and what follows is for lists; the reference is borrowed until it is
    // made one of our own, before the list lets go of its own.
    unsafe {
        if ffi::PyList_CheckExact(list.as_ptr()) == 0 {
            return Ok(None);
        }
        let length = ffi::PyList_GET_SIZE(list.as_ptr());
        if length == 0 {
            return Ok(None);
        }
        let item = Object::from_ptr(ffi::PyList_GET_ITEM(list.as_ptr(), length - 1)).own();
        check(ffi::PyList_SetSlice(list.as_ptr(), length - 1, length, std::ptr::null_mut()))?;
        Ok(Some(item))
    }
}

/// `str(object)`.
pub(crate) fn to_text(object: &Object) -> Outcome {
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PyObject_Str(object.as_ptr())) }
}

/// `repr(object)`.
pub(crate) fn repr(object: &Object) -> Outcome {
    super::outlive_interpreter();
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PyObject_Repr(object.as_ptr())) }
}

/// `import name`, the last module of a dotted one. Kept: later on the program may have put something in the way of imports, and
/// the interpreter imports nothing any more when it ends.
pub(crate) fn import(name: &'static CStr) -> Outcome {
    static KEPT: Confined<RefCell<Vec<(&CStr, Owned)>>> = Confined::new(RefCell::new(Vec::new()));
    let kept = KEPT.borrow().iter().find(|(known, _)| *known == name).map(|(_, module)| module.clone());
    if let Some(module) = kept {
        return Ok(module);
    }
    // SAFETY: attached; ends in a zero.
    let module = unsafe { Owned::from_new(ffi::PyImport_ImportModule(name.as_ptr())) }?;
    KEPT.borrow_mut().push((name, module.clone()));
    Ok(module)
}

/// Turns the 0 or -1 of a call into a result.
#[inline]
pub(crate) fn check(status: std::os::raw::c_int) -> Outcome<()> {
    if status < 0 { Err(Raised) } else { Ok(()) }
}

/// `{}`.
pub(crate) fn dict() -> Outcome {
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PyDict_New()) }
}

/// `dict.get(key)`.
#[inline]
pub(crate) fn find_item(dict: &Object, key: &Object) -> Outcome<Option<Owned>> {
    // SAFETY: attached; a dict; a borrowed reference, or null, with an exception or without.
    let found = unsafe { ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr()) };
    if found.is_null() {
        return if super::raised::occurred() { Err(Raised) } else { Ok(None) };
    }
    // SAFETY: the dict refers to it, and nothing has run since.
    Ok(Some(unsafe { Object::from_ptr(found) }.own()))
}

/// `dict[key] = value`.
pub(crate) fn set_item(dict: &Object, key: &Object, value: &Object) -> Outcome<()> {
    // SAFETY: attached; a dict.
    check(unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) })
}

/// `float(number)` of a number; TypeError for all else.
#[inline]
pub(crate) fn as_float(number: &Object) -> Outcome<f64> {
    // SAFETY: attached; -1 with an exception, or -1.
    let value = unsafe { ffi::PyFloat_AsDouble(number.as_ptr()) };
    if value == -1.0 && super::raised::occurred() { Err(Raised) } else { Ok(value) }
}

/// Whether it is a float and of no derived class.
#[inline]
pub(crate) fn is_float(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut ffi::PyFloat_Type)
}

/// Whether it is a list, a tuple, a set or a frozenset, and of no derived type.
pub(crate) fn is_plain_collection(object: &Object) -> bool {
    // SAFETY: attached; macros over a live object.
    unsafe {
        ffi::PyList_CheckExact(object.as_ptr()) != 0
            || ffi::PyTuple_CheckExact(object.as_ptr()) != 0
            || ffi::PyAnySet_CheckExact(object.as_ptr()) != 0
    }
}

/// `float`.
pub(crate) fn float(value: f64) -> Outcome {
    // SAFETY: attached.
    unsafe { Owned::from_new(ffi::PyFloat_FromDouble(value)) }
}

/// `left + right`.
pub(crate) fn add(left: &Object, right: &Object) -> Outcome {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe { Owned::from_new(ffi::PyNumber_Add(left.as_ptr(), right.as_ptr())) }
}

/// `set(iterable)`, or an empty one.
pub(crate) fn set(iterable: Option<&Object>) -> Outcome {
    let iterable = iterable.map_or(std::ptr::null_mut(), Object::as_ptr);
    // SAFETY: attached; an object or null.
    unsafe { Owned::from_new(ffi::PySet_New(iterable)) }
}

/// `set.add(item)`.
#[inline]
pub(crate) fn set_add(set: &Object, item: &Object) -> Outcome<()> {
    // SAFETY: attached; the call checks the type itself.
    check(unsafe { ffi::PySet_Add(set.as_ptr(), item.as_ptr()) })
}

/// `set.add(item)`; whether it was not there before.
pub(crate) fn set_grows(set: &Object, item: &Object) -> Outcome<bool> {
    let before = length(set)?;
    set_add(set, item)?;
    Ok(length(set)? > before)
}

/// `set.discard(item)`.
#[inline]
pub(crate) fn set_discard(set: &Object, item: &Object) -> Outcome<()> {
    // SAFETY: as above.
    check(unsafe { ffi::PySet_Discard(set.as_ptr(), item.as_ptr()) })
}

/// `len(object)`.
pub(crate) fn length(object: &Object) -> Outcome<usize> {
    // SAFETY: attached; -1 with an exception.
    usize::try_from(unsafe { ffi::PyObject_Size(object.as_ptr()) }).map_err(|_| Raised)
}

/// `int(object)` of an int.
pub(crate) fn to_integer(number: &Object) -> Outcome<i64> {
    // SAFETY: attached; -1 with an exception, or -1.
    let value = unsafe { ffi::PyLong_AsLongLong(number.as_ptr()) };
    if value == -1 && super::raised::occurred() { Err(Raised) } else { Ok(value) }
}

/// Whether `test` holds for any item of an iterable.
pub(crate) fn any_item(iterable: &Object, mut test: impl FnMut(&Object) -> Outcome<bool>) -> Outcome<bool> {
    // SAFETY: attached.
    let iterator = unsafe { Owned::from_new(ffi::PyObject_GetIter(iterable.as_ptr()))? };
    loop {
        // SAFETY: an iterator; null at its end, or with an exception.
        match unsafe { Owned::from_new(ffi::PyIter_Next(iterator.as_ptr())) } {
            Ok(item) if test(&item)? => return Ok(true),
            Ok(_) => {}
            Err(raised) if super::raised::occurred() => return Err(raised),
            Err(Raised) => return Ok(false),
        }
    }
}

/// `callable(object)`.
pub(crate) fn is_callable(object: &Object) -> bool {
    // SAFETY: attached.
    unsafe { ffi::PyCallable_Check(object.as_ptr()) != 0 }
}

/// `object.__setattr__(this, name, value)`: what a class has that does not say otherwise.
pub(crate) fn set_attribute_plainly(this: &Object, name: &Object, value: &Object) -> Outcome<()> {
    // SAFETY: attached; -1 with an exception.
    check(unsafe { ffi::PyObject_GenericSetAttr(this.as_ptr(), name.as_ptr(), value.as_ptr()) })
}

/// Whether it is an int and of no derived class.
#[inline]
pub(crate) fn is_integer(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut ffi::PyLong_Type)
}

/// The value of an int that is not too large; nothing for everything else, and nothing is raised.
#[inline]
pub(crate) fn to_exact_integer(object: &Object) -> Option<i64> {
    if !is_integer(object) {
        return None;
    }
    to_integer(object).map_err(super::raised::clear).ok()
}

/// A weak reference to an object.
pub(crate) fn weak_reference(object: &Object) -> Outcome {
    // SAFETY: a new reference or null; no callback.
    unsafe { Owned::from_new(ffi::PyWeakref_NewRef(object.as_ptr(), std::ptr::null_mut())) }
}

/// What a weak reference refers to, or what a callable in its place returns; `None` for None.
#[inline]
pub(crate) fn weak_target(reference: &Object) -> Outcome<Option<Owned>> {
    // SAFETY: the type lives for ever.
    #[cfg(Py_3_13)]
    if std::ptr::eq(reference.kind(), &raw mut ffi::_PyWeakref_RefType) {
        let mut target = std::ptr::null_mut();
        // SAFETY: a weak reference; a new reference or null, or -1 with an exception.
        check(unsafe { ffi::PyWeakref_GetRef(reference.as_ptr(), &mut target) })?;
        // SAFETY: as said.
        return Ok(unsafe { Owned::from_new(target) }.ok());
    }
    Ok(Some(call(reference, &[])?).filter(|target| !target.is_none()))
}

unsafe extern "C" {
    /// CPython's own: looks a name up in a type and its bases; borrowed, or null without an exception.
    fn _PyType_Lookup(kind: *mut ffi::PyTypeObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// What the object's class has under a name, as it is: no descriptor is called, and nothing is raised.
pub(crate) fn find_in_class(object: &Object, name: &Object) -> Option<Owned> {
    // SAFETY: a live object.
    if unsafe { ffi::PyUnicode_Check(name.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: attached; a type and a string.
    let found = unsafe { _PyType_Lookup(object.kind(), name.as_ptr()) };
    // SAFETY: the class refers to it, and no Python code has run since.
    (!found.is_null()).then(|| unsafe { Object::from_ptr(found) }.own())
}
