//! Names by `--resolver`, through the real program and from a real server of names.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::names::Names;
use support::nasty::Nasty;
use support::{aioxide, fetch, outcomes, parse_records, text};

/// Fetches `/ok/1` of each name from `server`; returns the records by name.
fn fetch_names(server: &Nasty, servers: &str, names: &[&str], options: &[&str]) -> HashMap<String, Value> {
    let port = server.address().port();
    let list: String = names.iter().map(|name| format!("http://{name}:{port}/ok/1\n")).collect();
    let mut command = aioxide();
    command
        .args(["fetch", "-q", "--discard", "--report", "-", "-i", "-", "--resolver", servers])
        .args(options);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let records = parse_records(&text(&output.stdout));
    assert_eq!(records.len(), names.len(), "each is accounted for");
    let name = |record: &Value| {
        let url = record["url"].as_str().unwrap();
        url.trim_start_matches("http://").split(':').next().unwrap().to_owned()
    };
    records.into_iter().map(|record| (name(&record), record)).collect()
}

#[test]
fn names_are_looked_up_whatever_way_their_answers_take() {
    let (server, dns) = (Nasty::start(), Names::start());
    let names = [
        "a.ok.test",
        "A2.ok.test",
        "b.tcp.test",
        "c.slow.test",
        "d.lossy.test",
        "e.noedns.test",
        "f.alias.test",
        "g.steps.test",
        "h.wrongid.test",
        "i.huge.test",
        "j.never.test",
        "k.deaf.test",
        "x.localhost",
        "localhost",
    ];
    let records = fetch_names(&server, &dns.address(), &names, &[]);
    for (name, record) in &records {
        assert_eq!((&record["outcome"], &record["attempts"]), (&"ok".into(), &1.into()), "{name}: {record}");
    }
    assert_eq!(dns.asked("d.lossy.test", "A"), 2);
    assert_eq!((dns.asked("c.slow.test", "A"), dns.asked("s2.steps.test", "A")), (2, 1));
    assert_eq!(dns.asked("localhost", "A") + dns.asked("x.localhost", "A"), 0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes is a part of what is looked at")]
fn each_failure_is_told_and_ends_in_time() {
    let (server, dns) = (Nasty::start(), Names::start());
    let address = dns.address();
    let expected = [
        ("a.nx.test", "the name does not exist (NXDOMAIN)", 1),
        ("a.none.test", "it has no address", 1),
        ("a.onion", "names of the Tor network are for its proxy", 1),
        ("a.invalid", "no name under .invalid", 1),
        ("a.dead.test", "no answer from {} within 10 s", 2),
        ("a.servfail.test", "{} answers: SERVFAIL", 2),
        ("a.refused.test", "{} answers: REFUSED", 2),
        ("a.referral.test", "{} answers: no answer but a reference", 2),
        ("a.cut.test", "{} answers: an answer that cannot be read", 2),
        ("a.loop.test", "{} answers: an answer that cannot be read", 2),
        ("a.garbage.test", "{} answers: an answer that cannot be read", 2),
        ("a.circle.test", "{} answers: aliases (CNAME) that lead in a circle", 2),
        ("1.endless.test", "aliases (CNAME) that lead in a circle, or more than 10", 2),
        ("a.wrongonly.test", "no answer from {} within 10 s", 2),
        ("a.wrongname.test", "no answer from {} within 10 s", 2),
        ("a.elsewhere.test", "no answer from {} within 10 s", 2),
        ("a.flood.test", "{} sends answers to other questions only", 2),
    ];
    let names: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    let began = Instant::now();
    let records = fetch_names(&server, &address, &names, &["--retries", "1", "--retry-wait", "1.5"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    for (name, error, attempts) in expected {
        let record = &records[name];
        assert_eq!(record["outcome"], "connect_error", "{record}");
        let told = record["error"].as_str().unwrap();
        let error = format!("cannot resolve {name}: {}", error.replace("{}", &address));
        assert!(told.contains(&error), "{told}\n{error}");
        // What does not exist is not tried again; what nobody knows is.
        assert_eq!(record["attempts"], attempts, "{record}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn answers_are_kept_as_long_as_they_say_and_asked_for_once() {
    let (server, dns) = (Nasty::start(), Names::start());
    let urls: Vec<String> = ["a.ok.test", "b.never.test", "c.nx.test", "d.huge.test"]
        .iter()
        .flat_map(|name| (0..30).map(move |number| (*name, number)))
        .map(|(name, number)| format!("http://{name}:{}/close/{number}", server.address().port()))
        .collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let address = dns.address();
    let options = ["-q", "--discard", "-j", "10", "--retries", "0", "--report", "-", "--resolver", &address];
    let records = parse_records(&text(&fetch(&[&options, &urls[..]].concat()).stdout));
    assert_eq!(records.len(), 120);
    assert_eq!(
        (dns.asked("a.ok.test", "A"), dns.asked("c.nx.test", "A"), dns.asked("d.huge.test", "A")),
        (1, 1, 1)
    );
    assert!(dns.asked("b.never.test", "A") > 1, "it says that its answer must not be kept");
}

#[test]
fn servers_that_are_dead_closed_or_of_no_help_are_passed_over() {
    let (server, dns) = (Nasty::start(), Names::start());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let names: Vec<String> = (0..200).map(|number| format!("{number}.ok.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for first in [silent.local_addr().unwrap(), closed] {
        let servers = format!("{first},{}", dns.address());
        let records = fetch_names(&server, &servers, &names, &["-j", "20", "--retries", "0"]);
        assert!(records.values().all(|record| record["outcome"] == "ok"));
    }
    // What the first server cannot tell, the second one does.
    let other = Names::start();
    let servers = format!("{},{}", dns.address(), other.address());
    let records = fetch_names(&server, &servers, &["a.servfail.test"], &["--retries", "0"]);
    let told = records["a.servfail.test"]["error"].as_str().unwrap();
    assert!(told.contains(&format!("{} answers: SERVFAIL", other.address())), "{told}");
    assert_eq!((dns.asked("a.servfail.test", "A"), other.asked("a.servfail.test", "A")), (1, 1));
}

#[test]
fn thousands_of_names_are_accounted_for_with_the_right_outcome() {
    let (server, dns) = (Nasty::start(), Names::start());
    let kinds = ["ok", "ok", "ok", "ok", "tcp", "slow", "lossy", "nx", "alias", "dead"];
    let names: Vec<String> =
        (0..2000).map(|number| format!("{number}.{}.test", kinds[number % 10])).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let records = fetch_names(&server, &dns.address(), &names, &["-j", "200", "--retries", "0"]);
    let all: Vec<Value> = records.values().cloned().collect();
    assert_eq!(outcomes(&all), [("connect_error".to_owned(), 400), ("ok".to_owned(), 1600)].into());
    for (name, record) in &records {
        let is_good = !name.contains(".nx.") && !name.contains(".dead.");
        assert_eq!(record["outcome"] == "ok", is_good, "{record}");
    }
}

#[test]
fn shortage_of_descriptors_makes_look_ups_wait() {
    let (server, dns) = (Nasty::start(), Names::start());
    let kinds = ["ok", "tcp", "slow", "steps"];
    let port = server.address().port();
    let urls: Vec<String> =
        (0..60).map(|number| format!("http://{number}.{}.test:{port}/ok/1", kinds[number % 4])).collect();
    for limits in ["ulimit -n 64", "ulimit -n 32"] {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{limits}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_aioxide")])
            .args(["fetch", "-q", "--discard", "-j", "50", "--report", "-", "--resolver", &dns.address()])
            .args(&urls)
            .output()
            .unwrap();
        let records = parse_records(&text(&output.stdout));
        let bad: Vec<_> = records.iter().filter(|record| record["outcome"] != "ok").collect();
        assert!(bad.is_empty() && records.len() == 60, "{limits}: {bad:?} {}", text(&output.stderr));
    }
}

#[test]
fn per_address_counts_what_the_servers_say() {
    let (server, dns) = (Nasty::start(), Names::start());
    let names: Vec<String> = (0..40).map(|number| format!("{number}.ok.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let records = fetch_names(&server, &dns.address(), &names, &["-j", "20", "--per-address", "2"]);
    assert!(records.values().all(|record| record["outcome"] == "ok"));
    assert!(server.peak() <= 2, "{}", server.peak());
    assert_eq!(dns.asked("7.ok.test", "A"), 1);
}

#[test]
fn servers_come_from_the_option_a_file_or_the_system() {
    let (server, dns) = (Nasty::start(), Names::start());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    // Its addresses have no ports: nobody answers there.
    fs::write(&file, "nameserver 127.255.255.254\n").unwrap();
    let records = fetch_names(&server, file.to_str().unwrap(), &["a.ok.test"], &["--retries", "0"]);
    assert!(records["a.ok.test"]["error"].as_str().unwrap().contains("127.255.255.254:53"));
    let records = fetch_names(&server, "system", &["localhost"], &["--retries", "0"]);
    assert_eq!((&records["localhost"]["outcome"], dns.questions()), (&"ok".into(), 0));
    for (value, part) in [
        ("dns.example", "is no server"),
        ("1.1.1.1:", "is no server"),
        ("/does/not/exist", "/does/not/exist: No such file"),
        ("/dev/null", "nameserver ADDRESS"),
    ] {
        let output = fetch(&["--discard", "--resolver", value, "http://a.test/"]);
        assert_eq!(output.status.code(), Some(2), "{value}");
        assert!(text(&output.stderr).contains(part), "{value}: {}", text(&output.stderr));
    }
    // An address that is given goes before all servers.
    let option = format!("a.dead.test:{}:127.0.0.1", server.address().port());
    let records = fetch_names(&server, &dns.address(), &["a.dead.test"], &["--resolve", &option]);
    assert_eq!((&records["a.dead.test"]["outcome"], dns.questions()), (&"ok".into(), 0));
}
