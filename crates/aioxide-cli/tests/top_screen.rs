//! `aioxide top` in a terminal, against the monitor's real server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use aioxide_monitor::schema::*;
use rustix::process::Signal;
use support::program::{Program, blocked_stacks, lag, server};
use support::screen::Terminal;
use support::{aioxide, text};

fn top(program: &Program, arguments: &[&str]) -> Command {
    let mut command = aioxide();
    command
        .arg("top")
        .args(arguments)
        .env("XDG_RUNTIME_DIR", program.environment())
        .env("TERM", "xterm-256color");
    command.args(["--interval", "0.05"]);
    command
}

/// The view of the program in a terminal of 110 columns.
fn open(program: &Program, arguments: &[&str]) -> Terminal {
    let pid = program.pid();
    Terminal::start(top(program, &[&[pid.as_str()], arguments].concat()), 30, 110)
}

/// The first line that has this in it.
#[track_caller]
fn line<'a>(screen: &'a str, part: &str) -> &'a str {
    screen.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in:\n{screen}"))
}

const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";
const ESCAPE: &str = "\x1b";

#[test]
fn groups_come_first_with_the_largest_on_top() {
    let program = Program::start(server(4_812));
    let mut terminal = open(&program, &[]);
    let screen = terminal.wait_for("4 812 x");
    assert!(line(&screen, "4 812 x").contains("handle_request"), "{screen}");
    assert!(line(&screen, "4 812 x").contains("Semaphore db"), "{screen}");
    assert!(screen.lines().next().unwrap().starts_with("server.py  "), "{screen}");
    assert!(line(&screen, "lag ").contains("ready 3 "), "{screen}");
    terminal.keys("q");
    let (screen, status) = terminal.end();
    assert_eq!(status.code(), Some(0));
    assert!(!screen.contains("handle_request"), "{screen}");
}

