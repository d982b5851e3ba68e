//! From tasks to nodes and edges. A walk lives as long as one snapshot and holds no object of the program between its chunks.

use std::collections::HashMap;

use aioxide_monitor::ends;
use aioxide_monitor::schema::{
    self, Detail, Edge, How, Id, Kind, Language, NAME_LIMIT, Node, STACK_LIMIT, TaskState, cut,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::chain::{Link, chain, string, text, within};
use crate::eyes::{Class, Eyes, Seen, list_type};
use crate::{facts, things};

/// The nodes that were found so far.
#[derive(Debug)]
pub(crate) struct Walk<'e> {
    pub(crate) eyes: &'e Eyes,
    pub(crate) seen: Seen,
    pub(crate) nodes: Vec<Node>,
    places: HashMap<Id, usize>,
    /// Who has which lock, by `async with`.
    holders: Vec<(Id, Id)>,
    /// Who has taken which lock by a plain `acquire`, as the lock says.
    pub(crate) takers: Vec<(Id, Id)>,
    /// The loops that tasks belong to.
    pub(crate) loops: HashMap<Id, Py<PyAny>>,
    /// Locks and the like that have no name yet, and how often it is still looked for.
    pub(crate) unnamed: HashMap<Id, u8>,
    /// Futures whose finishers are still to be looked for: one after the other, however long their chain is.
    open: Vec<(usize, Py<PyAny>)>,
    opening: bool,
    stacks: bool,
}

/// Context managers made of generators, one inside of the other, that are looked into.
const NESTED: usize = 4;

/// Whether a link is that of `as_completed`.
fn is_completion(link: &Link<'_>) -> bool {
    link.qualname.starts_with("as_completed.") || link.qualname.starts_with("_AsCompletedIterator.")
}

/// The number by which a snapshot knows an object.
pub(crate) fn id_of(object: &Bound<'_, PyAny>) -> Id {
    object.as_ptr() as usize as Id
}

impl<'e> Walk<'e> {
    pub(crate) fn new(eyes: &'e Eyes, stacks: bool) -> Self {
        Self {
            eyes,
            seen: Seen::default(),
            nodes: Vec::new(),
            places: HashMap::new(),
            holders: Vec::new(),
            takers: Vec::new(),
            loops: HashMap::new(),
            unnamed: HashMap::new(),
            open: Vec::new(),
            opening: false,
            stacks,
        }
    }

