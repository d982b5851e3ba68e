//! What tasks wait on: locks and queues with their numbers and names, timers, connections, children, calls in threads.

use aioxide_monitor::schema::{Detail, Edge, How, Id, Kind, NAME_LIMIT, Node, cut};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyTuple};

use crate::chain::{Link, has_frame_object, text, within};
use crate::eyes::{Class, list_type};
use crate::facts;
use crate::walk::{Walk, id_of};

pub(crate) fn is_set(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PySet>()
        || object.is_exact_instance_of::<PyFrozenSet>()
        || object.is_exact_instance_of::<PyList>()
}

pub(crate) fn is_partial(object: &Bound<'_, PyAny>) -> bool {
    object.get_type().name().is_ok_and(|name| name == "partial")
}

pub(crate) fn is_number(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyFloat>() || object.is_exact_instance_of::<PyInt>()
}

fn integer(object: &Bound<'_, PyAny>, attribute: &str) -> Option<i64> {
    object.getattr(attribute).ok()?.extract().ok()
}

/// How often a name is looked for, at one user of an object after the other.
const NAMINGS: u8 = 8;

/// The node of a lock, queue or the like.
pub(crate) fn sync<'py>(walk: &mut Walk<'_>, object: &Bound<'py, PyAny>, links: &[Link<'py>]) -> Id {
    let id = id_of(object);
    if walk.has(id) {
        // Who was seen with it first may have no name for it.
        if walk.may_name(id)
            && let Some(name) = name_of(walk, object, links)
            && let Some(node) = walk.node(id)
        {
            node.name = cut(&format!("{} {name}", node.name), NAME_LIMIT);
            walk.unnamed.remove(&id);
        }
        return id;
    }
    let known = walk.seen.known(object);
    let kind = match known.class {
        Class::Lock => Kind::Lock,
        Class::Condition => Kind::Condition,
        Class::Semaphore => Kind::Semaphore,
        Class::Event => Kind::Event,
        Class::Barrier => Kind::Barrier,
        _ => Kind::Queue,
    };
    let name = match name_of(walk, object, links) {
        Some(name) => format!("{} {name}", known.name),
        None => {
            walk.unnamed.insert(id, NAMINGS);
            known.name.clone()
        }
    };
    walk.add(Node { id, kind, name: cut(&name, NAME_LIMIT), ..Node::default() });
    // By the methods of the class that is known, not by those of one that derives from it.
    let base = known.base.bind(object.py());
    let call = |method: &str| base.call_method1(method, (object,)).ok();
    let truth = |method: &str| call(method).and_then(|found| found.is_truthy().ok());
    let mut detail = Detail::default();
    match kind {
        Kind::Lock => {
            detail.set = truth("locked");
            let taker = facts::taker(object).filter(|task| walk.seen.class(task) == Class::Task);
            if let Some(task) = taker.filter(|task| !walk.is_done(task)) {
                walk.takers.push((id, id_of(&task)));
            }
        }
        Kind::Event => detail.set = truth("is_set"),
        Kind::Semaphore => {
            detail.size = integer(object, "_value");
            detail.limit = integer(object, "_bound_value");
        }
        Kind::Barrier => {
            detail.size = integer(object, "_count");
            detail.limit = integer(object, "_parties");
        }
        Kind::Queue => {
            detail.size = call("qsize").and_then(|size| size.extract().ok());
            detail.limit = integer(object, "_maxsize");
        }
        _ => {}
    }
    walk.set_detail(id, detail);
    id
}

