//! Functions in Rust that stand for functions of asyncio, and look like them.
//!
//! Programs ask `inspect` whether a function is a coroutine function and which parameters it has. A built-in function has no
//! answer, and a library that gets none calls it without `await`: what it was to do is lost. So what asyncio has in Python
//! stands in our classes and modules as an instance of the type made here. It calls Rust, and its attributes (`__code__`,
//! `__doc__`, `__annotations__`...) are those of asyncio's function, which is also called for whatever Rust does not take:
//! wrong arguments, whose errors it words, and instances of classes that are not ours.
//!
//! The interpreter calls an instance as it calls a C method: one that is found in a class is not bound first. Instances are
//! never freed, as what they describe is not.

use std::cell::{Cell, OnceCell};
use std::mem::offset_of;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::arguments::Arguments;
use super::exports::Exports;
use super::kind::KindBuilder;
use super::method::{attribute, guard_object, method_fast, method_none};
use super::object::{Object, Outcome, Owned, Raised};
use super::text::to_string;
use super::{Confined, call, raised};

unsafe extern "C" {
    /// CPython's own: a bound method.
    fn PyMethod_New(function: *mut c::PyObject, this: *mut c::PyObject) -> *mut c::PyObject;
}

/// An instance.
#[repr(C)]
struct Function {
    header: c::PyObject,
    vectorcall: c::vectorcallfunc,
    weak_references: Cell<*mut c::PyObject>,
    run: c::PyMethodDefPointer,
    /// The class whose instances a method takes; what a function of a module is bound to.
    owner: Owned,
    /// What C or Rust made, whose work is done here.
    target: Owned,
    /// asyncio's function.
    stock: Owned,
}

/// The type, and the names of the attributes that Python's own functions have.
struct Kind {
    class: Owned,
    attributes: Owned,
}

static KIND: Confined<OnceCell<Kind>> = Confined::new(OnceCell::new());

impl Function {
    /// # Safety
    /// A pointer to an instance, which lives for ever.
    #[inline]
    unsafe fn of(pointer: *mut c::PyObject) -> &'static Self {
        // SAFETY: the caller's promise.
        unsafe { &*pointer.cast::<Self>() }
    }

    /// Whether the method is for this object.
    ///
    /// # Safety
    /// A live object.
    #[inline]
    unsafe fn takes(&self, object: *mut c::PyObject) -> bool {
        // SAFETY: the caller's promise.
        unsafe { Object::from_ptr(object) }.is_instance(self.owner.as_ptr().cast())
    }

    /// Has asyncio's function do it.
    ///
    /// # Safety
    /// The arguments of a vectorcall.
    #[cold]
    unsafe fn call_stock(
        &self,
        values: *const *mut c::PyObject,
        flagged: usize,
        names: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: the caller's promise.
        unsafe { c::PyObject_Vectorcall(self.stock.as_ptr(), values, flagged, names) }
    }
}

/// Defines the vectorcall of a method: which numbers of arguments it takes, the instance counted, and how it is run.
macro_rules! vectorcall {
    ($name:ident($this:ident, $values:ident, $count:ident, $names:ident) if $fits:expr => $run:expr) => {
        unsafe extern "C" fn $name(
            callable: *mut c::PyObject,
            $values: *const *mut c::PyObject,
            flagged: usize,
            $names: *mut c::PyObject,
        ) -> *mut c::PyObject {
            // SAFETY: the interpreter calls this for an instance, with so many live arguments; `make` has put a function
            // of the kind that is called here into it.
            unsafe {
                let $this = Function::of(callable);
                let $count = c::PyVectorcall_NARGS(flagged as _);
                if $fits && $this.takes(*$values) {
                    return $run;
                }
                $this.call_stock($values, flagged, $names)
            }
        }
    };
}

vectorcall!(call_without_arguments(this, values, count, names) if count == 1 && names.is_null() => {
    (this.run.PyCFunction)(*values, std::ptr::null_mut())
});
vectorcall!(call_with_one(this, values, count, names) if count == 2 && names.is_null() => {
    (this.run.PyCFunction)(*values, *values.add(1))
});
vectorcall!(call_with_any(this, values, count, names) if count >= 1 => {
    (this.run.PyCFunctionFastWithKeywords)(*values, values.add(1), count - 1, names)
});
vectorcall!(call_target(this, values, count, names) if count >= 1 => {
    c::PyObject_Vectorcall(this.target.as_ptr(), values, count as _, names)
});

