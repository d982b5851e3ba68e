//! `aioxide.RustFuture`: the awaitable of a Rust future. The states are drawn in the module above.

use std::cell::{Cell, OnceCell};
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use aioxide_pyo3::abi;
use pyo3::ffi as c;

use super::Home;
use super::parker::{Lazy, Parker};
use crate::awaitable::{Awaitable, Home as Kind, Next, Steps, awaited_already, reused};
use crate::ffi::method::attribute;
use crate::ffi::{self, Object, Outcome, Owned, Raised, Slot, call, raised, this_thread};
use crate::future::{Future, is_done};
use crate::kernel::{LoopState, Posted, Registry, alive, running};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Running,
    Waiting,
    Over,
}

/// Not in the loop's list.
const NOWHERE: usize = usize::MAX;

/// The awaitable's data.
pub(crate) struct RustFuture {
    state: Cell<State>,
    /// Taken out while it is polled.
    body: Cell<Option<Body>>,
    thread: u64,
    vtable: &'static abi::FutureVtable,
    parker: OnceCell<Arc<Parker>>,
    /// The list of the loop that it waits on, and where it is in it.
    registry: Cell<Option<Rc<Registry>>>,
    place: Cell<usize>,
}

static KIND: Kind = Kind::new();

/// A Rust future of another extension, dropped by that extension's own function.
pub(crate) struct Body {
    data: *mut c_void,
    vtable: &'static abi::FutureVtable,
    thread: u64,
}

// SAFETY: on another thread than its own it is only moved; dropped there, it is given up.
unsafe impl Send for Body {}

impl Body {
    /// # Safety
    /// A future and the functions for its type, which become this one's; on the future's thread.
    pub(super) unsafe fn new(data: *mut c_void, vtable: &'static abi::FutureVtable) -> Self {
        Self { data, vtable, thread: this_thread() }
    }

    fn is_here(&self) -> bool {
        self.thread == this_thread()
    }

    #[inline]
    fn poll(&self, waker: abi::WakerRef, place: &mut *mut c::PyObject) -> c_int {
        // SAFETY: `new`'s contract; the caller is attached and has found that it is on the future's thread.
        unsafe { (self.vtable.poll)(self.data, waker, place) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.is_here() {
            // What is dropped may call Python, which must not find an exception set.
            let pending = raised::pending();
            // SAFETY: `new`'s contract; on the future's thread, attached, once.
            unsafe { (self.vtable.drop)(self.data) };
            if let Some(exception) = pending {
                let Raised = raised::put_back(exception);
            }
        } else if ffi::is_attached() && !ffi::is_finalizing() {
            let message = format!(
                "the Rust future {} was given up without being dropped: its thread does not run its loop any more",
                name_of(self.vtable)
            );
            let pending = raised::pending();
            raised::unraisable(raised::raise(raised::runtime_error(), &message), ffi::none());
            if let Some(exception) = pending {
                let Raised = raised::put_back(exception);
            }
        }
    }
}

/// Puts an awaitable into the list of those that wait on a loop.
fn join(registry: &Rc<Registry>, this: &Awaitable<RustFuture>) {
    let mut waiting = registry.waiting.borrow_mut();
    this.place.set(waiting.len());
    this.registry.set(Some(Rc::clone(registry)));
    waiting.push(this.object().as_ptr());
}

fn leave(registry: &Registry, place: usize) {
    let mut waiting = registry.waiting.borrow_mut();
    waiting.swap_remove(place);
    if let Some(moved) = waiting.get(place) {
        // SAFETY: who is in the list is alive: it leaves before it goes.
        unsafe { ffi::cast::<Awaitable<RustFuture>>(*moved) }.place.set(place);
    }
}

/// Drops the futures of all that wait on a loop: nobody will wake them any more.
pub(crate) fn drop_waiting(registry: &Registry) {
    loop {
        let last = registry.waiting.borrow().last().copied();
        let Some(last) = last else { return };
        // SAFETY: as above; it is held while its future is dropped.
        let held = unsafe { Object::from_ptr(last) }.own();
        // SAFETY: only these are in the list.
        end(unsafe { ffi::cast::<Awaitable<RustFuture>>(held.as_ptr()) });
    }
}

impl RustFuture {
    /// The awaitable of a body.
    pub(super) fn make(body: Body) -> Outcome {
        Awaitable::make(Self {
            state: Cell::new(State::New),
            thread: body.thread,
            vtable: body.vtable,
            body: Cell::new(Some(body)),
            parker: OnceCell::new(),
            registry: Cell::new(None),
            place: Cell::new(NOWHERE),
        })
    }

    /// Whether its wait is not over yet: then it is not the one who awaits it that resumes it.
    fn waits(&self) -> Outcome<bool> {
        match self.parker.get().and_then(|parker| parker.wait().get()) {
            Some(wait) => is_done(&wait).map(|done| !done),
            None => Ok(false),
        }
    }

    fn leave_registry(&self) {
        if let Some(registry) = self.registry.take() {
            leave(&registry, self.place.replace(NOWHERE));
        }
    }

    /// Drops the body, or sends it home: to the loop that it waited on, or to the one that its thread runs now.
    fn drop_body(&self, home: Option<&Home>) {
        let Some(body) = self.body.take() else { return };
        if body.is_here() {
            return drop(body);
        }
        let running = alive::loop_run_by(body.thread);
        let home = home.or_else(|| running.as_ref().map(|state| &state.rust_futures.home));
        match home {
            // What comes back from a closed loop is given up.
            Some(home) => drop(home.post(Posted::Dropped(Box::new(body)))),
            None => drop(body),
        }
    }

