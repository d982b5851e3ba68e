//! Who we say we are and how servers are reached, through the real program.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::nasty::Nasty;
use support::{aioxide, fetch, parse_records, text, tls};

/// Fetches URLs with these options; gives the outcomes.
#[track_caller]
fn outcomes(arguments: &[&str]) -> Vec<String> {
    let output = fetch(&[&["--discard", "-q", "-j1", "--retries", "0", "--report", "-"], arguments].concat());
    assert_ne!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let records = parse_records(&text(&output.stdout));
    records.iter().map(|record| record["outcome"].as_str().unwrap().to_owned()).collect()
}

fn last_head(server: &Nasty) -> String {
    server.heads().pop().unwrap().to_lowercase()
}

#[test]
fn credentials_go_to_the_origin_that_they_are_for() {
    let (server, other) = (Nasty::start(), Nasty::start());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "me:hunter2\nmore\n").unwrap();
    let at_file = format!("@{}", file.display());
    let url = server.url(&format!("/redirect-to/{}/ok/5", other.address()));
    for (option, value, sent) in [
        ("--user", "me:hunter2", "authorization: basic bwu6ahvudgvymg=="),
        ("-u", &at_file, "authorization: basic bwu6ahvudgvymg=="),
        ("--bearer", "to.ken", "authorization: bearer to.ken"),
    ] {
        assert_eq!(outcomes(&[option, value, &url]), ["ok"]);
        assert!(last_head(&server).contains(sent), "{}", last_head(&server));
        assert!(!last_head(&other).contains("authorization"), "{}", last_head(&other));
    }
    let netrc = directory.path().join("netrc");
    fs::write(&netrc, "machine 127.0.0.1 login me password hunter2\n").unwrap();
    assert_eq!(outcomes(&["--netrc-file", netrc.to_str().unwrap(), &server.url("/ok/1")]), ["ok"]);
    assert!(last_head(&server).contains("authorization: basic bwu6ahvudgvymg=="));
    for arguments in [["--user", "me"], ["--user", "@/does/not/exist"], ["--bearer", "a\nb"]] {
        let output = fetch(&[&arguments[..], &["--discard", "http://127.0.0.1:1/"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!text(&output.stderr).contains("a\nb"));
    }
}

#[test]
fn digest_challenge_is_answered() {
    let server = Nasty::start();
    assert_eq!(outcomes(&["--user", "me:hunter2", "--digest", &server.url("/digest")]), ["ok"]);
    assert!(last_head(&server).contains("authorization: digest username=\"me\""), "{}", last_head(&server));
    assert!(!server.heads().concat().to_lowercase().contains("authorization: basic"));
    assert_eq!(outcomes(&["--user", "me:wrong", "--digest", &server.url("/digest")]), ["http_error"]);
}

#[test]
fn cookies_are_sent_kept_and_saved_for_their_owner() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let (jar, saved) = (directory.path().join("jar"), directory.path().join("saved"));
    fs::write(&jar, "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\told\t1\n").unwrap();
    let (set, ok) = (server.url("/header/Set-Cookie~new=2; Path=/; Max-Age=1000"), server.url("/ok/1"));
    let set = set.replace(' ', "_");
    let arguments = ["-b", jar.to_str().unwrap(), "--save-cookies", saved.to_str().unwrap(), &set, &ok];
    assert_eq!(outcomes(&arguments), ["ok", "ok"]);
    let heads = server.heads();
    assert!(heads[0].contains("cookie: old=1\r\n"), "{}", heads[0]);
    assert!(heads[1].contains("old=1") && heads[1].contains("new=2"), "{}", heads[1]);
    let text = fs::read_to_string(&saved).unwrap();
    assert!(text.contains("\told\t1") && text.contains("\tnew\t2"), "{text}");
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
    let output = fetch(&["--discard", "-b", "/does/not/exist", &ok]);
    assert_eq!(output.status.code(), Some(2));
    assert!(support::text(&output.stderr).contains("/does/not/exist"));
}

