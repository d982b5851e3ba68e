//! What is a deadlock and what is not, by snapshots made by hand.

use aioxide_monitor::deadlock;
use aioxide_monitor::schema::{
    Deadlock, Edge, Frame, How, Id, Kind, Language, Loop, Node, Snapshot, Task, TaskState,
};

fn dead_loop() -> Loop {
    let none = Some(0);
    Loop {
        id: 1,
        running: true,
        ready: none,
        timers: none,
        descriptors: none,
        jobs: none,
        signals: none,
        threads: none,
        ..Loop::default()
    }
}

fn live_loop() -> Loop {
    Loop { ready: Some(1), ..dead_loop() }
}

fn node(id: Id, kind: Kind, edges: &[(Id, How)]) -> Node {
    let at = Frame { file: "work.py".into(), line: id as u32, function: "work".into() };
    let task =
        (kind == Kind::Task).then(|| Task { coroutine: "work".into(), at: Some(at), ..Task::default() });
    let waits_on = edges.iter().map(|(to, how)| Edge { to: *to, how: *how }).collect();
    let name = if kind == Kind::Task { format!("Task-{id}") } else { format!("{kind:?}") };
    Node { id, kind, name, loop_id: Some(1), waits_on, task, ..Node::default() }
}

#[track_caller]
fn found(event_loop: Loop, nodes: Vec<Node>) -> Vec<Deadlock> {
    deadlock::find(&Snapshot { loops: vec![event_loop], nodes, ..Snapshot::default() })
}

fn two_locks() -> Vec<Node> {
    vec![
        node(1, Kind::Task, &[(12, How::Acquire)]),
        node(2, Kind::Task, &[(11, How::Acquire)]),
        node(11, Kind::Lock, &[(1, How::HeldBy)]),
        node(12, Kind::Lock, &[(2, How::HeldBy)]),
        node(3, Kind::Task, &[(1, How::Await)]),
    ]
}

#[test]
fn two_locks_are_a_deadlock_also_on_a_loop_that_lives() {
    let told = found(live_loop(), two_locks());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cycle, [1, 12, 2, 11]);
    assert_eq!(told[0].tasks, 3);
    assert_eq!(
        told[0].text,
        "deadlock: 3 tasks wait on each other in a circle\n  Task-1, work at work.py:1\n  Lock\n  \
         Task-2, work at work.py:2\n  Lock\n  which is back at Task-1, work at work.py:1\n"
    );
}

#[test]
fn locks_taken_without_a_block_are_a_deadlock_once_nothing_can_happen() {
    let mut nodes = two_locks();
    for lock in &mut nodes[2..4] {
        lock.waits_on[0].how = How::TakenBy;
    }
    // A gate: anybody may open it.
    assert_eq!(found(live_loop(), nodes.clone()), []);
    assert_eq!(found(dead_loop(), nodes.clone())[0].cycle, [1, 12, 2, 11]);
    nodes[2].waits_on[0].how = How::HeldBy;
    assert_eq!(found(live_loop(), nodes), []);
}

#[test]
fn what_a_timeout_cancels_is_no_deadlock_and_what_it_does_not_is_one() {
    let with = |how: How, more: &[(u64, How)]| {
        let mut nodes = two_locks();
        nodes[4] = node(3, Kind::Task, &[&[(20, How::Await)], more].concat());
        nodes.push(node(20, Kind::Gather, &[(1, how), (2, how)]));
        nodes.push(node(21, Kind::Timer, &[]));
        nodes
    };
    assert_eq!(found(live_loop(), with(How::Gather, &[])).len(), 1);
    assert_eq!(found(live_loop(), with(How::Gather, &[(21, How::FinishedBy)])), []);
    assert_eq!(found(live_loop(), with(How::TaskGroup, &[(21, How::FinishedBy)])), []);
    // A shield passes nothing on, nor does the end of a `wait`.
    assert_eq!(found(live_loop(), with(How::Shield, &[(21, How::FinishedBy)])).len(), 1);
    assert_eq!(found(live_loop(), with(How::Member, &[(21, How::FinishedBy)])).len(), 1);
}

#[test]
fn cancellation_that_was_caught_is_under_way_no_more_where_nothing_can_happen() {
    let mut nodes = two_locks();
    for node in &mut nodes[..2] {
        node.task.as_mut().unwrap().cancelling = 1;
    }
    // On a loop that lives it may be under way all the same.
    assert_eq!(found(live_loop(), nodes.clone()), []);
    assert_eq!(found(dead_loop(), nodes.clone())[0].cycle, [1, 12, 2, 11]);
    for node in &mut nodes[..2] {
        node.task.as_mut().unwrap().language = Language::Rust;
    }
    assert!(found(dead_loop(), nodes).iter().all(|told| told.cycle.is_empty()));
}

