//! tokio's I/O traits and their helpers (the traits alone: no runtime of tokio's runs).

pub use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufStream,
    BufWriter, DuplexStream, Lines, ReadBuf, copy, copy_bidirectional, copy_buf, duplex, empty, repeat, sink,
    split,
};