/// What a program calls an object: a global name, an attribute or a variable of the innermost frame of the program's own
/// that uses it.
fn name_of<'py>(walk: &mut Walk<'_>, object: &Bound<'py, PyAny>, links: &[Link<'py>]) -> Option<String> {
    for link in links.iter().rev().filter(|link| !link.own) {
        let Some((code, _)) = &link.code else { continue };
        let names = |attribute: &str| -> Vec<String> {
            code.getattr(attribute).and_then(|names| names.extract()).unwrap_or_default()
        };
        let variables = link.variables();
        let used = names("co_names");
        for owner in variables {
            let Some(fields) = fields_of(walk, owner) else { continue };
            for name in &used {
                if fields.get_item(name).ok().flatten().is_some_and(|found| found.is(object)) {
                    return Some(name.clone());
                }
            }
        }
        let arguments: usize = code.getattr("co_argcount").and_then(|count| count.extract()).unwrap_or(0);
        let all = names("co_varnames");
        let cells = names("co_cellvars").len() + names("co_freevars").len();
        let place = variables.iter().position(|one| one.is(object));
        // A variable without a value has no place: then only the arguments are where they are counted.
        let sure = variables.len() >= all.len() + cells;
        if let Some(place) = place.filter(|place| *place < arguments || (sure && *place < all.len())) {
            return all.get(place).cloned();
        }
        // Variables that functions share are in cells: those made here, then those of the functions around.
        let shared = [names("co_cellvars"), names("co_freevars")].concat();
        let closed: Vec<_> = variables.iter().filter_map(contents).collect();
        if closed.len() == shared.len() {
            for (found, name) in closed.into_iter().zip(&shared) {
                if found.is(object) {
                    return Some(name.clone());
                }
            }
        }
        let globals = global_names(link);
        for name in used.iter().filter(|_| globals.is_some()) {
            let found = globals.as_ref().and_then(|globals| globals.get_item(name).ok().flatten());
            if found.is_some_and(|found| found.is(object)) {
                return Some(name.clone());
            }
        }
    }
    None
}

/// What is in a cell that functions share.
pub(crate) fn contents<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    is_cell(object).then(|| object.getattr("cell_contents").ok())?
}

/// Whether its type is this one of Python's own, not one that is only called so.
fn of_builtins(object: &Bound<'_, PyAny>, name: &str) -> bool {
    let type_ = object.get_type();
    type_.name().is_ok_and(|found| found == name) && type_.module().is_ok_and(|module| module == "builtins")
}

fn is_cell(object: &Bound<'_, PyAny>) -> bool {
    of_builtins(object, "cell")
}

/// The fields of an object that are in a dictionary, without asking its class: one with a `__dict__` of its own has none.
fn fields_of<'py>(walk: &mut Walk<'_>, object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let known = walk.seen.known(object);
    let fields = known.fields.as_ref()?.bind(object.py());
    fields.call_method1(intern!(object.py(), "__get__"), (object,)).ok()?.cast_into::<PyDict>().ok()
}

/// The names of a link's module.
fn global_names<'py>(link: &Link<'py>) -> Option<Bound<'py, PyDict>> {
    if let Some((code, _)) = link.code.as_ref().filter(|(code, _)| has_frame_object(code.py())) {
        let place = link.referents.iter().take(8).position(|one| one.is(code))?;
        return link.referents.get(place + 2)?.clone().cast_into::<PyDict>().ok();
    }
    link.referents.iter().take(8).find_map(|one| {
        let globals = of_builtins(one, "function").then(|| one.getattr("__globals__").ok())??;
        globals.cast_into::<PyDict>().ok()
    })
}

/// The node of a task group, with its tasks.
pub(crate) fn task_group(walk: &mut Walk<'_>, group: &Bound<'_, PyAny>) -> Id {
    let id = id_of(group);
    if walk.has(id) {
        return id;
    }
    let name = walk.seen.known(group).name.clone();
    let place = walk.add(Node { id, kind: Kind::TaskGroup, name, ..Node::default() });
    let tasks = group.getattr(intern!(group.py(), "_tasks"));
    let list = tasks.and_then(|tasks| list_type(group.py()).call1((tasks,)));
    let mut edges = Vec::new();
    for task in list.ok().and_then(|list| list.cast_into::<PyList>().ok()).into_iter().flatten() {
        if walk.is_future(&task) && !walk.is_done(&task) {
            edges.push(Edge { to: walk.future(&task), how: How::TaskGroup });
        }
    }
    walk.nodes[place].waits_on = edges;
    id
}

/// The node of a timer.
pub(crate) fn timer(walk: &mut Walk<'_>, handle: &Bound<'_, PyAny>) -> Id {
    let when = handle.getattr(intern!(handle.py(), "_when")).ok().and_then(|when| when.extract().ok());
    timed(walk, handle, when)
}

fn timed(walk: &mut Walk<'_>, object: &Bound<'_, PyAny>, when: Option<f64>) -> Id {
    let name = walk.seen.known(object).name.clone();
    let edge = walk.thing(object, Kind::Timer, &name, How::FinishedBy);
    // asyncio's loops all count by this clock.
    let now = walk.eyes.monotonic(object.py());
    if let (Some(when), Some(now)) = (when, now) {
        walk.set_detail(
            edge.to,
            Detail { left_ms: Some(((when - now) * 1e6).round() / 1e3), ..Detail::default() },
        );
    }
    edge.to
}

