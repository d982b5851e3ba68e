//! Sockets on the loop: TCP, UDP and UNIX.
//!
//! Streams implement tokio's traits `AsyncRead` and `AsyncWrite` (the traits alone: no runtime of tokio's runs), for
//! themselves and for shared references, so that the crates built on those traits work as they are.
//!
//! A socket belongs to the loop that was running when it was made, on that loop's thread; whichever face runs the loop.

mod accept;
mod connect;
pub mod dns;
mod face;
mod pause;
pub(crate) mod source;
mod split;
mod tcp;
pub mod tls;
mod udp;
mod unix;

pub use connect::{ConnectError, ConnectOptions, STAGGER, connect, connect_any, connect_any_with};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
