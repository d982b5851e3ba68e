//! `CONNECT`: an HTTP proxy opens a way to the server and passes bytes on without reading them.

use aioxide::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use http::StatusCode;

use super::Proxy;
use crate::error::{Error, Kind, Result};

/// The most that a proxy may say before the way is open.
const MAX_HEAD: usize = 64 * 1024;

/// Asks `proxy`, at the other end of `stream`, for a way to `target` (`host:port`).
pub(crate) async fn open<S>(stream: &mut S, proxy: &Proxy, target: &str, agent: Option<&[u8]>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(agent) = agent {
        head.extend([b"User-Agent: ", agent, b"\r\n"].concat());
    }
    for (name, value) in proxy.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let answer = read_head(stream).await?;
    let status = status_of(&answer).ok_or_else(|| refused(None, "its answer to CONNECT is not http"))?;
    if !status.is_success() {
        return Err(refused(Some(status), &format!("it answered CONNECT {target} with {status}")));
    }
    Ok(())
}

/// Reads to the end of a head. What follows at once would be lost, and nobody speaks before we do.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    loop {
        if head.len() >= MAX_HEAD {
            return Err(refused(None, "its answer to CONNECT is too long"));
        }
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            return Err(refused(None, "it closed the connection before it answered CONNECT"));
        }
        match memchr::memmem::find(&head, b"\r\n\r\n") {
            Some(end) if end + 4 == head.len() => return Ok(head),
            Some(_) => return Err(refused(None, "it sent more than its answer to CONNECT")),
            None => {}
        }
    }
}

fn status_of(head: &[u8]) -> Option<StatusCode> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    if rest.get(5).is_some_and(|&byte| byte != b' ') {
        return None;
    }
    StatusCode::from_bytes(rest.get(2..5)?).ok()
}

fn broken(error: std::io::Error) -> Error {
    Error::new(Kind::Proxy(None)).with_source(error)
}

fn refused(status: Option<StatusCode>, why: &str) -> Error {
    Error::new(Kind::Proxy(status)).with_source(why)
}