#[test]
fn semaphore_is_a_part_of_a_cycle_only_when_all_its_holders_are_known() {
    let nodes = |limit: Option<i64>| {
        let mut nodes = vec![
            node(1, Kind::Task, &[(12, How::Acquire)]),
            node(2, Kind::Task, &[(11, How::Acquire)]),
            node(11, Kind::Semaphore, &[(1, How::HeldBy)]),
            node(12, Kind::Lock, &[(2, How::HeldBy)]),
        ];
        nodes[2].detail.limit = limit;
        nodes
    };
    assert_eq!(found(live_loop(), nodes(None)), []);
    assert_eq!(found(live_loop(), nodes(Some(2))), []);
    assert_eq!(found(live_loop(), nodes(Some(1))).len(), 1);
    assert_eq!(found(dead_loop(), nodes(None)).len(), 1);
}

#[test]
fn timeout_of_one_member_breaks_the_cycle() {
    let mut nodes = two_locks();
    nodes[0].waits_on.push(Edge { to: 20, how: How::FinishedBy });
    nodes.push(node(20, Kind::Timer, &[]));
    assert_eq!(found(live_loop(), nodes), []);
}

#[test]
fn cancelled_member_breaks_the_cycle() {
    let mut nodes = two_locks();
    nodes[1].task.as_mut().unwrap().state = TaskState::Ready;
    assert_eq!(found(live_loop(), nodes), []);
}

#[test]
fn wait_for_one_of_a_cycle_and_a_live_task_is_none() {
    let mut ready = node(3, Kind::Task, &[]);
    ready.task.as_mut().unwrap().state = TaskState::Ready;
    let nodes = vec![
        node(1, Kind::Task, &[(2, How::Member), (3, How::Member)]),
        node(2, Kind::Task, &[(1, How::Await)]),
        ready,
    ];
    assert_eq!(found(live_loop(), nodes), []);
}

#[test]
fn edge_out_of_the_snapshot_is_no_deadlock() {
    let mut nodes = two_locks();
    nodes[0].waits_on.push(Edge { to: 99, how: How::Await });
    assert_eq!(found(dead_loop(), nodes), []);
    let left_out = Snapshot { nodes: two_locks(), left_out: 1, ..Snapshot::default() };
    assert_eq!(deadlock::find(&left_out), []);
}

#[test]
fn event_that_nobody_sets_is_one_only_when_the_loop_is_dead() {
    let nodes = || {
        vec![
            node(1, Kind::Task, &[(9, How::Wait)]),
            node(2, Kind::Task, &[(9, How::Wait)]),
            node(9, Kind::Event, &[]),
        ]
    };
    assert_eq!(found(live_loop(), nodes()), []);
    let told = found(dead_loop(), nodes());
    assert_eq!((told.len(), &told[0].ends[..], told[0].tasks), (1, &[9][..], 2));
    assert!(
        told[0].text.contains("  Event\n    waited on by Task-1, work at work.py:1\n"),
        "{}",
        told[0].text
    );
}

#[test]
fn nothing_is_told_where_something_from_outside_may_come() {
    let nodes = || vec![node(1, Kind::Task, &[(9, How::Await)]), node(9, Kind::Future, &[])];
    assert_eq!(found(dead_loop(), nodes()).len(), 1);
    let changes: [fn(&mut Loop); 7] = [
        |it| it.timers = Some(1),
        |it| it.descriptors = Some(1),
        |it| it.jobs = Some(1),
        |it| it.signals = Some(1),
        |it| it.threads = Some(1),
        |it| it.descriptors = None,
        |it| it.running = false,
    ];
    for change in changes {
        let mut event_loop = dead_loop();
        change(&mut event_loop);
        assert_eq!(found(event_loop, nodes()), []);
    }
}

#[test]
fn dead_loop_beside_a_live_one_is_told_nothing_of() {
    let nodes = vec![node(1, Kind::Task, &[(9, How::Await)]), node(9, Kind::Future, &[])];
    let loops = vec![dead_loop(), Loop { id: 2, ..live_loop() }];
    assert_eq!(deadlock::find(&Snapshot { loops, nodes, ..Snapshot::default() }), []);
}

#[test]
fn each_kind_from_outside_keeps_who_waits_alive() {
    for kind in [Kind::Timer, Kind::Descriptor, Kind::Child, Kind::Job, Kind::RustFuture, Kind::Other] {
        let nodes = vec![node(1, Kind::Task, &[(9, How::FinishedBy)]), node(9, kind, &[])];
        assert_eq!(found(dead_loop(), nodes), [], "{kind:?}");
    }
}

#[test]
fn long_cycle_is_cut_in_its_text() {
    let count = 50;
    let nodes = (1..=count).map(|id| node(id, Kind::Task, &[(id % count + 1, How::Await)])).collect();
    let told = found(dead_loop(), nodes);
    assert_eq!(told[0].cycle.len(), 50);
    assert_eq!(told[0].text.lines().count(), 23);
    assert!(told[0].text.contains("… and 30 more"));
}
