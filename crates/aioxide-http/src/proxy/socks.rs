//! SOCKS5 (RFC 1928), with name and password (RFC 1929).

use std::io;
use std::net::{IpAddr, SocketAddr};

use aioxide::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Proxy;
use crate::error::{Error, Kind, Result};

/// Where the proxy shall connect to.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    Address(SocketAddr),
    /// The proxy resolves it.
    Name(&'a str, u16),
}

/// Asks `proxy`, at the other end of `stream`, for a way to `target`.
pub(crate) async fn open<S>(stream: &mut S, proxy: &Proxy, target: &Target<'_>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let user = proxy.user();
    let methods: &[u8] = if user.is_some() { &[5, 2, NONE, PASSWORD] } else { &[5, 1, NONE] };
    send(stream, methods).await?;
    let [version, method] = receive(stream).await?;
    match (version, method, user) {
        (5, NONE, _) => {}
        (5, PASSWORD, Some((name, password))) => {
            let mut message = vec![1, length(name)?];
            message.extend(name.as_bytes());
            message.push(length(password)?);
            message.extend(password.as_bytes());
            send(stream, &message).await?;
            if receive::<2, _>(stream).await?[1] != 0 {
                return Err(failed("it does not take this name and password"));
            }
        }
        (5, 0xff, _) if user.is_none() => return Err(failed("it wants a name and a password")),
        (5, ..) => return Err(failed("it wants another way of proving who we are")),
        _ => return Err(failed("it does not speak socks5")),
    }
    let mut message = vec![5, 1, 0];
    match target {
        Target::Address(address) => match address.ip() {
            IpAddr::V4(ip) => message.extend([&[1][..], &ip.octets()].concat()),
            IpAddr::V6(ip) => message.extend([&[4][..], &ip.octets()].concat()),
        },
        Target::Name(name, _) => {
            message.extend([3, length(name)?]);
            message.extend(name.as_bytes());
        }
    }
    let port = match target {
        Target::Address(address) => address.port(),
        Target::Name(_, port) => *port,
    };
    message.extend(port.to_be_bytes());
    send(stream, &message).await?;
    let [_, reply, _, kind] = receive(stream).await?;
    if reply != 0 {
        return Err(failed(reason(reply)));
    }
    // The address from which the proxy speaks; of no use to us, but it must be read.
    match kind {
        1 => drop(receive::<6, _>(stream).await?),
        4 => drop(receive::<18, _>(stream).await?),
        3 => {
            let [length] = receive(stream).await?;
            let mut rest = vec![0; usize::from(length) + 2];
            stream.read_exact(&mut rest).await.map_err(broken)?;
        }
        _ => return Err(failed("it does not speak socks5")),
    }
    Ok(())
}

const NONE: u8 = 0;
const PASSWORD: u8 = 2;

fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "it failed",
        2 => "its rules do not allow the connection",
        3 => "the network is unreachable from it",
        4 => "the host is unreachable from it",
        5 => "the server refused its connection",
        6 => "its connection timed out",
        _ => "it does not know how",
    }
}

fn length(text: &str) -> Result<u8> {
    u8::try_from(text.len()).map_err(|_| failed("a name is longer than 255 bytes"))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

async fn receive<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(broken)?;
    Ok(bytes)
}

fn broken(error: io::Error) -> Error {
    Error::new(Kind::Proxy(None)).with_source(error)
}

fn failed(why: &str) -> Error {
    Error::new(Kind::Proxy(None)).with_source(why)
}
