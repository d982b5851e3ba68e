//! One look at a program with all that is computed from it once, so that drawing costs what is seen and no more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aioxide_monitor::deadlock;
use aioxide_monitor::graph::{Direction, Graph, Group, Line};
use aioxide_monitor::schema::{Deadlock, Frame, Id, Lag, Node, Snapshot, Task, ThreadStack};

use crate::args::Sort;
use crate::clock;

/// A loop that has not answered for so long is shown as blocked.
pub(crate) const BLOCKED: Duration = Duration::from_millis(100);

/// Lines of a tree.
pub(crate) const TREE_LIMIT: usize = 2_000;

/// One look.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) snapshot: Snapshot,
    pub(crate) lag: Vec<Lag>,
    pub(crate) deadlocks: Vec<Deadlock>,
    /// Those that did not answer then, where that was asked for.
    pub(crate) blocked: Vec<Blocked>,
    /// The largest first.
    pub(crate) groups: Vec<Group>,
    /// The longest that one of each group has been waiting, in milliseconds.
    pub(crate) longest: Vec<Option<u64>>,
    /// The group of each task, by its id.
    group_of: HashMap<Id, u32>,
    /// Where each node is.
    places: HashMap<Id, u32>,
    /// The nodes that are tasks.
    tasks: Vec<u32>,
}

/// A loop that does not answer now.
#[derive(Debug, Clone)]
pub(crate) struct Blocked {
    pub(crate) lag: Lag,
    /// What its thread does, where it could be asked.
    pub(crate) thread: Option<ThreadStack>,
    /// Why it could not.
    pub(crate) why_not: Option<String>,
}

/// The longest time that a loop took, or is taking, to answer.
pub(crate) fn worst_us(lag: &[Lag]) -> Option<u64> {
    lag.iter().map(|lag| lag.last_us.max(lag.waiting_us)).max()
}

/// What blocked a loop, after it.
#[derive(Debug, Clone)]
pub(crate) struct WasBlocked {
    /// Seen as late as it was.
    pub(crate) blocked: Blocked,
    /// When it was seen last.
    pub(crate) seen: Instant,
}

impl WasBlocked {
    /// For how long it is told.
    const TOLD: Duration = Duration::from_secs(60);

    /// Remembers the longest of those that are blocked now, in place of what was before.
    pub(crate) fn remember(before: &mut Option<Self>, blocked: &[Blocked]) {
        if let Some(worst) = blocked.iter().max_by_key(|one| one.lag.waiting_us) {
            *before = Some(Self { blocked: worst.clone(), seen: clock::now() });
        }
    }

    /// How long ago that was, if not so long that it is forgotten.
    pub(crate) fn ago(&self) -> Option<Duration> {
        Some(self.seen.elapsed()).filter(|ago| *ago < Self::TOLD)
    }
}

impl Sample {
    /// Computes what is shown of a snapshot.
    pub(crate) fn new(snapshot: Snapshot, lag: Vec<Lag>, blocked: Vec<Blocked>) -> Self {
        let groups = Graph::new(&snapshot).groups();
        let deadlocks = deadlock::find(&snapshot);
        let places: HashMap<Id, u32> =
            snapshot.nodes.iter().enumerate().map(|(place, node)| (node.id, place as u32)).collect();
        let mut group_of = HashMap::with_capacity(places.len());
        let mut longest = Vec::with_capacity(groups.len());
        for (number, group) in groups.iter().enumerate() {
            let mut most = None;
            for id in &group.tasks {
                group_of.insert(*id, number as u32);
                let node = places.get(id).map(|place| &snapshot.nodes[*place as usize]);
                most = most.max(node.and_then(|node| node.task.as_ref()?.waiting_ms));
            }
            longest.push(most);
        }
        let tasks = (0..snapshot.nodes.len() as u32)
            .filter(|place| snapshot.nodes[*place as usize].task.is_some())
            .collect();
        Self { snapshot, lag, deadlocks, blocked, groups, longest, group_of, places, tasks }
    }

    /// The node with this id.
    pub(crate) fn node(&self, id: Id) -> Option<&Node> {
        self.places.get(&id).map(|place| &self.snapshot.nodes[*place as usize])
    }

    /// The node and its task at a place of [`Sample::select`].
    pub(crate) fn task_at(&self, place: u32) -> Option<(&Node, &Task)> {
        let node = self.snapshot.nodes.get(place as usize)?;
        Some((node, node.task.as_ref()?))
    }

    /// What a task waits on in the words of its group.
    pub(crate) fn waits(&self, id: Id) -> &str {
        self.group_of.get(&id).map_or("", |group| &self.groups[*group as usize].waits)
    }

    /// The number of tasks.
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// The cycle of a deadlock, told from a task on, not from a lock.
    pub(crate) fn cycle(&self, deadlock: &Deadlock) -> Vec<Id> {
        let mut cycle = deadlock.cycle.clone();
        let is_task = |id: &Id| self.node(*id).is_some_and(|node| node.task.is_some());
        let first = cycle.iter().position(is_task).unwrap_or(0);
        cycle.rotate_left(first);
        cycle
    }

    /// Tasks with this name or number, by their ids.
    pub(crate) fn named(&self, name: &str) -> Vec<Id> {
        let number: Option<Id> = name.parse().ok();
        let tasks = self.snapshot.tasks();
        tasks
            .filter(|(node, _)| node.name == name || Some(node.id) == number)
            .map(|(node, _)| node.id)
            .collect()
    }