/// A function of a module.
unsafe extern "C" fn call_function(
    callable: *mut c::PyObject,
    values: *const *mut c::PyObject,
    flagged: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: as above.
    unsafe {
        let this = Function::of(callable);
        let count = c::PyVectorcall_NARGS(flagged as _);
        (this.run.PyCFunctionFastWithKeywords)(this.owner.as_ptr(), values, count, names)
    }
}

/// The vectorcall for C methods with these flags; nothing for kinds that are not met here.
fn vectorcall_for(flags: c_int) -> Option<c::vectorcallfunc> {
    const ANY: c_int = c::METH_FASTCALL | c::METH_KEYWORDS;
    match flags & !c::METH_COEXIST {
        c::METH_NOARGS => Some(call_without_arguments),
        c::METH_O => Some(call_with_one),
        ANY => Some(call_with_any),
        _ => None,
    }
}

fn make(
    vectorcall: c::vectorcallfunc,
    run: c::PyMethodDefPointer,
    owner: Owned,
    target: Owned,
    stock: Owned,
) -> Outcome {
    let class = kind()?.class.as_ptr().cast::<c::PyTypeObject>();
    // SAFETY: a ready type without the collector; its fields are written before anybody sees the instance.
    unsafe {
        let made = Owned::from_new(c::PyType_GenericAlloc(class, 0))?;
        let place = made.as_ptr().cast::<Function>();
        (&raw mut (*place).vectorcall).write(vectorcall);
        (&raw mut (*place).run).write(run);
        (&raw mut (*place).owner).write(owner);
        (&raw mut (*place).target).write(target);
        (&raw mut (*place).stock).write(stock);
        // It is never freed.
        let _ = made.clone().into_ptr();
        Ok(made)
    }
}

fn is_function(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut c::PyFunction_Type)
}

fn find_function(home: &Object, name: &Object) -> Outcome<Option<Owned>> {
    Ok(call::find_attribute(home, name)?.filter(|found| is_function(found)))
}

/// A function that looks like `stock` and does what `method` does, a C method as it stands in a class.
fn method_like(stock: Owned, method: &Object) -> Outcome<Option<Owned>> {
    // SAFETY: the type lives for ever.
    if !std::ptr::eq(method.kind(), &raw mut c::PyMethodDescr_Type) {
        return Ok(None);
    }
    let descriptor = method.as_ptr().cast::<c::PyMethodDescrObject>();
    // SAFETY: a method's descriptor, as was just checked; class and definition live as long as it does.
    let (definition, owner) =
        unsafe { (&*(*descriptor).d_method, Object::from_ptr((*descriptor).d_common.d_type.cast()).own()) };
    let Some(vectorcall) = vectorcall_for(definition.ml_flags) else { return Ok(None) };
    make(vectorcall, definition.ml_meth, owner, method.own(), stock).map(Some)
}

/// What a class has itself, not by its bases: a dict of its own.
fn own_attributes(class: &Object) -> Outcome {
    let own = call::get_attribute(class, &*call::interned(c"__dict__")?)?;
    call::call_method(&*call::interned(c"copy")?, &[&own], None)
}

/// Makes the methods of `class` look like those of `stock`, asyncio's class, wherever that has a function of the name.
pub(crate) fn dress_methods(class: &Object, stock: &Object) -> Outcome<()> {
    dress_those(class, stock, |_| Ok(true))
}

/// The same for coroutine functions alone: for methods that are seen bound, as those of a loop are, where one of C says enough
/// of itself. CPython calls those faster.
pub(crate) fn dress_coroutine_functions(class: &Object, stock: &Object) -> Outcome<()> {
    const CO_COROUTINE: i64 = 0x80;
    dress_those(class, stock, |function| {
        let code = call::get_attribute(function, &*call::interned(c"__code__")?)?;
        let flags = call::get_attribute(&code, &*call::interned(c"co_flags")?)?;
        Ok(call::to_integer(&flags)? & CO_COROUTINE != 0)
    })
}

fn dress_those(class: &Object, stock: &Object, is_meant: impl Fn(&Object) -> Outcome<bool>) -> Outcome<()> {
    let own = own_attributes(class)?;
    call::any_item(&own, |name| {
        if let (Some(method), Some(theirs)) = (call::find_item(&own, name)?, find_function(stock, name)?)
            && is_meant(&theirs)?
            && let Some(dressed) = method_like(theirs, &method)?
        {
            call::set_attribute(class, name, &dressed)?;
        }
        Ok(false)
    })
    .map(drop)
}

