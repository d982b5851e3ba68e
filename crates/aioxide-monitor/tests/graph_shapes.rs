//! Groups, cycles, ends and trees of graphs whose shape is known, and of random ones beside a naive model.

use std::collections::HashSet;

use aioxide_monitor::graph::{Direction, Graph, Line};
use aioxide_monitor::schema::{Edge, How, Id, Kind, Node, Snapshot, Task, TaskState};
use proptest::prelude::*;

fn node(id: Id, kind: Kind, to: &[Id]) -> Node {
    let task = (kind == Kind::Task).then(|| Task { coroutine: "work".into(), ..Task::default() });
    let waits_on = to.iter().map(|to| Edge { to: *to, how: How::Await }).collect();
    Node { id, kind, name: format!("{kind:?}"), waits_on, task, ..Node::default() }
}

fn tasks(edges: &[(Id, &[Id])]) -> Snapshot {
    Snapshot {
        nodes: edges.iter().map(|(id, to)| node(*id, Kind::Task, to)).collect(),
        ..Snapshot::default()
    }
}

#[test]
fn groups_are_by_coroutine_and_what_is_waited_on() {
    let mut nodes: Vec<Node> = (0..5).map(|id| node(id, Kind::Task, &[100])).collect();
    nodes.push(node(5, Kind::Task, &[101]));
    nodes.push(node(6, Kind::Task, &[]));
    nodes[6].task.as_mut().unwrap().state = TaskState::Ready;
    nodes.push(Node { label: "db".into(), ..node(100, Kind::Semaphore, &[]) });
    nodes.push(node(101, Kind::Timer, &[]));
    let snapshot = Snapshot { nodes, ..Snapshot::default() };
    let groups = Graph::new(&snapshot).groups();
    let found: Vec<(usize, &str)> =
        groups.iter().map(|group| (group.tasks.len(), group.waits.as_str())).collect();
    assert_eq!(found, [(5, "Semaphore db"), (1, "ready"), (1, "timer")]);
}

#[test]
fn timeout_beside_a_lock_does_not_name_the_group() {
    let mut nodes = vec![node(1, Kind::Task, &[8, 9]), node(8, Kind::Timer, &[]), node(9, Kind::Lock, &[])];
    nodes[0].waits_on[0].how = How::FinishedBy;
    let snapshot = Snapshot { nodes, ..Snapshot::default() };
    assert_eq!(Graph::new(&snapshot).groups()[0].waits, "Lock");
}

#[test]
fn cycle_is_told_in_the_order_of_its_edges() {
    let snapshot = tasks(&[(1, &[2]), (2, &[3]), (3, &[1]), (4, &[1]), (5, &[5]), (6, &[])]);
    assert_eq!(Graph::new(&snapshot).cycles(), [vec![1, 2, 3], vec![5]]);
}

#[test]
fn ends_of_a_diamond_are_told_once() {
    let snapshot = tasks(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[]), (5, &[])]);
    assert_eq!(Graph::new(&snapshot).ends(1), [4]);
    assert!(Graph::new(&snapshot).ends(77).is_empty());
}

#[test]
fn tree_shows_a_shared_part_once_and_refers_back_to_it() {
    let snapshot = tasks(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[5]), (5, &[])]);
    let shown: Vec<(usize, Id, bool)> = Graph::new(&snapshot)
        .tree(1, Direction::WaitsOn, 100)
        .iter()
        .map(|line| (line.depth, line.id, line.again))
        .collect();
    assert_eq!(
        shown,
        [(0, 1, false), (1, 2, false), (2, 4, false), (3, 5, false), (1, 3, false), (2, 4, true)]
    );
    let back = Graph::new(&snapshot).tree(5, Direction::WaitedBy, 100);
    assert_eq!(back.len(), 6);
    assert_eq!(back[0], Line { depth: 0, id: 5, how: None, again: false });
    assert_eq!(back[1].how, Some(How::Await));
}

#[test]
fn diamonds_one_under_the_other_cost_no_more_than_their_edges() {
    let mut edges: Vec<(Id, Vec<Id>)> = Vec::new();
    for level in 0..1_000 {
        let id = level * 3;
        edges.push((id, vec![id + 1, id + 2]));
        edges.push((id + 1, vec![id + 3]));
        edges.push((id + 2, vec![id + 3]));
    }
    edges.push((3_000, Vec::new()));
    let nodes = edges.iter().map(|(id, to)| node(*id, Kind::Task, to)).collect();
    let snapshot = Snapshot { nodes, ..Snapshot::default() };
    // Each edge is a line, and the root.
    assert_eq!(Graph::new(&snapshot).tree(0, Direction::WaitsOn, usize::MAX).len(), 4_001);
}

#[test]
fn ring_and_chain_of_a_hundred_thousand_need_no_stack() {
    let count = 100_000;
    let mut snapshot = Snapshot {
        nodes: (0..count).map(|id| node(id, Kind::Task, &[id + 1])).collect(),
        ..Snapshot::default()
    };
    snapshot.link();
    let graph = Graph::new(&snapshot);
    assert!(graph.cycles().is_empty());
    assert_eq!(graph.ends(0), [count - 1]);
    assert_eq!(graph.tree(0, Direction::WaitsOn, usize::MAX).len(), count as usize);
    snapshot.nodes[count as usize - 1].waits_on[0].to = 0;
    assert_eq!(Graph::new(&snapshot).cycles()[0].len(), count as usize);
}

proptest! {
    /// A node is on a cycle, by the naive model, exactly when it is in a part for which a cycle is told; and what is told is one.
    #[test]
    fn cycles_are_those_of_the_naive_model(edges in proptest::collection::vec((0_u64..12, 0_u64..12), 0..30)) {
        let of = |id: Id| -> Vec<Id> { edges.iter().filter(|edge| edge.0 == id).map(|edge| edge.1).collect() };
        let nodes = (0..12).map(|id| node(id, Kind::Task, &of(id))).collect();
        let snapshot = Snapshot { nodes, ..Snapshot::default() };
        let reach = |from: Id| {
            let mut seen = HashSet::new();
            let mut open = of(from);
            while let Some(id) = open.pop() {
                if seen.insert(id) {
                    open.extend(of(id));
                }
            }
            seen
        };
        let cycles = Graph::new(&snapshot).cycles();
        let told: Vec<HashSet<Id>> = cycles.iter().map(|cycle| reach(cycle[0])).collect();
        for cycle in &cycles {
            for (place, id) in cycle.iter().enumerate() {
                prop_assert!(of(*id).contains(&cycle[(place + 1) % cycle.len()]));
            }
        }
        let parts: HashSet<Id> = cycles.iter().map(|cycle| cycle[0]).collect();
        prop_assert_eq!(parts.len(), cycles.len());
        for id in 0..12 {
            let on_cycle = reach(id).contains(&id);
            let in_part = cycles.iter().zip(&told).any(|(cycle, told)| told.contains(&id) && reach(id).contains(&cycle[0]));
            prop_assert_eq!(on_cycle, in_part);
        }
    }
}