    fn take_apart(&self) {
        self.state.set(State::Over);
        let registry = self.registry.take();
        if let Some(registry) = &registry {
            leave(registry, self.place.replace(NOWHERE));
        }
        if let Some(parker) = self.parker.get() {
            parker.wait().clear();
        }
        self.drop_body(registry.as_deref().map(|registry| &registry.home));
    }
}

impl Drop for RustFuture {
    fn drop(&mut self) {
        self.take_apart();
    }
}

/// Ends the awaitable: its future is dropped. What awaits it is told nothing.
fn end(this: &Awaitable<RustFuture>) {
    if this.state.get() == State::Running {
        // Its poll stands further up this stack, on a loop that is being closed from within.
        this.leave_registry();
        return;
    }
    this.take_apart();
}

impl Steps for RustFuture {
    const IS_COROUTINE: bool = false;

    fn home() -> &'static Kind {
        &KIND
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.parker.get().map(|parker| parker.wait()).into_iter()
    }

    #[inline]
    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let state = check(this)?;
        let Some(body) = this.body.take() else { return Err(reused()) };
        this.state.set(State::Running);
        let mut result = std::ptr::null_mut();
        let (status, woken) = match this.parker.get() {
            Some(parker) => {
                parker.begin_poll();
                let lent = lend(abi::ARMED, Arc::as_ptr(parker).cast());
                let status = body.poll(lent, &mut result);
                (status, parker.is_notified())
            }
            None => {
                let lazy = Lazy::new(state);
                let status = body.poll(lend(abi::LAZY, std::ptr::from_ref(&lazy).cast()), &mut result);
                let (mut woken, parker) = lazy.end();
                if let Some(parker) = parker {
                    woken |= parker.is_notified();
                    let _ = this.parker.set(parker);
                }
                (status, woken)
            }
        };
        if status == abi::PENDING {
            this.body.set(Some(body));
            this.state.set(State::Waiting);
            return wait(this, state, woken);
        }
        // It is over, and has dropped itself.
        std::mem::forget(body);
        let outcome = if status == abi::READY {
            // SAFETY: a new reference was put there.
            unsafe { Owned::from_new(result) }
        } else {
            Err(Raised)
        };
        this.take_apart();
        outcome.map(Next::Return)
    }

    fn is_under_way(&self) -> bool {
        self.state.get() == State::Waiting
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        if this.state.get() == State::Running {
            return Err(already_running());
        }
        this.take_apart();
        Ok(())
    }

    fn attributes() -> Vec<c::PyGetSetDef> {
        vec![
            attribute!(c"__name__", name),
            attribute!(c"__qualname__", qualified_name),
            attribute!(c"cr_running", is_running),
        ]
    }
}

#[inline]
fn lend(kind: u32, data: *const c_void) -> abi::WakerRef {
    abi::WakerRef { kind, data, vtable: std::ptr::null() }
}

/// Whether it may be polled now, and the loop on which.
#[inline]
fn check(this: &Awaitable<RustFuture>) -> Outcome<&'static LoopState> {
    match this.state.get() {
        State::Over => return Err(reused()),
        State::Running => return Err(already_running()),
        State::Waiting if this.waits()? => return Err(awaited_already()),
        State::New | State::Waiting => {}
    }
    let Some(state) = running() else {
        return Err(refused("a Rust future is awaited on a loop that is not aioxide's"));
    };
    if this.thread != this_thread() {
        return Err(refused("a Rust future is awaited in another thread than the one that made it"));
    }
    if this.parker.get().is_some_and(|parker| !parker.is_of(state)) {
        return Err(refused("a Rust future is attached to a different loop"));
    }
    Ok(state)
}

/// Has the awaiting task wait for the next wake-up.
#[inline]
fn wait(this: &Awaitable<RustFuture>, state: &LoopState, woken: bool) -> Outcome<Next> {
    if woken {
        return Ok(Next::Yield(Owned::none()));
    }
    let wait = Future::make(state.object()?, state)?;
    if let Some(future) = Future::exact(&wait) {
        future.blocking.set(true);
    }
    if let Some(parker) = this.parker.get() {
        parker.wait().set(wait.clone());
    }
    if this.place.get() == NOWHERE {
        join(&state.rust_futures, this);
    }
    Ok(Next::Yield(wait))
}

#[cold]
fn already_running() -> Raised {
    raised::raise(raised::value_error(), "coroutine already executing")
}

#[cold]
fn refused(message: &str) -> Raised {
    raised::raise(raised::runtime_error(), message)
}

fn name_of(vtable: &abi::FutureVtable) -> &'static str {
    let mut length = 0;
    // SAFETY: the vtable's contract: UTF-8 that lives as long as the process.
    unsafe {
        let start = (vtable.name)(&mut length);
        std::str::from_utf8(std::slice::from_raw_parts(start, length)).unwrap_or_default()
    }
}

fn qualified_name(this: &Awaitable<RustFuture>) -> Outcome {
    call::text(name_of(this.vtable))
}

fn name(this: &Awaitable<RustFuture>) -> Outcome {
    let name = name_of(this.vtable);
    call::text(name.rsplit("::").next().unwrap_or(name))
}

fn is_running(this: &Awaitable<RustFuture>) -> Outcome {
    Ok(Owned::boolean(this.state.get() == State::Running))
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<RustFuture>::make_kind(c"aioxide.RustFuture")
}
