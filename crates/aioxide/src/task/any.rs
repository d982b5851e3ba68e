//! A task whatever its result: what can be asked of it, and done to it.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aioxide_core::current::try_with;
use aioxide_core::task::{TaskRef, with_current_meta};

use super::meta::{Callback, Meta, ROOT, default_name};
use super::waiting::{Passed, Waiting};
use crate::error::message_of;
use crate::wake::{HeldPanic, Taken};

/// A task, whatever the type of its result. Cloning it is one count; equal means the same task.
///
/// [`Task`](crate::Task) dereferences to it, [`all_tasks`](crate::all_tasks) lists them.
#[derive(Clone)]
pub struct AnyTask {
    task: TaskRef,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// In the ready queue: the loop will poll it in its turn.
    Ready,
    /// Being polled, further up this stack.
    Running,
    /// Until something wakes it.
    Waiting,
    /// Ended with a value.
    Finished,
    /// Ended by a cancellation.
    Cancelled,
    /// Ended by a panic.
    Panicked,
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        })
    }
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitingOn {
    /// Another task's end.
    Task(AnyTask),
    /// Another task's end, behind a shield.
    Shielded(AnyTask),
    /// The ends of several tasks, for an operation of this crate (`gather`, `TaskGroup`).
    Tasks(&'static str, Vec<AnyTask>),
    /// An operation of this crate, by name (`sleep`, `Mutex::lock`, …).
    Operation(&'static str),
    /// Something that does not say.
    Unknown,
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(formatter, "task '{}'", task.name()),
            Self::Shielded(task) => write!(formatter, "shielded task '{}'", task.name()),
            Self::Tasks(name, tasks) => write!(formatter, "{name} of {} tasks", tasks.len()),
            Self::Operation(name) => formatter.write_str(name),
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

/// Takes a callback back; see [`AnyTask::add_done_callback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackKey(u64);

impl AnyTask {
    pub(crate) fn from_ref(task: TaskRef) -> Self {
        Self { task }
    }

    pub(crate) fn task_ref(&self) -> &TaskRef {
        &self.task
    }

    pub(crate) fn meta(&self) -> &Meta {
        self.task.meta().expect("only tasks of this face are listed")
    }

    /// A number that no other task of the process has.
    pub fn id(&self) -> u64 {
        self.task.id()
    }

    /// Its name; `Task-` and its number unless it was given one.
    pub fn name(&self) -> String {
        self.meta().name().map_or_else(|| default_name(self.id()), |name| name.to_string())
    }

    /// Gives it another name.
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        let name = name.into();
        #[cfg(feature = "watchdog")]
        if !self.done() {
            crate::watchdog::note(self.id(), &name);
        }
        self.meta().set_name(name);
    }

    /// Where it was spawned.
    pub fn place(&self) -> &'static Location<'static> {
        self.meta().place()
    }

    /// How long ago it was spawned, by its loop's clock; zero when that loop does not run on this thread.
    pub fn age(&self) -> Duration {
        let now_ns = try_with(|event_loop| event_loop.now_ns()).unwrap_or(0);
        Duration::from_nanos(now_ns.saturating_sub(self.meta().spawned_ns()))
    }

    /// Where it stands.
    pub fn state(&self) -> TaskState {
        if self.task.is_complete() {
            match self.meta() {
                meta if meta.is_cancelled() => TaskState::Cancelled,
                meta if meta.is_panicked() => TaskState::Panicked,
                _ => TaskState::Finished,
            }
        } else if self.task.is_running() {
            TaskState::Running
        } else if self.task.is_scheduled() {
            TaskState::Ready
        } else {
            TaskState::Waiting
        }
    }

    /// Whether it has ended, in whatever way.
    pub fn done(&self) -> bool {
        self.task.is_complete()
    }

    /// Whether it ended by a cancellation.
    pub fn cancelled(&self) -> bool {
        self.done() && self.meta().is_cancelled()
    }

    /// What it waits for, if it is waiting.
    pub fn waiting_on(&self) -> Option<WaitingOn> {
        if self.state() != TaskState::Waiting {
            return None;
        }
        Some(self.meta().look_waiting(|waiting| match waiting {
            Waiting::Nothing => WaitingOn::Unknown,
            Waiting::Task(task) => WaitingOn::Task(Self::from_ref(task.clone())),
            Waiting::Shielded(task) => WaitingOn::Shielded(Self::from_ref(task.clone())),
            Waiting::Group(name, group) => WaitingOn::Tasks(name, group.tasks()),
            Waiting::Other(operation) => WaitingOn::Operation(operation.name),
        }))
    }

    /// The task that this one only waits for on another's behalf, if it does; else itself.
    pub(crate) fn stood_for(&self) -> Self {
        let next = self.meta().look_waiting(|waiting| match waiting {
            Waiting::Task(task) if self.meta().is_hidden() => Some(Self::from_ref(task.clone())),
            _ => None,
        });
        next.unwrap_or_else(|| self.clone())
    }

    /// Asks the task to end; `false` if it has ended already.
    ///
    /// It takes effect when the loop runs the task next: at the innermost [`catch_cancel`](crate::catch_cancel) scope
    /// it is inside, else by dropping its whole future. If it waits for another task (and not behind a
    /// [`shield`](crate::shield)) that one is asked instead, and the cancellation comes back through the await.
    ///
    /// A task that cancels itself goes on until it waits next, and is cancelled there. If it returns without waiting again, it
    /// keeps its value (in asyncio it is cancelled).
    ///
    /// # Examples
    /// ```
    /// use aioxide::{spawn, time::sleep};
    /// use std::time::Duration;
    /// aioxide::run(async {
    ///     let task = spawn(sleep(Duration::from_secs(3600)));
    ///     assert!(task.cancel());
    ///     assert!(!task.cancelled(), "not before the loop has run it");
    ///     aioxide::yield_now().await;
    ///     assert!(task.cancelled());
    ///     assert!(!task.cancel());
    /// }).unwrap();
    /// ```
    /// asyncio: `Task.cancel`.
    pub fn cancel(&self) -> bool {
        self.cancel_within(ROOT, None)
    }

    /// Like [`cancel`](Self::cancel), with a message for whoever catches it.
    pub fn cancel_with(&self, message: impl Into<Rc<str>>) -> bool {
        self.cancel_within(ROOT, Some(message.into()))
    }

    pub(crate) fn cancel_shared(&self, message: Option<Rc<str>>) -> bool {
        self.cancel_within(ROOT, message)
    }

    /// Cancels what goes on inside the scope `within` of this task.
    pub(crate) fn cancel_within(&self, within: u32, message: Option<Rc<str>>) -> bool {
        if self.done() {
            return false;
        }
        self.meta().count_cancel();
        if self.task.is_running() {
            self.meta().must_cancel(within, message);
        } else {
            self.hand_on(within, HandingOn::of(message));
        }
        true
    }

    /// Makes a request that has been counted, also while the task is being polled.
    pub(crate) fn cancel_now(&self, within: u32, message: Option<Rc<str>>) {
        self.hand_on(within, HandingOn { is_own: true, ..HandingOn::of(message) });
    }

    fn hand_on(&self, within: u32, handing_on: HandingOn) {
        match self.meta().delegate(&self.task, within) {
            None => self.meta().request_cancel(&self.task, within, handing_on.message),
            Some(waiting) => handing_on.run(self, within, waiting),
        }
    }

    /// How many requests to cancel are open: calls of `cancel` less calls of [`uncancel`](Self::uncancel).
    pub fn cancelling(&self) -> u32 {
        self.meta().cancelling()
    }

    /// Declares one request to cancel as dealt with, and returns how many are left.
    ///
    /// At 0 a request that has not been delivered yet is forgotten.
    pub fn uncancel(&self) -> u32 {
        self.meta().uncancel()
    }

    /// Calls `callback` with the task, from the loop, once the task has ended.
    ///
    /// Callbacks run in the order in which they were added; on a task that has ended already, in the next iteration.
    /// One that panics is reported; the others run.
    ///
    /// It is the loop of the thread on which the task ends, or has ended; where none runs then, it is not called.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) -> CallbackKey {
        let callback: Callback = Box::new(callback);
        if self.done() {
            run_callbacks(self.clone(), vec![callback]);
            return CallbackKey(0);
        }
        CallbackKey(self.meta().add_callback(callback))
    }

    /// Takes a callback back; `false` if it has been called, or is about to be.
    pub fn remove_done_callback(&self, key: CallbackKey) -> bool {
        self.meta().remove_callback(key.0)
    }

    /// Waits for its end without touching its result; any number may wait.
    ///
    /// # Cancel safety
    /// Dropping the future, or cancelling the task that awaits it, does nothing to this task.
    pub fn finished(&self) -> Finished {
        Finished { task: self.clone(), key: None }
    }
}

impl PartialEq for AnyTask {
    fn eq(&self, other: &Self) -> bool {
        self.task == other.task
    }
}

impl Eq for AnyTask {}

impl Hash for AnyTask {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.id().hash(hasher);
    }
}

