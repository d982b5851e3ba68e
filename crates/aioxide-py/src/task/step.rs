//! The steps of a task: the hot path, from the ready queue into the coroutine and back.
//!
//! A step from the queue of one of our loops enters the task's context and makes it the current task itself. On other
//! loops, and on ours in debug mode, a step is a callback given to `call_soon` with the context, which is entered then.

use std::cell::Cell;
use std::sync::OnceLock;

use aioxide_core::clock::Clock;
use aioxide_py_monitor::{Why, ends};

use super::{Task, cancel, introspect, list};
use crate::ffi::arguments::Arguments;
use crate::ffi::context::{self, is_context};
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::method::{Definition, method_fast, method_one};
use crate::ffi::text::{own_type_name, show};
use crate::ffi::{self, Confined, Object, Outcome, Owned, Raised, call, raised};
use crate::future::{Future, State, Waiter, call_soon};
use crate::interp::{current, interop, names};
use crate::kernel::Entry;
use crate::kernel::LoopState;

/// Queues the next step.
#[inline]
pub(crate) fn schedule(task: &Task) -> Outcome<()> {
    if let Some(state) = task.as_future().direct() {
        state.core.call_soon(Entry::Step(task.own()));
        return Ok(());
    }
    let event_loop = task.as_future().loop_or_raise()?;
    call_soon(&event_loop, &*step_callback(task)?, None, &*task.context.get_or_none()?)
}

/// Queues a step that throws.
#[cold]
fn schedule_throw(task: &Task, message: &str) -> Outcome<()> {
    let exception = raised::take(raised::raise(raised::runtime_error(), message));
    if let Some(state) = task.as_future().direct() {
        state.core.call_soon(Entry::Throw { task: task.own(), exception });
        return Ok(());
    }
    let event_loop = task.as_future().loop_or_raise()?;
    call_soon(&event_loop, &*step_callback(task)?, Some(&exception), &*task.context.get_or_none()?)
}

/// Runs a step from the ready queue.
#[inline]
pub(crate) fn run(state: &LoopState, task: &Task, thrown: Option<Owned>) -> Outcome<()> {
    let Some(event_loop) = task.as_future().event_loop.get().filter(|_| !task.context.is_empty()) else {
        return Ok(());
    };
    let entered = match task.context.enter() {
        Ok(entered) => entered,
        Err(raised) => return run_by_context(state, task, thrown.as_deref(), raised),
    };
    state.has_current.set(true);
    let stepped = current::set(&event_loop, task.object()).and_then(|()| step(task, thrown));
    entered.exit(&task.context)?;
    stepped
}

/// The context could not be entered. It may be anything with a method `run`, which asyncio calls.
#[cold]
fn run_by_context(state: &LoopState, task: &Task, thrown: Option<&Object>, raised: Raised) -> Outcome<()> {
    let exception = raised::take(raised);
    let context = task.context.get_or_none()?;
    if is_context(&context) {
        return Err(raised::put_back(exception));
    }
    state.leave_current_task();
    context::run(&context, &*step_callback(task)?, thrown).map(drop)
}

/// Runs a wake-up from the ready queue.
#[inline]
pub(crate) fn wake(state: &LoopState, task: &Task) -> Outcome<()> {
    let thrown = match task.fut_waiter.get() {
        Some(waiter) => exception_of(&waiter)?,
        None => None,
    };
    run(state, task, thrown)
}

/// What the future that a task waited for makes it raise; a result is fetched by the coroutine itself.
#[inline]
fn exception_of(waiter: &Object) -> Outcome<Option<Owned>> {
    if let Some(future) = Future::exact(waiter) {
        if future.state.get() == State::Finished && future.exception.is_empty() {
            return Ok(None);
        }
        return Ok(future.outcome()?.err());
    }
    match call::call_method(&names().result, &[waiter], None) {
        Ok(_) => Ok(None),
        Err(raised) => Ok(Some(raised::take(raised))),
    }
}

/// Runs a step as a callback of `call_soon`, which has entered the context.
fn step_as_callback(task: &Task, thrown: Option<Owned>) -> Outcome<()> {
    ffi::outlive_interpreter();
    let event_loop = task.as_future().loop_or_raise()?;
    if let Some(running) = current::get(&event_loop) {
        let message = format!(
            "Cannot enter into task {} while another task {} is being executed.",
            show(task.object()),
            show(&running)
        );
        return Err(raised::raise(raised::runtime_error(), &message));
    }
    current::set(&event_loop, task.object())?;
    let stepped = step(task, thrown);
    let pending = if stepped.is_err() { raised::pending() } else { None };
    current::remove(&event_loop);
    match pending {
        Some(exception) => Err(raised::put_back(exception)),
        None => stepped,
    }
}

