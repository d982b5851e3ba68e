//! Name resolution off the loop's thread: the system's own resolver, on a few threads of its own.
//!
//! Its own pool, because a slow name server must not starve other blocking calls (and the other way round).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::pool::Pool;

/// More look-ups at a time than this wait their turn.
const MAX_THREADS: usize = 16;

static POOL: Pool = Pool::new("aioxide-dns", MAX_THREADS);

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
    let host = host.to_owned();
    let found = POOL.run(move || look_up(&host, port)).await;
    found.unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
}

#[expect(clippy::disallowed_methods, reason = "the one place where the blocking resolver is called")]
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}
