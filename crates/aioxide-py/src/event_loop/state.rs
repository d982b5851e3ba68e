//! What a Python loop consists of on the Rust side.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::OnceLock;

use aioxide_core::{EventLoop, Token};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::server::Listener;
use super::sock::Waiting;
use crate::bridge::{Registry, this_thread};
use crate::entry::Entry;
use crate::error::os_error;
use crate::ffi::{self, Object, Owned, raised};
use crate::gc;
use crate::handle::Handle;
use crate::interp::captured;
use crate::task::introspect;
use crate::transports::{self, HeldWrites, TransportTable, TransportWatcher};

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

/// Who is told that a descriptor is ready.
pub(crate) enum Watcher {
    Callback(Handle),
    Transport(TransportWatcher),
    Listener(Rc<Listener>),
    Socket(Rc<Waiting>),
}

/// A place in the table of watchers; the generation tells a token of a former user.
struct Place {
    generation: u32,
    watcher: Option<Watcher>,
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
/// What it gives is used during the callback that asks, within the run.
#[inline]
pub(crate) fn running() -> Option<&'static LoopState> {
    let state = RUNNING.try_with(Cell::get).unwrap_or(std::ptr::null());
    // SAFETY: whoever runs a loop holds it until the guard is dropped.
    (!state.is_null()).then(|| unsafe { &*state })
}

/// Makes `state` the running one until the guard is dropped; the one before comes back then.
pub(super) fn enter(state: &LoopState) -> Entered {
    ffi::outlive_interpreter();
    state.thread.set(this_thread());
    Entered { before: RUNNING.replace(state), _contexts: captured::run() }
}

/// Ends what `enter` began.
pub(super) struct Entered {
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
    /// A `bytearray` that TLS records are decrypted into; nobody keeps anything in it.
    tls_record: ffi::Slot,
    /// Objects that messages are received into.
    pub(crate) recycler: ffi::recycled::Recycler,
    /// Whether `call_soon` is not ours: a class or an instance has its own, which queue entries must not bypass.
    pub(crate) own_call_soon: Cell<bool>,
    /// Whether `call_at`, `call_later` or `time` is not ours, which timers of the loop's own must not bypass.
    pub(crate) own_timers: Cell<bool>,
    /// Whether `create_task` is not ours.
    pub(crate) own_create_task: Cell<bool>,
    /// Whether asyncio still has the task that ran last as the current one. Taking it out costs as much as a step of
    /// the next task, which would put itself in its place: so it is done before anything else runs, and before the
    /// kernel is asked.
    pub(crate) has_current: Cell<bool>,
    /// Whether `create_task` and `create_future` make our classes.
    pub(crate) own_classes: Cell<bool>,
    /// Whether `own_classes` may be true: the loop was not made with `tasks=False`.
    pub(crate) wants_own_classes: Cell<bool>,
    /// The thread that runs the loop, or ran it last.
    pub(crate) thread: Cell<u64>,
    /// The Rust futures that Python awaits on this loop.
    pub(crate) rust_futures: Rc<Registry>,
    /// What `set_task_factory` was given.
    pub(crate) task_factory: ffi::Slot,
    /// The Python object that this state belongs to, borrowed.
    object: Cell<*mut pyo3::ffi::PyObject>,
    python: RefCell<Option<Py<PyWeakrefReference>>>,
    watchers: RefCell<Vec<Place>>,
    free: RefCell<Vec<u32>>,
    /// The file objects by which descriptors are watched, where it is not their number; held as asyncio's selector holds them.
    files: RefCell<HashMap<RawFd, Owned>>,
}

impl LoopState {
    /// A descriptor has begun to be watched by `file`.
    #[cold]
    pub(super) fn remember_file(&self, fd: RawFd, file: &Object) {
        self.files.borrow_mut().entry(fd).or_insert_with(|| file.own());
    }

    /// The descriptor that is watched by `file`.
    pub(super) fn descriptor_of_file(&self, file: &Object) -> Option<RawFd> {
        self.files.borrow().iter().find_map(|(fd, known)| known.is(file).then_some(*fd))
    }