/// The timer of an `asyncio.timeout` block; `None` for one without a time.
pub(crate) fn timeout(walk: &mut Walk<'_>, timeout: &Bound<'_, PyAny>) -> Option<Id> {
    let known = walk.seen.known(timeout);
    let when = known.base.bind(timeout.py()).call_method1("when", (timeout,)).ok()?;
    let when: f64 = when.extract().ok()?;
    Some(timed(walk, timeout, Some(when)))
}

/// The connection of a stream.
pub(crate) fn stream(walk: &mut Walk<'_>, stream: &Bound<'_, PyAny>, reads: bool) -> Option<Id> {
    let transport =
        stream.getattr(intern!(stream.py(), "_transport")).ok().filter(|found| !found.is_none())?;
    (walk.seen.class(&transport) == Class::Transport).then_some(())?;
    let extra = transport.getattr(intern!(stream.py(), "_extra")).ok();
    let extra = extra.and_then(|extra| extra.cast_into::<PyDict>().ok());
    let peer = extra.and_then(|extra| extra.get_item("peername").ok().flatten());
    let detail = Detail {
        fd: integer(&transport, "_sock_fd").and_then(|fd| fd.try_into().ok()),
        direction: if reads { "read" } else { "write" }.to_owned(),
        peer: peer.map(|peer| address(&peer)).unwrap_or_default(),
        ..Detail::default()
    };
    let name = walk.seen.known(&transport).name.clone();
    let edge = walk.thing(&transport, Kind::Descriptor, &name, How::FinishedBy);
    walk.set_detail(edge.to, detail);
    Some(edge.to)
}

/// A socket's address as people write it.
fn address(peer: &Bound<'_, PyAny>) -> String {
    if let Ok(path) = peer.extract::<String>() {
        return cut(&path, NAME_LIMIT);
    }
    let Ok(parts) = peer.cast_exact::<PyTuple>() else { return String::new() };
    let host = parts.get_item(0).and_then(|host| host.extract::<String>()).unwrap_or_default();
    let port = parts.get_item(1).and_then(|port| port.extract::<u16>()).unwrap_or(0);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    cut(&format!("{host}:{port}"), NAME_LIMIT)
}

/// The child process of a `Process` or of its transport.
pub(crate) fn child(walk: &mut Walk<'_>, process: &Bound<'_, PyAny>) -> Option<Id> {
    let transport = process.getattr(intern!(process.py(), "_transport")).unwrap_or_else(|_| process.clone());
    let pid = integer(&transport, "_pid").and_then(|pid| pid.try_into().ok());
    let edge = walk.thing(&transport, Kind::Child, "child process", How::FinishedBy);
    walk.set_detail(edge.to, Detail { pid, ..Detail::default() });
    Some(edge.to)
}

