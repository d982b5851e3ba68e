//! What the tests of this crate share: a real nginx, servers that misbehave, certificates.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses its own part of it"
)]

pub mod certs;
pub mod h2;
pub mod nginx;
pub mod proxy;
pub mod raw;
pub mod raw_h2;
pub mod server;
pub mod ws;

use std::future::Future;
use std::time::Duration;

/// Runs a test's future on a loop of its own; a test that hangs is ended.
#[track_caller]
pub fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let limited = async { aioxide::timeout(Duration::from_secs(60), future).await };
    aioxide::run(limited).expect("the loop runs").expect("the test hangs")
}

/// Lets the loop ask the kernel once.
pub async fn turn_loop() {
    pause(Duration::from_millis(1)).await;
}

/// Lets that much time pass: for tests of what time does.
pub async fn pause(time: Duration) {
    aioxide::time::sleep(time).await;
}
