//! Where a body goes: to nowhere, or into a file, in as few calls as its length allows.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use aioxide::Blocking;
use bytes::Bytes;

use super::volumes::Whole;
use crate::fetch::naming::{Directory, PartFile};
use crate::fetch::report::Failed;
use crate::fetch::resume::{Hasher, OVERLAP};

/// Takes the pieces of one body.
///
/// A small body is kept until its end and written in one call: no file is made for an answer that breaks off early. A
/// longer one is written as it comes. A long one is written by another thread, so that the loop can receive
/// meanwhile and is not held up by a slow disk; then two batches at most are in memory.
#[derive(Debug)]
pub(crate) struct Sink {
    /// `None`: nothing is kept.
    directory: Option<Rc<Directory>>,
    /// Received, not yet written.
    pieces: Vec<Bytes>,
    pieces_bytes: usize,
    /// Made when the first byte is to be written.
    file: Option<PartFile>,
    written: u64,
    /// The batch that a thread is writing.
    writing: Option<Blocking<io::Result<()>>>,
    /// Computes what the body's checksum is compared with.
    pub(crate) hasher: Option<Hasher>,
    /// What has been received before and has to come again, unchanged.
    again: Vec<u8>,
}

/// A body of up to this many bytes is written in one call at its end.
const SMALL_BYTES: u64 = 32 * 1024;
/// After this many bytes another thread writes.
const LONG_BYTES: u64 = 1024 * 1024;
/// How many bytes that thread is given at a time; a hop to it and back costs about 20 us.
const BATCH_BYTES: usize = 512 * 1024;

impl Sink {
    /// A sink for one body.
    pub(crate) fn new(directory: Option<Rc<Directory>>, hasher: Option<Hasher>) -> Self {
        let (pieces, again) = (Vec::new(), Vec::new());
        Sink { directory, pieces, pieces_bytes: 0, file: None, written: 0, writing: None, hasher, again }
    }

    /// Goes on from a part that an earlier run has left.
    pub(crate) fn resumed(
        directory: Rc<Directory>,
        part: PartFile,
        written: u64,
        hasher: Option<Hasher>,
    ) -> Self {
        Sink { file: Some(part), written, ..Sink::new(Some(directory), hasher) }
    }

    /// The file, once it is so long that it is worth going on from in a later run, and if it is not marked for that yet.
    pub(crate) fn worth_keeping(&mut self) -> Option<&mut PartFile> {
        let long = self.written >= LONG_BYTES;
        self.file.as_mut().filter(|part| long && !part.is_staying())
    }

    /// Takes a piece; waits only if the disk is behind, or for a descriptor.
    ///
    /// # Errors
    /// Of the file; or the piece is not what it repeats.
    pub(crate) async fn push(&mut self, mut piece: Bytes) -> Result<(), Failed> {
        if !self.again.is_empty() {
            let repeated = piece.split_to(piece.len().min(self.again.len()));
            if *repeated != self.again[..repeated.len()] {
                return Err(Failed::lie("the file has changed, and the server does not say so"));
            }
            self.again.drain(..repeated.len());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.directory.is_none() || piece.is_empty() {
            return Ok(());
        }
        self.pieces_bytes += piece.len();
        self.pieces.push(piece);
        if self.written < LONG_BYTES {
            if self.written + self.pieces_bytes as u64 > SMALL_BYTES {
                self.write_here().await?;
            }
        } else if self.pieces_bytes >= BATCH_BYTES {
            self.write_there().await?;
        }
        Ok(())
    }

    /// Ends an attempt that broke off: what came is written. Says whether it is worth going on from.
    pub(crate) async fn settle(&mut self) -> io::Result<bool> {
        if self.file.is_none() || !self.again.is_empty() {
            return Ok(false);
        }
        self.wait_for_writer().await?;
        self.write_here().await?;
        Ok(true)
    }

    /// How many bytes are written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The place from which on the body is to come: before the end of what is there, so that the last bytes are seen again.
    pub(crate) fn continue_from(&mut self) -> io::Result<u64> {
        let Some(part) = &self.file else { return Ok(0) };
        let overlap = self.written.min(OVERLAP);
        let from = self.written - overlap;
        self.again = vec![0; usize::try_from(overlap).unwrap_or(0)];
        part.file().read_exact_at(&mut self.again, from)?;
        Ok(from)
    }

    /// Writes what is left; the body is whole.
    pub(crate) async fn finish(mut self) -> Result<Option<PartFile>, Failed> {
        if !self.again.is_empty() {
            return Err(Failed::lie("the file has become shorter, and the server does not say so"));
        }
        if self.directory.is_none() {
            return Ok(None);
        }
        self.wait_for_writer().await?;
        self.write_here().await?;
        Ok(self.file.take())
    }

    /// The whole body, which need not have become a file.
    pub(crate) async fn into_body(mut self) -> Result<Option<Whole>, Failed> {
        if self.directory.is_none() || self.file.is_some() || !self.again.is_empty() {
            let bytes = self.written + self.pieces_bytes as u64;
            return Ok(self.finish().await?.map(|part| Whole::File(part, bytes)));
        }
        Ok(Some(Whole::Small(std::mem::take(&mut self.pieces))))
    }

    /// Writes the pieces on this thread.
    async fn write_here(&mut self) -> io::Result<()> {
        if let (None, Some(directory)) = (&self.file, &self.directory) {
            self.file = Some(directory.shortage.outlast(None, async || directory.start()).await?);
        }
        if let Some(part) = &self.file {
            match &self.pieces[..] {
                [] => {}
                [piece] => part.file().as_ref().write_all(piece)?,
                pieces => write_pieces(part.file(), pieces)?,
            }
        }
        self.written += self.pieces_bytes as u64;
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
        self.written += self.pieces_bytes as u64;
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
