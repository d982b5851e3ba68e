//! `Handle` and `TimerHandle`: a scheduled callback with its arguments and context.
//!
//! Raw objects, because one is made for every `call_soon`: up to four arguments live inside (with the spare place in front that
//! the vectorcall protocol asks for), and dead ones are kept for reuse. Against a `#[pyclass]` with a freelist that is
//! 1600 instead of 2300 instructions for a callback, most of which are CPython's.
//!
//! Rules that the `unsafe` blocks here and in `class` rely on:
//!
//! * **Layout.** Every object of the two classes was made by [`HandleClass::allocate`] and is a [`Layout`].
//! * **Owned fields.** Each pointer in a `Layout` is NULL or an owned reference; the first `count` places behind `arguments[0]`
//!   are not NULL, or, for [`TUPLE`], the first of them is a tuple.
//! * **While it runs.** `running` > 0 keeps callback and arguments alive whoever cancels; they are dropped when it ends.
//! * **The collector.** A queue that holds the only reference to a handle shows the collector what the handle holds, so that the
//!   handle itself need not be tracked: most die without it ever having seen them. A handle with other references is tracked by the
//!   collector when it leaves the queue; until then what it holds counts as in use. (A burst of 5000 calls: a fifth less time.)
//! * **The loop.** `event_loop` is an instance of `LoopCore` unless the collector has cleared it to NULL.

mod class;
mod turns;

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use aioxide_core::timers::TimerKey;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{PyTraverseError, PyVisit};

use self::turns::Turns;
use super::{LoopCore, report};
use crate::ffi::context::is_context;
use crate::ffi::free_list::FreeList;
use crate::ffi::{Object, Outcome, Owned, call};
use crate::interp::Captured;

pub(crate) use super::handle::class::add_classes;

/// How many arguments live in the object itself.
const INLINE: usize = 4;
/// `count` of an object whose arguments are in a tuple.
const TUPLE: u8 = u8::MAX;

/// The object behind both classes.
#[repr(C)]
struct Layout {
    object: ffi::PyObject,
    /// The list of weak references; a dead object that is kept has the next one here.
    weakrefs: Cell<*mut ffi::PyObject>,
    event_loop: Cell<*mut ffi::PyObject>,
    context: Captured,
    callback: Cell<*mut ffi::PyObject>,
    arguments: [Cell<*mut ffi::PyObject>; INLINE + 1],
    /// What few handles have.
    rare: Cell<Option<Box<Rare>>>,
    when: Cell<f64>,
    timer: Cell<Option<TimerKey>>,
    turns: Turns,
    running: Cell<u32>,
    count: Cell<u8>,
    cancelled: Cell<bool>,
    tracked: Cell<bool>,
    /// The text that debug mode keeps of a cancelled handle is being made.
    described: Cell<bool>,
}

/// What most handles do without.
#[derive(Default)]
struct Rare {
    /// Where it was scheduled, in debug mode.
    source_traceback: Option<Owned>,
    /// What `repr` said before the cancel, in debug mode.
    repr: Option<Owned>,
    /// The time of a timer, as it was given, where that was no float.
    when: Option<Owned>,
}

/// One of the two classes, NULL until the module is made, and dead objects for the next ones.
struct HandleClass {
    kind: AtomicPtr<ffi::PyTypeObject>,
    free: FreeList,
}

impl HandleClass {
    const fn new() -> Self {
        Self { kind: AtomicPtr::new(null_mut()), free: FreeList::new() }
    }

    /// A new object with every field empty but those of the object itself; not yet tracked by the collector.
    #[inline]
    fn allocate(&self) -> Outcome {
        // SAFETY: the finished type that the list is for.
        unsafe { self.free.make_unseen(self.kind.load(Ordering::Relaxed), Layout::empty) }
    }
}

static HANDLE: HandleClass = HandleClass::new();
static TIMER_HANDLE: HandleClass = HandleClass::new();