/// asyncio's `repr` of a task in Rust's dress.
impl fmt::Debug for AnyTask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut task = formatter.debug_struct("Task");
        task.field("name", &self.name()).field("state", &self.state());
        if let Some(waiting_on) = self.waiting_on() {
            task.field("waiting_on", &format_args!("{waiting_on}"));
        }
        task.field("place", &format_args!("{}", self.place())).finish()
    }
}

/// A cancellation on its way along what tasks wait for, down to those that are to be unwound.
///
/// It is no recursion, since chains may be long; a circle (a deadlock of the program's own making) is unwound where it closes.
/// Nobody's code runs before all have been found.
#[derive(Default)]
struct HandingOn {
    message: Option<Rc<str>>,
    /// The task that is being polled hands on its own, and knows what it waits for; else the one that is polled is only noted.
    is_own: bool,
    steps: Vec<Step>,
    passed: Vec<AnyTask>,
    to_unwind: Vec<(AnyTask, u32)>,
}

enum Step {
    /// The cancellation comes by.
    Ask(AnyTask),
    /// All behind the task have been asked.
    Leave(AnyTask),
}

impl HandingOn {
    fn of(message: Option<Rc<str>>) -> Self {
        Self { message, ..Self::default() }
    }

    fn run(mut self, first: &AnyTask, within: u32, waiting: Waiting) {
        self.hand_on(first.clone(), within, Some(waiting));
        while let Some(step) = self.steps.pop() {
            let task = match step {
                Step::Ask(task) if task.done() => continue,
                Step::Ask(task) => task,
                Step::Leave(task) => {
                    task.meta().mark_passed(Passed::Asked);
                    continue;
                }
            };
            task.meta().count_cancel();
            match task.meta().mark_passed(Passed::UnderWay) {
                Passed::Never => {
                    let waits = self.is_own || !task.task.is_running();
                    let waiting = task.meta().delegate(&task.task, ROOT).filter(|_| waits);
                    self.hand_on(task, ROOT, waiting);
                }
                Passed::UnderWay => self.to_unwind.push((task, ROOT)),
                Passed::Asked => {
                    task.meta().mark_passed(Passed::Asked);
                }
            }
        }
        for task in self.passed {
            task.meta().mark_passed(Passed::Never);
        }
        let mut held = HeldPanic::default();
        for (task, within) in self.to_unwind {
            if self.is_own || !task.task.is_running() {
                held.run(|| task.meta().request_cancel(&task.task, within, self.message.clone()));
            } else {
                task.meta().must_cancel(within, self.message.clone());
            }
        }
        held.resume();
    }

