//! When a producer pauses and resumes: asyncio's high and low water marks.

/// What the producer is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The buffer rose above the high mark.
    Pause,
    /// The buffer fell to the low mark.
    Resume,
}

/// `0 <= low <= high` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLimits;

/// Two marks and whether the producer is paused.
///
/// The producer pauses when more than `high` bytes wait and resumes when at most `low` do.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    high_bytes: usize,
    low_bytes: usize,
    paused: bool,
}

impl Watermarks {
    /// asyncio's default high mark.
    pub const DEFAULT_HIGH_BYTES: usize = 64 * 1024;

    /// The low and the high mark.
    pub fn limits(&self) -> (usize, usize) {
        (self.low_bytes, self.high_bytes)
    }

    /// Whether the producer was told to pause and not to resume since.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Overrides what the producer was told, without telling it.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Sets the marks; a missing one follows from the other, as asyncio has it. The producer is not told.
    ///
    /// # Errors
    /// `InvalidLimits` when low is above high; the marks stay.
    pub fn set_limits(
        &mut self,
        high_bytes: Option<usize>,
        low_bytes: Option<usize>,
    ) -> Result<(), InvalidLimits> {
        let high = high_bytes.unwrap_or(match low_bytes {
            Some(low) => low.saturating_mul(4),
            None => Self::DEFAULT_HIGH_BYTES,
        });
        let low = low_bytes.unwrap_or(high / 4);
        if low > high {
            return Err(InvalidLimits);
        }
        (self.high_bytes, self.low_bytes) = (high, low);
        Ok(())
    }

    /// To be called when the buffer has grown to `size` or the marks were set.
    #[inline]
    pub fn grown_to(&mut self, size: usize) -> Option<Change> {
        if size <= self.high_bytes || self.paused {
            return None;
        }
        self.paused = true;
        Some(Change::Pause)
    }

    /// To be called when the buffer has shrunk to `size`.
    #[inline]
    pub fn shrunk_to(&mut self, size: usize) -> Option<Change> {
        if size > self.low_bytes || !self.paused {
            return None;
        }
        self.paused = false;
        Some(Change::Resume)
    }
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high_bytes: Self::DEFAULT_HIGH_BYTES, low_bytes: Self::DEFAULT_HIGH_BYTES / 4, paused: false }
    }
}
