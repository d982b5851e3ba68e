//! Chunks that wait to be written, in order, with the part of the first one that is written already.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A queue of chunks, consumed bytewise. It has no limit of its own: the watermarks tell the producer to stop.
#[derive(Debug)]
pub struct WriteBuffer<C> {
    chunks: VecDeque<C>,
    /// How much of the first chunk is written.
    skip: usize,
    /// How many bytes wait.
    len: usize,
}

impl<C> Default for WriteBuffer<C> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), skip: 0, len: 0 }
    }
}

impl<C: AsRef<[u8]>> WriteBuffer<C> {
    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `chunk` without its first `skip` bytes; a chunk of which nothing is left is dropped.
    ///
    /// # Panics
    /// When something waits already and `skip` is not 0: only a first chunk can have been written in part.
    pub fn push(&mut self, chunk: C, skip: usize) {
        assert!(skip == 0 || self.is_empty(), "only the first chunk can be written in part");
        let left = chunk.as_ref().len().saturating_sub(skip);
        if left == 0 {
            return;
        }
        if self.is_empty() {
            self.skip = skip;
        }
        self.len += left;
        self.chunks.push_back(chunk);
    }

    /// How many chunks wait.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The first bytes that wait, as far as they lie together.
    pub fn first(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk.as_ref()[self.skip..])
    }

    /// What waits, as slices for a vectored write; as many as `slices` takes. Returns how many were filled in.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.skip;
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.as_ref()[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Forgets the first `written` bytes.
    ///
    /// # Panics
    /// When fewer wait.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.len, "more written than waited");
        self.len -= written;
        self.skip += written;
        while let Some(first) = self.chunks.front() {
            let size = first.as_ref().len();
            if self.skip < size {
                break;
            }
            self.skip -= size;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 64 {
            // A burst must not keep its memory for the connection's life.
            self.chunks = VecDeque::new();
        }
    }

    /// Takes everything out; the caller drops it when no borrow is alive.
    #[must_use = "the chunks' destructors run where this is dropped"]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