#[test]
fn group_opens_into_its_tasks_and_a_task_into_its_surroundings() {
    let program = Program::start(server(30));
    program.source.lock().stacks = blocked_stacks();
    let mut terminal = open(&program, &[]);
    terminal.wait_for("30 x");
    terminal.keys(ENTER);
    let screen = terminal.wait_for("30 of 35");
    assert!(line(&screen, "30 of 35").contains("handle_request, Semaphore db"), "{screen}");
    assert!(!screen.contains("move_money"), "{screen}");
    terminal.keys(ESCAPE);
    terminal.wait_for("30 x");
    terminal.keys("2/move");
    terminal.keys(ENTER);
    terminal.wait_for("1 of 35");
    terminal.keys(ENTER);
    let screen = terminal.wait_for("server.py:31 in move_money");
    let tree = ["[acquires] Lock accounts", "[held by] audit  check_orders", "(see above)"];
    for part in tree {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    // Down to `audit`, and into it.
    let down = screen.lines().position(|line| line.contains("[held by] audit")).unwrap()
        - screen.lines().position(|line| line.starts_with("task ")).unwrap();
    terminal.keys(&DOWN.repeat(down));
    terminal.keys(ENTER);
    let screen = terminal.wait_for("> audit");
    assert!(line(&screen, "coroutine ").contains("check_orders"), "{screen}");
    terminal.keys(ESCAPE);
    terminal.wait_for("> transfer");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn filter_is_typed_and_taken_away() {
    let program = Program::start(server(30));
    let mut terminal = open(&program, &["--view", "tasks"]);
    terminal.wait_for("Task-29");
    terminal.keys("/tick");
    let screen = terminal.wait_for("filter: tick▏");
    assert!(screen.contains("ticker") && !screen.contains("handle_request"), "{screen}");
    terminal.keys("\x7f\x7f\x7f\x7flock");
    terminal.wait_for("2 of 35");
    terminal.keys(ENTER);
    terminal.wait("the prompt to go", |screen| screen.contains("filter: lock ") && !screen.contains('▏'));
    terminal.keys(ESCAPE);
    terminal.wait("the filter to go", |screen| !screen.contains("filter:") && screen.contains("Task-29"));
    terminal.keys("q");
    terminal.end();
}

#[test]
fn tasks_are_sorted_by_a_key() {
    let program = Program::start(server(30));
    let mut terminal = open(&program, &["--view", "tasks"]);
    let first = |screen: &str| {
        let head = screen.lines().position(|line| line.starts_with("task"))?;
        Some(screen.lines().nth(head + 1)?.split(' ').next()?.to_owned())
    };
    terminal.wait("the longest waiting first", |screen| first(screen).as_deref() == Some("Task-29"));
    terminal.keys("r");
    terminal.wait("the shortest waiting first", |screen| {
        first(screen).as_deref() == Some("transfer") && screen.contains("waiting▲")
    });
    terminal.keys("rssss");
    let screen = terminal.wait("names", |screen| screen.contains("s sort: name"));
    assert_eq!(first(&screen).as_deref(), Some("Task-0"), "{screen}");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn deadlock_is_on_top_and_a_key_away() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    let screen = terminal.wait_for("DEADLOCK of 3 tasks: ");
    let told = line(&screen, "DEADLOCK");
    assert!(told.contains("audit → Lock orders → transfer → Lock accounts → audit"), "{told}");
    assert!(screen.find("DEADLOCK") < screen.find("handle_request"), "{screen}");
    terminal.keys("d");
    terminal.wait_for("> audit");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn blocked_loop_is_on_top_with_what_blocks_it() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    terminal.wait("no alarm", |screen| screen.contains("3 x") && !screen.contains("BLOCKED"));
    program.source.lock().stacks = blocked_stacks();
    program.source.lock().lag = vec![lag(300, 1_300_000)];
    let screen = terminal.wait_for("BLOCKED: a loop has not answered for 1.3 s");
    assert!(line(&screen, "BLOCKED").contains("Task-0 in slow_hash at server.py:99"), "{screen}");
    terminal.wait_for("lag 1.3 s");
    terminal.keys("b");
    terminal.wait_for("> Task-0");
    program.source.lock().lag = vec![lag(300, 0)];
    let screen = terminal
        .wait_for("ago a loop did not answer for 1.3 s or longer, Task-0 in slow_hash at server.py:99");
    assert!(!screen.contains("BLOCKED"), "{screen}");
    terminal.wait_for("lag 300 us");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn program_that_gives_no_snapshot_shows_why_and_what_is_known() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    program.source.lock().refuses = Some("the program has let nobody in for 2.1 s".into());
    let screen = terminal.wait_for("no new snapshot: the program has let nobody in for 2.1 s");
    assert!(screen.contains("3 x"), "what was known stays: {screen}");
    program.source.lock().refuses = None;
    terminal.wait("the alarm to go", |screen| !screen.contains("no new snapshot"));
    terminal.keys("q");
    terminal.end();
}

#[test]
fn task_is_cancelled_only_after_a_yes() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &["--view", "tasks", "--filter", "tick"]);
    terminal.wait_for("ticker");
    terminal.keys("c");
    terminal.wait_for("Cancel ticker (tick)? y / n");
    terminal.keys("n");
    terminal.wait_for("nothing was cancelled");
    assert_eq!(program.source.lock().cancelled, []);
    terminal.keys("cy");
    program.source.wait(|state| state.cancelled == [(12, "ticker".to_owned())]);
    terminal.wait_for("ticker was asked to cancel");
    terminal.wait_for("nothing to show");
    terminal.keys("1c");
    terminal.wait_for("choose a task in the list of tasks first");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn opened_task_that_ends_stays_on_the_screen_and_says_so() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &["--task", "ticker"]);
    terminal.wait_for("> ticker");
    program.source.lock().snapshot.nodes.retain(|node| node.name != "ticker");
    let screen = terminal.wait_for("It is no more");
    assert!(screen.contains("[finished by] timer, 750 ms left"), "{screen}");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn ended_tasks_and_loops_have_their_views() {
    let program = Program::start(server(3));
    program.source.lock().history =
        vec![Ended { name: "old".into(), coroutine: "f".into(), why: Why::Cancelled, ..Default::default() }];
    program.source.lock().lag = vec![lag(300, 0)];
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    terminal.keys("4");
    let screen = terminal.wait_for("cancelled");
    assert!(line(&screen, "cancelled").contains("old"), "{screen}");
    terminal.keys("3");
    let screen = terminal.wait_for("110 heartbeats answered within");
    assert!(line(&screen, "aioxide.EventLoop").contains("48 ms"), "{screen}");
    assert!(line(&screen, "100 us").contains("60 █"), "{screen}");
    assert!(
        screen.contains("1 500 entries ran for 90 ms") && line(&screen, "5.0 ms").contains("9 █"),
        "{screen}"
    );
    terminal.keys("\t");
    terminal.wait_for("coroutine");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn help_tells_the_keys_and_any_key_closes_it() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    terminal.keys("?");
    terminal.wait_for("cancel the task, after a question");
    terminal.keys("q");
    terminal.wait("the help to go", |screen| !screen.contains("after a question"));
    terminal.keys("q");
    terminal.end();
}