    /// Adds a task and what it waits on; false for one that is there already.
    pub(crate) fn task<'py>(&mut self, task: &Bound<'py, PyAny>) -> bool {
        let id = id_of(task);
        let known = self.seen.known(task);
        if known.class != Class::Task || self.places.contains_key(&id) {
            return false;
        }
        let base = known.base.bind(task.py());
        let py = task.py();
        let call = |method: &Bound<'py, PyString>| base.call_method1(method, (task,)).ok();
        if call(intern!(py, "done")).is_some_and(|done| done.is_truthy().unwrap_or(false)) {
            return false;
        }
        let name: String = call(intern!(py, "get_name")).map(|name| string(&name)).unwrap_or_default();
        let cancelling =
            call(intern!(py, "cancelling")).and_then(|count| count.extract().ok()).unwrap_or_else(|| {
                let must = task.getattr(intern!(task.py(), "_must_cancel"));
                u32::from(must.is_ok_and(|must| must.is_truthy().unwrap_or(false)))
            });
        let counts = facts::steps(task);
        let loop_id = self.loop_of(task);
        // Its place is taken before its edges are looked for: they may lead back.
        let place =
            self.add(Node { id, kind: Kind::Task, name: cut(&name, NAME_LIMIT), loop_id, ..Node::default() });
        let mut found = schema::Task {
            cancelling,
            language: Language::Python,
            steps: counts.map(|(steps, _)| steps),
            ran_us: counts.filter(|_| ends::are_noted()).map(|(_, ran_ns)| ran_ns / 1_000),
            ..schema::Task::default()
        };
        let waiter = task.getattr(intern!(task.py(), "_fut_waiter")).ok().filter(|waiter| !waiter.is_none());
        let mut edges = Vec::new();
        if let Some(coroutine) = call(intern!(py, "get_coro")).filter(|coroutine| !coroutine.is_none()) {
            found.coroutine = cut(&text(&coroutine, intern!(py, "__qualname__")), NAME_LIMIT);
            if found.coroutine.is_empty() {
                found.coroutine = self.seen.known(&coroutine).name.clone();
            }
            let links = chain(self.eyes, &mut self.seen, coroutine);
            let is_shown = |link: &&Link<'_>| link.code.is_some() && !link.own;
            found.at = links.iter().rev().find(is_shown).or(links.first()).and_then(Link::frame);
            if self.stacks {
                let frames = links.iter().filter_map(Link::frame);
                let count = links.iter().filter(|link| link.code.is_some()).count();
                found.stack = frames.skip(count.saturating_sub(STACK_LIMIT)).collect();
            }
            if waiter.is_some() {
                edges = self.edges(id, &links, waiter.as_ref());
            }
        }
        // The future is done, and the task's next step is in the queue.
        let is_done = waiter.as_ref().is_some_and(|waiter| self.is_done(waiter));
        let must_cancel = task.getattr(intern!(py, "_must_cancel"));
        let is_ready =
            waiter.is_none() || is_done || must_cancel.is_ok_and(|must| must.is_truthy().unwrap_or(false));
        found.state = if is_ready { TaskState::Ready } else { TaskState::Waiting };
        if found.state == TaskState::Waiting {
            self.nodes[place].waits_on = edges;
        }
        self.nodes[place].task = Some(found);
        true
    }

    /// What a task waits on, by what stands in its chain.
    fn edges<'py>(&mut self, task: Id, links: &[Link<'py>], waiter: Option<&Bound<'py, PyAny>>) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut target = None;
        for link in links.iter().filter(|link| link.own) {
            target = self.target(link, links, &mut edges);
            // What stands behind `as_completed` is its own.
            if target.is_some() || is_completion(link) {
                break;
            }
        }
        if target.is_none()
            && let Some(foreign) = links.last().filter(|link| link.class == Class::RustFuture)
        {
            let name = self.seen.known(&foreign.object).name.clone();
            let name = match foreign.qualname.as_str() {
                "" => name,
                ours if ours.starts_with("aioxide_py_http::") => "HTTP request".to_owned(),
                other => other.to_owned(),
            };
            target = Some(self.thing(&foreign.object, Kind::RustFuture, &name, How::Await));
        }
        let how = target.map(|edge| edge.how);
        if let Some(edge) = target {
            edges.insert(0, edge);
        } else if edges.iter().all(|edge| edge.how == How::FinishedBy)
            && let Some(waiter) = waiter
        {
            edges.insert(0, Edge { to: self.future(waiter), how: How::Await });
        }
        self.holds(task, links, edges.first().copied(), how);
        for link in links {
            self.timeouts(link, &mut edges);
        }
        let mut seen = std::collections::HashSet::new();
        edges.retain(|edge| edge.to != task && seen.insert(edge.to));
        edges
    }

    /// What a link of asyncio or aioxide waits on.
    fn target<'py>(&mut self, link: &Link<'py>, links: &[Link<'py>], edges: &mut Vec<Edge>) -> Option<Edge> {
        let (kind, method) = link.qualname.split_once('.').unwrap_or(("", &link.qualname));
        let how = match method {
            "acquire" | "__aenter__" => How::Acquire,
            "get" => How::Get,
            "put" => How::Put,
            "join" => How::Join,
            _ => How::Wait,
        };
        match (kind, method) {
            ("TaskGroup", "__aexit__") => {
                let group = self.find(link, Class::TaskGroup)?;
                return Some(Edge { to: things::task_group(self, &group), how: How::Await });
            }
            ("", "sleep") => {
                let timer = self.find(link, Class::TimerHandle)?;
                return Some(Edge { to: things::timer(self, &timer), how: How::FinishedBy });
            }
            ("", "_wait" | "wait") => {
                // A list or a set of futures: which are done may change while they are looked at.
                let set = link.referents.iter().find(|one| things::is_set(one))?;
                for future in list_type(set.py()).call1((set,)).ok()?.cast_into::<PyList>().ok()? {
                    if self.is_future(&future) && !self.is_done(&future) {
                        edges.push(Edge { to: self.future(&future), how: How::Member });
                    }
                }
                // Its callback shares the timer with it, in a cell.
                let timer = self.find(link, Class::TimerHandle).or_else(|| {
                    let inner = link.referents.iter().filter_map(things::contents);
                    inner.into_iter().find(|one| self.seen.class(one) == Class::TimerHandle)
                });
                if let Some(timer) = timer {
                    edges.push(Edge { to: things::timer(self, &timer), how: How::FinishedBy });
                } else if link.class == Class::Awaitable && link.referents.iter().any(things::is_number) {
                    edges.push(self.thing(&link.object, Kind::Timer, "timeout", How::FinishedBy));
                }
                return None;
            }
            ("", "wait_for") => {
                if link.class == Class::Awaitable {
                    // Its timer is its own, and is not shown. What it waits on comes behind it.
                    let timer = self.thing(&link.object, Kind::Timer, "timeout", How::FinishedBy);
                    edges.push(timer);
                    return None;
                }
                // Before Python 3.12 the inner one is a task; it is the first variable.
                let inner = link.referents.iter().find(|one| self.is_future(one)).cloned();
                let continues = links.last().is_some_and(|last| !last.object.is(&link.object) && !last.own);
                if let Some(inner) = inner.filter(|inner| !continues && !self.is_done(inner)) {
                    edges.push(Edge { to: self.future(&inner), how: How::Await });
                }
                if let Some(timer) = self.find(link, Class::TimerHandle) {
                    edges.push(Edge { to: things::timer(self, &timer), how: How::FinishedBy });
                }
                return None;
            }
            ("StreamReader" | "StreamWriter" | "FlowControlMixin", _) => {
                let stream = self.find(link, Class::Stream)?;
                let to = things::stream(self, &stream, kind == "StreamReader")?;
                return Some(Edge { to, how: How::FinishedBy });
            }
            ("Process" | "BaseSubprocessTransport", _) => {
                let process = self.find(link, Class::Process)?;
                return Some(Edge { to: things::child(self, &process)?, how: How::FinishedBy });
            }
            ("_AsCompletedIterator" | "as_completed", _) => {
                for (member, how) in things::completions(self, links) {
                    edges.push(Edge { to: member, how });
                }
                // The queue or the future behind it is its own.
                return None;
            }
            _ => {}
        }
        let is_waiting =
            matches!(method, "acquire" | "__aenter__" | "get" | "put" | "join" | "wait" | "wait_for");
        if kind.is_empty() || !is_waiting {
            return None;
        }
        let object = link.referents.iter().find(|one| self.seen.class(one).is_sync())?.clone();
        Some(Edge { to: things::sync(self, &object, links), how })
    }

    /// Notes which locks a task has: whose `__aexit__` lies on a frame's stack.
    fn holds<'py>(&mut self, task: Id, links: &[Link<'py>], target: Option<Edge>, how: Option<How>) {
        let mut held = Vec::new();
        for link in links {
            self.exits(&link.referents, &mut held, links, 0);
        }
        if let Some(target) = target {
            // The head of `async with` has put it there before it waits.
            let is_head = links.iter().any(|link| link.qualname.ends_with(".__aenter__"));
            if how == Some(How::Acquire)
                && is_head
                && let Some(place) = held.iter().rposition(|id| *id == target.to)
            {
                held.remove(place);
            }
        }
        // `Condition.wait` gives the lock back.
        let gives_back = |link: &&Link<'_>| {
            link.own && matches!(link.qualname.as_str(), "Condition.wait" | "Condition.wait_for")
        };
        for link in links.iter().filter(gives_back) {
            let Some(condition) = self.find(link, Class::Condition) else { continue };
            let lock = condition.getattr(intern!(condition.py(), "_lock")).ok().map(|lock| id_of(&lock));
            held.retain(|id| *id != id_of(&condition) && Some(*id) != lock);
        }
        self.holders.extend(held.into_iter().map(|lock| (lock, task)));
    }

    fn exits(
        &mut self,
        referents: &[Bound<'_, PyAny>],
        held: &mut Vec<Id>,
        links: &[Link<'_>],
        depth: usize,
    ) {
        for (place, one) in referents.iter().enumerate() {
            let owner = match self.seen.class(one) {
                Class::Method if text(one, intern!(one.py(), "__name__")) == "__aexit__" => {
                    one.getattr(intern!(one.py(), "__self__")).ok()
                }
                // From Python 3.14 on the function and its object lie beside each other.
                Class::Function if text(one, intern!(one.py(), "__name__")) == "__aexit__" => {
                    referents.get(place + 1).cloned()
                }
                // What a generator that stands still is inside of is held by who has it.
                Class::AsyncGenerator => Some(one.clone()),
                _ => None,
            };
            let Some(owner) = owner else { continue };
            match self.seen.class(&owner) {
                // One that was given back inside of its block, by whomever.
                Class::Lock if self.is_free(&owner) => {}
                Class::Lock | Class::Semaphore => held.push(things::sync(self, &owner, links)),
                Class::Condition => {
                    let lock = owner.getattr(intern!(owner.py(), "_lock")).ok();
                    let lock = lock.filter(|lock| self.seen.class(lock) == Class::Lock);
                    // A `wait` in another task has given it back.
                    if lock.as_ref().is_some_and(|lock| self.is_free(lock)) {
                        continue;
                    }
                    held.push(things::sync(self, &owner, links));
                    held.extend(lock.map(|lock| things::sync(self, &lock, links)));
                }
                Class::ContextManager if depth < NESTED => {
                    if let Ok(generator) = owner.getattr(intern!(owner.py(), "gen")) {
                        self.exits_of(&generator, held, links, depth + 1);
                    }
                }
                Class::AsyncGenerator if depth < NESTED => self.exits_of(&owner, held, links, depth + 1),
                _ => {}
            }
        }
    }

    /// The same of a generator that stands still; one that runs is a link itself.
    fn exits_of(
        &mut self,
        generator: &Bound<'_, PyAny>,
        held: &mut Vec<Id>,
        links: &[Link<'_>],
        depth: usize,
    ) {
        let stands = self.seen.class(generator) == Class::AsyncGenerator
            && !links.iter().any(|link| link.object.is(generator));
        if stands {
            let inner = within(self.eyes, generator, Class::AsyncGenerator);
            self.exits(&inner, held, links, depth);
        }
    }

    fn is_free(&mut self, lock: &Bound<'_, PyAny>) -> bool {
        let known = self.seen.known(lock);
        let locked = known.base.bind(lock.py()).call_method1(intern!(lock.py(), "locked"), (lock,));
        locked.is_ok_and(|locked| !locked.is_truthy().unwrap_or(true))
    }

    /// Adds the timers of `asyncio.timeout` blocks.
    fn timeouts(&mut self, link: &Link<'_>, edges: &mut Vec<Edge>) {
        for (place, one) in link.referents.iter().enumerate() {
            let owner = match self.seen.class(one) {
                Class::Method if text(one, intern!(one.py(), "__name__")) == "__aexit__" => {
                    one.getattr(intern!(one.py(), "__self__")).ok()
                }
                Class::Function if text(one, intern!(one.py(), "__name__")) == "__aexit__" => {
                    link.referents.get(place + 1).cloned()
                }
                _ => None,
            };
            if let Some(owner) = owner
                && self.seen.class(&owner) == Class::Timeout
                && let Some(to) = things::timeout(self, &owner)
            {
                edges.push(Edge { to, how: How::FinishedBy });
            }
        }
    }

    /// The node of a future, with who will finish it where that can be seen; of a task, its number.
    pub(crate) fn future(&mut self, future: &Bound<'_, PyAny>) -> Id {
        let (py, id) = (future.py(), id_of(future));
        let known = self.seen.known(future);
        if known.class == Class::Task || self.places.contains_key(&id) {
            return id;
        }
        let kind = match known.class {
            Class::Gather => Kind::Gather,
            Class::Future => Kind::Future,
            _ => Kind::Other,
        };
        let loop_id = self.loop_of(future);
        let place = self.add(Node { id, kind, name: known.name.clone(), loop_id, ..Node::default() });
        self.open.push((place, future.clone().unbind()));
        if !std::mem::replace(&mut self.opening, true) {
            while let Some((place, future)) = self.open.pop() {
                let future = future.into_bound(py);
                let class = self.seen.class(&future);
                self.nodes[place].waits_on = things::finishers(self, &future, class);
            }
            self.opening = false;
        }
        id
    }

    /// A node for an object, unless there is one; and the edge to it.
    pub(crate) fn thing(&mut self, object: &Bound<'_, PyAny>, kind: Kind, name: &str, how: How) -> Edge {
        let id = id_of(object);
        if !self.places.contains_key(&id) {
            self.add(Node { id, kind, name: cut(name, NAME_LIMIT), ..Node::default() });
        }
        Edge { to: id, how }
    }

    /// Whether a name is to be looked for once more.
    pub(crate) fn may_name(&mut self, id: Id) -> bool {
        let Some(left) = self.unnamed.get_mut(&id) else { return false };
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    pub(crate) fn has(&self, id: Id) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn add(&mut self, node: Node) -> usize {
        let place = self.nodes.len();
        self.places.insert(node.id, place);
        self.nodes.push(node);
        place
    }

    pub(crate) fn node(&mut self, id: Id) -> Option<&mut Node> {
        self.places.get(&id).map(|place| &mut self.nodes[*place])
    }

    pub(crate) fn set_detail(&mut self, id: Id, detail: Detail) {
        if let Some(node) = self.node(id) {
            node.detail = detail;
        }
    }

    pub(crate) fn is_future(&mut self, object: &Bound<'_, PyAny>) -> bool {
        matches!(self.seen.class(object), Class::Task | Class::Future | Class::Gather)
    }

    pub(crate) fn is_done(&mut self, future: &Bound<'_, PyAny>) -> bool {
        let known = self.seen.known(future);
        let base = known.base.bind(future.py());
        if !matches!(known.class, Class::Task | Class::Future | Class::Gather | Class::ConcurrentFuture) {
            return false;
        }
        base.call_method1(intern!(future.py(), "done"), (future,))
            .is_ok_and(|done| done.is_truthy().unwrap_or(false))
    }

    /// The first referent of a class.
    fn find<'py>(&mut self, link: &Link<'py>, class: Class) -> Option<Bound<'py, PyAny>> {
        link.referents.iter().find(|one| self.seen.class(one) == class).cloned()
    }

    /// The loop of a task that is not done.
    pub(crate) fn loop_of_unfinished(&mut self, task: &Bound<'_, PyAny>) -> Option<Id> {
        let is_open = self.seen.class(task) == Class::Task && !self.is_done(task);
        is_open.then(|| self.loop_of(task)).flatten()
    }

    fn loop_of(&mut self, future: &Bound<'_, PyAny>) -> Option<Id> {
        let event_loop =
            future.getattr(intern!(future.py(), "_loop")).ok().filter(|found| !found.is_none())?;
        let id = id_of(&event_loop);
        self.loops.entry(id).or_insert_with(|| event_loop.unbind());
        Some(id)
    }

    /// Looks at a timer of a loop: what it may wake or cancel waits on it as well.
    pub(crate) fn scheduled(&mut self, handle: &Bound<'_, PyAny>) {
        if self.places.contains_key(&id_of(handle)) {
            return;
        }
        let mut reached = self.eyes.referents(handle);
        for place in 0..reached.len() {
            let one = reached[place].clone();
            match self.seen.class(&one) {
                Class::Method => {
                    let owner = one.getattr(intern!(one.py(), "__self__"));
                    reached.extend(owner.iter().flat_map(|owner| self.attributes(owner)));
                    reached.extend(owner);
                }
                Class::Timeout => reached.extend(one.getattr(intern!(one.py(), "_task"))),
                // `lambda: task.cancel()`
                Class::Function => {
                    let shared: Vec<_> =
                        self.eyes.referents(&one).iter().flat_map(|one| self.shared(one)).collect();
                    reached.extend(shared.iter().flat_map(|one| self.attributes(one)));
                    reached.extend(shared);
                }
                _ if one.is_exact_instance_of::<PyTuple>() || things::is_partial(&one) => {
                    reached.extend(self.eyes.referents(&one));
                }
                _ => {}
            }
        }
        // The handle of a timeout that is shown already.
        if reached.iter().any(|one| self.seen.class(one) == Class::Timeout && self.has(id_of(one))) {
            return;
        }
        for one in reached {
            let id = match self.seen.class(&one) {
                Class::Task | Class::Future | Class::Gather => id_of(&one),
                // The method of one that was reached in the second round.
                Class::Timeout => match one.getattr(intern!(one.py(), "_task")) {
                    Ok(task) => id_of(&task),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if self.places.contains_key(&id) {
                let to = things::timer(self, handle);
                if let Some(node) = self.node(id)
                    && !node.waits_on.iter().any(|edge| edge.to == to)
                    && node.task.as_ref().is_none_or(|task| task.state == TaskState::Waiting)
                {
                    node.waits_on.push(Edge { to, how: How::FinishedBy });
                }
            }
        }
    }

    /// What the functions around a function share with it, if `object` is what they share it in.
    fn shared<'py>(&self, object: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
        match object.cast_exact::<PyTuple>() {
            Ok(cells) => cells.iter().filter_map(|cell| things::contents(&cell)).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// The tasks and futures among an object's attributes: those that it may cancel or finish.
    fn attributes<'py>(&mut self, object: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
        if self.seen.class(object) != Class::Other {
            return Vec::new();
        }
        let mut found = self.eyes.referents(object);
        let fields: Vec<_> =
            found.iter().filter_map(|one| one.cast_exact::<PyDict>().ok()).cloned().collect();
        found.extend(fields.iter().flat_map(|fields| fields.values()));
        found.retain(|one| self.is_future(one));
        found
    }

    /// Puts in who has which lock, after the last task.
    pub(crate) fn finish(&mut self) {
        let holders = std::mem::take(&mut self.holders).into_iter().map(|held| (held, How::HeldBy));
        let takers = std::mem::take(&mut self.takers).into_iter().map(|taken| (taken, How::TakenBy));
        for ((lock, task), how) in holders.chain(takers) {
            if let Some(node) = self.node(lock)
                && !node.waits_on.iter().any(|edge| edge.to == task)
            {
                node.waits_on.push(Edge { to: task, how });
            }
        }
    }
}