/// Who will finish a future: the children of a gather, the inner one of a shield, a call in a thread.
pub(crate) fn finishers(walk: &mut Walk<'_>, future: &Bound<'_, PyAny>, class: Class) -> Vec<Edge> {
    let mut edges = Vec::new();
    if class == Class::Gather {
        for child in children(walk, future) {
            if walk.is_future(&child) && !walk.is_done(&child) {
                edges.push(Edge { to: walk.future(&child), how: How::Gather });
            }
        }
        return edges;
    }
    let referents = walk.eyes.referents(future);
    // A single callback is a field of asyncio's future, others are in a list of pairs.
    let mut callbacks: Vec<Bound<'_, PyAny>> = Vec::new();
    for one in referents {
        match one.cast_exact::<PyList>() {
            Ok(list) => callbacks.extend(list.iter().filter_map(|pair| pair.get_item(0).ok())),
            Err(_) => callbacks.push(one),
        }
    }
    for callback in callbacks {
        match walk.seen.class(&callback) {
            Class::Shield => {
                // Its outer future is this one, or it is the shield of this one as the inner.
                let both: Vec<_> =
                    walk.eyes.referents(&callback).into_iter().filter(|one| walk.is_future(one)).collect();
                // From Python 3.14 on, who awaits it comes last.
                if let [inner, outer, ..] = &both[..]
                    && outer.is(future)
                    && !walk.is_done(inner)
                {
                    edges.push(Edge { to: walk.future(inner), how: How::Shield });
                }
            }
            Class::Function => match text(&callback, intern!(callback.py(), "__qualname__")).as_str() {
                "shield.<locals>._outer_done_callback" => {
                    // From Python 3.14 on it closes over the task that awaits it, too.
                    let inner = closed_over(&callback, Some("inner"));
                    if let Some(inner) = inner.first().filter(|one| walk.is_future(one))
                        && !walk.is_done(inner)
                    {
                        edges.push(Edge { to: walk.future(inner), how: How::Shield });
                    }
                }
                "_chain_future.<locals>._call_check_cancel" => {
                    for source in closed_over(&callback, None) {
                        if walk.seen.class(&source) == Class::ConcurrentFuture && !walk.is_done(&source) {
                            edges.push(walk.thing(&source, Kind::Job, "call in a thread", How::FinishedBy));
                        }
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    edges
}

/// What an `as_completed` waits for.
pub(crate) fn completions(walk: &mut Walk<'_>, links: &[Link<'_>]) -> Vec<(Id, How)> {
    let mut sets = Vec::new();
    let mut found = Vec::new();
    for one in links.iter().flat_map(|link| &link.referents) {
        match walk.seen.class(one) {
            Class::Completions => {
                if let Ok(todo) = one.getattr(intern!(one.py(), "_todo")) {
                    sets.push(todo);
                }
                for inner in walk.eyes.referents(one).into_iter().skip(1) {
                    match walk.seen.class(&inner) {
                        _ if is_set(&inner) => sets.push(inner),
                        Class::TimerHandle => found.push((timer(walk, &inner), How::FinishedBy)),
                        _ => {}
                    }
                }
            }
            // Before Python 3.13 it is a generator, and its set a variable that its functions share.
            Class::Generator if text(one, intern!(one.py(), "__qualname__")) == "as_completed" => {
                for cell in within(walk.eyes, one, Class::Generator) {
                    if walk.seen.class(&cell) == Class::TimerHandle {
                        found.push((timer(walk, &cell), How::FinishedBy));
                    }
                    if let Some(inner) = contents(&cell) {
                        match walk.seen.class(&inner) {
                            _ if is_set(&inner) => sets.push(inner),
                            Class::TimerHandle => found.push((timer(walk, &inner), How::FinishedBy)),
                            _ => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    for set in sets {
        let list = list_type(set.py()).call1((set,)).ok().and_then(|list| list.cast_into::<PyList>().ok());
        for future in list.into_iter().flatten() {
            if walk.is_future(&future) && !walk.is_done(&future) {
                found.push((walk.future(&future), How::Member));
            }
        }
    }
    found
}

/// The futures that a gather waits for.
fn children<'py>(walk: &mut Walk<'_>, gather: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    if let Ok(children) = gather.getattr(intern!(gather.py(), "_children"))
        && let Ok(list) = children.cast_into::<PyList>()
    {
        return list.iter().collect();
    }
    // Who waits for it comes first, then its loop, then its children.
    let referents = walk.eyes.referents(gather);
    let event_loop = gather.getattr(intern!(gather.py(), "_loop")).ok();
    let place =
        referents.iter().position(|one| event_loop.as_ref().is_some_and(|event_loop| one.is(event_loop)));
    let mut children = place.map_or_else(Vec::new, |place| referents[place + 1..].to_vec());
    // From Python 3.14 on, the task that made it comes last. It is no child: it does not call the gather when it ends.
    if gather.py().version_info() >= (3, 14)
        && let Some(last) = children.last()
    {
        let waits = last.getattr(intern!(last.py(), "_fut_waiter")).is_ok_and(|waiter| waiter.is(gather));
        let calls = walk.eyes.referents(last).iter().filter(|one| one.is(gather)).count();
        if calls <= usize::from(waits) {
            children.pop();
        }
    }
    children
}

/// What a function closes over: everything, or what has this name.
fn closed_over<'py>(function: &Bound<'py, PyAny>, name: Option<&str>) -> Vec<Bound<'py, PyAny>> {
    let code = function.getattr(intern!(function.py(), "__code__"));
    let names = code.and_then(|code| code.getattr("co_freevars")?.extract::<Vec<String>>());
    let names = names.unwrap_or_default();
    let closure = function.getattr(intern!(function.py(), "__closure__")).ok();
    let cells = closure.and_then(|closure| closure.cast_into::<PyTuple>().ok());
    let cells = cells.map_or_else(Vec::new, |cells| cells.iter().collect());
    let named = names.iter().zip(cells).filter(|(one, _)| name.is_none_or(|name| name == *one));
    named.filter_map(|(_, cell)| cell.getattr("cell_contents").ok()).collect()
}
