//! What sockets have in common, as macros: each has a field `source` around the standard library's socket.

/// `socket!(Ours, name: Theirs, "a kind")`: the way from the standard library's socket and back, and what shows the socket.
///
/// The type has a function `watch`, which makes it from theirs in non-blocking mode.
macro_rules! socket {
    ($socket:ident, $name:ident: $std:ty, $kind:literal) => {
        impl $socket {
            #[doc = concat!("Takes over ", $kind, " of the standard library, and puts it into non-blocking mode.")]
            ///
            /// # Errors
            /// Those of the mode; no loop runs on this thread.
            pub fn from_std($name: $std) -> std::io::Result<Self> {
                $name.set_nonblocking(true)?;
                Self::watch($name)
            }

            #[doc = concat!(
                "Gives the ", stringify!($name), " back to the standard library; it stays in non-blocking mode."
            )]
            pub fn into_std(self) -> $std {
                self.source.into_inner()
            }
        }

        impl std::fmt::Debug for $socket {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.source.fmt(formatter)
            }
        }

        impl std::os::fd::AsFd for $socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.source.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.source.as_raw_fd()
            }
        }
    };
}

/// `stream!(Ours, Theirs, Address, short_read_is_empty = …)`: what a connected stream can do, whatever carries it.
macro_rules! stream {
    ($stream:ident, $std:ty, $addr:ty, short_read_is_empty = $short_read_is_empty:expr) => {
        impl $stream {
            fn watch(stream: $std) -> std::io::Result<Self> {
                Ok(Self { source: $crate::net::source::Source::connected(stream)? })
            }

            /// Our own address.
            ///
            /// # Errors
            /// Those of the system.
            pub fn local_addr(&self) -> std::io::Result<$addr> {
                self.source.get().local_addr()
            }

            /// The other side's address.
            ///
            /// # Errors
            /// ENOTCONN.
            pub fn peer_addr(&self) -> std::io::Result<$addr> {
                self.source.get().peer_addr()
            }

            /// Waits until something (or the end) can be read.
            ///
            /// # Errors
            /// The stream belongs to another loop than the one that runs.
            pub async fn readable(&self) -> std::io::Result<()> {
                self.source.wait($crate::net::source::Way::Read, |cx| self.source.poll_read_ready(cx)).await
            }

            /// Waits until something can be written.
            ///
            /// # Errors
            /// The stream belongs to another loop than the one that runs.
            pub async fn writable(&self) -> std::io::Result<()> {
                self.source.wait($crate::net::source::Way::Write, |cx| self.source.poll_write_ready(cx)).await
            }

            /// Reads without waiting.
            ///
            /// # Errors
            /// `WouldBlock` when there is nothing to read; those of the connection.
            pub fn try_read(&self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.source.try_read_with(|| std::io::Read::read(&mut self.source.get(), buf))
            }

            /// Writes without waiting.
            ///
            /// # Errors
            /// `WouldBlock` when the system's buffer is full; those of the connection.
            pub fn try_write(&self, buf: &[u8]) -> std::io::Result<usize> {
                self.source.try_write_with(|| std::io::Write::write(&mut self.source.get(), buf))
            }

            /// Ends reading, writing or both. A connection that is gone already is no error.
            ///
            /// # Errors
            /// Those of the system.
            pub fn shutdown_std(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                match self.source.get().shutdown(how) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(()),
                    other => other,
                }
            }

            #[doc = concat!("Borrows the two directions. (`&", stringify!($stream), "` reads and writes as well.)")]
            pub fn split(
                &mut self,
            ) -> ($crate::net::ReadHalf<'_, Self>, $crate::net::WriteHalf<'_, Self>) {
                $crate::net::split::split(self)
            }

            /// Parts the two directions, for two tasks. Dropping the writing half ends the writing.
            pub fn into_split(self) -> ($crate::net::OwnedReadHalf<Self>, $crate::net::OwnedWriteHalf<Self>) {
                $crate::net::split::into_split(self)
            }
        }

        $crate::net::face::socket!($stream, stream: $std, "a connected stream");
        $crate::net::split::stream_io!($stream, short_read_is_empty = $short_read_is_empty);
    };
}

pub(super) use {socket, stream};
