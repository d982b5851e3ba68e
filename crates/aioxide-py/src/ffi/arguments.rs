//! The arguments of a call, sorted by a function's parameters.

use pyo3::ffi;

use super::object::{Object, Outcome, Owned, Raised, none};
use super::text::{show, utf8};
use super::{call, raised};

/// The arguments of a fast call: positional ones, then those with names.
pub(crate) struct Arguments<'a> {
    values: &'a [&'a Object],
    names: Option<&'a Object>,
    positional: usize,
}

/// The arguments of a method `f(leading..., *rest, context=None)`.
pub(crate) struct Split<'a, const N: usize> {
    pub(crate) leading: [&'a Object; N],
    pub(crate) rest: &'a [&'a Object],
    /// Nothing when it is absent or `None`.
    pub(crate) context: Option<&'a Object>,
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// As the interpreter passes them to a function of the kind METH_FASTCALL | METH_KEYWORDS, which keeps them alive
    /// during the call.
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
        let values = match count {
            0 => &[],
            // SAFETY: as many live values as positional ones and names together; a reference is such a pointer.
            count => unsafe { std::slice::from_raw_parts(values.cast(), count) },
        };
        Self { values, names, positional: positional as usize }
    }

    /// Calls `function(...)` with the same arguments.
    pub(crate) fn forward_all(&self, function: &Object) -> Outcome {
        let names = self.names.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: the arguments of the call that is under way.
        unsafe {
            let values = self.values.as_ptr().cast();
            Owned::from_new(ffi::PyObject_Vectorcall(function.as_ptr(), values, self.positional, names))
        }
    }

    /// Calls `function(first, ...)` with all the arguments.
    pub(crate) fn forward(&self, function: &Object, first: &Object) -> Outcome {
        let mut values = vec![std::ptr::null_mut(), first.as_ptr()];
        values.extend(self.values.iter().map(|value| value.as_ptr()));
        let names = self.names.map_or(std::ptr::null_mut(), Object::as_ptr);
        let flagged = (self.positional + 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: live arguments with a spare place in front, the last ones named.
        unsafe {
            let values = values.as_ptr().add(1);
            Owned::from_new(ffi::PyObject_Vectorcall(function.as_ptr(), values, flagged, names))
        }
    }

    /// Whether any argument is given by name.
    pub(crate) fn has_named(&self) -> bool {
        self.names.is_some()
    }

    /// The arguments given without a name.
    #[inline]
    pub(crate) fn positional(&self) -> impl ExactSizeIterator<Item = &'a Object> + 'a {
        self.values[..self.positional].iter().copied()
    }

    /// The names, and what is given by each.
    #[inline]
    fn named(&self) -> impl Iterator<Item = (&'a Object, &'a Object)> + 'a {
        let names = self.names.map_or(std::ptr::null_mut(), Object::as_ptr);
        self.values[self.positional..].iter().enumerate().map(move |(index, value)| {
            // SAFETY: where there are such values there is a tuple, with a name for each, that lives during the call.
            (unsafe { Object::from_ptr(ffi::PyTuple_GET_ITEM(names, index as isize)) }, *value)
        })
    }

    /// The argument of a call with nothing but one, given without a name.
    #[inline]
    pub(crate) fn single(&self) -> Option<&'a Object> {
        match (self.values, self.names) {
            ([value], None) => Some(value),
            _ => None,
        }
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
        for (name, value) in self.named() {
            found[parameters.iter().position(|parameter| parameter.is(name))?] = Some(value);
        }
        Some(found)
    }

    /// The value of the only argument that may be given by name.
    pub(crate) fn only_named(&self, function: &str, name: &Object) -> Outcome<Option<&'a Object>> {
        let named = Self { values: &self.values[self.positional..], names: self.names, positional: 0 };
        named.parse(function, &[name], 0).map(|[value]| value)
    }

    /// The argument at a place or of a name; those that are not asked for are no error.
    pub(crate) fn find(&self, place: usize, name: &Object) -> Outcome<Option<&'a Object>> {
        if let Some(found) = self.positional().nth(place) {
            return Ok(Some(found));
        }
        for (given, value) in self.named() {
            if given.is(name) || call::equal(given, name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
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
        if self.positional > positional {
            return Err(too_many(function, positional, self.positional));
        }
        let mut found = [None; N];
        for (place, value) in found.iter_mut().zip(self.positional()) {
            *place = Some(value);
        }
        if self.names.is_none() {
            return Ok(found);
        }
        for (name, value) in self.named() {
            if found[place_of(function, parameters, name)?].replace(value).is_some() {
                return Err(refused(format!("{function}() got multiple values for an argument")));
            }
        }
        Ok(found)
    }

    /// Sorts the arguments by the names of `parameters`, of which the first `required` must be there.
    ///
    /// # Errors
    /// TypeError for missing, too many, unknown or doubled ones.
    pub(crate) fn place<const N: usize>(
        &self,
        function: &str,
        parameters: &[&str],
        required: usize,
    ) -> Outcome<[Option<&'a Object>; N]> {
        if self.positional > parameters.len() {
            let (most, given) = (parameters.len(), self.positional);
            return Err(refused(format!(
                "{function}() takes {most} positional arguments but {given} were given"
            )));
        }
        let mut found = [None; N];
        for (place, value) in found.iter_mut().zip(self.positional()) {
            *place = Some(value);
        }
        for (name, value) in self.named() {
            place_named(function, parameters, &mut found, name, value)?;
        }
        match found[..required].iter().position(Option::is_none) {
            Some(place) => {
                Err(refused(format!("{function}() missing required argument: '{}'", parameters[place])))
            }
            None => Ok(found),
        }
    }

    /// Sorts the arguments of the loop's method `function(leading..., *rest, context=None)`.
    ///
    /// # Errors
    /// TypeError for missing, unknown or doubled ones.
    #[inline]
    pub(crate) fn split<const N: usize>(&self, function: &str, leading: [&str; N]) -> Outcome<Split<'a, N>> {
        if self.names.is_none()
            && let Some((first, rest)) = self.values.split_first_chunk::<N>()
        {
            return Ok(Split { leading: *first, rest, context: None });
        }
        self.split_named(function, leading)
    }

    #[inline(never)]
    fn split_named<const N: usize>(&self, function: &str, leading: [&str; N]) -> Outcome<Split<'a, N>> {
        let mut found = [None; N];
        for (place, value) in found.iter_mut().zip(self.positional()) {
            *place = Some(value);
        }
        let mut context = None;
        for (name, value) in self.named() {
            if utf8(name)? == "context" {
                context = Some(value).filter(|value| !value.is_none());
                continue;
            }
            place_named(&format!("EventLoop.{function}"), &leading, &mut found, name, value)?;
        }
        if let Some(place) = found.iter().position(Option::is_none) {
            let name = leading[place];
            let message = format!("EventLoop.{function}() missing 1 required positional argument: '{name}'");
            return Err(refused(message));
        }
        let rest = &self.values[self.positional.min(N)..self.positional];
        Ok(Split { leading: found.map(|value| value.unwrap_or(none())), rest, context })
    }
}

