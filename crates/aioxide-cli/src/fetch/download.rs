//! The download of one URL.

use std::future::poll_fn;
use std::task::Poll;

use aioxide_http::Response;

use super::input::Entry;
use super::naming;
use super::output::sink::Sink;
use super::report::answer::Answer;
use super::report::{Failed, Outcome, Progress};
use super::run::Fetch;

/// What became of a download that went well, and the name of its file.
pub(super) type Good = (Outcome, Option<String>);

impl Fetch {
    /// Downloads one URL; returns what became of it, and the name of its file.
    pub(super) async fn download(&self, entry: &Entry, progress: &Progress) -> Result<Good, Failed> {
        let url = entry.url.as_ref().map_err(|reason| Failed::invalid_url(reason))?;
        let failed = |error: aioxide_http::Error| Failed::from_http(&error, url);
        let send = async || self.session.get(url).send().await;
        let mut response = self.no_connections.outlast(send).await.map_err(failed)?;
        let status = response.status();
        progress.status.set(Some(status.as_u16()));
        match self.asked.judge(status, response.headers()) {
            Ok(Answer::Whole) => {}
            Ok(Answer::NotModified) => return Ok((Outcome::NotModified, None)),
            Err(failed) => {
                // The page is of no use and not waited for; dropped, the answer gives its connection back if it can.
                progress.add(at_hand(&mut response).await);
                return Err(failed);
            }
        }
        if let Some(length) = response.content_length() {
            progress.length.set(Some(length));
            self.account.borrow_mut().display.announced(length);
        }
        let mut sink = Sink::new(self.directory.as_ref(), &self.no_files);
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            let share = progress.add(piece.len());
            self.account.borrow_mut().display.received(piece.len(), share);
            sink.push(piece).await?;
        }
        Ok((Outcome::Ok, sink.finish(&naming::from_url(url)).await?))
    }
}

/// How many bytes of the body have come already.
async fn at_hand(response: &mut Response) -> usize {
    let mut bytes = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Ok(Some(piece))) = response.poll_chunk(cx) {
            bytes += piece.len();
        }
        Poll::Ready(bytes)
    })
    .await
}
