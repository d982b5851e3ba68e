//! What a Python loop consists of on the Rust side.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::OnceLock;

use aioxide_core::observer::Recorder;
use aioxide_core::{EventLoop, Remote};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::entry::{Entry, Posted};
use super::error::os_error;
use super::making::Naming;
use super::watch::Watchers;
use super::{HeldWrites, TransportTable};
use crate::ffi::{self, raised, this_thread};
use crate::interp::{captured, current};

/// asyncio reads as much at a time.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Memory that nobody keeps anything in; there once it was asked for.
#[derive(Default)]
pub(crate) struct Scratch(RefCell<Vec<u8>>);

impl Scratch {
    /// The memory, until it is dropped: before any Python code runs.
    pub(crate) fn borrow_mut(&self) -> std::cell::RefMut<'_, [u8]> {
        let mut memory = self.0.borrow_mut();
        if memory.is_empty() {
            *memory = vec![0; SCRATCH_BYTES];
        }
        std::cell::RefMut::map(memory, Vec::as_mut_slice)
    }
}

/// What `AIOXIDE_POLL_INTERVAL` says, read once.
static POLL_INTERVAL: OnceLock<Option<u32>> = OnceLock::new();

/// Whether `AIOXIDE_WRITE_AT_ONCE` says so, read once.
static WRITE_AT_ONCE: OnceLock<bool> = OnceLock::new();

fn poll_interval_of_environment() -> Option<u32> {
    std::env::var("AIOXIDE_POLL_INTERVAL").ok()?.parse().ok()
}

thread_local! {
    static RUNNING: Cell<*const LoopState> = const { Cell::new(std::ptr::null()) };
}

/// The loop of ours that this thread runs.
///
/// The reference is used during the callback that asks, within the run.
#[inline]
pub(crate) fn running() -> Option<&'static LoopState> {
    let state = RUNNING.try_with(Cell::get).unwrap_or(std::ptr::null());
    // SAFETY: whoever runs a loop holds it until the guard is dropped.
    (!state.is_null()).then(|| unsafe { &*state })
}

/// Makes `state` the running one until the guard is dropped; the one before comes back then.
pub(crate) fn enter(state: &LoopState) -> Entered {
    ffi::outlive_interpreter();
    state.thread.set(this_thread());
    Entered { before: RUNNING.replace(state), _contexts: captured::run() }
}

/// Ends what `enter` began.
pub(crate) struct Entered {
    before: *const LoopState,
    _contexts: captured::Running,
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.set(self.before);
    }
}

/// The loop's engine and what belongs to it.
pub(crate) struct LoopState {
    pub(crate) core: Rc<EventLoop<Entry>>,
    pub(crate) debug: Cell<bool>,
    pub(crate) running: Cell<bool>,
    /// The transports by descriptor.
    pub(crate) transports: TransportTable,
    /// The transports that hold writes of the entry that runs.
    pub(crate) held: HeldWrites,
    /// Memory that transports read small pieces into.
    pub(crate) scratch: Scratch,
    /// How much the last `sock_recv` brought.
    pub(crate) last_received: Cell<usize>,
    /// A `bytearray` that TLS records are decrypted into; nobody keeps anything in it.
    tls_record: ffi::Slot,
    /// Objects that messages are received into.
    pub(crate) recycler: ffi::recycled::Recycler,
    /// Whether a class or an instance replaces `call_soon`, which queue entries must not bypass.
    pub(crate) replaces_call_soon: Cell<bool>,
    /// Whether it replaces `call_at`, `call_later` or `time`, which timers of the loop's own must not bypass.
    pub(crate) replaces_timers: Cell<bool>,
    /// Whether it replaces `call_at`, which `call_later` then calls.
    pub(crate) replaces_call_at: Cell<bool>,
    /// Whether it replaces `create_future`.
    pub(crate) replaces_create_future: Cell<bool>,
    /// Whether it replaces `time`, which timers and waits then go by.
    pub(crate) replaces_time: Cell<bool>,
    /// Whether it replaces `create_task`.
    pub(crate) replaces_create_task: Cell<bool>,
    /// Whether an instance replaces a method that connecting goes by.
    pub(crate) replaces_connecting: Cell<bool>,
    /// The version of the class in which none of them was replaced.
    pub(crate) connecting_version: Cell<u32>,
    /// Whether asyncio still has the task that ran last as the current one. Taking it out costs as much as a step of
    /// the next task, which would put itself in its place: so it is done before anything else runs, and before the loop
    /// waits.
    pub(crate) has_current: Cell<bool>,
    /// Whether `create_task` and `create_future` make aioxide's classes.
    pub(crate) own_classes: Cell<bool>,
    /// Whether `own_classes` may be true: the loop was not made with `tasks=False`.
    pub(crate) wants_own_classes: Cell<bool>,
    /// The thread that runs the loop, or ran it last.
    pub(crate) thread: Cell<u64>,
    /// The Rust futures that Python awaits on this loop.
    pub(crate) rust_futures: Rc<Registry>,
    /// What `set_task_factory` was given.
    pub(crate) task_factory: ffi::Slot,
    /// Set if that is asyncio's own eager one: its tasks are made without calling it.
    pub(crate) eager_naming: Cell<Option<Naming>>,
    /// The Python object that this state belongs to, borrowed.
    object: Cell<*mut pyo3::ffi::PyObject>,
    python: RefCell<Option<Py<PyWeakrefReference>>>,
    pub(crate) watchers: Watchers,
    /// What records what the loop runs, if somebody wants to see that.
    pub(crate) recorder: RefCell<Option<Rc<Recorder<Entry>>>>,
}

