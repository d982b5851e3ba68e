//! What snapshots have seen, one after the other: since when a task waits, which ones have ended, and how.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::clock;
use crate::ends::{self, End};
use crate::protocol::{DEFAULT_LIMIT, HISTORY_LIMIT};
use crate::schema::{Ended, Id, Snapshot, TaskState};

/// Tasks that are remembered although a snapshot that was not whole has left them out.
const KEPT: usize = 2 * DEFAULT_LIMIT as usize;

/// What earlier snapshots have seen.
#[derive(Debug, Default)]
pub struct Memory {
    tasks: HashMap<Id, Seen>,
    loops: HashMap<Id, Instant>,
    /// Ends of tasks that the last snapshot still had: they came after it was taken.
    early: Vec<End>,
    /// The newest last.
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    coroutine: String,
    steps: Option<u64>,
    first: Instant,
    waits_on: Option<Id>,
    since: Instant,
}

impl Memory {
    /// Tells in the snapshot what earlier ones have seen, and remembers this one. What is gone since the last has ended, if the
    /// snapshot is whole; if not, what is known to have ended.
    pub fn remember(&mut self, snapshot: &mut Snapshot, is_whole: bool) {
        self.remember_with(snapshot, is_whole, ends::take());
    }

    fn remember_with(&mut self, snapshot: &mut Snapshot, is_whole: bool, ends: VecDeque<End>) {
        let (now, now_ms) = (clock::now(), clock::unix_ms());
        // The last end of each, and how many there were: a task that ends leaves its number to the next one, which may have its name.
        let mut ends_of: HashMap<(Id, String), (End, u32)> = HashMap::new();
        for end in self.early.drain(..).chain(ends) {
            let known = ends_of.entry((end.id, end.name.clone())).or_default();
            *known = (end, known.1 + 1);
        }
        // Few: for all others no text is made.
        let came_again: HashSet<Id> =
            ends_of.iter().filter(|(_, (_, count))| *count > 1).map(|((id, _), _)| *id).collect();
        let mut tasks = HashMap::with_capacity(snapshot.nodes.len());
        let mut gone = Vec::new();
        for node in &mut snapshot.nodes {
            let Some(task) = &mut node.task else { continue };
            let waits_on = node.waits_on.first().map(|edge| edge.to);
            let mut before = self.tasks.remove(&node.id);
            let ended = |name: &str| match came_again.contains(&node.id) {
                true => ends_of.get(&(node.id, name.to_owned())).map_or(0, |(_, count)| *count),
                false => 0,
            };
            // Another one that has its number. An end that was noted once may have come after this one was looked at.
            let is_another = |before: &mut Seen| {
                before.name != node.name || task.steps < before.steps || ended(&before.name) > 1
            };
            gone.extend(before.take_if(is_another).map(|before| (node.id, before)));
            let known = match before {
                Some(before) if before.waits_on == waits_on => Seen { steps: task.steps, ..before },
                Some(before) => Seen { waits_on, since: now, steps: task.steps, ..before },
                None => {
                    let (name, coroutine, steps) = (node.name.clone(), task.coroutine.clone(), task.steps);
                    Seen { name, coroutine, steps, first: now, waits_on, since: now }
                }
            };
            if task.age_ms.is_none() {
                task.age_ms = Some((now - known.first).as_millis() as u64);
                task.age_is_least = true;
            }
            task.waiting_ms =
                (task.state == TaskState::Waiting).then(|| (now - known.since).as_millis() as u64);
            tasks.insert(node.id, known);
        }
        gone.extend(std::mem::replace(&mut self.tasks, tasks));
        for (id, task) in gone {
            let end = match ends_of.remove(&(id, task.name.clone())).map(|(end, _)| end) {
                None if !is_whole && self.tasks.len() < KEPT => {
                    self.tasks.entry(id).or_insert(task);
                    continue;
                }
                end => end.unwrap_or_default(),
            };
            let lived_ms = (now - task.first).as_millis() as u64;
            let (name, coroutine) = (task.name, task.coroutine);
            let End { why, exception, .. } = end;
            let noticed_unix_ms = now_ms;
            self.ended.push_back(Ended { id, name, coroutine, why, exception, noticed_unix_ms, lived_ms });
        }
        let too_many = self.ended.len().saturating_sub(HISTORY_LIMIT);
        drop(self.ended.drain(..too_many));
        let is_there = |end: &End| self.tasks.get(&end.id).is_some_and(|task| task.name == end.name);
        self.early = ends_of.into_values().map(|(end, _)| end).filter(is_there).collect();
        for event_loop in &mut snapshot.loops {
            let first = *self.loops.entry(event_loop.id).or_insert(now);
            event_loop.seen_ms = Some((now - first).as_millis() as u64);
        }
        self.loops.retain(|id, _| snapshot.loops.iter().any(|event_loop| event_loop.id == *id));
    }

