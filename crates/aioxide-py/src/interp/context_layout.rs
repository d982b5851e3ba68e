//! Where a context keeps its variables, and the thread its current context.
//!
//! The variables are one immutable mapping: setting one puts another mapping into the context. So two contexts with the very
//! same mapping are alike, which is all that `captured` asks for. The interpreter has no function that tells, but the words are
//! there; like those of `c_part` they are found when the module is made, from contexts whose content is known, and only read. What
//! does not fit is not used: then every callback gets a copy at once, as in asyncio.

use std::cell::Cell;

use pyo3::ffi;

use super::probe::{Sample, only};
use crate::ffi::{Confined, Object, Outcome, Owned, call, context};

/// Offsets into a context and into the thread's state; 0 while they are not known.
struct Layout {
    variables: Cell<usize>,
    weak_references: Cell<usize>,
    current: Cell<usize>,
}

static LAYOUT: Confined<Layout> =
    Confined::new(Layout { variables: Cell::new(0), weak_references: Cell::new(0), current: Cell::new(0) });

const WORD: usize = size_of::<usize>();

/// How many words of the thread's state are looked at: as many as the smallest has, that of Python 3.10.
const THREAD_STATE_WORDS: usize = 35;

/// # Safety
/// `offset` is that of a word inside of what lies at `start`.
#[inline]
unsafe fn word<T>(start: *const T, offset: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { start.byte_add(offset).cast::<usize>().read() }
}

#[inline]
fn thread_word(offset: usize) -> usize {
    // SAFETY: attached, so the thread has a state; the offsets are inside of it.
    unsafe { word(ffi::PyThreadState_Get(), offset) }
}

/// Whether contexts can be shared.
#[inline]
pub(super) fn is_known() -> bool {
    LAYOUT.current.get() != 0
}

/// The address of the mapping that holds the context's variables.
#[inline]
pub(super) fn variables_of(context: &Object) -> usize {
    // SAFETY: a context, inside of which the offset is.
    unsafe { word(context.as_ptr(), LAYOUT.variables.get()) }
}

/// The same of the current context; nothing if there is none yet. To be called if the layout is known.
#[inline]
pub(super) fn current_variables() -> Option<usize> {
    let current = thread_word(LAYOUT.current.get()) as *mut ffi::PyObject;
    // SAFETY: the thread's state owns its current context.
    (!current.is_null()).then(|| variables_of(unsafe { Object::from_ptr(current) }))
}

/// Whether there are weak references to the context.
#[inline]
pub(super) fn is_weakly_referenced(context: &Object) -> bool {
    // SAFETY: a context, inside of which the offset is.
    unsafe { word(context.as_ptr(), LAYOUT.weak_references.get()) != 0 }
}

/// Looks for the offsets; if it cannot find them, they stay unknown.
///
/// # Errors
/// What the interpreter raises while contexts are made.
pub(crate) fn learn() -> Outcome<()> {
    if cfg!(Py_GIL_DISABLED) {
        return Ok(());
    }
    let (first, second) = (context::new()?, context::new()?);
    let (Some((variables, weak_references)), Some(current)) =
        (in_context(&first)?, in_thread(&first, &second)?)
    else {
        return Ok(());
    };
    LAYOUT.variables.set(variables);
    LAYOUT.weak_references.set(weak_references);
    LAYOUT.current.set(current);
    Ok(())
}

/// The only word of a context that holds the address of what it refers to, and that of its weak references.
fn in_context(sample: &Object) -> Outcome<Option<(usize, usize)>> {
    let referents = call::get_attribute(&*call::import(c"gc")?, &*call::interned(c"get_referents")?)?;
    let referents = call::call(&referents, &[sample])?;
    let (Some(variables), None) = (call::pop_of_list(&referents)?, call::pop_of_list(&referents)?) else {
        return Ok(None);
    };
    // SAFETY: a ready type.
    let weak_references = usize::try_from(unsafe { (*sample.kind()).tp_weaklistoffset });
    let place = only(Sample::of(sample).holding(variables.as_ptr() as usize));
    Ok(place.zip(weak_references.ok().filter(|offset| *offset > 0)))
}

/// The first word of the thread's state that names whichever context is entered.
fn in_thread(first: &Owned, second: &Owned) -> Outcome<Option<usize>> {
    let thread = Sample::of_thread(THREAD_STATE_WORDS * WORD);
    let names = |place: usize, context: &Owned| thread.read(place) == Some(context.as_ptr() as usize);
    context::enter(first)?;
    let outer: Vec<usize> = (0..thread.size()).step_by(WORD).filter(|place| names(*place, first)).collect();
    context::enter(second)?;
    let place = outer.first().copied().filter(|place| names(*place, second));
    context::exit(second)?;
    context::exit(first)?;
    Ok(place.filter(|place| !names(*place, first)))
}
