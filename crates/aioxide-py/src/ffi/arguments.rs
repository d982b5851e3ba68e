//! The arguments of a call, sorted by a function's parameters.

use pyo3::ffi;

use super::call;
use super::object::{Object, Outcome, Owned};
use super::raised;
use super::text::show;

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
