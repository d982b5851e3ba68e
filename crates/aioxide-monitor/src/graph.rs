//! The snapshot as a graph: who waits for whom in groups, cycles, ends of chains and trees.
//!
//! Everything takes time linear in nodes and edges and goes by loops, not by recursion: a chain of 100 000 tasks is a graph
//! like another. An edge to a node that is missing is left out.

use std::collections::HashMap;

use crate::schema::{Edge, How, Id, Kind, Node, Snapshot, TaskState};

/// An index of a snapshot.
#[derive(Debug)]
pub struct Graph<'a> {
    snapshot: &'a Snapshot,
    places: HashMap<Id, usize>,
    /// Edges by place: to which node, and how.
    forward: Vec<Vec<(usize, How)>>,
    backward: Vec<Vec<usize>>,
}

/// Tasks of one coroutine that wait on one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The coroutine's qualified name.
    pub coroutine: String,
    /// `ready`, `running`, or what they wait on: `Semaphore db`, say.
    pub waits: String,
    /// How many, and which, in the order of the snapshot.
    pub tasks: Vec<Id>,
}

/// A line of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How deep it stands; the first is 0.
    pub depth: usize,
    /// The node.
    pub id: Id,
    /// How the one above is connected with it.
    pub how: Option<How>,
    /// It has been shown above with all that is below it, which is left out here.
    pub again: bool,
}

/// Which way a tree goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To what the node waits on.
    WaitsOn,
    /// To who waits on the node.
    WaitedBy,
}

