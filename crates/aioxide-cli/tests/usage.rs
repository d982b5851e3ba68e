//! Help, version, completions and wrong usage.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{aioxide, text};

#[track_caller]
fn run(arguments: &[&str], status: i32) -> (String, String) {
    let output = aioxide().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_has_examples() {
    for arguments in [
        &["--help"][..],
        &["demo", "--help"],
        &["fetch", "--help"],
        &["fetch", "-h"],
        &["top", "-h"],
        &["completions", "-h"],
    ] {
        let (help, _) = run(arguments, 0);
        assert!(help.contains("Examples:\n  aioxide "), "{arguments:?}: {help}");
    }
}

#[test]
fn help_of_fetch_explains_every_outcome() {
    let (help, _) = run(&["fetch", "--help"], 0);
    for outcome in [
        "ok",
        "http_error",
        "connect_error",
        "tls_error",
        "timeout",
        "protocol_error",
        "skipped",
        "too_large",
        "checksum_error",
        "unexpected_content",
        "disallowed",
        "io_error",
        "invalid_url",
        "cancelled",
    ] {
        assert!(help.contains(outcome), "{outcome}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 132), "{help}");
    for status in [0, 1, 2, 129, 130, 143] {
        assert!(help.contains(&status.to_string()), "exit status {status}");
    }
}

#[test]
fn fetch_without_anything_to_fetch_names_both_ways() {
    let (_, errors) = run(&["fetch"], 2);
    assert!(errors.contains("--input") && errors.contains("URL"), "{errors}");
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(run(&["--version"], 0).0, format!("aioxide {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, errors) = run(&["completions", shell], 0);
        assert!(script.contains("aioxide") && script.contains("per-host"), "{shell}");
        assert_eq!(errors, "");
    }
}

#[test]
fn manual_pages_are_read_by_man() {
    for (arguments, expected) in [
        (&["man"][..], "aioxide-fetch(1)"),
        (&["man", "fetch"], "--retry-max-wait"),
        (&["man", "demo"], "--serve"),
        (&["man", "queue"], "retry"),
        (&["man", "queue", "fill"], "--shard-size"),
        (&["man", "top"], "--interval"),
    ] {
        let (page, errors) = run(arguments, 0);
        assert!(page.contains(".TH ") && page.contains("Examples:"), "{page}");
        assert!(page.replace('\\', "").contains(expected), "{arguments:?}: {page}");
        assert_eq!(errors, "");
    }
    let (_, errors) = run(&["man", "what"], 2);
    assert!(errors.contains("no command \"what\""), "{errors}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &[][..],
        &["fetch"],
        &["fetch", "-j", "0", "http://a/"],
        &["fetch", "--timeout", "0", "http://a/"],
        &["fetch", "--discard", "--overwrite", "http://a/"],
        &["fetch", "--marks", "--quiet", "http://a/"],
        &["demo", "--port", "80"],
        &["demo", "--serve", "--json"],
        &["top", "--socket", "/a", "1"],
        &["top", "1", "--view", "nonsense"],
        &["top", "1", "--interval", "0"],
        &["top", "1", "--web", "--once"],
        &["top", "1", "--port", "80"],
        &["completions", "tcsh"],
        &["nonsense"],
    ] {
        let (_, errors) = run(arguments, 2);
        assert!(errors.contains("Usage") || errors.contains("error"), "{arguments:?}: {errors}");
    }
}
