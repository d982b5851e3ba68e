//! `aioxide top --web`: who is let in, what is answered, and the page in a real browser.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read, Write};

use aioxide_monitor::schema::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::browser::Browser;
use support::program::{Program, blocked_stacks, lag, server, task, thing, timeline};
use support::web::Web;

/// What is below the secret, once the first snapshot is there.
#[track_caller]
fn get(web: &Web, program: &Program, path: &str) -> Value {
    let looks = program.source.lock().looks;
    // The look after the next has begun, so the next has been told.
    program.source.wait(|state| state.looks >= looks + 2);
    serde_json::from_str(&web.get(path)).unwrap()
}

#[test]
fn nobody_is_let_in_without_the_secret_and_the_own_name() {
    let program = Program::start(server(3));
    let web = Web::start(&program);
    for (request, status) in [
        ("GET /SECRET/ HTTP/1.1\nHOST\n\n", "200"),
        ("HEAD /SECRET/page.js HTTP/1.1\nHOST\n\n", "200"),
        ("GET / HTTP/1.1\nHOST\n\n", "404"),
        ("GET /state HTTP/1.1\nHOST\n\n", "404"),
        ("GET /wrong/state HTTP/1.1\nHOST\n\n", "404"),
        ("GET /SECRET/nothing HTTP/1.1\nHOST\n\n", "404"),
        ("GET /SECRET/node/x HTTP/1.1\nHOST\n\n", "404"),
        ("GET /SECRET HTTP/1.1\nHOST\n\n", "308"),
        ("GET /SECRET/ HTTP/1.1\nHost: evil.example\n\n", "421"),
        ("GET /SECRET/ HTTP/1.0\n\n", "421"),
        ("GET /SECRET/state HTTP/1.1\nHOST\nSec-Fetch-Site: cross-site\n\n", "403"),
        ("POST /SECRET/state HTTP/1.1\nHOST\nContent-Length: 0\n\n", "405"),
        ("DELETE /SECRET/node/10 HTTP/1.1\nHOST\n\n", "405"),
        ("GET /metrics HTTP/1.1\nHOST\n\n", "404"),
        ("GET /metrics HTTP/1.1\nHOST\nAuthorization: Bearer wrong\n\n", "404"),
        ("GET /metrics HTTP/1.1\nHOST\nAuthorization: Bearer SECRET\n\n", "200"),
        ("nonsense\n\n", "400"),
    ] {
        let answer = web.raw(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} "))
                || answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{request}: {answer}"
        );
        if status == "404" {
            assert!(!answer.contains("server.py") && answer.ends_with("not here\n"), "{answer}");
        }
    }
}

#[test]
fn every_answer_forbids_what_is_from_elsewhere() {
    let program = Program::start(server(3));
    let web = Web::start(&program);
    for request in ["GET /SECRET/ HTTP/1.1\nHOST\n\n", "GET / HTTP/1.1\nHOST\n\n"] {
        let answer = web.raw(request).to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{header}: {answer}");
        }
        assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    }
    for file in ["", "page.js", "page.css"] {
        let text = web.get(file);
        let elsewhere =
            text.lines().find(|line| line.contains("://") && !line.contains("www.w3.org/2000/svg"));
        assert_eq!(elsewhere, None, "{file}");
    }
}