    /// Tasks that have ended, the newest first.
    #[must_use]
    pub fn history(&self, limit: usize) -> Vec<Ended> {
        self.ended.iter().rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Edge, Loop, Node, Task, Why};

    fn snapshot(tasks: &[(Id, &str, Option<Id>)]) -> Snapshot {
        let node = |(id, name, waits_on): &(Id, &str, Option<Id>)| Node {
            id: *id,
            name: (*name).to_owned(),
            waits_on: waits_on.map(|to| Edge { to, ..Edge::default() }).into_iter().collect(),
            task: Some(Task::default()),
            ..Node::default()
        };
        let loops = vec![Loop { id: 1, ..Loop::default() }];
        Snapshot { nodes: tasks.iter().map(node).collect(), loops, ..Snapshot::default() }
    }

    fn end(id: Id, name: &str, why: Why) -> End {
        let exception = if why == Why::Raised { "KeyError" } else { "" };
        End { id, name: name.to_owned(), why, exception: exception.to_owned() }
    }

    #[test]
    fn tasks_that_are_gone_have_ended_in_the_way_that_was_noted() {
        let mut memory = Memory::default();
        let mut first = snapshot(&[(10, "a", Some(20)), (11, "b", None), (12, "c", None)]);
        memory.remember_with(&mut first, true, VecDeque::new());
        assert!(first.nodes[0].task.as_ref().unwrap().age_is_least);
        assert_eq!(first.loops[0].seen_ms, Some(0));
        // Others that had the number afterwards.
        let ends = [end(11, "b", Why::Raised), end(11, "x", Why::Returned), end(12, "c", Why::Cancelled)];
        let mut second = snapshot(&[(10, "a", Some(21)), (12, "another", None)]);
        memory.remember_with(&mut second, true, ends.into());
        let told: Vec<(&str, Why, &str)> = memory
            .ended
            .iter()
            .map(|ended| (ended.name.as_str(), ended.why, ended.exception.as_str()))
            .collect();
        assert_eq!(told, [("c", Why::Cancelled, ""), ("b", Why::Raised, "KeyError")]);
        memory.remember_with(&mut snapshot(&[]), true, VecDeque::new());
        let why: Vec<Why> = memory.history(10).iter().map(|ended| ended.why).collect();
        assert_eq!(why, [Why::Unknown, Why::Unknown, Why::Raised, Why::Cancelled]);
        assert_eq!(memory.history(1).len(), 1);
    }

    #[test]
    fn end_that_comes_while_a_snapshot_is_taken_is_known_to_the_next() {
        let mut memory = Memory::default();
        memory.remember_with(&mut snapshot(&[(10, "a", None)]), true, VecDeque::new());
        // It has ended after it was looked at, in this snapshot.
        memory.remember_with(&mut snapshot(&[(10, "a", None)]), true, [end(10, "a", Why::Returned)].into());
        memory.remember_with(&mut snapshot(&[]), true, VecDeque::new());
        assert_eq!(memory.history(10)[0].why, Why::Returned);
        assert_eq!(memory.early, []);
    }

    #[test]
    fn what_was_left_out_has_not_ended_and_nothing_piles_up() {
        let mut memory = Memory::default();
        memory.remember_with(&mut snapshot(&[(10, "a", None)]), true, VecDeque::new());
        memory.remember_with(&mut snapshot(&[]), false, VecDeque::new());
        assert_eq!(memory.history(10), []);
        // Unless its end is known.
        memory.remember_with(&mut snapshot(&[]), false, [end(10, "a", Why::Returned)].into());
        assert_eq!((memory.history(10).len(), memory.tasks.len()), (1, 0));
        let many: Vec<(Id, &str, Option<Id>)> =
            (0..HISTORY_LIMIT as u64 + 5).map(|id| (id, "x", None)).collect();
        memory.remember_with(&mut snapshot(&many), true, VecDeque::new());
        memory.remember_with(&mut snapshot(&[]), true, VecDeque::new());
        assert_eq!(memory.history(usize::MAX).len(), HISTORY_LIMIT);
    }
}