impl LoopState {
    pub(crate) fn new() -> PyResult<Rc<Self>> {
        ffi::outlive_interpreter();
        let core = EventLoop::new().map_err(|error| os_error(&error))?;
        if let Some(entries) = *POLL_INTERVAL.get_or_init(poll_interval_of_environment) {
            core.set_poll_interval(entries);
        }
        let state = Rc::new(Self {
            thread: Cell::new(0),
            rust_futures: Registry::new(core.remote()),
            core,
            debug: Cell::new(false),
            running: Cell::new(false),
            transports: TransportTable::default(),
            held: HeldWrites::default(),
            scratch: Scratch::default(),
            last_received: Cell::new(0),
            tls_record: ffi::Slot::new(),
            recycler: ffi::recycled::Recycler::default(),
            replaces_call_soon: Cell::new(false),
            replaces_timers: Cell::new(false),
            replaces_call_at: Cell::new(false),
            replaces_create_future: Cell::new(false),
            replaces_time: Cell::new(false),
            replaces_create_task: Cell::new(false),
            replaces_connecting: Cell::new(false),
            connecting_version: Cell::new(0),
            has_current: Cell::new(false),
            own_classes: Cell::new(true),
            wants_own_classes: Cell::new(true),
            task_factory: ffi::Slot::new(),
            eager_naming: Cell::new(None),
            object: Cell::new(std::ptr::null_mut()),
            python: RefCell::new(None),
            watchers: Watchers::default(),
            recorder: RefCell::new(None),
        });
        state.held.set_at_once(
            *WRITE_AT_ONCE
                .get_or_init(|| std::env::var("AIOXIDE_WRITE_AT_ONCE").is_ok_and(|value| value == "1")),
        );
        Ok(state)
    }

    /// Remembers the Python object that this state belongs to, weakly: the loop owns the state.
    pub(crate) fn set_python_loop(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        self.object.set(event_loop.as_ptr());
        drop(self.python.replace(Some(PyWeakrefReference::new(event_loop)?.unbind())));
        Ok(())
    }

    /// The Python loop of a state that runs.
    pub(crate) fn object(&self) -> ffi::Outcome<&ffi::Object> {
        self.python_object()
            .ok_or_else(|| raised::raise(raised::runtime_error(), "the loop's __init__ was not called"))
    }

    /// The Python loop if its `__init__` was called; used while somebody holds it: it runs, or is looked at by the collector.
    #[inline]
    pub(crate) fn python_object(&self) -> Option<&ffi::Object> {
        let event_loop = self.object.get();
        // SAFETY: the loop is alive while it runs, and as long as anybody has the state by it.
        (!event_loop.is_null()).then(|| unsafe { ffi::Object::from_ptr(event_loop) })
    }

    /// The Python loop, for what holds the state alone (transports, tasks).
    pub(crate) fn python_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let weak = self.python.borrow().as_ref().map(|weak| weak.clone_ref(py));
        weak.and_then(|weak| weak.bind(py).upgrade()).ok_or_else(super::error::loop_closed)
    }

    /// Whether queue entries may stand for calls of `call_soon` now. In debug mode each is to be a Handle.
    #[inline]
    pub(crate) fn takes_entries(&self) -> bool {
        !self.debug.get() && !self.replaces_call_soon.get() && !self.core.is_closed()
    }

    /// Whether `create_future` would make one of our futures now.
    #[inline]
    pub(crate) fn makes_futures(&self) -> bool {
        self.own_classes.get() && !self.replaces_create_future.get()
    }

    /// Whether timers of the loop's own may stand for calls of `call_at` now.
    #[inline]
    pub(crate) fn takes_timers(&self) -> bool {
        self.takes_entries() && !self.replaces_timers.get()
    }

    /// Leaves asyncio without a current task of this loop, if a step left one behind.
    #[inline]
    pub(crate) fn leave_current_task(&self) {
        if self.has_current.replace(false) {
            self.forget_current_task();
        }
    }

    fn forget_current_task(&self) {
        if let Some(event_loop) = self.python_object() {
            current::remove(event_loop);
        }
    }

    /// Something is sent: the other end may be watched here as well.
    #[inline]
    pub(crate) fn expect_events(&self) {
        self.core.reactor().expect_events();
    }

    /// Shows the collector every Python object that the queue, the timers and the watchers hold.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut result = Ok(());
        {
            let mut look = |entry: &Entry| {
                if result.is_ok() {
                    result = entry.traverse(visit);
                }
            };
            self.core.for_each_ready(&mut look);
            self.core.for_each_timer(|_, entry| look(entry));
        }
        result?;
        self.watchers.traverse(visit)?;
        match self.task_factory.get() {
            Some(factory) => factory.traverse(visit),
            None => Ok(()),
        }
    }

    /// A `bytearray` of one TLS record's size, for what is copied before any Python code runs.
    pub(crate) fn record_memory(&self, bytes: usize) -> ffi::Outcome<ffi::Owned> {
        match self.tls_record.get() {
            Some(memory) => Ok(memory),
            None => {
                let made = ffi::bytes::array_of(bytes)?;
                self.tls_record.set(made.clone());
                Ok(made)
            }
        }
    }

    /// Lets the collector see the handles in the queue that others hold as well.
    pub(crate) fn show_shared_handles(&self) {
        self.core.for_each_ready(Entry::show_if_shared);
        self.core.for_each_timer(|_, entry| entry.show_if_shared());
    }
}

/// The awaitables of Rust futures that wait on a loop, and how another thread reaches it; `bridge` knows them.
pub(crate) struct Registry {
    pub(crate) home: Remote<Posted>,
    pub(crate) waiting: RefCell<Vec<*mut pyo3::ffi::PyObject>>,
}

impl Registry {
    fn new(home: Remote<Posted>) -> Rc<Self> {
        Rc::new(Self { home, waiting: RefCell::new(Vec::new()) })
    }
}