#[test]
fn head_that_does_not_end_is_refused() {
    let program = Program::start(server(3));
    let web = Web::start(&program);
    let long = format!("GET /SECRET/ HTTP/1.1\nHOST\nX: {}\n\n", "x".repeat(100_000));
    let answer = web.raw(&long);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn more_connections_than_there_are_places_are_closed() {
    let program = Program::start(server(3));
    let web = Web::start(&program);
    let mut taken: Vec<_> = (0..32).map(|_| web.connect()).collect();
    // A connection has its place when its request has begun.
    for stream in &mut taken {
        stream.write_all(b"GET").unwrap();
    }
    let mut one_more = web.connect();
    let _ = one_more.write_all(b"GET");
    assert!(matches!(one_more.read(&mut [0; 16]), Ok(0) | Err(_)), "it is closed");
    drop(taken);
    // Those that end make room again; the server learns of it in its own time.
    for _ in 0..10_000 {
        if web.raw("GET /SECRET/ HTTP/1.1\nHOST\n\n").starts_with("HTTP/1.1 200") {
            return;
        }
    }
    panic!("no place became free");
}

#[test]
fn state_has_groups_alarms_and_figures() {
    let program = Program::start(server(4_812));
    program.source.lock().lag = vec![lag(300, 1_300_000)];
    program.source.lock().stacks = blocked_stacks();
    let web = Web::start(&program);
    let state = get(&web, &program, "state");
    assert_eq!(state["rows"][0]["count"], 4_812);
    assert_eq!(state["rows"][0]["waits"], "Semaphore db");
    assert_eq!(state["tasks"], 4_817);
    assert_eq!(state["deadlocks"][0]["nodes"].as_array().unwrap().len(), 4);
    assert_eq!(state["blocked"][0]["frames"][1], "/srv/server.py:99 in slow_hash");
    let points = state["points"].as_array().unwrap();
    assert_eq!(points[0]["lag_us"], 1_300_000);
    assert_eq!(points[0]["ready"], 3);
    let last = points.last().unwrap()["at"].as_u64().unwrap();
    let later = get(&web, &program, &format!("state?since={last}"));
    assert!(later["points"].as_array().unwrap().iter().all(|point| point["at"].as_u64() > Some(last)));
}

#[test]
fn tasks_are_sorted_filtered_and_paged() {
    let program = Program::start(server(250));
    let web = Web::start(&program);
    let names = |query: &str| -> (Vec<String>, Value) {
        let state = get(&web, &program, &format!("state?view=tasks&{query}"));
        let rows = state["rows"].as_array().unwrap().clone();
        (rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect(), state["shown"].clone())
    };
    let (found, shown) = names("filter=handle&sort=name&offset=100&limit=3");
    assert_eq!((found, shown), (vec!["Task-100".into(), "Task-101".into(), "Task-102".into()], json!(250)));
    let (found, _) = names("coroutine=move_money&waits=Lock+accounts");
    assert_eq!(found, ["transfer"]);
    let (found, shown) = names("offset=9999999999999&limit=9999999999999");
    assert_eq!((found.len(), shown), (0, json!(255)));
    let (found, _) = names("sort=waiting&reverse=1&limit=1");
    assert_eq!(found, ["transfer"]);
}

#[test]
fn node_has_its_graph_and_says_when_there_is_more() {
    let program = Program::start(server(200));
    program.source.lock().stacks = blocked_stacks();
    let web = Web::start(&program);
    let node = get(&web, &program, "node/10");
    assert_eq!(node["nodes"].as_array().unwrap().len(), 5);
    assert_eq!(node["edges"].as_array().unwrap().len(), 5);
    assert_eq!((&node["more_above"], &node["more_below"]), (&json!(false), &json!(false)));
    assert_eq!(node["stack"][1], "/srv/server.py:31 in move_money");
    let node = get(&web, &program, "node/2");
    assert_eq!(node["nodes"].as_array().unwrap().len(), 31);
    assert_eq!(node["more_above"], true);
}

#[test]
fn metrics_can_be_read_by_prometheus() {
    let mut snapshot = server(30);
    snapshot.nodes.push(task(70, "quoted", "a_\"hi\"\\", &[]));
    let many = (0..80).map(|number| task(100_000 + number, "t", &format!("kind_{number}"), &[]));
    snapshot.nodes.extend(many);
    let program = Program::start(snapshot);
    program.source.lock().lag = vec![lag(300, 1_500_000)];
    let web = Web::start(&program);
    get(&web, &program, "state");
    let answer = web.raw("GET /metrics HTTP/1.1\nHOST\nAuthorization: Bearer SECRET\n\n");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "aioxide_up 1",
        "aioxide_tasks{state=\"waiting\"} 116",
        "aioxide_group_tasks{coroutine=\"handle_request\",waits=\"Semaphore db\"} 30",
        "aioxide_group_tasks{coroutine=\"(others)\",waits=\"(others)\"} 37",
        "aioxide_loop_ready{loop=\"0\"} 3",
        "aioxide_loop_lag_seconds_bucket{loop=\"0\",le=\"0.0001\"} 60",
        "aioxide_loop_lag_seconds_bucket{loop=\"0\",le=\"0.00025\"} 90",
        "aioxide_loop_lag_seconds_bucket{loop=\"0\",le=\"+Inf\"} 110",
        "aioxide_loop_lag_seconds_count{loop=\"0\"} 110",
        "aioxide_loop_unanswered_seconds{loop=\"0\"} 1.5",
        "aioxide_loop_entry_seconds_bucket{loop=\"0\",le=\"0.0001\"} 1400",
        "aioxide_loop_entry_seconds_bucket{loop=\"0\",le=\"+Inf\"} 1500",
        "aioxide_loop_entry_seconds_count{loop=\"0\"} 1500",
        "aioxide_loop_entry_seconds_sum{loop=\"0\"} 0.09",
        "aioxide_deadlocked_tasks 3",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    assert!(text.contains(r#"{coroutine="a_\"hi\"\\",waits=""#), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
    }
    assert!(web.get("metrics").starts_with("# HELP aioxide_up "));
}

#[test]
fn it_ends_with_the_program_and_by_a_signal() {
    let mut program = Program::start(server(3));
    let mut web = Web::start(&program);
    program.end();
    assert_eq!(web.child.wait().unwrap().code(), Some(0));
    let mut told = String::new();
    web.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "aioxide: the program has ended\n");
    program.open();
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut web = Web::start(&program);
        kill_process(Pid::from_child(&web.child), signal).unwrap();
        assert_eq!(web.child.wait().unwrap().code(), Some(status));
    }
}