    /// The places of the tasks that a filter lets through, sorted.
    pub(crate) fn select(&self, chosen: &Chosen<'_>) -> Vec<u32> {
        let words = Words::new(chosen.filter);
        let of_group = |id: Id| match chosen.group {
            None => true,
            Some((coroutine, waits)) => self.group_of.get(&id).is_some_and(|group| {
                let group = &self.groups[*group as usize];
                group.coroutine == coroutine && group.waits == waits
            }),
        };
        let mut places: Vec<u32> = self.tasks.clone();
        places.retain(|place| {
            self.task_at(*place).is_some_and(|(node, task)| {
                let texts =
                    [&node.name, &task.coroutine, self.waits(node.id), super::words::state(task.state)];
                of_group(node.id) && words.are_in(&texts)
            })
        });
        self.sort(&mut places, chosen.sort);
        if chosen.reverse {
            places.reverse();
        }
        places
    }

    fn sort(&self, places: &mut [u32], sort: Sort) {
        let down = |of: fn(&Task) -> Option<u64>| {
            move |place: &u32| std::cmp::Reverse(self.task_at(*place).and_then(|(_, task)| of(task)))
        };
        let name = |place: &u32| self.task_at(*place).map_or("", |(node, _)| node.name.as_str());
        match sort {
            Sort::Waiting => places.sort_by_cached_key(down(|task| task.waiting_ms)),
            Sort::Age => places.sort_by_cached_key(down(|task| task.age_ms)),
            Sort::Ran => places.sort_by_cached_key(down(|task| task.ran_us)),
            Sort::Steps => places.sort_by_cached_key(down(|task| task.steps)),
            // `Task-10` after `Task-9`.
            Sort::Name => places.sort_by(|a, b| natural(name(a)).cmp(&natural(name(b)))),
            Sort::Coroutine => {
                places.sort_by_key(|place| self.task_at(*place).map(|(_, task)| task.coroutine.as_str()));
            }
            Sort::State => places.sort_by_key(|place| self.task_at(*place).map(|(_, task)| task.state)),
            Sort::Waits => {
                places.sort_by_key(|place| self.task_at(*place).map(|(node, _)| self.waits(node.id)));
            }
        }
    }

    /// The places in `groups` that a filter lets through.
    pub(crate) fn select_groups(&self, filter: &str) -> Vec<usize> {
        let words = Words::new(filter);
        let groups = self.groups.iter().enumerate();
        groups
            .filter(|(_, group)| words.are_in(&[&group.coroutine, &group.waits]))
            .map(|(place, _)| place)
            .collect()
    }

    /// A task's surroundings.
    pub(crate) fn detail(&self, id: Id, stack: Vec<Frame>) -> Option<Detail> {
        let graph = Graph::new(&self.snapshot);
        let node = graph.node(id)?.clone();
        Some(Detail {
            below: graph.tree(id, Direction::WaitsOn, TREE_LIMIT),
            above: graph.tree(id, Direction::WaitedBy, TREE_LIMIT),
            node,
            stack,
        })
    }

    /// A number summed over the loops that know it.
    pub(crate) fn sum(&self, of: fn(&aioxide_monitor::schema::Loop) -> Option<u64>) -> Option<u64> {
        self.snapshot.loops.iter().filter_map(of).reduce(|a, b| a + b)
    }
}

/// A node with what it waits on, who waits for it, and its stack.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    pub(crate) node: Node,
    pub(crate) below: Vec<Line>,
    pub(crate) above: Vec<Line>,
    pub(crate) stack: Vec<Frame>,
}

/// Which tasks, in which order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    pub(crate) filter: &'a str,
    /// A coroutine and what it waits on.
    pub(crate) group: Option<(&'a str, &'a str)>,
    pub(crate) sort: Sort,
    pub(crate) reverse: bool,
}

/// Words of a filter: all of them have to be found.
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn new(filter: &str) -> Self {
        Self(filter.split_whitespace().map(str::to_lowercase).collect())
    }

    /// Whether each of them is in one of the texts, in whatever case.
    pub(crate) fn are_in(&self, texts: &[&str]) -> bool {
        let has = |text: &str, word: &str| match text.is_ascii() {
            true => {
                let (text, word) = (text.as_bytes(), word.as_bytes());
                text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
            }
            false => text.to_lowercase().contains(word),
        };
        self.0.iter().all(|word| texts.iter().any(|text| has(text, word)))
    }
}

/// A name as it sorts: its text, and the number at its end.
fn natural(name: &str) -> (&str, u64, &str) {
    let text = name.trim_end_matches(|character: char| character.is_ascii_digit());
    (text, name[text.len()..].parse().unwrap_or(u64::MAX), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_the_number_at_their_end() {
        let mut names = ["Task-10", "Task-9", "b", "Task-9a", "a"];
        names.sort_by(|a, b| natural(a).cmp(&natural(b)));
        assert_eq!(names, ["Task-9", "Task-10", "Task-9a", "a", "b"]);
    }

    #[test]
    fn every_word_of_a_filter_has_to_be_somewhere() {
        let texts = ["Task-7", "handle_request", "Semaphore Größe"];
        for (filter, found) in [
            ("", true),
            ("task", true),
            ("semaphore HANDLE", true),
            ("GRÖSSE", false),
            ("größe", true),
            ("handle lock", false),
        ] {
            assert_eq!(Words::new(filter).are_in(&texts), found, "{filter}");
        }
    }
}
