//! `aioxide top --once` and `--json`, against the monitor's real server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use aioxide_monitor::schema::*;
use serde_json::Value;
use support::program::{Program, blocked_stacks, lag, server, task, timeline};
use support::{aioxide, text};

fn top(program: &Program, arguments: &[&str]) -> Output {
    aioxide().arg("top").args(arguments).env("XDG_RUNTIME_DIR", program.environment()).output().unwrap()
}

#[track_caller]
fn printed(program: &Program, arguments: &[&str]) -> String {
    let output = top(program, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

#[test]
fn programs_of_this_user_are_listed() {
    let program = Program::start(server(3));
    let listed = printed(&program, &["--once"]);
    let row = listed.lines().nth(1).unwrap();
    assert!(row.contains(&program.pid()) && row.contains("server.py  CPython 3.13.1"), "{listed}");
    let listed: Value = serde_json::from_str(&printed(&program, &["--json"])).unwrap();
    assert_eq!(listed[0]["name"], "server.py");
}

#[test]
fn no_programs_is_no_error_and_tells_how_to_have_one() {
    let mut program = Program::start(server(0));
    program.end();
    assert!(printed(&program, &["--once"]).contains("aioxide.monitor.start()"));
    assert_eq!(printed(&program, &["--json"]), "[]\n");
}

#[test]
fn tasks_are_grouped_by_coroutine_and_what_they_wait_on() {
    let program = Program::start(server(4_812));
    let printed = printed(&program, &[&program.pid(), "--once"]);
    let groups: Vec<&str> = printed.lines().skip_while(|line| !line.contains("waiting on")).collect();
    assert!(groups[1].starts_with("4 812 x  handle_request "), "{printed}");
    assert!(groups[1].contains("Semaphore db") && groups[1].ends_with("5.8 s"), "{printed}");
    assert!(printed.starts_with("server.py  "), "{printed}");
    assert!(
        printed.contains("4 817 tasks") && printed.contains("3 ready, 1 timer, 2 descriptors"),
        "{printed}"
    );
}

#[test]
fn deadlock_stands_above_the_groups() {
    let program = Program::start(server(2));
    let printed = printed(&program, &[&program.pid(), "--once"]);
    let (deadlock, groups) = (printed.find("deadlock: ").unwrap(), printed.find("waiting on").unwrap());
    assert!(deadlock < groups, "{printed}");
    for name in ["transfer, move_money at ", "Lock accounts", "audit, check_orders at ", "Lock orders"] {
        assert!(printed[deadlock..groups].contains(name), "{name}: {printed}");
    }
}

#[test]
fn loop_that_does_not_answer_is_shown_with_its_stack() {
    let program = Program::start(server(2));
    program.source.lock().lag = vec![lag(300, 1_300_000)];
    program.source.lock().stacks = blocked_stacks();
    let printed = printed(&program, &[&program.pid(), "--once"]);
    let expected = "blocked: a loop has not answered for 1.3 s, Task-0 in slow_hash at server.py:99\n    \
        /srv/server.py:20 in handle_request\n    /srv/server.py:99 in slow_hash\n";
    assert!(printed.contains(expected), "{printed}");
    assert!(printed.contains("lag 1.3 s (longest 48 ms), 2 blocked steps"), "{printed}");
}

#[test]
fn garbage_collector_is_told_apart() {
    let program = Program::start(server(2));
    let collector = Collector { collections: 3, total_us: 400_000, longest_us: 300_000, running_us: 250_000 };
    program.source.lock().lag = vec![Lag { collector: Some(collector), ..lag(300, 1_300_000) }];
    program.source.lock().stacks = blocked_stacks();
    let printed = printed(&program, &[&program.pid(), "--once"]);
    let expected = "has not answered for 1.3 s, collecting garbage, Task-0 in slow_hash at server.py:99\n";
    assert!(printed.contains(expected), "{printed}");
    let expected = "2 blocked steps, 3 collections of garbage in 400 ms (longest 300 ms)\n";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn tasks_are_filtered_sorted_and_limited() {
    let program = Program::start(server(50));
    let pid = program.pid();
    let tasks = |arguments: &[&str]| -> Vec<String> {
        let printed = printed(&program, &[&[&pid, "--once", "--view", "tasks"], arguments].concat());
        let rows = printed.lines().skip_while(|line| !line.starts_with("task ")).skip(1);
        rows.map(|row| row.split("  ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(tasks(&["-n", "2"]), ["Task-49", "Task-48", "… and 53 more"]);
    assert_eq!(tasks(&["--filter", "LOCK move", "-n", "0"]), ["transfer"]);
    assert_eq!(
        tasks(&["--filter", "handle", "--sort", "name", "-n", "3"]),
        ["Task-0", "Task-1", "Task-2", "… and 47 more"]
    );
    assert_eq!(tasks(&["--filter", "handle", "-n", "0"]).len(), 50);
    assert_eq!(tasks(&["--filter", "nobody"]).len(), 0);
}

#[test]
fn one_task_is_shown_with_its_surroundings() {
    let program = Program::start(server(1));
    program.source.lock().stacks = blocked_stacks();
    let printed = printed(&program, &[&program.pid(), "--once", "--task", "transfer"]);
    let expected = "\
waits on
  [acquires] Lock accounts
    [held by] audit  check_orders  server.py:21
      [acquires] Lock orders
        [held by] transfer  move_money  server.py:20  (see above)

is waited for by
  Lock orders  [held by it]
    audit  check_orders  server.py:21  [acquires it]
      Lock accounts  [held by it]
        transfer  move_money  server.py:20  [acquires it]  (see above)
      waiter  wait_for_audit  server.py:24  [awaits it]

stack, the innermost last
  /srv/server.py:88 in main
  /srv/server.py:31 in move_money
";
    assert!(printed.ends_with(expected), "{printed}");
    let by_number = self::printed(&program, &[&program.pid(), "--once", "--task", "10"]);
    assert_eq!(by_number, printed);
}

#[test]
fn name_of_no_task_or_of_several_is_told() {
    let mut snapshot = server(0);
    snapshot.nodes.push(task(70, "twin", "a", &[]));
    snapshot.nodes.push(task(71, "twin", "b", &[]));
    let program = Program::start(snapshot);
    for (name, told) in
        [("nobody", "no task \"nobody\""), ("twin", "2 tasks are named \"twin\"; choose by number: 70, 71")]
    {
        let output = top(&program, &[&program.pid(), "--once", "--task", name]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
}

#[test]
fn ended_tasks_tell_why() {
    let program = Program::start(server(0));
    program.source.lock().history = vec![
        Ended {
            name: "Task-1".into(),
            coroutine: "f".into(),
            why: Why::Cancelled,
            lived_ms: 30,
            ..Default::default()
        },
        Ended {
            name: "Task-2".into(),
            coroutine: "g".into(),
            why: Why::Raised,
            exception: "ValueError".into(),
            ..Default::default()
        },
    ];
    let printed = printed(&program, &[&program.pid(), "--once", "--view", "ended", "--filter", "valueerror"]);
    let row = printed.lines().last().unwrap();
    assert!(row.contains("Task-2  g ") && row.contains("raised ValueError"), "{printed}");
    assert!(!printed.contains("Task-1"), "{printed}");
}

#[test]
fn distribution_of_the_lag_is_drawn() {
    let program = Program::start(server(0));
    program.source.lock().lag = vec![lag(300, 0)];
    let printed = printed(&program, &[&program.pid(), "--once", "--view", "loops"]);
    assert!(printed.contains(&format!("  100 us        60 {}\n", "#".repeat(40))), "{printed}");
    assert!(printed.contains(&format!("  250 us        30 {}\n", "#".repeat(20))), "{printed}");
    assert!(printed.contains(": 1 500 entries ran for 90 ms, the longest for 7.0 ms\n"), "{printed}");
    assert!(printed.contains(&format!("  100 us       400 {}\n", "#".repeat(16))), "{printed}");
}

#[test]
fn names_of_the_program_do_not_reach_the_terminal_as_commands() {
    let mut snapshot = server(0);
    snapshot.nodes.push(task(70, "evil\u{1b}[2J\nna\u{9b}\u{7f}me", "co\u{7}ro", &[(71, How::Await)]));
    snapshot.nodes.push(support::program::thing(71, Kind::Lock, "Lo\u{1b}ck", &[(70, How::HeldBy)]));
    let program = Program::start(snapshot);
    let json = printed(&program, &[&program.pid(), "--json"]);
    assert!(!json.trim_end().contains(char::is_control), "{json:?}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let nodes = report["snapshot"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["name"] == "evil\u{1b}[2J\nna\u{9b}\u{7f}me"), "{json}");
    for arguments in [&["--view", "tasks"][..], &["--view", "groups"], &["--task", "70"]] {
        let printed = printed(&program, &[&[&program.pid(), "--once"], arguments].concat());
        assert!(!printed.contains('\u{1b}') && !printed.contains('\u{7}'), "{printed:?}");
    }
}

#[test]
fn json_has_everything_in_one_line() {
    let program = Program::start(server(20));
    program.source.lock().lag = vec![lag(300, 200_000)];
    program.source.lock().stacks = blocked_stacks();
    let printed = printed(&program, &[&program.pid(), "--json"]);
    assert_eq!(printed.lines().count(), 1);
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["groups"][0]["count"], 20);
    assert_eq!(report["groups"][0]["waits"], "Semaphore db");
    assert_eq!(report["deadlocks"][0]["cycle"].as_array().unwrap().len(), 4);
    assert_eq!(report["blocked"][0]["thread"]["frames"][1]["function"], "slow_hash");
    assert_eq!(report["lag"][0]["beats"], 110);
    assert_eq!(report["ended"], serde_json::json!([]));
    let snapshot: Snapshot = serde_json::from_value(report["snapshot"].clone()).unwrap();
    assert_eq!(snapshot.tasks().count(), 25);
}

#[test]
fn json_with_an_interval_goes_on_until_the_program_ends() {
    let mut program = Program::start(server(1));
    let mut child = aioxide()
        .args(["top", &program.pid(), "--json", "--interval", "0.01"])
        .env("XDG_RUNTIME_DIR", program.environment())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let report: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(report["groups"].as_array().unwrap().len(), 6);
    }
    program.end();
    assert!(lines.all(|line| line.unwrap().starts_with('{')));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn hundred_thousand_tasks_are_grouped() {
    let program = Program::start(server(100_000));
    let printed = printed(&program, &[&program.pid(), "--once"]);
    assert!(printed.contains("100 000 x  handle_request"), "{printed}");
}

#[test]
fn program_that_lets_nobody_in_is_told_with_what_is_known() {
    let program = Program::start(server(0));
    program.source.lock().refuses = Some("the program has let nobody in for 2.5 s".into());
    program.source.lock().lag = vec![lag(300, 2_500_000)];
    let output = top(&program, &[&program.pid(), "--once"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("has let nobody in for 2.5 s"), "{told}");
    assert!(told.contains("a loop has not answered for 2.5 s"), "{told}");
}

#[test]
fn process_without_a_monitor_is_told_apart_from_none() {
    let mut program = Program::start(server(0));
    program.end();
    let output = top(&program, &[&program.pid(), "--once"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("aioxide.monitor.start()"), "{}", text(&output.stderr));
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let output = top(&program, &[&gone.id().to_string(), "--once"]);
    assert_eq!(text(&output.stderr), format!("aioxide: there is no process {}\n", gone.id()));
}

#[test]
fn socket_elsewhere_is_asked_by_its_path() {
    let program = Program::start(server(2));
    let socket = program.socket();
    let output = aioxide().args(["top", "--once", "--socket"]).arg(&socket).output().unwrap();
    assert!(text(&output.stdout).contains("2 x  handle_request"), "{output:?}");
}

#[test]
fn program_without_a_monitor_that_cannot_be_asked_for_one_is_told() {
    let program = Program::start(server(0));
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let output = top(&program, &[&other.id().to_string(), "--once"]);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("has no monitor") && told.contains("AIOXIDE_MONITOR=1"), "{told}");
}

#[test]
fn what_runs_is_recorded_for_perfetto() {
    let program = Program::start(server(0));
    program.source.lock().timelines = vec![timeline()];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let told =
        printed(&program, &[&program.pid(), "--trace", file.to_str().unwrap(), "--for", "0.05", "-n", "2"]);
    assert_eq!(program.source.lock().recorded, Some(std::time::Duration::from_millis(50)));
    assert!(told.starts_with("server.py  CPython 3.13.1, written to "), "{told}");
    assert!(told.contains("201 runs in 1.0 s, busy for 66 % of it"), "{told}");
    let rows: Vec<&str> = told.lines().skip_while(|line| !line.contains("longest")).skip(1).collect();
    assert_eq!(
        rows[0].split_whitespace().collect::<Vec<_>>(),
        ["1", "600", "ms", "600", "ms", "300", "ms", "callback", "slow<b>"]
    );
    assert!(rows[1].contains("100") && rows[1].ends_with("step      read_all"), "{told}");
    assert_eq!(rows[2], "… and 1 more");
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["ph"] == "X").count(), 201);
    assert_eq!(events.iter().filter(|event| event["ph"] == "s").count(), 199);
    // To standard output there is nothing else.
    let trace = printed(&program, &[&program.pid(), "--trace", "-", "--for", "0.01"]);
    assert!(serde_json::from_str::<Value>(&trace).is_ok());
}

#[test]
fn recording_that_cannot_be_is_told() {
    let program = Program::start(server(0));
    for (arguments, expected) in [
        (&[program.pid().as_str(), "--trace", "/nowhere/trace.json"][..], "/nowhere/trace.json"),
        (&["--trace", "trace.json"], "which program"),
        (&[program.pid().as_str(), "--for", "2"], "--trace"),
        (&[program.pid().as_str(), "--trace", "-", "--for", "61"], "at most 60 s"),
    ] {
        let output = top(&program, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{arguments:?} {}", text(&output.stderr));
    }
    assert_eq!(program.source.lock().recorded, None);
}

#[test]
fn file_of_a_recording_that_is_refused_stays_as_it_was() {
    let program = Program::start(server(0));
    program.source.lock().refuses = Some("the loop is being recorded already".into());
    let folder = tempfile::tempdir().unwrap();
    let (there, absent) = (folder.path().join("there.json"), folder.path().join("absent.json"));
    std::fs::write(&there, "an earlier recording, which is longer than nothing").unwrap();
    for file in [&there, &absent] {
        let output = top(&program, &[&program.pid(), "--trace", file.to_str().unwrap(), "--for", "0.01"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("recorded already"), "{}", text(&output.stderr));
    }
    assert!(std::fs::read_to_string(&there).unwrap().starts_with("an earlier recording"));
    assert!(!absent.exists());
    // A shorter one leaves nothing of the one before.
    program.source.lock().refuses = None;
    std::fs::write(&there, "x".repeat(100_000)).unwrap();
    printed(&program, &[&program.pid(), "--trace", there.to_str().unwrap(), "--for", "0.01"]);
    assert!(serde_json::from_str::<Value>(&std::fs::read_to_string(&there).unwrap()).is_ok());
}