#[test]
fn browser_shows_all_of_it() {
    let Some(browser) = Browser::start(1280, 900) else { return };
    let program = Program::start(server(4_812));
    program.source.lock().lag = vec![lag(300, 0)];
    let web = Web::start(&program);
    browser.open(&web.address());
    browser.wait("document.querySelector('tbody tr') !== null");
    browser.wait_for("4\u{a0}812 ×");
    browser.wait_for("Deadlock of 3 tasks");
    browser.wait_for("audit → Lock orders → transfer → Lock accounts → audit");
    browser.wait("document.querySelectorAll('#charts .curve')[2].getAttribute('d').includes('L')");
    browser.picture("top-groups");
    // Into the group, to a task.
    browser.click("tbody a");
    browser.wait_for("1 to 100 of 4\u{a0}812");
    browser.wait("document.querySelectorAll('tbody tr').length === 100");
    browser.click("#forth");
    browser.wait_for("101 to 200 of");
    browser.click("#chosen a");
    browser.wait_for("of 4\u{a0}817");
    browser.keys("#filter", "move");
    browser.wait("document.querySelectorAll('tbody tr').length === 1");
    browser.click("tbody a");
    browser.wait("document.querySelectorAll('.graph rect').length === 5");
    browser.wait_for("(see above)");
    browser.picture("top-node");
    // Its loop is blocked meanwhile.
    program.source.lock().stacks = blocked_stacks();
    program.source.lock().lag = vec![lag(300, 1_300_000)];
    browser.wait_for("has not answered for 1.3 s");
    browser.wait_for("server.py:99 in slow_hash");
    browser.wait("document.title.startsWith('⚠')");
    browser.picture("top-blocked");
    program.source.lock().lag = vec![lag(300, 0)];
    browser.wait_for("did not answer for 1.3 s or longer, Task-0 in slow_hash at server.py:99");
    browser.wait("!document.body.innerText.includes('has not answered')");
    // What is no more stays, and says so.
    program.source.lock().snapshot.nodes.retain(|node| node.id != 10);
    browser.wait_for("It is no more");
    browser.click("#tab-loops");
    browser.wait_for("aioxide.EventLoop");
    program.source.lock().history =
        vec![Ended { name: "old".into(), coroutine: "f".into(), why: Why::Cancelled, ..Default::default() }];
    browser.click("#tab-ended");
    browser.wait_for("cancelled");
    // A node that is gone is the one thing that was not found; nothing was forbidden and nothing failed.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|told| told.contains("/node/10 ")), "{complaints:?}");
}

