//! The snapshot and the protocol as JSON: what a reader may rely on.

use aioxide_monitor::protocol::{Answer, Ask, Refusal, RefusalKind, Request, Response, SnapshotOptions};
use aioxide_monitor::schema::{Edge, How, Kind, Node, Snapshot, Task, TaskState, cut};

fn task(id: u64, to: u64) -> Node {
    let task = Task { coroutine: "work".into(), ..Task::default() };
    let waits_on = vec![Edge { to, how: How::Acquire }];
    Node { id, kind: Kind::Task, name: format!("Task-{id}"), waits_on, task: Some(task), ..Node::default() }
}

#[test]
fn snapshot_comes_back_as_it_was() {
    let lock = Node { id: 9, kind: Kind::Lock, ..Node::default() };
    let mut snapshot = Snapshot { nodes: vec![task(1, 9), task(2, 9), lock], ..Snapshot::default() };
    snapshot.link();
    assert_eq!(snapshot.nodes[2].waited_by, [1, 2]);
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
}

#[test]
fn example_of_the_schema_is_read() {
    let source = include_str!("../src/schema.rs");
    let example: String = source
        .lines()
        .skip_while(|line| *line != "//! ```json")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!"))
        .collect();
    let snapshot: Snapshot = serde_json::from_str(&example).unwrap();
    assert_eq!(snapshot.nodes[0].waits_on, [Edge { to: 11, how: How::Acquire }]);
    assert_eq!(snapshot.tasks().next().unwrap().1.at.as_ref().unwrap().line, 31);
}

#[test]
fn unknown_fields_and_kinds_of_a_later_version_are_read() {
    let text = r#"{"version": 1, "moon": 4, "nodes": [{"id": 1, "kind": "portal", "name": "x",
        "waits_on": [{"to": 2, "how": "by_magic"}], "task": {"state": "dreaming"}}]}"#;
    let snapshot: Snapshot = serde_json::from_str(text).unwrap();
    assert_eq!(snapshot.nodes[0].kind, Kind::Other);
    assert_eq!(snapshot.nodes[0].waits_on[0].how, How::Other);
    assert_eq!(snapshot.nodes[0].task.as_ref().unwrap().state, TaskState::Other);
}

#[test]
fn requests_are_read_as_the_page_shows_them() {
    let request: Request = serde_json::from_str(r#"{"id": 2, "ask": "snapshot", "limit": 5}"#).unwrap();
    assert_eq!(request.ask, Ask::Snapshot(SnapshotOptions { stacks: false, limit: Some(5) }));
    let request: Request =
        serde_json::from_str(r#"{"id": 3, "ask": "cancel", "task": 139872, "name": "Task-7"}"#).unwrap();
    assert_eq!(request, Request { id: 3, ask: Ask::Cancel { task: 139_872, name: "Task-7".into() } });
    let request: Request = serde_json::from_str(r#"{"ask": "hello"}"#).unwrap();
    assert_eq!(request, Request { id: 0, ask: Ask::Hello });
    assert!(serde_json::from_str::<Request>(r#"{"id": 4, "ask": "dance"}"#).is_err());
}

#[test]
fn refusal_comes_back_with_its_kind() {
    let refusal = Refusal::new(RefusalKind::Held, "held for 3 s");
    let text = serde_json::to_string(&Response { id: 7, answer: Answer::Error(refusal.clone()) }).unwrap();
    assert_eq!(text, r#"{"id":7,"answer":"error","kind":"held","text":"held for 3 s"}"#);
    let response: Response = serde_json::from_str(&text).unwrap();
    assert_eq!(response.answer, Answer::Error(refusal));
}

#[test]
fn text_is_cut_at_the_end_of_a_character() {
    assert_eq!(cut("short", 5), "short");
    assert_eq!(cut("longer than that", 9), "longer…");
    assert_eq!(cut("ääääää", 8), "ää…");
}