/// Resumes the coroutine once and deals with what comes out of it; counts that.
///
/// `Err` is what must leave the loop, or an error of the step itself, which goes to the loop's exception handler.
#[inline]
fn step(task: &Task, thrown: Option<Owned>) -> Outcome<()> {
    task.steps.set(task.steps.get().wrapping_add(1));
    if ends::are_noted() { step_timed(task, thrown) } else { step_now(task, thrown) }
}

/// The same, for whoever looks into the program. What starts eagerly inside has its time for itself.
#[cold]
#[inline(never)]
fn step_timed(task: &Task, thrown: Option<Owned>) -> Outcome<()> {
    let began = Clock::Monotonic.now_ns();
    let before = INSIDE.replace(0);
    task.ran_ns.set(task.ran_ns.get().wrapping_sub(began));
    let was_timed = task.is_timed.replace(true);
    let stepped = step_now(task, thrown);
    task.is_timed.set(was_timed);
    let ended = Clock::Monotonic.now_ns();
    let inside = INSIDE.replace(before.saturating_add(ended.saturating_sub(began)));
    task.ran_ns.set(task.ran_ns.get().wrapping_add(ended).wrapping_sub(inside));
    stepped
}

/// Nanoseconds that the steps inside of the one under way took.
static INSIDE: Confined<Cell<u64>> = Confined::new(Cell::new(0));

#[inline]
fn step_now(task: &Task, thrown: Option<Owned>) -> Outcome<()> {
    let future = task.as_future();
    if future.is_done() {
        let shown = thrown.as_deref().map_or_else(|| String::from("None"), show);
        let message = format!("__step(): already done: {} {shown}", show(task.object()));
        list::unlist(task);
        return Err(raised::raise(&names().invalid_state_error, &message));
    }
    let mut thrown = thrown;
    if task.must_cancel.get() {
        let cancels = thrown.as_ref().is_some_and(|thrown| raised::is_kind(thrown, &names().cancelled_error));
        if !cancels {
            thrown = Some(future.make_cancelled_error()?);
        }
        task.must_cancel.set(false);
    }
    if let Some(awaited) = task.fut_waiter.take() {
        interop::discard_awaited_by(&awaited, task.object())?;
    }
    let Some(coro) = task.coro.get() else {
        return Err(raised::raise(raised::runtime_error(), "uninitialized Task object"));
    };
    let resumed = match thrown {
        None => coroutine::send(&coro),
        Some(exception) => coroutine::throw(&coro, &exception, &names().throw),
    };
    match resumed {
        Ok(Resumed::Yielded(awaited)) => wait_for(task, awaited),
        Ok(Resumed::Returned(result)) => {
            list::unlist(task);
            if task.must_cancel.replace(false) {
                // Cancelled in its last step.
                let message = future.cancel_message.get();
                note_end(task, Why::Cancelled, None);
                return future.finish_cancelled(message).map(drop);
            }
            note_end(task, Why::Returned, None);
            future.finish_with_result(result)
        }
        Err(raised) => fail(task, raised),
    }
}

/// Tells whoever looks into the program how a task has ended, if anybody does.
#[inline]
fn note_end(task: &Task, why: Why, exception: Option<&Object>) {
    if ends::are_noted() {
        note_end_now(task, why, exception);
    }
}

#[cold]
#[inline(never)]
fn note_end_now(task: &Task, why: Why, exception: Option<&Object>) {
    ends::note(ends::End {
        id: task.object().as_ptr() as usize as u64,
        name: introspect::own_name(task),
        why,
        exception: exception.map(own_type_name).unwrap_or_default(),
    });
}

#[cold]
fn fail(task: &Task, raised: Raised) -> Outcome<()> {
    let future = task.as_future();
    let exception = raised::take(raised);
    list::unlist(task);
    if raised::is_kind(&exception, &names().cancelled_error) {
        future.cancelled_error.set(exception);
        note_end(task, Why::Cancelled, None);
        return future.finish_cancelled(None).map(drop);
    }
    note_end(task, Why::Raised, Some(&exception));
    future.finish_with_exception(exception.clone())?;
    if raised::ends_the_loop(&exception) {
        return Err(raised::put_back(exception));
    }
    Ok(())
}

/// Arranges for the task to go on when what the coroutine yielded is done.
fn wait_for(task: &Task, awaited: Owned) -> Outcome<()> {
    if let Some(future) = Future::exact(&awaited) {
        if awaited.is(task.object()) {
            return schedule_throw(task, &format!("Task cannot await on itself: {}", show(task.object())));
        }
        if !future.event_loop.same(&task.as_future().event_loop) {
            return schedule_throw(task, &different_loop(task.object(), &awaited));
        }
        if !future.blocking.replace(false) {
            return schedule_throw(task, &yield_instead(task, &awaited));
        }
        future.add_waiter(Waiter::Task(task.own()))?;
        return waiting(task, awaited);
    }
    if awaited.is_none() {
        return schedule(task);
    }
    wait_for_foreign(task, awaited)
}