/// Makes a class look like asyncio's, from which it derives beside a base of ours: its methods and its constructor.
///
/// A class is to come before those of ours that it derives from.
pub(crate) fn dress(class: &Object, stock: &Object) -> Outcome<()> {
    let order = call::interned(c"__mro__")?;
    let theirs = call::set(Some(&*call::get_attribute(stock, &order)?))?;
    call::any_item(&*call::get_attribute(class, &order)?, |base| {
        if !call::set_grows(&theirs, base)? {
            return Ok(true);
        }
        dress_methods(base, stock).map(|()| false)
    })?;
    dress_constructor(class, stock)
}

/// Makes the constructor of `class` look like that of `stock`. Calling the class costs what it did.
fn dress_constructor(class: &Object, stock: &Object) -> Outcome<()> {
    let name = call::interned(c"__init__")?;
    let init = call::get_attribute(class, &name)?;
    let Some(theirs) = find_function(stock, &name)? else { return Ok(()) };
    let unused = c::PyMethodDef::zeroed().ml_meth;
    let dressed = make(call_target, unused, class.own(), init, theirs)?;
    let kind = class.as_ptr().cast::<c::PyTypeObject>();
    // An attribute of this name would replace the C function by one that looks the attribute up.
    // SAFETY: a ready type, whose own function stays.
    unsafe {
        let init = (*kind).tp_init;
        call::set_attribute(class, &name, &dressed)?;
        (*kind).tp_init = init;
    }
    Ok(())
}

/// `_dress(class, stock)`, for classes that are written in Python.
fn dress_class(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    match (given.next(), given.next()) {
        (Some(class), Some(stock)) if class.is_type() && stock.is_type() => dress(class, stock)?,
        _ => return Err(raised::raise(raised::type_error(), "two classes are needed")),
    }
    Ok(Owned::none())
}

/// Gives the function that dresses a class.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    exports.function(method_fast!(c"_dress", dress_class, c"Make a class look like asyncio's."))
}

/// What stands in our module under a name of asyncio's: a function that looks like asyncio's; all else stays as it is.
pub(crate) fn named_like(name: &str, part: Owned) -> Outcome {
    match call::find_attribute(&*call::import(c"asyncio")?, &*call::text(name)?)? {
        Some(stock) => function_like(&stock, part),
        None => Ok(part),
    }
}

/// A function that looks like `stock` and does what `function` does, a built-in one that takes any arguments.
fn function_like(stock: &Object, function: Owned) -> Outcome {
    // SAFETY: the type lives for ever.
    let is_builtin = std::ptr::eq(function.kind(), &raw mut c::PyCFunction_Type);
    if !is_builtin || !is_function(stock) {
        return Ok(function);
    }
    // SAFETY: a built-in function, as was just checked; what it is bound to lives as long as it does.
    let (definition, owner) = unsafe {
        let built_in = function.as_ptr().cast::<c::PyCFunctionObject>();
        (&*(*built_in).m_ml, Object::from_ptr((*built_in).m_self).own())
    };
    debug_assert_eq!(definition.ml_flags, c::METH_FASTCALL | c::METH_KEYWORDS);
    make(call_function, definition.ml_meth, owner, function, stock.own())
}

/// The frame of the coroutine that asyncio's own function makes, before its first step.
pub(crate) fn frame_of(function: &Object) -> Outcome {
    let is_ours = std::ptr::eq(function.kind(), kind()?.class.as_ptr().cast());
    // SAFETY: an instance, as was just checked.
    let stock = if is_ours { unsafe { &Function::of(function.as_ptr()).stock } } else { function };
    let code = call::get_attribute(stock, &*call::interned(c"__code__")?)?;
    let count = call::to_integer(&*call::get_attribute(&code, &*call::interned(c"co_argcount")?)?)?;
    let coroutine = call::call(stock, &vec![super::none(); usize::try_from(count).unwrap_or(0)])?;
    let frame = call::get_attribute(&coroutine, &*call::interned(c"cr_frame")?)?;
    call::call_method(&*call::interned(c"close")?, &[&coroutine], None)?;
    Ok(frame)
}

/// `function.__get__(instance, class)`.
unsafe extern "C" fn bind(
    this: *mut c::PyObject,
    instance: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: live objects, or null in place of the instance.
        unsafe {
            match instance.is_null() {
                true => Ok(Object::from_ptr(this).own()),
                false => Owned::from_new(PyMethod_New(this, instance)),
            }
        }
    })
}