/// Puts what is given by name at its parameter's place.
fn place_named<'a>(
    function: &str,
    parameters: &[&str],
    found: &mut [Option<&'a Object>],
    name: &Object,
    value: &'a Object,
) -> Outcome<()> {
    let name = utf8(name)?;
    let Some(place) = parameters.iter().position(|parameter| *parameter == name) else {
        return Err(refused(format!("{function}() got an unexpected keyword argument '{name}'")));
    };
    if found[place].replace(value).is_some() {
        return Err(refused(format!("{function}() got multiple values for argument '{name}'")));
    }
    Ok(())
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
        return Err(too_many(function, positional, given));
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
        if found[place_of(function, parameters, key)?].replace(value).is_some() {
            return Err(refused(format!("{function}() got multiple values for argument {}", show(key))));
        }
    }
    Ok(found)
}

/// Which of `parameters` has a name; names are nearly always interned, and then found by their address.
#[inline]
fn place_of<const N: usize>(function: &str, parameters: &[&Object; N], name: &Object) -> Outcome<usize> {
    match parameters.iter().position(|parameter| parameter.is(name)) {
        Some(place) => Ok(place),
        None => place_of_text(function, parameters, name),
    }
}

#[cold]
fn place_of_text(function: &str, parameters: &[&Object], name: &Object) -> Outcome<usize> {
    for (index, parameter) in parameters.iter().enumerate() {
        if call::equal(parameter, name)? {
            return Ok(index);
        }
    }
    Err(refused(format!("{function}() got an unexpected keyword argument {}", show(name))))
}

#[cold]
fn too_many(function: &str, most: usize, given: usize) -> Raised {
    refused(format!("{function}() takes at most {most} positional arguments ({given} given)"))
}

fn refused(message: String) -> Raised {
    raised::raise(raised::type_error(), &message)
}
