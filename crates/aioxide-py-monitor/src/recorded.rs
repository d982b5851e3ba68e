//! What a loop has recorded.

use std::sync::Mutex;

use aioxide_core::observer::Recording;
use pyo3::prelude::*;

use crate::locked;

/// A loop's recording, which its own `_recorded` returns and the monitor takes.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_Recorded")]
#[derive(Debug, Default)]
pub struct Recorded(Mutex<Recording>);

impl Recorded {
    /// For a loop.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self(Mutex::new(recording))
    }

    /// Takes the recording out.
    pub(crate) fn take(&self) -> Recording {
        std::mem::take(&mut locked(&self.0))
    }
}
