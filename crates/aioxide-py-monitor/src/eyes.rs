//! What is learned once about this interpreter and its asyncio: functions that are called, and what an object is by its type.
//!
//! **Invariant:** an object is known by its type alone, never by asking it (`isinstance` asks for `__class__`, which a program
//! may override). The types are known by the names of their bases in asyncio's and aioxide's modules.

use std::collections::HashMap;
use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyList, PyTuple, PyType};

use crate::chain::text;

/// What an object is, as far as the walk cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Task,
    Future,
    Gather,
    ConcurrentFuture,
    Lock,
    Condition,
    Semaphore,
    Event,
    Barrier,
    Queue,
    TaskGroup,
    Timeout,
    TimerHandle,
    Stream,
    Process,
    Transport,
    Shield,
    Completions,
    /// A coroutine, a generator or an asynchronous generator of Python.
    Coroutine,
    Generator,
    AsyncGenerator,
    /// What `__await__` of a coroutine and `asend` of a generator give, and a future's iterator.
    Wrapper,
    /// What aioxide's `async` methods give.
    Awaitable,
    /// A future of Rust.
    RustFuture,
    /// A method that is bound to an object.
    Method,
    Function,
    /// `asynccontextmanager`'s object.
    ContextManager,
    Other,
}

impl Class {
    /// Whether it is a lock or the like, which has a node of its own.
    pub(crate) fn is_sync(self) -> bool {
        use Class::{Barrier, Condition, Event, Lock, Queue, Semaphore};
        matches!(self, Lock | Condition | Semaphore | Event | Barrier | Queue)
    }
}

/// By module and name of a base; the first in the order of resolution that is here.
const BASES: &[(&str, &str, Class)] = &[
    ("_asyncio", "Task", Class::Task),
    ("asyncio.tasks", "Task", Class::Task),
    ("aioxide", "Task", Class::Task),
    ("asyncio.tasks", "_GatheringFuture", Class::Gather),
    ("aioxide", "_GatheringFuture", Class::Gather),
    ("_asyncio", "Future", Class::Future),
    ("asyncio.futures", "Future", Class::Future),
    ("aioxide", "Future", Class::Future),
    ("concurrent.futures._base", "Future", Class::ConcurrentFuture),
    ("asyncio.locks", "Lock", Class::Lock),
    ("asyncio.locks", "Condition", Class::Condition),
    ("asyncio.locks", "Semaphore", Class::Semaphore),
    ("asyncio.locks", "Event", Class::Event),
    ("asyncio.locks", "Barrier", Class::Barrier),
    ("aioxide", "_LockCore", Class::Lock),
    ("aioxide", "_ConditionCore", Class::Condition),
    ("aioxide", "_SemaphoreCore", Class::Semaphore),
    ("aioxide", "_EventCore", Class::Event),
    ("aioxide", "_BarrierCore", Class::Barrier),
    ("asyncio.queues", "Queue", Class::Queue),
    ("aioxide", "_QueueCore", Class::Queue),
    ("asyncio.taskgroups", "TaskGroup", Class::TaskGroup),
    ("aioxide", "_TaskGroupCore", Class::TaskGroup),
    ("asyncio.timeouts", "Timeout", Class::Timeout),
    ("aioxide", "_TimeoutCore", Class::Timeout),
    ("asyncio.events", "TimerHandle", Class::TimerHandle),
    ("aioxide._aioxide", "TimerHandle", Class::TimerHandle),
    ("asyncio.streams", "StreamReader", Class::Stream),
    ("asyncio.streams", "StreamWriter", Class::Stream),
    ("asyncio.subprocess", "Process", Class::Process),
    ("asyncio.base_subprocess", "BaseSubprocessTransport", Class::Process),
    ("asyncio.transports", "BaseTransport", Class::Transport),
    ("aioxide", "_Shield", Class::Shield),
    ("aioxide", "_AsCompletedIterator", Class::Completions),
    ("asyncio.tasks", "_AsCompletedIterator", Class::Completions),
    ("contextlib", "_AsyncGeneratorContextManager", Class::ContextManager),
    ("builtins", "coroutine", Class::Coroutine),
    ("builtins", "generator", Class::Generator),
    ("builtins", "async_generator", Class::AsyncGenerator),
    ("builtins", "coroutine_wrapper", Class::Wrapper),
    ("builtins", "async_generator_asend", Class::Wrapper),
    ("builtins", "async_generator_athrow", Class::Wrapper),
    ("builtins", "anext_awaitable", Class::Wrapper),
    ("_asyncio", "FutureIter", Class::Wrapper),
    ("aioxide", "FutureIter", Class::Wrapper),
    ("builtins", "method", Class::Method),
    ("builtins", "builtin_function_or_method", Class::Method),
    ("builtins", "method-wrapper", Class::Method),
    ("builtins", "function", Class::Function),
    ("builtins", "method_descriptor", Class::Function),
    ("builtins", "wrapper_descriptor", Class::Function),
    ("aioxide", "function", Class::Function),
];