    fn hand_on(&mut self, task: AnyTask, within: u32, waiting: Option<Waiting>) {
        let steps_before = self.steps.len();
        self.steps.push(Step::Leave(task.clone()));
        match waiting {
            Some(Waiting::Task(next)) if !next.is_complete() => {
                self.steps.push(Step::Ask(AnyTask::from_ref(next)));
            }
            Some(Waiting::Group(_, group)) => {
                self.steps.extend(group.cancel(self.message.clone()).into_iter().rev().map(Step::Ask));
            }
            _ => {}
        }
        if self.steps.len() == steps_before + 1 {
            self.to_unwind.push((task.clone(), within));
        }
        task.meta().mark_passed(Passed::UnderWay);
        self.passed.push(task);
    }
}

/// The future of [`AnyTask::finished`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Finished {
    task: AnyTask,
    key: Option<u64>,
}

impl Future for Finished {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.task.done() {
            self.key = None;
            return Poll::Ready(());
        }
        super::assert_here(&self.task.task);
        self.key = Some(self.task.meta().keep_waiter(self.key, cx.waker()));
        super::wait_for(Waiting::Shielded(self.task.task.clone()));
        Poll::Pending
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.task.meta().remove_waiter(key);
            let id = self.task.id();
            with_current_meta(|meta: &Meta| {
                meta.withdraw_waiting(|waiting| matches!(waiting, Waiting::Task(task) if task.id() == id));
            });
        }
    }
}

/// Cancels all, in order.
pub(crate) fn cancel_each(tasks: impl IntoIterator<Item = AnyTask>, message: Option<Rc<str>>) {
    let mut held = HeldPanic::default();
    for task in tasks {
        held.run(|| {
            task.cancel_shared(message.clone());
        });
    }
    held.resume();
}

/// Calls the callbacks of an ended task from the loop, each in turn.
pub(crate) fn run_callbacks(task: AnyTask, callbacks: Vec<Callback>) {
    let callbacks = Taken::new(callbacks);
    // On a closed loop nothing runs any more, as in asyncio.
    if try_with(|_| ()).is_none() {
        return;
    }
    super::spawn_hidden(async move {
        for callback in callbacks {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(&task))) {
                task.meta().report_callback(task.id(), message_of(&*payload).map(str::to_owned));
                aioxide_core::destroy(payload);
            }
        }
    });
}