/// A reference to a `Handle` or `TimerHandle`.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Owned);

/// What a handle is made from.
pub(crate) struct Callback<'a> {
    pub(crate) callback: &'a Object,
    pub(crate) arguments: &'a [&'a Object],
    /// Nothing for a copy of the current one.
    pub(crate) context: Option<&'a Object>,
}

/// Empties a field, giving its reference up.
#[inline]
fn release(field: &Cell<*mut ffi::PyObject>) {
    let object = field.replace(null_mut());
    if !object.is_null() {
        // SAFETY: an owned field, emptied before its object may run code.
        unsafe { ffi::Py_DECREF(object) };
    }
}

impl Layout {
    /// Empties the memory of a new object, but for the object's own header.
    #[inline]
    fn empty(object: *mut ffi::PyObject) {
        let raw = object.cast::<Self>();
        // SAFETY: memory for a whole `Layout`, ours alone.
        unsafe {
            let size = size_of::<Self>() - size_of::<ffi::PyObject>();
            raw.cast::<u8>().add(size_of::<ffi::PyObject>()).write_bytes(0, size);
            (*raw).timer = Cell::new(None);
            (&raw mut (*raw).rare).write(Cell::new(None));
        }
    }

    fn release_call(&self) {
        release(&self.callback);
        self.arguments[1..].iter().for_each(release);
    }

    fn release_all(&self) {
        self.release_call();
        self.context.clear();
        drop(self.rare.take());
        release(&self.event_loop);
    }

    /// What few handles have, of this one.
    fn rare(&self) -> Option<&Rare> {
        // SAFETY: `set_rare` and `release_all` replace it, and run nothing while a reader is at work.
        unsafe { (*self.rare.as_ptr()).as_deref() }
    }

    /// Changes what few handles have; `change` returns what was there, to be released once it is in place.
    fn set_rare(&self, change: impl FnOnce(&mut Rare) -> Option<Owned>) {
        let mut rare = self.rare.take().unwrap_or_default();
        let before = change(&mut rare);
        self.rare.set(Some(rare));
        drop(before);
    }

    /// Every object that is held, but for the class.
    fn held(&self) -> impl Iterator<Item = NonNull<ffi::PyObject>> {
        let rare = self.rare().map(|rare| [&rare.source_traceback, &rare.repr, &rare.when]);
        let rare = rare.into_iter().flatten().flatten().map(|held| held.as_ptr());
        let fields =
            [&self.event_loop, &self.callback].into_iter().chain(&self.arguments[1..]).map(Cell::get);
        fields.chain([self.context.pointer()]).chain(rare).filter_map(NonNull::new)
    }

    /// Whether the call can still be seen: it is neither cancelled away nor collected.
    fn has_call(&self) -> bool {
        let hidden = self.cancelled.get() && self.running.get() > 0 && !self.described.get();
        !(self.callback.get().is_null() || hidden)
    }

    /// The arguments as a tuple.
    fn arguments(&self) -> Outcome {
        // SAFETY: "Owned fields" above.
        let object = |place: &Cell<*mut ffi::PyObject>| unsafe { Object::from_ptr(place.get()) };
        if self.count.get() == TUPLE {
            return Ok(object(&self.arguments[1]).own());
        }
        let inline = &self.arguments[1..=usize::from(self.count.get())];
        call::tuple(&inline.iter().map(object).collect::<Vec<_>>())
    }

    /// The loop's Rust half; None once the collector has taken the loop away.
    fn event_loop<'a, 'py>(&'a self, py: Python<'py>) -> Option<Borrowed<'a, 'py, LoopCore>> {
        let event_loop = NonNull::new(self.event_loop.get())?;
        // SAFETY: "The loop" above.
        Some(unsafe { Borrowed::<PyAny>::from_ptr(py, event_loop.as_ptr()).cast_unchecked() })
    }
}

