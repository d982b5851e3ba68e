//! Where the body of a response comes from: a connection, or Python itself (a test, an application in the same process).

use std::pin::Pin;
use std::task::{Context, Poll};

use aioxide_http::{Bytes, Error, Response as Answer, Timings};
use futures_core::Stream;
use pyo3::prelude::*;

use crate::upload::Upload;

/// The bytes to come.
pub(crate) enum Source {
    Received(Box<Answer>),
    Made(Upload),
}

impl Source {
    /// The next piece, `None` at the end; what Python raised is the outer error.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<PyResult<Result<Option<Bytes>, Error>>> {
        match self {
            Self::Received(answer) => answer.poll_chunk(cx).map(Ok),
            Self::Made(upload) => loop {
                match std::task::ready!(Pin::new(&mut *upload).poll_next(cx)) {
                    Some(Ok(piece)) if piece.is_empty() => {}
                    Some(Ok(piece)) => return Poll::Ready(Ok(Ok(Some(piece)))),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(Ok(None))),
                }
            },
        }
    }

    pub(crate) fn timings(&self) -> Timings {
        match self {
            Self::Received(answer) => answer.timings(),
            Self::Made(_) => Timings::default(),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Received(answer) => answer.is_complete(),
            Self::Made(_) => false,
        }
    }

    pub(crate) fn remaining_length(&self) -> Option<u64> {
        match self {
            Self::Received(answer) => answer.remaining_length(),
            Self::Made(_) => None,
        }
    }
}