impl<'a> Graph<'a> {
    /// The index of a snapshot.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let nodes = &snapshot.nodes;
        let places: HashMap<Id, usize> =
            nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        let find = |edge: &Edge| Some((*places.get(&edge.to)?, edge.how));
        let forward: Vec<Vec<(usize, How)>> =
            nodes.iter().map(|node| node.waits_on.iter().filter_map(find).collect()).collect();
        let mut backward = vec![Vec::new(); nodes.len()];
        for (place, edges) in forward.iter().enumerate() {
            for (to, _) in edges {
                if backward[*to].last() != Some(&place) {
                    backward[*to].push(place);
                }
            }
        }
        Self { snapshot, places, forward, backward }
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: Id) -> Option<&'a Node> {
        self.places.get(&id).map(|place| &self.snapshot.nodes[*place])
    }

    /// What a node waits on.
    pub fn waits_on(&self, id: Id) -> impl Iterator<Item = (&'a Node, How)> + '_ {
        let edges = self.places.get(&id).map_or(&[][..], |place| &self.forward[*place]);
        edges.iter().map(|(to, how)| (&self.snapshot.nodes[*to], *how))
    }

    /// Who waits on a node.
    pub fn waited_by(&self, id: Id) -> impl Iterator<Item = &'a Node> + '_ {
        let places = self.places.get(&id).map_or(&[][..], |place| &self.backward[*place]);
        places.iter().map(|place| &self.snapshot.nodes[*place])
    }

    /// The tasks by coroutine and by what they wait on, the largest group first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut found: HashMap<(&str, String), Vec<Id>> = HashMap::new();
        for (place, node) in self.snapshot.nodes.iter().enumerate() {
            if let Some(task) = &node.task {
                let key = (task.coroutine.as_str(), self.waits(place));
                found.entry(key).or_default().push(node.id);
            }
        }
        let mut groups: Vec<Group> = found
            .into_iter()
            .map(|((coroutine, waits), tasks)| Group { coroutine: coroutine.to_owned(), waits, tasks })
            .collect();
        groups.sort_by(|a, b| {
            let names = (&a.coroutine, &a.waits).cmp(&(&b.coroutine, &b.waits));
            b.tasks.len().cmp(&a.tasks.len()).then(names)
        });
        groups
    }

    /// What a task waits on, in a few words that are the same for all that wait on the same.
    ///
    /// A task or a future that is awaited is named by its kind only: it is each one's own.
    fn waits(&self, place: usize) -> String {
        let node = &self.snapshot.nodes[place];
        match node.task.as_ref().map(|task| task.state) {
            Some(TaskState::Running) => return "running".to_owned(),
            Some(TaskState::Ready) => return "ready".to_owned(),
            Some(TaskState::Done) => return "done".to_owned(),
            _ => {}
        }
        // A timer beside something else is a timeout of it.
        let mut edges = self.forward[place].iter().filter(|(_, how)| *how != How::FinishedBy);
        let Some((to, _)) = edges.next().or_else(|| self.forward[place].first()) else {
            return "nothing known".to_owned();
        };
        self.named(*to)
    }

    fn named(&self, place: usize) -> String {
        let mut place = place;
        // A future that one thing will finish is named by that thing; a chain of them ends after a few.
        for _ in 0..8 {
            match self.forward[place].as_slice() {
                [(to, How::FinishedBy)] if self.snapshot.nodes[place].kind == Kind::Future => place = *to,
                _ => break,
            }
        }
        let node = &self.snapshot.nodes[place];
        match node.kind {
            Kind::Task => format!("task {}", node.task.as_ref().map_or("", |task| &task.coroutine)),
            Kind::Timer => "timer".to_owned(),
            Kind::Gather => "gather".to_owned(),
            Kind::Wait => "wait".to_owned(),
            Kind::Future => format!("future {}", node.name),
            _ if node.label.is_empty() => node.name.clone(),
            _ => format!("{} {}", node.name, node.label),
        }
    }

    /// The cycles: one for each part of the graph whose nodes all wait on each other, in the order of the edges.
    ///
    /// Of a part with several cycles, one of the shortest through its first node is told. A cycle may still be broken: by a
    /// timeout, by a cancellation, by another member of a `wait`. [`crate::deadlock`] tells which cannot.
    #[must_use]
    pub fn cycles(&self) -> Vec<Vec<Id>> {
        let parts = self.parts();
        let mut first = HashMap::new();
        for (place, part) in parts.iter().enumerate() {
            first.entry(*part).or_insert_with(Vec::new).push(place);
        }
        let mut members: Vec<Vec<usize>> = first
            .into_values()
            .filter(|places| {
                places.len() > 1 || self.forward[places[0]].iter().any(|(to, _)| *to == places[0])
            })
            .collect();
        members.sort();
        let ids = |cycle: Vec<usize>| cycle.into_iter().map(|place| self.id(place)).collect();
        members.iter().map(|places| ids(self.cycle_through(places[0], &parts))).collect()
    }

    /// A shortest cycle through a node inside of its part.
    fn cycle_through(&self, start: usize, parts: &[usize]) -> Vec<usize> {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut line = std::collections::VecDeque::from([start]);
        while let Some(place) = line.pop_front() {
            for (to, _) in &self.forward[place] {
                if *to == start {
                    let mut cycle = vec![place];
                    while let Some(before) = from.get(&cycle[cycle.len() - 1]) {
                        cycle.push(*before);
                    }
                    cycle.reverse();
                    return cycle;
                }
                if parts[*to] == parts[start] && !from.contains_key(to) {
                    from.insert(*to, place);
                    line.push_back(*to);
                }
            }
        }
        vec![start]
    }

    /// The strongly connected part of each node, by Tarjan's algorithm with a stack of its own.
    fn parts(&self) -> Vec<usize> {
        const NONE: usize = usize::MAX;
        let count = self.forward.len();
        let (mut index, mut low, mut part) = (vec![NONE; count], vec![0; count], vec![NONE; count]);
        let (mut next, mut parts, mut open) = (0, 0, Vec::new());
        for root in 0..count {
            if index[root] != NONE {
                continue;
            }
            let mut calls = vec![(root, 0)];
            while let Some((place, edge)) = calls.pop() {
                if edge == 0 {
                    index[place] = next;
                    low[place] = next;
                    next += 1;
                    open.push(place);
                }
                if let Some((to, _)) = self.forward[place].get(edge) {
                    calls.push((place, edge + 1));
                    if index[*to] == NONE {
                        calls.push((*to, 0));
                    } else if part[*to] == NONE {
                        low[place] = low[place].min(index[*to]);
                    }
                    continue;
                }
                if low[place] == index[place] {
                    while let Some(member) = open.pop() {
                        part[member] = parts;
                        if member == place {
                            break;
                        }
                    }
                    parts += 1;
                }
                if let Some((above, _)) = calls.last() {
                    low[*above] = low[*above].min(low[place]);
                }
            }
        }
        part
    }

    /// What the chains of a node end in: nodes that wait on nothing.
    #[must_use]
    pub fn ends(&self, id: Id) -> Vec<Id> {
        let mut seen = vec![false; self.forward.len()];
        let mut open: Vec<usize> = self.places.get(&id).copied().into_iter().collect();
        let mut found = Vec::new();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            if self.forward[place].is_empty() {
                found.push(self.id(place));
            }
            open.extend(self.forward[place].iter().rev().map(|(to, _)| *to));
        }
        found
    }

    /// The tree below a node, in the order in which it is printed. What stands in it a second time is a reference back
    /// (`again`), so that diamonds and cycles cost no more than their edges. At most `limit` lines.
    #[must_use]
    pub fn tree(&self, id: Id, direction: Direction, limit: usize) -> Vec<Line> {
        let Some(root) = self.places.get(&id).copied() else { return Vec::new() };
        let mut seen = vec![false; self.forward.len()];
        let mut open = vec![(root, 0, None)];
        let mut lines = Vec::new();
        while let Some((place, depth, how)) = open.pop() {
            if lines.len() >= limit {
                break;
            }
            let again = std::mem::replace(&mut seen[place], true);
            let below: &mut dyn Iterator<Item = (usize, Option<How>)> = match direction {
                Direction::WaitsOn => {
                    &mut self.forward[place].iter().rev().map(|(to, how)| (*to, Some(*how)))
                }
                Direction::WaitedBy => &mut self.backward[place].iter().rev().map(|from| {
                    let edge = self.forward[*from].iter().find(|(to, _)| *to == place);
                    (*from, edge.map(|(_, how)| *how))
                }),
            };
            let mut any = false;
            if !again {
                for (next, how) in below {
                    any = true;
                    open.push((next, depth + 1, how));
                }
            } else {
                any = below.next().is_some();
            }
            lines.push(Line { depth, id: self.id(place), how, again: again && any });
        }
        lines
    }

    pub(crate) fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    pub(crate) fn edges(&self, place: usize) -> &[(usize, How)] {
        &self.forward[place]
    }

    pub(crate) fn before(&self, place: usize) -> &[usize] {
        &self.backward[place]
    }

    fn id(&self, place: usize) -> Id {
        self.snapshot.nodes[place].id
    }
}
