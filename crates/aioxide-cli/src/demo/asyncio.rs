//! The lesson's job on the event loop: a task per download, gathered, through one session.

use std::convert::Infallible;
use std::rc::Rc;

use aioxide_http::{Error, Session};

use super::Download;
use super::marks::Marks;

/// Downloads all at once; one that fails does not keep the others from their end.
///
/// # Errors
/// No loop could be had.
pub(crate) fn all_at_once(downloads: &[Download], marks: &Rc<Marks>) -> Result<(), aioxide::Error> {
    let (downloads, marks) = (downloads.to_vec(), Rc::clone(marks));
    aioxide::run(async move {
        let session = Rc::new(Session::new());
        let tasks: Vec<_> = downloads
            .into_iter()
            .map(|download| {
                let (session, marks) = (Rc::clone(&session), Rc::clone(&marks));
                aioxide::spawn(async move {
                    let result = fetch(&session, &download).await;
                    marks.ended(download.mark, result.map_err(|error| error.to_string()));
                    Ok::<_, Infallible>(())
                })
            })
            .collect();
        let _ = aioxide::gather(tasks).return_exceptions().await;
    })
}

/// Downloads to the end; a status of 400 and up is a failure.
async fn fetch(session: &Session, download: &Download) -> Result<(), Error> {
    let mut response = session.get(download.url.as_str()).send().await?.error_for_status()?;
    while response.chunk().await?.is_some() {}
    Ok(())
}