unsafe extern "C" fn get_attribute(this: *mut c::PyObject, name: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance and a string.
        let (Function { stock, target, .. }, name) = unsafe { (Function::of(this), Object::from_ptr(name)) };
        // SAFETY: attached; a set and a string.
        let is_of_functions = unsafe { c::PySet_Contains(kind()?.attributes.as_ptr(), name.as_ptr()) };
        if is_of_functions == 1 {
            let found = call::get_attribute(stock, name)?;
            // Some of asyncio's have no documentation.
            let is_doc = found.is_none() && call::equal(name, &*call::interned(c"__doc__")?)?;
            return if is_doc { call::get_attribute(target, name) } else { Ok(found) };
        }
        // SAFETY: attached; an object and a string.
        match unsafe { Owned::from_new(c::PyObject_GenericGetAttr(this, name.as_ptr())) } {
            Err(raised) if raised::matches(raised::attribute_error()) => {
                raised::clear(raised);
                call::get_attribute(stock, name)
            }
            found => found,
        }
    })
}

unsafe extern "C" fn set_attribute(
    this: *mut c::PyObject,
    name: *mut c::PyObject,
    value: *mut c::PyObject,
) -> c_int {
    // SAFETY: an instance, a string, and a value or null for `del`.
    unsafe { c::PyObject_SetAttr(Function::of(this).stock.as_ptr(), name, value) }
}

unsafe extern "C" fn repr(this: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance.
        let name = unsafe { qualified_name(Object::from_ptr(this))? };
        call::text(&format!("<function {} at {:#x}>", to_string(&name), this as usize))
    })
}

fn qualified_name(this: &Object) -> Outcome {
    call::get_attribute(this, &*call::interned(c"__qualname__")?)
}

/// Programs ask `isinstance(function, types.FunctionType)`.
fn get_class(_: &Object) -> Outcome {
    // SAFETY: the type lives for ever.
    Ok(unsafe { Object::from_ptr((&raw mut c::PyFunction_Type).cast()) }.own())
}

/// `__reduce__()`: by its name, which `copy` and `pickle` look up.
fn reduce(this: &Object) -> Outcome {
    let find = call::get_attribute(&*call::import(c"pkgutil")?, &*call::interned(c"resolve_name")?)?;
    let name = call::text(&format!("aioxide:{}", to_string(&*qualified_name(this)?)))?;
    call::tuple(&[&find, &*call::tuple(&[&name])?])
}

/// `__dir__()`.
fn directory(this: &Object) -> Outcome {
    // SAFETY: an instance.
    let stock = unsafe { &Function::of(this.as_ptr()).stock };
    call::call_method(&*call::interned(c"__dir__")?, &[stock], None)
}

fn kind() -> Outcome<&'static Kind> {
    if KIND.get().is_none() {
        let made = make_kind()?;
        let _ = KIND.set(made);
    }
    KIND.get().ok_or(Raised)
}

fn make_kind() -> Outcome<Kind> {
    let builder = KindBuilder::new()
        .final_type()
        .function(offset_of!(Function, vectorcall))
        .weak_references(offset_of!(Function, weak_references))
        .slot(c::Py_tp_call, c::PyVectorcall_Call as *mut c_void)
        .slot(c::Py_tp_descr_get, bind as *mut c_void)
        .slot(c::Py_tp_getattro, get_attribute as *mut c_void)
        .slot(c::Py_tp_setattro, set_attribute as *mut c_void)
        .slot(c::Py_tp_repr, repr as *mut c_void)
        .methods([
            method_none!(c"__reduce__", reduce, c"Return what finds it again."),
            method_none!(c"__dir__", directory, c"Return the names of its attributes."),
        ])
        .attributes([attribute!(c"__class__", get_class)]);
    // SAFETY: every slot is of its type; the struct is as large as said.
    let class = unsafe { builder.build(c"aioxide.function", size_of::<Function>(), None)? };
    Ok(Kind { class, attributes: attributes_of_functions()? })
}

/// The names of what every function of Python has: its data, not its methods.
fn attributes_of_functions() -> Outcome {
    let functions = get_class(super::none())?;
    let all = own_attributes(&functions)?;
    let names = call::set(None)?;
    call::any_item(&all, |name| {
        let found = call::find_item(&all, name)?;
        // SAFETY: the types live for ever.
        let data = [&raw mut c::PyGetSetDescr_Type, &raw mut c::PyMemberDescr_Type];
        if found.is_some_and(|found| data.contains(&found.kind())) {
            call::set_add(&names, name)?;
        }
        Ok(false)
    })?;
    Ok(names)
}