/// A type that was looked at.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) class: Class,
    /// The base by which it is known: its methods are not a program's.
    pub(crate) base: Py<PyType>,
    /// Its own name.
    pub(crate) name: String,
    /// What gives an object's dictionary, where it is Python's own.
    pub(crate) fields: Option<Py<PyAny>>,
    /// Its address is its key; so it must live as long.
    _kept: Py<PyType>,
}

/// A code object that was looked at.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) file: String,
    /// It is asyncio's or aioxide's.
    pub(crate) own: bool,
    _kept: Py<PyAny>,
}

/// What is learned once.
#[derive(Debug)]
pub(crate) struct Eyes {
    referents: Py<PyAny>,
    current_frames: Py<PyAny>,
    pub(crate) current_task: Py<PyAny>,
    tasks_module: Py<PyAny>,
    all_tasks: Py<PyAny>,
    pending: Py<PyAny>,
    active_threads: Py<PyDict>,
    references: Py<PyAny>,
    monotonic: Py<PyAny>,
    /// What `references` says of an object that only its caller holds.
    alone: isize,
    /// Folders whose code is not the program's.
    folders: Vec<String>,
}

impl Eyes {
    pub(crate) fn open(py: Python<'_>) -> PyResult<Self> {
        let tasks_module = py.import("asyncio.tasks")?;
        let folder = |module: &str| -> PyResult<String> {
            let file: String = py.import(module)?.getattr("__file__")?.extract()?;
            Ok(file.rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/")))
        };
        let references = py.import("sys")?.getattr("getrefcount")?;
        let fresh = py.get_type::<PyAny>().call0()?;
        let alone = references.call1((&fresh,))?.extract()?;
        Ok(Self {
            references: references.unbind(),
            monotonic: py.import("time")?.getattr("monotonic")?.unbind(),
            alone,
            referents: py.import("gc")?.getattr("get_referents")?.unbind(),
            current_frames: py.import("sys")?.getattr("_current_frames")?.unbind(),
            current_task: tasks_module.getattr("current_task")?.unbind(),
            all_tasks: tasks_module.getattr("all_tasks")?.unbind(),
            pending: py.import("aioxide._aioxide")?.getattr("_pending_tasks")?.unbind(),
            active_threads: py.import("threading")?.getattr("_active")?.cast_into::<PyDict>()?.unbind(),
            tasks_module: tasks_module.into_any().unbind(),
            folders: vec![folder("asyncio")?, folder("aioxide")?],
        })
    }

    /// What an object refers to, without running anything of it.
    pub(crate) fn referents<'py>(&self, object: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
        let found = self.referents.bind(object.py()).call1((object,));
        let list = found.ok().and_then(|found| found.cast_into::<PyList>().ok());
        list.map_or_else(Vec::new, |list| list.iter().collect())
    }

    /// The clock by which asyncio's loops set their timers.
    pub(crate) fn monotonic(&self, py: Python<'_>) -> Option<f64> {
        self.monotonic.bind(py).call0().ok()?.extract().ok()
    }

    /// Whether nobody else holds an object.
    pub(crate) fn is_alone(&self, object: &Bound<'_, PyAny>) -> bool {
        let count = self.references.bind(object.py()).call1((object,));
        count.and_then(|count| count.extract::<isize>()).is_ok_and(|count| count <= self.alone)
    }

    /// The innermost frame of each thread that runs Python, by the thread's number.
    pub(crate) fn frames<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u64, Bound<'py, PyAny>)>> {
        let frames = self.current_frames.bind(py).call0()?.cast_into::<PyDict>()?;
        frames.iter().map(|(thread, frame)| Ok((thread.extract()?, frame))).collect()
    }

    /// The system's number of a thread, and its name.
    pub(crate) fn thread(&self, py: Python<'_>, number: u64) -> (Option<u64>, String) {
        let Ok(Some(thread)) = self.active_threads.bind(py).get_item(number) else {
            return (None, String::new());
        };
        let native = thread.getattr(intern!(py, "_native_id")).and_then(|id| id.extract()).ok();
        let name = thread.getattr(intern!(py, "_name")).and_then(|name| name.extract()).unwrap_or_default();
        (native, name)
    }

    /// All tasks that are not done, or weak references to them; one may be there twice.
    pub(crate) fn tasks<'py>(
        &self,
        py: Python<'py>,
        loops: &[Bound<'py, PyAny>],
    ) -> PyResult<Vec<Py<PyAny>>> {
        let mut found: Vec<Py<PyAny>> = Vec::new();
        let ours = self.pending.bind(py).call0()?.cast_into::<PyList>()?;
        found.extend(ours.iter().map(Bound::unbind));
        let module = self.tasks_module.bind(py);
        for name in ["_all_tasks", "_scheduled_tasks"] {
            let Ok(set) = module.getattr(name) else { continue };
            // aioxide puts a set in its place that has asyncio's own behind it.
            let set = set.getattr("_theirs").unwrap_or(set);
            let Ok(data) = set.getattr("data") else { continue };
            // A set of weak references, copied in one go.
            found.extend(list_type(py).call1((data,))?.cast_into::<PyList>()?.iter().map(Bound::unbind));
        }
        if py.version_info() >= (3, 14) {
            // C's tasks are in lists of C, by loop. The sets have those of others, which this function knows, too.
            for event_loop in loops {
                if let Ok(tasks) = self.all_tasks.bind(py).call1((event_loop,)) {
                    found.extend(
                        list_type(py).call1((tasks,))?.cast_into::<PyList>()?.iter().map(Bound::unbind),
                    );
                }
            }
        } else if let Ok(eager) = module.getattr("_eager_tasks") {
            // Set in Python 3.12 and 3.13.
            found.extend(list_type(py).call1((eager,))?.cast_into::<PyList>()?.iter().map(Bound::unbind));
        }
        Ok(found)
    }

    /// The task whose step a loop runs.
    pub(crate) fn current_task<'py>(&self, event_loop: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let task = self.current_task.bind(event_loop.py()).call1((event_loop,)).ok()?;
        (!task.is_none()).then_some(task)
    }
}

