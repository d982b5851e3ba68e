//! The tools that archivists read WARC files with: warcio, FastWARC and cdxj-indexer, from PyPI.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::text;

/// What is installed: the versions that the test was written with.
const TOOLS: [&str; 3] = ["warcio==1.8.1", "fastwarc==2.0.1", "cdxj-indexer==1.5.0"];

/// A Python that has them, made at the first call; `None`, said aloud, where they cannot be had.
pub fn python() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archivists");
    fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (python, installed) = (place.join("venv/bin/python"), place.join("installed"));
    if fs::read_to_string(&installed).is_ok_and(|tools| tools == TOOLS.join(" ")) {
        return Some(python);
    }
    let base = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let made = Command::new(base).args(["-m", "venv", "--clear"]).arg(place.join("venv")).output().ok()?;
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    let got = Command::new(&python).args(pip).args(TOOLS).output().ok();
    match got {
        Some(got) if made.status.success() && got.status.success() => {
            fs::write(&installed, TOOLS.join(" ")).unwrap();
            Some(python)
        }
        got => {
            let why = got.map(|got| text(&got.stderr)).unwrap_or_default();
            eprintln!("skipped: warcio, FastWARC and cdxj-indexer cannot be installed from PyPI: {why}");
            None
        }
    }
}
