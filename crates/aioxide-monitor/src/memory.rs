//! What snapshots have seen, one after the other: since when a task waits, which ones have ended, and how.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::clock;
use crate::ends::{End, Ends};
use crate::protocol::HISTORY_LIMIT;
use crate::schema::{Ended, Id, Snapshot, TaskState};

/// What earlier snapshots have seen.
#[derive(Debug, Default)]
pub struct Memory {
    tasks: HashMap<Id, Seen>,
    loops: HashMap<Id, Instant>,
    /// The newest last.
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    coroutine: String,
    first: Instant,
    waits_on: Option<Id>,
    since: Instant,
}

impl Memory {
    /// Tells in the snapshot what earlier ones have seen, and remembers this one. What is gone since the last has ended.
    pub fn remember(&mut self, snapshot: &mut Snapshot, ends: Ends) {
        let (now, now_ms) = (clock::now(), clock::unix_ms());
        let mut tasks = HashMap::with_capacity(snapshot.nodes.len());
        for node in &mut snapshot.nodes {
            let Some(task) = &mut node.task else { continue };
            let waits_on = node.waits_on.first().map(|edge| edge.to);
            let before = self.tasks.remove(&node.id).filter(|before| before.name == node.name);
            let known = match before {
                Some(before) if before.waits_on == waits_on => before,
                Some(before) => Seen { waits_on, since: now, ..before },
                None => {
                    let (name, coroutine) = (node.name.clone(), task.coroutine.clone());
                    Seen { name, coroutine, first: now, waits_on, since: now }
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
        let before = std::mem::replace(&mut self.tasks, tasks);
        if snapshot.left_out == 0 {
            self.note_ended(before, ends, now, now_ms);
        }
        for event_loop in &mut snapshot.loops {
            let first = *self.loops.entry(event_loop.id).or_insert(now);
            event_loop.seen_ms = Some((now - first).as_millis() as u64);
        }
        self.loops.retain(|id, _| snapshot.loops.iter().any(|event_loop| event_loop.id == *id));
    }

    fn note_ended(&mut self, gone: HashMap<Id, Seen>, ends: Ends, now: Instant, now_ms: u64) {
        let ends: HashMap<Id, End> = match gone.is_empty() {
            true => HashMap::new(),
            // An id may have been another task's, before: the last one counts.
            false => ends.into_iter().map(|end| (end.id, end)).collect(),
        };
        for (id, task) in gone {
            let End { why, exception, .. } = ends.get(&id).cloned().unwrap_or_default();
            self.ended.push_back(Ended {
                id,
                name: task.name,
                coroutine: task.coroutine,
                why,
                exception,
                noticed_unix_ms: now_ms,
                lived_ms: (now - task.first).as_millis() as u64,
            });
        }
        let too_many = self.ended.len().saturating_sub(HISTORY_LIMIT);
        drop(self.ended.drain(..too_many));
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

    #[test]
    fn tasks_that_are_gone_have_ended_in_the_way_that_was_noted() {
        let mut memory = Memory::default();
        let mut first = snapshot(&[(10, "a", Some(20)), (11, "b", None), (12, "c", None)]);
        memory.remember(&mut first, Ends::new());
        assert!(first.nodes[0].task.as_ref().unwrap().age_is_least);
        assert_eq!(first.loops[0].seen_ms, Some(0));
        let mut ends = Ends::new();
        ends.push(End { id: 11, why: Why::Returned, ..End::default() });
        ends.push(End { id: 11, why: Why::Raised, exception: "KeyError".to_owned() });
        // Another task with the number of one that was there.
        memory.remember(&mut snapshot(&[(10, "a", Some(21)), (12, "another", None)]), ends);
        let history = memory.history(10);
        assert_eq!(history.len(), 1);
        assert_eq!((history[0].name.as_str(), history[0].why), ("b", Why::Raised));
        assert_eq!(history[0].exception, "KeyError");
        memory.remember(&mut snapshot(&[]), Ends::new());
        let names: Vec<Why> = memory.history(10).iter().map(|ended| ended.why).collect();
        assert_eq!(names, [Why::Unknown, Why::Unknown, Why::Raised]);
        assert_eq!(memory.history(1).len(), 1);
    }

    #[test]
    fn what_was_left_out_has_not_ended_and_nothing_piles_up() {
        let mut memory = Memory::default();
        memory.remember(&mut snapshot(&[(10, "a", None)]), Ends::new());
        let mut partial = snapshot(&[]);
        partial.left_out = 1;
        memory.remember(&mut partial, Ends::new());
        assert_eq!(memory.history(10), []);
        let many: Vec<(Id, &str, Option<Id>)> =
            (0..HISTORY_LIMIT as u64 + 5).map(|id| (id, "x", None)).collect();
        memory.remember(&mut snapshot(&many), Ends::new());
        memory.remember(&mut snapshot(&[]), Ends::new());
        assert_eq!(memory.history(usize::MAX).len(), HISTORY_LIMIT);
    }
}
