//! Name resolution off the loop's thread: the system's own resolver, on threads of its own.
//!
//! Its own pool, because a slow name server must not starve other blocking calls (and the other way round). A look-up can
//! hang for many seconds and cannot be interrupted, so there are many threads. When all of them are busy, names that
//! `/etc/hosts` has, which need no server, take a way of their own; and who limits the time of a look-up waits for its turn first.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::pool::Pool;

/// More look-ups at a time than this wait their turn. A thread that waits for a name server costs some 30 KB.
const MAX_THREADS: usize = 64;

static POOL: Pool = Pool::new("aioxide-dns", MAX_THREADS);

/// For names that need no server, while [`POOL`] is busy.
static LOCAL: Pool = Pool::new("aioxide-hosts", 2);

/// The addresses of `host`, in the order of the system (RFC 6724), each with `port`.
///
/// A numeric address needs no thread.
///
/// # Errors
/// `NotFound`-like errors of the system's resolver, with its text; the name is for the caller to add.
///
/// # Cancel safety
/// Dropping the future gives the answer up; the look-up itself cannot be interrupted.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if !POOL.has_room()
        && let Some(found) = resolve_listed(host, port).await
    {
        return found;
    }
    let host = host.to_owned();
    POOL.run(move || look_up(&host, port))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
}

/// Waits until [`resolve`] would begin with `host` in the same poll: the time before is no part of its look-up.
///
/// # Cancel safety
/// Dropping it gives the place up.
pub async fn turn(host: &str) {
    if POOL.has_room() || host.parse::<IpAddr>().is_ok() || is_listed(host).await {
        return;
    }
    POOL.turn().await;
}

#[expect(clippy::disallowed_methods, reason = "the one place where the blocking resolver is called")]
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// As [`resolve`], for a name that `/etc/hosts` has; `None` for any other.
///
/// The file says only which way a name takes; its addresses are the system's affair.
async fn resolve_listed(host: &str, port: u16) -> Option<io::Result<Vec<SocketAddr>>> {
    let host = host.to_owned();
    let found = LOCAL.run(move || in_hosts(&host).then(|| look_up(&host, port)));
    found.await.ok().flatten()
}

async fn is_listed(host: &str) -> bool {
    let host = host.to_owned();
    LOCAL.run(move || in_hosts(&host)).await.unwrap_or(false)
}

fn in_hosts(host: &str) -> bool {
    File::open("/etc/hosts").is_ok_and(|file| lists(BufReader::new(file), host))
}

/// Whether a file of the form of `/etc/hosts` has `name`.
fn lists(file: impl BufRead, name: &str) -> bool {
    // A line that is no text is not one of ours; the lines after it may be.
    file.split(b'\n').map_while(Result::ok).any(|line| {
        let entry = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.next().is_some() && words.any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found_and_comments_and_addresses_are_not() {
        let file =
            b"127.0.0.1\tlocalhost # here\n#10.0.0.1 commented\n\xff\xfe not text\n10.0.0.2 Full.test short";
        for name in ["localhost", "full.test", "SHORT", "text"] {
            assert!(lists(&file[..], name), "{name}");
        }
        for name in ["here", "commented", "10.0.0.2", "full", ""] {
            assert!(!lists(&file[..], name), "{name}");
        }
    }
}
