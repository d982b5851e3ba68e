//! The lesson's job without an event loop: one download after the other, and with a pool of threads.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ureq::Agent;

use super::Download;
use super::marks::Marks;

/// A site that takes longer counts as failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Downloads one after the other, through one agent: marks come in the order of the list.
pub(crate) fn one_by_one(downloads: &[Download], marks: &Marks) {
    let agent = agent();
    for download in downloads {
        marks.ended(download.mark, fetch(&agent, download));
    }
}

/// Downloads with `threads` workers, each with its own agent, as the lesson's pool has a session per thread.
pub(crate) fn threaded(downloads: &[Download], threads: usize, marks: &Marks) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads.min(downloads.len()) {
            scope.spawn(|| {
                let agent = agent();
                // Relaxed: the number itself is all that the threads share.
                while let Some(download) = downloads.get(next.fetch_add(1, Ordering::Relaxed)) {
                    marks.ended(download.mark, fetch(&agent, download));
                }
            });
        }
    });
}

/// It knows no proxy, whatever the environment says: the session does not either, and local sites need none.
fn agent() -> Agent {
    Agent::new_with_config(Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build())
}

/// Downloads to the end; a status of 400 and up is a failure.
fn fetch(agent: &Agent, download: &Download) -> Result<(), String> {
    let mut response = agent.get(download.url.as_str()).call().map_err(|error| error.to_string())?;
    let mut body = response.body_mut().as_reader();
    io::copy(&mut body, &mut io::sink()).map_err(|error| error.to_string())?;
    Ok(())
}
