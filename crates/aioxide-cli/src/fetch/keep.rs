//! What becomes of a body that is whole: proof, and its place.

use std::io;

use aioxide_http::Transcript;
use http::{HeaderMap, HeaderValue, header};

use super::download::Good;
use super::input::Entry;
use super::manners::Retry;
use super::naming;
use super::output::{Archive, Sink, Volumes, Warc};
use super::report::{Failed, Outcome, Progress};
use super::run::Fetch;

impl Fetch {
    /// The failure of a body that is not what its checksum is of. One that was put together from several answers may be of
    /// several versions, and is asked for once more, in one.
    fn unproven(&self, told: String, progress: &Progress) -> Failed {
        let failed = Failed::new(Outcome::ChecksumError, told);
        let is_pieced = progress.resumed.get() > 0 || progress.in_ranges.get();
        if !is_pieced || progress.whole_only.replace(true) {
            return failed;
        }
        self.start_over(progress);
        failed.worth(Retry::Worthwhile)
    }

    /// Writes what went over the connections into the archive; returns where the answer stands there.
    pub(super) async fn archive(
        &self,
        warc: &Warc,
        sink: Sink,
        exchanges: Vec<Transcript>,
    ) -> Result<Option<String>, Failed> {
        let Some(body) = sink.into_body().await? else { return Ok(None) };
        let prepared = warc.prepare(exchanges, body).await?;
        self.make_room(warc.volumes());
        Ok(Some(warc.add(prepared)?))
    }

    /// Has the state told of a volume that is full, so that the next one can be begun.
    fn make_room(&self, volumes: &Volumes) {
        if volumes.is_full() {
            self.account.borrow_mut().flush();
        }
    }

    /// The body is whole: proves it and gives it its name.
    pub(super) async fn keep(
        &self,
        mut sink: Sink,
        name: &str,
        headers: &HeaderMap,
        exchanges: Vec<Transcript>,
        entry: &Entry,
        progress: &Progress,
    ) -> Result<Good, Failed> {
        if let Some(hasher) = sink.hasher.take() {
            hasher.verify().map_err(|told| self.unproven(told, progress))?;
        }
        if let Some(Archive::Warc(warc)) = &self.archive {
            return Ok((Outcome::Ok, Box::pin(self.archive(warc, sink, exchanges)).await?));
        }
        if let Some(Archive::Tar(shards)) = &self.archive {
            let Some(body) = sink.into_body().await? else { return Ok((Outcome::Ok, None)) };
            let extension = naming::extension(name).unwrap_or_else(|| extension_of(headers).to_owned());
            let extension = if extension == "json" { "body.json".to_owned() } else { extension };
            let record = progress.record(entry, Ok((Outcome::Ok, None)));
            self.make_room(shards.volumes());
            return Ok((Outcome::Ok, Some(shards.add(entry.number, &extension, body, record)?)));
        }
        let Some(part) = sink.finish().await? else { return Ok((Outcome::Ok, None)) };
        if self.demands.newer {
            let modified = headers.get(header::LAST_MODIFIED).and_then(date);
            if let Some(time) = modified {
                part.file().set_modified(time)?;
            }
        }
        if self.demands.fsync {
            let file = part.file().clone();
            let synced = aioxide::spawn_blocking(move || file.sync_all()).await;
            synced.map_err(|error| io::Error::other(error.to_string()))??;
        }
        let inode = if self.account.borrow().journal.is_some() { Some(part.inode()?) } else { None };
        let name = part.keep(name, &mut |name| {
            let mut account = self.account.borrow_mut();
            let (Some(journal), Some(inode)) = (&mut account.journal, inode) else { return Ok(()) };
            journal.keeps(
                entry.number,
                inode,
                progress.record(entry, Ok((Outcome::Ok, Some(name.to_owned())))),
            )
        })?;
        if self.demands.fsync
            && let Some(directory) = &self.directory
        {
            directory.sync()?;
        }
        Ok((Outcome::Ok, Some(name)))
    }
}

/// The extension that fits what an answer says it is.
fn extension_of(headers: &HeaderMap) -> &'static str {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type.and_then(|text| text.split(';').next()).map(str::trim) {
        Some("image/jpeg") => "jpg",
        Some("image/png") => "png",
        Some("image/gif") => "gif",
        Some("image/webp") => "webp",
        Some("image/avif") => "avif",
        Some("image/svg+xml") => "svg",
        Some("text/html") => "html",
        Some("text/plain") => "txt",
        Some("text/csv") => "csv",
        Some("application/pdf") => "pdf",
        // `json` is the record's.
        Some("application/json") => "body.json",
        Some("video/mp4") => "mp4",
        Some("video/webm") => "webm",
        Some("audio/mpeg") => "mp3",
        Some("audio/flac") => "flac",
        Some("application/zip") => "zip",
        _ => "bin",
    }
}

fn date(value: &HeaderValue) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}