#[test]
fn proxies_are_those_of_the_options_or_of_the_environment() {
    let (proxy, server) = (Nasty::start(), Nasty::start());
    let (address, url) = (format!("http://{}", proxy.address()), server.url("/ok/5"));
    // This proxy knows nothing but what it answers itself.
    assert_eq!(outcomes(&["--proxy", &address, &url]), ["http_error"]);
    assert_eq!(proxy.requests(), [url.as_str()]);
    assert_eq!(outcomes(&["--proxy", &address, "--no-proxy", "127.0.0.0/8", &url]), ["ok"]);
    let by_environment = |arguments: &[&str]| {
        let mut command = aioxide();
        command
            .env("http_proxy", &address)
            .args(["fetch", "-q", "--discard", "--retries", "0", &url])
            .args(arguments);
        command.output().unwrap().status.code()
    };
    assert_eq!((by_environment(&[]), by_environment(&["--proxy", ""])), (Some(1), Some(0)));
    let output = fetch(&["--discard", "--proxy", "ftp://a", &url]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn names_lead_where_they_are_told_to() {
    let server = Nasty::start();
    let port = server.address().port();
    let url = format!("http://nowhere.invalid:{port}/ok/5");
    for option in [format!("nowhere.invalid:{port}:127.0.0.1"), "nowhere.invalid:*:127.0.0.1".to_owned()] {
        assert_eq!(outcomes(&["--resolve", &option, "--interface", "127.0.0.1", &url]), ["ok"]);
    }
    assert!(last_head(&server).contains(&format!("host: nowhere.invalid:{port}")));
    let output = fetch(&["--discard", "--resolve", "a.test", &url]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HOST:PORT:ADDRESS"), "{}", text(&output.stderr));
}

#[test]
fn coded_bodies_are_decoded_on_request_only() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let (url, out) = (server.url("/coded"), directory.path().to_str().unwrap());
    let output = fetch(&["-q", "--compressed", "-o", out, &url]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read(directory.path().join("coded")).unwrap(), b"plain text\n");
    assert!(last_head(&server).contains("accept-encoding: "), "{}", last_head(&server));
    let output = fetch(&["-q", "-o", out, &url]);
    assert_eq!(output.status.code(), Some(0));
    assert!(fs::read(directory.path().join("coded-1")).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn certificates_are_trusted_on_request_and_carelessness_is_said_aloud() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let (port, pem) = tls::start();
    fs::write(&ca, pem).unwrap();
    let url = format!("https://127.0.0.1:{port}/");
    assert_eq!(outcomes(&[&url]), ["tls_error"]);
    assert_eq!(outcomes(&["--ca", ca.to_str().unwrap(), "--http1", &url]), ["ok"]);
    let output = fetch(&["--discard", "-k", &url]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("certificates are not verified"), "{}", text(&output.stderr));
    for (option, file) in [("--ca", "/does/not/exist"), ("--cert", ca.to_str().unwrap())] {
        assert_eq!(fetch(&["--discard", option, file, &url]).status.code(), Some(2), "{option}");
    }
}

#[test]
fn file_that_is_not_what_an_option_takes_is_named_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (garbage, pem) = (directory.path().join("garbage"), directory.path().join("pem"));
    fs::write(&garbage, "# a comment\nhello\n").unwrap();
    fs::write(&pem, support::tls::start().1).unwrap();
    let (garbage, pem) = (garbage.to_str().unwrap(), pem.to_str().unwrap());
    for (arguments, told) in [
        (&["-b", garbage][..], format!("--cookies {garbage}: line 2 is no cookie")),
        (&["--ca", garbage], format!("--ca {garbage}: a certificate in PEM is not in it")),
        (&["--cert", garbage], format!("--cert {garbage}: a certificate in PEM is not in it")),
        (&["--cert", pem], format!("--cert {pem}: a key without a password in PEM is not in it")),
        (&["--cert", pem, "--key", garbage], format!("--key {garbage}: a key without a password")),
        (&["--ca", "/does/not/exist"], "--ca /does/not/exist: ".to_owned()),
        (&["--netrc-file", "/does/not/exist"], "--netrc-file /does/not/exist: ".to_owned()),
        (&["--netrc"], format!("--netrc {}/.netrc: ", directory.path().display())),
        (&["--proxy", "http://"], "--proxy: ".to_owned()),
    ] {
        let output = support::aioxide()
            .args(["fetch", "--discard", "http://127.0.0.1:1/"])
            .args(arguments)
            .env("HOME", directory.path())
            .env_remove("NETRC")
            .output()
            .unwrap();
        let shown = support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {shown}");
        assert!(shown.contains(&told), "{arguments:?}: {shown}");
    }
}
