//! Where a body goes: to nowhere, or into a file, in as few calls as its length allows.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use aioxide::Blocking;
use bytes::Bytes;

use crate::fetch::manners::descriptors::Shortage;
use crate::fetch::naming::{Directory, PartFile};

/// Takes the pieces of one body.
///
/// A small body is kept until its end and written in one call: no file is made for an answer that breaks off early. A
/// longer one is written as it comes. A long one is written by another thread, so that the loop can receive
/// meanwhile and is not held up by a slow disk; then two batches at most are in memory.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    /// `None`: nothing is kept.
    directory: Option<&'a Directory>,
    /// Of descriptors for files.
    shortage: &'a Shortage,
    /// Received, not yet written.
    pieces: Vec<Bytes>,
    pieces_bytes: usize,
    /// Made when the first byte is to be written.
    file: Option<PartFile<'a>>,
    written: usize,
    /// The batch that a thread is writing.
    writing: Option<Blocking<io::Result<()>>>,
}

/// A body of up to this many bytes is written in one call at its end.
const SMALL_BYTES: usize = 32 * 1024;
/// After this many bytes another thread writes.
const LONG_BYTES: usize = 1024 * 1024;
/// How many bytes that thread is given at a time; a hop to it and back costs about 20 us.
const BATCH_BYTES: usize = 512 * 1024;

impl<'a> Sink<'a> {
    /// A sink for one body.
    pub(crate) fn new(directory: Option<&'a Directory>, shortage: &'a Shortage) -> Self {
        Sink {
            directory,
            shortage,
            pieces: Vec::new(),
            pieces_bytes: 0,
            file: None,
            written: 0,
            writing: None,
        }
    }

    /// Takes a piece; waits only if the disk is behind, or for a descriptor.
    pub(crate) async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        if self.directory.is_none() || piece.is_empty() {
            return Ok(());
        }
        self.pieces_bytes += piece.len();
        self.pieces.push(piece);
        if self.written < LONG_BYTES {
            if self.written + self.pieces_bytes > SMALL_BYTES {
                self.write_here().await?;
            }
        } else if self.pieces_bytes >= BATCH_BYTES {
            self.write_there().await?;
        }
        Ok(())
    }

    /// Writes what is left and gives the file its name; returns the name it got.
    pub(crate) async fn finish(mut self, name: &str) -> io::Result<Option<String>> {
        if self.directory.is_none() {
            return Ok(None);
        }
        self.wait_for_writer().await?;
        self.write_here().await?;
        self.file.take().map(|file| file.keep(name)).transpose()
    }

    /// Writes the pieces on this thread.
    async fn write_here(&mut self) -> io::Result<()> {
        if let (None, Some(directory)) = (&self.file, self.directory) {
            self.file = Some(self.shortage.outlast(async || directory.start()).await?);
        }
        if let Some(part) = &self.file {
            match &self.pieces[..] {
                [] => {}
                [piece] => part.file().as_ref().write_all(piece)?,
                pieces => write_pieces(part.file(), pieces)?,
            }
        }
        self.written += self.pieces_bytes;
        self.pieces.clear();
        self.pieces_bytes = 0;
        Ok(())
    }

    /// Hands the pieces to a thread, once it has written those before.
    async fn write_there(&mut self) -> io::Result<()> {
        self.wait_for_writer().await?;
        let Some(part) = &self.file else { return self.write_here().await };
        let file = Arc::clone(part.file());
        let pieces = std::mem::take(&mut self.pieces);
        self.written += self.pieces_bytes;
        self.pieces_bytes = 0;
        self.writing = Some(aioxide::spawn_blocking(move || write_pieces(&file, &pieces)));
        Ok(())
    }

    async fn wait_for_writer(&mut self) -> io::Result<()> {
        if let Some(writing) = self.writing.take() {
            writing.await.map_err(|error| io::Error::other(error.to_string()))??;
        }
        Ok(())
    }
}

/// How many pieces go into one call; the system's own limit is 1024.
const SLICES: usize = 64;

/// Writes all pieces, many per call.
fn write_pieces(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    for pieces in pieces.chunks(SLICES) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let mut rest = &mut slices[..pieces.len()];
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