/// Notes what the task waits for; a cancellation that came during the step is passed on.
#[inline]
fn waiting(task: &Task, awaited: Owned) -> Outcome<()> {
    interop::add_awaited_by(&awaited, task.object())?;
    task.fut_waiter.set(awaited.clone());
    if task.must_cancel.get() {
        let message = task.as_future().cancel_message.get();
        if cancel(&awaited, message.as_deref())? {
            task.must_cancel.set(false);
        }
    }
    Ok(())
}

/// Futures of C and of Python, and objects that behave like one.
fn wait_for_foreign(task: &Task, awaited: Owned) -> Outcome<()> {
    let names = names();
    if awaited.is(task.object()) {
        return schedule_throw(task, &format!("Task cannot await on itself: {}", show(task.object())));
    }
    let Some(blocking) = call::find_attribute(&awaited, &names.blocking)?.filter(|found| !found.is_none())
    else {
        let message = if coroutine::is_generator(&awaited) {
            format!(
                "yield was used instead of yield from for generator in task {} with {}",
                show(task.object()),
                show(&awaited)
            )
        } else {
            format!("Task got bad yield: {}", show(&awaited))
        };
        return schedule_throw(task, &message);
    };
    if !call::truth(&blocking)? {
        return schedule_throw(task, &yield_instead(task, &awaited));
    }
    let event_loop = loop_of(&awaited)?;
    if !task.as_future().event_loop.holds(&event_loop) {
        return schedule_throw(task, &different_loop(task.object(), &awaited));
    }
    call::set_attribute(&awaited, &names.blocking, &Owned::boolean(false))?;
    let callback = wakeup_callback(task)?;
    let context = task.context.get_or_none()?;
    call::call_method(
        &names.add_done_callback,
        &[&awaited, &callback, &context],
        Some(&names.context_names),
    )?;
    waiting(task, awaited)
}

/// The loop of a future of another kind.
pub(crate) fn loop_of(awaited: &Object) -> Outcome {
    match call::find_attribute(awaited, &names().get_loop)? {
        Some(get_loop) => call::call(&get_loop, &[]),
        None => call::get_attribute(awaited, &names().loop_attribute),
    }
}

/// Why `task` cannot wait for `awaited`.
pub(crate) fn different_loop(task: &Object, awaited: &Object) -> String {
    format!("Task {} got Future {} attached to a different loop", show(task), show(awaited))
}

fn yield_instead(task: &Task, awaited: &Object) -> String {
    format!("yield was used instead of yield from in task {} with {}", show(task.object()), show(awaited))
}

/// What an eager start finds entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Nothing,
    /// The task's own context: it is that of the task whose step is under way.
    Context,
}

/// Runs the first step now, inside whatever runs; the rest as usual.
pub(crate) fn start_eagerly(task: &Task, held: bool, inside: Inside) -> Outcome<()> {
    let event_loop = task.as_future().loop_or_raise()?;
    list::list(task, held)?;
    let before = current::swap(&event_loop, Some(task.object()))?;
    let entered = if inside == Inside::Context { Ok(None) } else { task.context.enter().map(Some) };
    let stepped = entered.and_then(|entered| {
        let stepped = step(task, None);
        let pending = if stepped.is_err() { raised::pending() } else { None };
        if let Some(entered) = entered {
            entered.exit(&task.context)?;
        }
        match pending {
            Some(exception) => Err(raised::put_back(exception)),
            None => stepped,
        }
    });
    let pending = if stepped.is_err() { raised::pending() } else { None };
    current::swap(&event_loop, before.as_deref())?;
    if task.as_future().is_done() {
        task.coro.clear();
        interop::forget_coro(task.object());
    } else if pending.is_some() {
        // Never begun: nobody will run it.
        task.log_destroy_pending.set(false);
        list::unlist(task);
    }
    match pending {
        Some(exception) => Err(raised::put_back(exception)),
        None => stepped,
    }
}

fn step_method(this: &Task, arguments: &Arguments<'_>) -> Outcome {
    let thrown = arguments.positional().next().map(Object::own);
    step_as_callback(this, thrown.filter(|thrown| !thrown.is_none()))?;
    Ok(Owned::none())
}

fn wakeup_method(this: &Task, awaited: &Object) -> Outcome {
    step_as_callback(this, exception_of(awaited)?)?;
    Ok(Owned::none())
}

/// The function that a loop calls for a step.
pub(crate) fn step_callback(task: &Task) -> Outcome {
    static STEP: OnceLock<Definition> = OnceLock::new();
    let definition =
        STEP.get_or_init(|| Definition(method_fast!(c"__step", step_method, c"Run the next step.")));
    definition.bind(task.object())
}

/// The function that a future calls when it is done.
pub(crate) fn wakeup_callback(task: &Task) -> Outcome {
    static WAKEUP: OnceLock<Definition> = OnceLock::new();
    let definition = WAKEUP
        .get_or_init(|| Definition(method_one!(c"task_wakeup", wakeup_method, c"Go on after a future.")));
    definition.bind(task.object())
}