    /// Lets go of the file by which a descriptor was watched, unless it still is.
    pub(super) fn forget_file(&self, fd: RawFd) {
        if !self.files.borrow().is_empty() && self.core.reactor().tokens(fd) == (None, None) {
            let file = self.files.borrow_mut().remove(&fd);
            drop(file);
        }
    }

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
            tls_record: ffi::Slot::new(),
            recycler: ffi::recycled::Recycler::default(),
            own_call_soon: Cell::new(false),
            own_timers: Cell::new(false),
            own_create_task: Cell::new(false),
            has_current: Cell::new(false),
            own_classes: Cell::new(true),
            wants_own_classes: Cell::new(true),
            task_factory: ffi::Slot::new(),
            object: Cell::new(std::ptr::null_mut()),
            python: RefCell::new(None),
            watchers: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            files: RefCell::default(),
        });
        state.held.set_at_once(
            *WRITE_AT_ONCE
                .get_or_init(|| std::env::var("AIOXIDE_WRITE_AT_ONCE").is_ok_and(|value| value == "1")),
        );
        gc::remember(&state);
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
        let event_loop = self.object.get();
        if event_loop.is_null() {
            return Err(raised::raise(raised::runtime_error(), "the loop's __init__ was not called"));
        }
        // SAFETY: the loop is alive while it runs, and as long as anybody has the state by it.
        Ok(unsafe { ffi::Object::from_ptr(event_loop) })
    }

    /// The Python loop, for what holds the state alone (transports, tasks).
    pub(crate) fn python_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let weak = self.python.borrow().as_ref().map(|weak| weak.clone_ref(py));
        weak.and_then(|weak| weak.bind(py).upgrade()).ok_or_else(crate::error::loop_closed)
    }

    /// Whether queue entries may stand for calls of `call_soon` now. In debug mode each is to be a Handle.
    #[inline]
    pub(crate) fn takes_entries(&self) -> bool {
        !self.debug.get() && !self.own_call_soon.get() && !self.core.is_closed()
    }

    /// Whether timers of the loop's own may stand for calls of `call_at` now.
    #[inline]
    pub(crate) fn takes_timers(&self) -> bool {
        self.takes_entries() && !self.own_timers.get()
    }

    /// Whether `create_task` would make one of our tasks now, with nothing that somebody else put in its place.
    #[inline]
    pub(crate) fn makes_tasks(&self) -> bool {
        self.own_classes.get()
            && self.task_factory.is_empty()
            && !self.own_create_task.get()
            && !self.core.is_closed()
    }

    /// Leaves asyncio without a current task of this loop, if a step left one behind.
    #[inline]
    pub(crate) fn leave_current_task(&self) {
        if self.has_current.replace(false) {
            self.forget_current_task();
        }
    }

    fn forget_current_task(&self) {
        let event_loop = self.object.get();
        if !event_loop.is_null() {
            // SAFETY: steps are run by a loop, which is alive meanwhile.
            crate::interp::current::remove(unsafe { ffi::Object::from_ptr(event_loop) });
        }
    }

    /// Something is sent: the other end may be watched here as well.
    #[inline]
    pub(crate) fn expect_events(&self) {
        self.core.reactor().expect_events();
    }

    /// Puts a watcher into the table; the token names it.
    pub(crate) fn add_watcher(&self, watcher: Watcher) -> Token {
        let mut watchers = self.watchers.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None => {
                watchers.push(Place { generation: 0, watcher: None });
                (watchers.len() - 1) as u32
            }
        };
        let place = &mut watchers[index as usize];
        place.watcher = Some(watcher);
        Token(u64::from(place.generation) << 32 | u64::from(index))
    }

    /// Takes a watcher out; events of its that are queued already are dropped when their turn comes.
    pub(crate) fn remove_watcher(&self, token: Token) -> Option<Watcher> {
        let index = (token.0 & 0xffff_ffff) as u32;
        let mut watchers = self.watchers.borrow_mut();
        let place = watchers.get_mut(index as usize)?;
        if u64::from(place.generation) != token.0 >> 32 {
            return None;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.borrow_mut().push(index);
        place.watcher.take()
    }

    /// What `loop._selector` shows of a watcher: its handle, `True` if it has none; `None` where nobody watches.
    pub(crate) fn watching<'py>(&self, py: Python<'py>, token: Option<Token>) -> Bound<'py, PyAny> {
        let Some(token) = token else { return py.None().into_bound(py) };
        match self.watchers.borrow().get((token.0 & 0xffff_ffff) as usize).map(|place| &place.watcher) {
            Some(Some(Watcher::Callback(handle))) => handle.bind(py).to_owned(),
            _ => PyBool::new(py, true).to_owned().into_any(),
        }
    }

    /// The watcher behind `token`, if it is one of the `sock_*` methods.
    pub(crate) fn socket_watcher(&self, token: Token) -> Option<Rc<Waiting>> {
        match &self.watchers.borrow().get((token.0 & 0xffff_ffff) as usize)?.watcher {
            Some(Watcher::Socket(waiting)) => Some(Rc::clone(waiting)),
            _ => None,
        }
    }

    /// The watcher of a `sock_*` method that `is_meant`, if there is one; looks at all of them.
    #[cold]
    pub(crate) fn find_socket_watcher(&self, is_meant: impl Fn(&Rc<Waiting>) -> bool) -> Option<Rc<Waiting>> {
        let watchers = self.watchers.borrow();
        watchers.iter().find_map(|place| match &place.watcher {
            Some(Watcher::Socket(waiting)) if is_meant(waiting) => Some(Rc::clone(waiting)),
            _ => None,
        })
    }

    /// Runs the watcher behind `token`, if it still is the one that the event was for.
    pub(crate) fn run_io(&self, py: Python<'_>, token: Token) -> PyResult<()> {
        let fired = {
            let watchers = self.watchers.borrow();
            let place = watchers.get((token.0 & 0xffff_ffff) as usize);
            match place
                .filter(|place| u64::from(place.generation) == token.0 >> 32)
                .map(|place| &place.watcher)
            {
                Some(Some(Watcher::Callback(handle))) => Watcher::Callback(handle.clone()),
                Some(Some(Watcher::Transport(watcher))) => Watcher::Transport(watcher.clone_ref(py)),
                Some(Some(Watcher::Listener(listener))) => Watcher::Listener(Rc::clone(listener)),
                Some(Some(Watcher::Socket(waiting))) => Watcher::Socket(Rc::clone(waiting)),
                _ => return Ok(()),
            }
        };
        match fired {
            Watcher::Callback(handle) => handle.run(py, self),
            Watcher::Transport(watcher) => watcher.run(py),
            Watcher::Socket(waiting) => waiting.on_event(py, self),
            Watcher::Listener(listener) => listener.on_event(self.python_loop(py)?.cast()?, token),
        }
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
        for place in &*self.watchers.borrow() {
            match &place.watcher {
                Some(Watcher::Callback(handle)) => handle.traverse(visit)?,
                Some(Watcher::Transport(watcher)) => watcher.transport.traverse(visit)?,
                Some(Watcher::Listener(listener)) => listener.traverse(visit)?,
                Some(Watcher::Socket(waiting)) => waiting.traverse(visit)?,
                None => {}
            }
        }
        for file in self.files.borrow().values() {
            file.traverse(visit)?;
        }
        if let Some(factory) = self.task_factory.get() {
            factory.traverse(visit)?;
        }
        let this = self.object.get();
        if !this.is_null() {
            // SAFETY: the collector looks at a loop that is alive.
            let this = unsafe { ffi::Object::from_ptr(this) };
            introspect::for_each_held(this, |task| {
                if result.is_ok() {
                    result = task.traverse(visit);
                }
            });
        }
        result
    }

    /// A `bytearray` of one TLS record's size, for what is copied before any Python code runs.
    pub(crate) fn record_memory(&self) -> ffi::Outcome<ffi::Owned> {
        match self.tls_record.get() {
            Some(memory) => Ok(memory),
            None => {
                let made = ffi::bytes::array_of(transports::RECORD_BYTES)?;
                self.tls_record.set(made.clone());
                Ok(made)
            }
        }
    }

    /// Drops what is queued.
    pub(crate) fn close(&self) {
        self.show_shared_handles();
        self.rust_futures.close();
        self.core.close();
    }

    /// Lets the collector see the handles in the queue that others hold as well.
    pub(crate) fn show_shared_handles(&self) {
        self.core.for_each_ready(Entry::show_if_shared);
        self.core.for_each_timer(|_, entry| entry.show_if_shared());
    }

    /// Drops all of that: the collector has found that nobody else can reach it.
    pub(crate) fn clear(&self) {
        self.close();
        self.clear_watchers();
        self.task_factory.clear();
        self.release_tasks();
    }

    /// Lets go of the tasks that the loop holds: nobody will run them.
    pub(crate) fn release_tasks(&self) {
        let this = self.object.get();
        if !this.is_null() {
            // SAFETY: called by a method of the loop or by the collector, both of which hold it.
            introspect::release_all(unsafe { ffi::Object::from_ptr(this) });
        }
    }

    /// Drops every watcher.
    pub(crate) fn clear_watchers(&self) {
        let watchers = std::mem::take(&mut *self.watchers.borrow_mut());
        self.free.borrow_mut().clear();
        let files = self.files.take();
        drop((watchers, files));
    }
}