#[test]
fn names_with_tags_are_shown_as_they_are() {
    let Some(browser) = Browser::start(1280, 900) else { return };
    let mut snapshot = server(0);
    let name = "<img src=x onerror=alert(1)>";
    snapshot.nodes.push(task(70, name, name, &[(71, How::Await)]));
    snapshot.nodes.push(thing(71, Kind::Lock, name, &[(70, How::HeldBy)]));
    let program = Program::start(snapshot);
    let web = Web::start(&program);
    for place in ["", "#view=tasks", "#node=70"] {
        browser.open("about:blank");
        browser.open(&format!("{}{place}", web.address()));
        browser.wait_for(name);
        assert_eq!(browser.script("return document.images.length"), 0);
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn phone_and_dark_are_served_too() {
    let Some(browser) = Browser::start(390, 844) else { return };
    let program = Program::start(server(4_812));
    program.source.lock().lag = vec![lag(300, 0)];
    let web = Web::start(&program);
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.command("Emulation.setEmulatedMedia", dark);
    for (place, ready) in [("", "4\u{a0}812 ×"), ("#view=tasks", "Task-4811"), ("#node=10", "(see above)")] {
        browser.open("about:blank");
        browser.open(&format!("{}{place}", web.address()));
        browser.wait_for(ready);
        let (wide, seen) = (
            browser.script("return document.documentElement.scrollWidth").as_u64().unwrap(),
            browser.script("return innerWidth").as_u64().unwrap(),
        );
        assert!(wide <= seen, "{place:?} is {wide} wide on {seen}");
        browser.picture(&format!("top-phone{}", place.replace(['#', '='], "-")));
    }
    let paper = browser.script("return getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(20, 24, 31)");
}

#[test]
fn end_of_the_program_is_told_on_the_page() {
    let Some(browser) = Browser::start(1280, 900) else { return };
    let mut program = Program::start(server(3));
    let web = Web::start(&program);
    browser.open(&web.address());
    browser.wait_for("3 ×");
    program.end();
    browser.wait_for("The program has ended, or the server of this page.");
}

#[test]
fn page_stays_usable_with_a_hundred_thousand_tasks() {
    let Some(browser) = Browser::start(1280, 900) else { return };
    let program = Program::start(server(100_000));
    let web = Web::start(&program);
    browser.open(&format!("{}#view=tasks", web.address()));
    browser.wait_for("1 to 100 of 100\u{a0}005");
    browser.keys("#filter", "Task-777");
    browser.wait_for("1 to 100 of 111");
}

#[test]
fn timeline_is_recorded_drawn_and_taken_away() {
    let program = Program::start(server(3));
    program.source.lock().timelines = vec![timeline()];
    let web = Web::start(&program);
    let told = get(&web, &program, "timeline?ms=10");
    assert_eq!(program.source.lock().recorded, Some(std::time::Duration::from_millis(10)));
    let one = &told["loops"][0];
    assert_eq!(one["spans"].as_array().unwrap().len(), 201);
    assert_eq!(one["tracks"], serde_json::json!(["reader read_all", "writer write_all", "callback"]));
    assert_eq!(one["totals"][0]["what"], "slow<b>");
    let trace = get(&web, &program, "trace.json");
    assert!(trace["traceEvents"].as_array().unwrap().len() > 201);
    // However long it is asked for, and of whatever length.
    get(&web, &program, "timeline?ms=0");
    assert_eq!(program.source.lock().recorded, Some(std::time::Duration::from_millis(1)));
    let Some(browser) = Browser::start(1280, 900) else { return };
    browser.open(&web.address());
    browser.click("#tab-timeline");
    browser.wait_for("Record a second");
    browser.click("#record");
    browser.wait_for("201 runs in 1.0 s, busy for 66 % of it");
    browser.wait("document.querySelectorAll('tbody tr').length === 3");
    browser.wait_for("slow<b>");
    browser.wait("!document.querySelector('#line').hidden && document.querySelector('#line').height > 60");
    // The long one fills much of its row, which is the first of three: it has the most work.
    browser.wait(
        "(() => { const c = document.querySelector('#line'); const d = c.getContext('2d')
            .getImageData(c.width * 0.6, c.height - 45, 1, 1).data; return d[3] === 255; })()",
    );
    browser.click("#closer");
    browser.click("#whole");
    browser.picture("top-timeline");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