#[test]
fn pause_stops_the_looks() {
    let program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    terminal.keys(" ");
    terminal.wait_for("paused");
    // What was on its way when the key came is over once an order has been answered.
    terminal.keys("2/tick\rcy");
    program.source.wait(|state| !state.cancelled.is_empty());
    let looks = program.source.lock().looks;
    terminal.wait_for("ticker was asked to cancel");
    assert_eq!(program.source.lock().looks, looks);
    terminal.keys("  ");
    terminal.wait_for("paused");
    terminal.keys(" ");
    program.source.wait(|state| state.looks > looks);
    terminal.keys("q");
    terminal.end();
}

#[test]
fn terminal_of_any_size_is_used_and_its_change_followed() {
    let program = Program::start(server(4_812));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("longest");
    terminal.resize(20, 40);
    let narrow = terminal.wait("the narrow picture", |screen| {
        screen.contains("4 812 x") && !screen.contains("longest") && screen.contains("q quit")
    });
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    assert!(line(&narrow, "4 812 x").contains("Semaphore db"), "{narrow}");
    terminal.keys("2");
    terminal.wait_for("Task-4811");
    terminal.resize(3, 15);
    terminal.wait_for("too small");
    terminal.resize(6, 30);
    terminal.wait_for("Task-4811");
    terminal.resize(50, 200);
    let wide =
        terminal.wait("the wide picture", |screen| screen.contains("steps") && screen.contains("Task-4780"));
    assert!(wide.contains("server.py:"), "{wide}");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn programs_are_listed_and_one_is_looked_into() {
    let mut program = Program::start(server(3));
    let mut terminal = Terminal::start(top(&program, &[]), 24, 80);
    let screen = terminal.wait_for("server.py");
    assert!(screen.contains(&program.pid()) && screen.contains("CPython 3.13.1"), "{screen}");
    terminal.keys(ENTER);
    terminal.wait_for("3 x");
    terminal.keys(ESCAPE);
    terminal.wait_for("programs of yours");
    terminal.keys(ENTER);
    terminal.wait_for("3 x");
    // Its end leads back to the list.
    program.end();
    terminal.wait_for("the program has ended: server.py");
    terminal.wait_for("No program of yours has opened its monitor.");
    program.open();
    terminal.wait_for("CPython 3.13.1");
    terminal.keys("q");
    assert_eq!(terminal.end().1.code(), Some(0));
}

#[test]
fn end_of_the_program_is_told_under_a_terminal_that_is_as_it_was() {
    let mut program = Program::start(server(3));
    let terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    program.end();
    let (screen, status) = terminal.end();
    assert_eq!(screen.trim(), format!("aioxide: the program has ended: server.py ({})", program.pid()));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn connection_that_was_idle_for_too_long_is_made_again() {
    let mut program = Program::start(server(3));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    terminal.keys(" ");
    terminal.wait_for("paused");
    // To the client this is a server that ended an idle connection.
    program.end();
    program.source.lock().snapshot = server(5);
    program.open();
    terminal.keys(" ");
    terminal.wait_for("5 x");
    terminal.keys("q");
    terminal.end();
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    let program = Program::start(server(3));
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let terminal = open(&program, &[]);
        terminal.wait_for("3 x");
        terminal.signal(signal);
        assert_eq!(terminal.end().1.code(), Some(status));
    }
    let mut terminal = open(&program, &[]);
    terminal.wait_for("3 x");
    terminal.keys("\x03");
    assert_eq!(terminal.end().1.code(), Some(130));
}

#[test]
fn hundred_thousand_tasks_stay_usable() {
    let program = Program::start(server(100_000));
    let mut terminal = open(&program, &[]);
    terminal.wait_for("100 000 x");
    terminal.keys("2");
    terminal.wait_for("Task-99999");
    terminal.keys("G");
    terminal.wait_for("transfer");
    terminal.keys("/Task-777");
    terminal.wait_for("111 of 100 005");
    terminal.keys(ENTER);
    terminal.keys("g");
    terminal.keys(ENTER);
    let screen = terminal.wait_for("[acquires] Semaphore db, 0 free");
    assert!(screen.contains("> Task-777"), "{screen}");
    terminal.keys("q");
    assert_eq!(terminal.end().1.code(), Some(0));
}

#[test]
fn what_is_no_terminal_or_cannot_move_its_cursor_is_told() {
    let program = Program::start(server(3));
    let output = top(&program, &[&program.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "aioxide: the standard output is no terminal: use --once or --json\n");
    for kind in ["dumb", ""] {
        let mut command = top(&program, &[&program.pid()]);
        command.env("TERM", kind);
        let terminal = Terminal::start(command, 10, 100);
        let told =
            format!("aioxide: the terminal {kind:?} (TERM) cannot move its cursor: use --once or --json");
        terminal.wait_for(&told);
        assert_eq!(terminal.end().1.code(), Some(2));
    }
}