impl Handle {
    /// A handle for `call_soon` and the like. `event_loop` is the Python loop, whose Rust half is a `LoopCore`.
    #[inline]
    pub(crate) fn new(event_loop: &Object, call: &Callback<'_>) -> Outcome<Self> {
        Self::of_class(&HANDLE, event_loop, call)
    }

    /// A handle for `call_at`; `when` is the loop's time in seconds.
    #[inline]
    pub(crate) fn new_timer(event_loop: &Object, call: &Callback<'_>, when: f64) -> Outcome<Self> {
        let handle = Self::of_class(&TIMER_HANDLE, event_loop, call)?;
        handle.layout().when.set(when);
        Ok(handle)
    }

    /// The time of a timer as it was given, which is no float.
    pub(crate) fn set_when(&self, when: Owned) {
        self.layout().set_rare(|rare| rare.when.replace(when));
    }

    #[inline]
    fn of_class(class: &HandleClass, event_loop: &Object, call: &Callback<'_>) -> Outcome<Self> {
        let context = match call.context {
            Some(context) => Captured::given(context.own()),
            None => Captured::current()?,
        };
        let handle = Self(class.allocate()?);
        let layout = handle.layout();
        layout.context.set(context);
        layout.event_loop.set(event_loop.own().into_ptr());
        layout.callback.set(call.callback.own().into_ptr());
        if call.arguments.len() <= INLINE {
            for (place, argument) in layout.arguments[1..].iter().zip(call.arguments) {
                place.set(argument.own().into_ptr());
            }
            layout.count.set(call.arguments.len() as u8);
        } else {
            layout.arguments[1].set(call::tuple(call.arguments)?.into_ptr());
            layout.count.set(TUPLE);
        }
        Ok(handle)
    }

    #[inline]
    fn layout(&self) -> &Layout {
        // SAFETY: Layout.
        unsafe { &*self.0.as_ptr().cast::<Layout>() }
    }

