//! A job whose runs are killed (-9) again and again, until one of them ends.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use super::nasty::Nasty;
use super::{aioxide, body, records};

/// What such a job has left.
pub struct Killed {
    directory: tempfile::TempDir,
    /// The URLs of its list, in order.
    pub urls: Vec<String>,
}

impl Killed {
    /// Runs `aioxide fetch` with a state, a report and `options` over so many URLs; each of them is reported once at the end.
    #[track_caller]
    pub fn job(count: u64, options: &[&str]) -> Self {
        let server = Nasty::start();
        let directory = tempfile::tempdir().unwrap();
        let urls: Vec<String> =
            (0..count).map(|number| server.url(&format!("/ok/{}/x.jpg?{number}", length(number)))).collect();
        fs::write(directory.path().join("list"), urls.join("\n")).unwrap();
        let mut kills = 0;
        loop {
            let before = server.requests().len();
            let mut child = aioxide()
                .current_dir(directory.path())
                .args(["fetch", "-q", "-i", "list", "-o", "out", "-j", "10"])
                .args(["--state", "state", "--report", "report"])
                .args(options)
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let target = before + 15 + kills * 37 % 60;
            while server.requests().len() < target && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            let _ = child.kill();
            if child.wait().unwrap().code() == Some(0) {
                break;
            }
            kills += 1;
            assert!(kills < 300);
        }
        assert!(kills > 4, "{kills}");
        let mut lines: Vec<u64> = records(&directory.path().join("report"))
            .iter()
            .map(|record| record["line"].as_u64().unwrap())
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, (1..=count).collect::<Vec<_>>());
        Self { directory, urls }
    }

    pub fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// What the URL with this number answers.
    pub fn body(number: u64) -> Vec<u8> {
        body(length(number), usize::try_from(length(number)).unwrap())
    }
}

/// Some answers are longer than a pipe and a buffer together.
fn length(number: u64) -> u64 {
    if number.is_multiple_of(20) { 100_000 + number } else { 100 + number }
}
