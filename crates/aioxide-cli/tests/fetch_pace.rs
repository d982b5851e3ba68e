//! `-j auto`: as many downloads at a time as are good for the host.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use support::nasty::Nasty;
use support::{aioxide, outcomes, parse_records, text};

/// Fetches a list; returns the records, and the seconds that it took.
fn run(urls: &[String], options: &[&str]) -> (Vec<Value>, f64) {
    let mut command = aioxide();
    command.args(["fetch", "-q", "--discard", "--report", "-", "-i", "-"]).args(options);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut list = child.stdin.take().unwrap();
    let lines = urls.join("\n");
    let writer = std::thread::spawn(move || list.write_all(lines.as_bytes()).unwrap());
    #[expect(clippy::disallowed_methods, reason = "a test that measures")]
    let begin = std::time::Instant::now();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (parse_records(&text(&output.stdout)), begin.elapsed().as_secs_f64())
}

fn urls(server: &Nasty, count: usize, path: &str) -> Vec<String> {
    (0..count).map(|number| server.url(&format!("{path}/{number}"))).collect()
}

fn all_ok(count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("ok".to_owned(), count)])
}

#[test]
fn host_that_has_room_is_asked_for_more_and_more() {
    let server = Nasty::start();
    let (records, seconds) = run(&urls(&server, 1500, "/takes/300"), &["-j", "auto"]);
    assert_eq!(outcomes(&records), all_ok(1500));
    // As it began it would take 112 s.
    assert!(server.peak() > 40, "{}", server.peak());
    assert!(seconds < 60.0, "{seconds}");
    let bounded = Nasty::start();
    let (records, _) = run(&urls(&bounded, 200, "/takes/30"), &["-j", "auto", "--per-host", "6"]);
    assert_eq!((outcomes(&records), bounded.peak()), (all_ok(200), 6));
}

#[test]
fn row_at_a_counter_is_not_made_longer_for_nothing() {
    let server = Nasty::start();
    let (records, _) = run(&urls(&server, 800, "/counter/100/8"), &["-j", "auto"]);
    assert_eq!(outcomes(&records), all_ok(800));
    // With -j 200 it would be 200. A machine that is busy with other things misleads a round or two.
    assert!((7..=100).contains(&server.peak()), "{}", server.peak());
}

#[test]
fn host_that_refuses_is_asked_for_less() {
    let refused = |jobs: &str| {
        let server = Nasty::start();
        let options = ["-j", jobs, "--retries", "30", "--retry-wait", "0.2", "--retry-max-wait", "1"];
        let (records, _) = run(&urls(&server, 600, "/crowded/50/12"), &options);
        assert_eq!(outcomes(&records), all_ok(600));
        server.requests().len() - 600
    };
    let (auto, all) = (refused("auto"), refused("60"));
    assert!(auto * 3 < all && auto < 300, "{auto} refusals, and {all} with a fixed number");
}

#[test]
#[cfg(target_os = "linux")]
fn names_of_one_address_share_its_limit_and_hold_up_no_other() {
    let (server, other) = (Nasty::start(), Nasty::at("127.0.0.2:0"));
    let mut options = vec!["-j".to_owned(), "30".to_owned(), "--per-address".to_owned(), "3".to_owned()];
    let mut urls = Vec::new();
    for name in 0..40 {
        options.extend(["--resolve".to_owned(), format!("host-{name}.test:*:127.0.0.1")]);
        urls.extend(
            (0..5).map(|number| format!("http://host-{name}.test:{}/hold/{number}", server.address().port())),
        );
    }
    urls.extend((0..20).map(|number| other.url(&format!("/takes/20/{number}"))));
    let mut child = {
        let mut command = aioxide();
        command.args(["fetch", "-q", "--discard", "--report", "-", "-i", "-"]).args(&options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    child.stdin.take().unwrap().write_all(urls.join("\n").as_bytes()).unwrap();
    // The other server is done with while the first one holds all it is asked for, which are three.
    other.wait_for_requests(20);
    server.wait_for_requests(3);
    assert_eq!((server.requests().len(), server.peak()), (3, 3));
    server.release();
    let output = child.wait_with_output().unwrap();
    assert_eq!(outcomes(&parse_records(&text(&output.stdout))), all_ok(220));
    assert_eq!((server.peak(), server.requests().len()), (3, 200));
    assert!(other.peak() <= 3);

    // What waits at an address is accounted for, too, when the run is told to end.
    let held = Nasty::start();
    let urls: Vec<String> = (0..50).map(|number| held.url(&format!("/hold/{number}"))).collect();
    let mut command = aioxide();
    command.args(["fetch", "-q", "--discard", "--report", "-", "--per-address", "2"]).args(&urls);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    held.wait_for_requests(2);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let records = parse_records(&text(&output.stdout));
    assert_eq!(outcomes(&records), BTreeMap::from([("cancelled".to_owned(), 50)]));
    let mut lines: Vec<u64> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=50).collect::<Vec<_>>());
}

#[test]
fn slow_host_at_the_head_of_a_sorted_list_holds_up_no_other() {
    let (slow, fast) = (Nasty::start(), Nasty::start());
    let mut list: Vec<String> = (0..3000).map(|number| slow.url(&format!("/hold/{number}"))).collect();
    list.extend((0..3000).map(|number| fast.url(&format!("/ok/10/{number}"))));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    std::fs::write(&path, list.join("\n")).unwrap();
    let mut command = aioxide();
    command.args(["fetch", "-q", "--discard", "--per-host", "10", "-i"]).arg(&path);
    let report = directory.path().join("report");
    let mut child = command.arg("--report").arg(&report).spawn().unwrap();
    fast.wait_for_requests(3000);
    assert_eq!(slow.requests().len(), 10);
    slow.release();
    assert!(child.wait().unwrap().success());
    let records = support::records(&report);
    assert_eq!(outcomes(&records), all_ok(6000));
    let mut lines: Vec<u64> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=6000).collect::<Vec<_>>());
    for record in records {
        let line = usize::try_from(record["line"].as_u64().unwrap()).unwrap();
        assert_eq!(record["url"], list[line - 1].as_str());
    }
}