    /// The Python object.
    #[inline]
    pub(crate) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        self.0.bind(py)
    }

    /// The reference as a result for Python.
    #[inline]
    pub(crate) fn into_owned(self) -> Owned {
        self.0
    }

    /// Lets the collector see the handle from now on: it is about to leave the queue, or was never in it.
    pub(crate) fn track(&self) {
        if !self.layout().tracked.replace(true) {
            // SAFETY: complete, and not tracked yet.
            unsafe { ffi::PyObject_GC_Track(self.0.as_ptr().cast()) };
        }
    }

    /// As [`track`](Self::track), if somebody else holds the handle too.
    #[inline]
    pub(crate) fn track_if_shared(&self) {
        // SAFETY: a valid object.
        if unsafe { ffi::Py_REFCNT(self.0.as_ptr()) } > 1 {
            self.track();
        }
    }

    /// Shows the handle to the collector, or what it holds: see "The collector" above.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if self.layout().tracked.get() {
            return self.0.traverse(visit);
        }
        // SAFETY: a valid object.
        if unsafe { ffi::Py_REFCNT(self.0.as_ptr()) } > 1 {
            return Ok(());
        }
        for held in self.layout().held() {
            // SAFETY: Owned fields.
            unsafe { Object::from_ptr(held.as_ptr()) }.traverse(visit)?;
        }
        Ok(())
    }

    /// The Python loop; None once the collector has taken it away.
    pub(crate) fn python_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        Some(self.layout().event_loop(py)?.to_owned().into_any())
    }

    pub(crate) fn set_timer(&self, key: TimerKey) {
        self.layout().timer.set(Some(key));
    }

    /// Where the callback was scheduled, in debug mode.
    pub(crate) fn set_source_traceback(&self, traceback: Owned) {
        self.layout().set_rare(|rare| rare.source_traceback.replace(traceback));
    }

    /// Makes it one that several threads may cancel and run, each waiting for the other.
    pub(crate) fn share(&self) {
        self.layout().turns.share();
    }

    /// Cancels the callback; cancelling it again, or after it ran, changes nothing.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let layout = self.layout();
        layout.turns.wait(py)?;
        if layout.cancelled.replace(true) {
            return Ok(());
        }
        let Some(event_loop) = layout.event_loop(py) else { return Ok(()) };
        let state = &event_loop.get().state;
        if state.debug.get() {
            layout.described.set(true);
            let text = self.bind(py).repr();
            layout.described.set(false);
            let text = Owned::from(text?);
            layout.set_rare(|rare| rare.repr.replace(text));
        }
        let entry = layout.timer.take().and_then(|key| state.core.cancel_call(key));
        if layout.running.get() == 0 {
            layout.release_call();
        }
        drop(entry);
        self.track_if_shared();
        Ok(())
    }

    /// Its time has come; `false` if it was cancelled.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        let layout = self.layout();
        layout.timer.set(None);
        !layout.cancelled.get()
    }

    /// Calls the callback in its context.
    ///
    /// asyncio: `Handle._run`: `KeyboardInterrupt` and `SystemExit` come out, all else goes to the exception handler.
    #[inline]
    pub(crate) fn call(&self, py: Python<'_>) -> PyResult<()> {
        let layout = self.layout();
        let shared = layout.turns.is_shared();
        if shared {
            layout.turns.wait(py)?;
            if layout.cancelled.get() {
                return Ok(());
            }
        }
        let callback = layout.callback.get();
        if callback.is_null() {
            return Ok(());
        }
        let Ok(entered) = layout.context.enter() else { return self.run_by_context(py) };
        layout.running.set(layout.running.get() + 1);
        if shared {
            layout.turns.begin();
        }
        let first = layout.arguments[1..].as_ptr().cast::<*mut ffi::PyObject>().cast_mut();
        let result = if layout.count.get() == TUPLE {
            // SAFETY: owned fields, a tuple; "While it runs" keeps them alive.
            unsafe { ffi::PyObject_Call(callback, *first, null_mut()) }
        } else {
            let count = usize::from(layout.count.get()) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
            // SAFETY: as above; the place before the first argument is spare, as the offset flag promises.
            unsafe { ffi::PyObject_Vectorcall(callback, first, count, null_mut()) }
        };
        let exited = entered.exit(&layout.context);
        layout.running.set(layout.running.get() - 1);
        if shared && layout.running.get() == 0 {
            layout.turns.end();
        }
        if layout.cancelled.get() && layout.running.get() == 0 {
            layout.release_call();
        }
        let Some(result) = NonNull::new(result) else {
            return self.failed(py);
        };
        // SAFETY: a new reference.
        unsafe { ffi::Py_DECREF(result.as_ptr()) };
        if exited.is_err() { self.failed(py) } else { Ok(()) }
    }

    /// The context could not be entered. It may be anything with a method `run`, which asyncio calls.
    #[cold]
    fn run_by_context(&self, py: Python<'_>) -> PyResult<()> {
        let error = PyErr::fetch(py);
        let run = || {
            let handle = self.bind(py);
            let context = handle.getattr("_context")?;
            if is_context(&Owned::from(context.clone())) {
                return Err(error);
            }
            let call = PyList::new(py, [handle.getattr("_callback")?])?;
            call.call_method1("extend", (handle.getattr("_args")?,))?;
            context.getattr("run")?.call1(call.to_tuple()).map(drop)
        };
        match run() {
            Err(error) if report::leaves_the_loop(py, &error) => Err(error),
            Err(error) => report::callback_failed(self.bind(py), error),
            Ok(()) => Ok(()),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>) -> PyResult<()> {
        let error = PyErr::fetch(py);
        if report::leaves_the_loop(py, &error) {
            return Err(error);
        }
        report::callback_failed(self.bind(py), error)
    }
}
