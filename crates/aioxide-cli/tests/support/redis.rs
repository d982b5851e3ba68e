//! A real Redis (or Valkey) without a disk, for as long as a test lasts.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A running server.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Starts one; `None`, said aloud, where none is installed.
    pub fn start() -> Option<Self> {
        // The port is free now; that it stays so until the server takes it is as good as certain.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = ["redis-server", "valkey-server"].iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
            command.arg(port.to_string()).stdout(Stdio::null()).spawn().ok()
        });
        let Some(child) = started else {
            eprintln!("skipped: neither redis-server nor valkey-server is installed");
            return None;
        };
        let redis = Redis { child, port };
        for _ in 0..200 {
            if redis::Client::open(redis.url("x")).unwrap().get_connection().is_ok() {
                return Some(redis);
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    /// The queue of this name.
    pub fn url(&self, name: &str) -> String {
        format!("redis://127.0.0.1:{}/0?name={name}", self.port)
    }

    /// Asks the server for something.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/0", self.port)).unwrap();
        redis::cmd(std::str::from_utf8(words[0]).unwrap())
            .arg(&words[1..])
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