/// Types and code that one walk has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    types: HashMap<usize, Rc<Known>>,
    codes: HashMap<usize, Rc<Code>>,
}

impl Seen {
    pub(crate) fn known(&mut self, object: &Bound<'_, PyAny>) -> Rc<Known> {
        let type_ = object.get_type();
        let key = type_.as_ptr() as usize;
        if let Some(known) = self.types.get(&key) {
            return Rc::clone(known);
        }
        let known = Rc::new(know(&type_));
        self.types.insert(key, Rc::clone(&known));
        known
    }

    pub(crate) fn class(&mut self, object: &Bound<'_, PyAny>) -> Class {
        self.known(object).class
    }

    pub(crate) fn code(&mut self, eyes: &Eyes, code: &Bound<'_, PyCode>) -> Rc<Code> {
        let key = code.as_ptr() as usize;
        if let Some(known) = self.codes.get(&key) {
            return Rc::clone(known);
        }
        let file = text(code, intern!(code.py(), "co_filename"));
        let own = eyes.folders.iter().any(|folder| file.starts_with(folder));
        let known = Rc::new(Code { file, own, _kept: code.clone().into_any().unbind() });
        self.codes.insert(key, Rc::clone(&known));
        known
    }
}

fn know(type_: &Bound<'_, PyType>) -> Known {
    let text = |one: &Bound<'_, PyType>, attribute: &str| -> String {
        one.getattr(attribute).and_then(|text| text.extract()).unwrap_or_default()
    };
    let name = text(type_, "__name__");
    let kept = |class, base: Bound<'_, PyType>| Known {
        class,
        base: base.unbind(),
        name: name.clone(),
        fields: fields(type_),
        _kept: type_.clone().unbind(),
    };
    // Some classes of aioxide are Rust's with a few methods in Python, in a class just above.
    let mut above: Option<Bound<'_, PyType>> = None;
    for (place, base) in mro(type_).iter().enumerate() {
        let Ok(base) = base.cast_into::<PyType>() else { continue };
        let (module, name) = (text(&base, "__module__"), text(&base, "__name__"));
        if let Some((_, _, class)) = BASES.iter().find(|(m, n, _)| *m == module && *n == name) {
            return kept(*class, above.unwrap_or(base));
        }
        above = module.starts_with("aioxide.").then(|| base.clone());
        // The exact type only: what derives from it is the program's.
        if place == 0 && (module == "aioxide" || module == "aioxide._aioxide") {
            let class = match name.as_str() {
                "RustFuture" | "_RustFuture" | "FastRequest" | "_FastRequest" | "_Ready" => Class::RustFuture,
                _ => Class::Awaitable,
            };
            return kept(class, base);
        }
    }
    kept(Class::Other, type_.clone())
}

/// What gives the dictionary of a class's objects. That of a class with a property of this name is its own code.
fn fields(type_: &Bound<'_, PyType>) -> Option<Py<PyAny>> {
    let py = type_.py();
    let get = py.get_type::<PyType>().getattr(intern!(py, "__dict__")).ok()?;
    let get = get.get_item(intern!(py, "__dict__")).ok()?;
    let found = mro(type_).iter().find_map(|base| {
        let names = get.call_method1(intern!(py, "__get__"), (base,)).ok()?;
        names.get_item(intern!(py, "__dict__")).ok()
    })?;
    let is_pythons = found.get_type().name().is_ok_and(|name| name == "getset_descriptor");
    is_pythons.then(|| found.unbind())
}

/// The type `list`: called, it copies a set or a list in one go.
pub(crate) fn list_type(py: Python<'_>) -> Bound<'_, PyType> {
    py.get_type::<PyList>()
}

fn mro<'py>(type_: &Bound<'py, PyType>) -> Bound<'py, PyTuple> {
    type_.mro()
}
