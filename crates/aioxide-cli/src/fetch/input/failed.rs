//! What failed in an earlier run, by its report: which entries of the list are to be tried again.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use super::compressed;
use super::entry::Entry;
use super::format::Format;
use super::lines::Lines;
use crate::fetch::naming::fnv1a;

/// Why an entry of a report cannot be fetched without its list.
pub(super) const NEEDS_LIST: &str =
    "the list had headers for it, which a report does not keep: name the list, too, with -i";

/// Entries of a list, by line and URL: sixteen bytes for each.
#[derive(Debug)]
pub(crate) struct Failed {
    entries: HashSet<(u64, u64)>,
    /// The report is of shards or of a list in another order: URLs tell, wherever they stand.
    by_url: Option<HashSet<u64>>,
    count: u64,
}

impl Failed {
    /// Reads the report, and looks for what failed in the list that it is of.
    ///
    /// # Errors
    /// One cannot be read, or something that failed is not in the list.
    pub(crate) fn read(report: &Path, list: &Path, format: Format) -> Result<Self, String> {
        let named = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        let mut entries = HashSet::new();
        for entry in super::read(report, Format::Report).map_err(named(report))? {
            entries.insert(key(&entry.map_err(named(report))?));
        }
        if !list.is_file() {
            return Err(format!("{}: with --retry-failed, the list is one in a file", list.display()));
        }
        let listed = || -> io::Result<_> { Ok(Lines::of(compressed::plain(File::open(list)?)?, format)) };
        let (mut found, mut urls, mut count) = (HashSet::new(), HashSet::new(), 0);
        let known: HashSet<u64> = entries.iter().map(|(_, url)| *url).collect();
        for entry in listed().map_err(named(list))? {
            let key = key(&entry.map_err(named(list))?);
            if entries.contains(&key) {
                found.insert(key);
            }
            if known.contains(&key.1) {
                urls.insert(key.1);
                count += 1;
            }
        }
        if found.len() == entries.len() {
            let count = found.len() as u64;
            return Ok(Failed { entries, by_url: None, count });
        }
        match known.len() - urls.len() {
            0 => Ok(Failed { entries, by_url: Some(urls), count }),
            missing => Err(format!(
                "{}: not the list that {} is of: {missing} of the URLs that failed are not in it",
                list.display(),
                report.display()
            )),
        }
    }

    /// Whether an entry is one of them.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let key = key(entry);
        match &self.by_url {
            Some(urls) => urls.contains(&key.1),
            None => self.entries.contains(&key),
        }
    }

    /// How many there are in the list.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// Refuses a report that does not have all that is needed, before anything is asked for. One from a pipe says so as it is read.
///
/// # Errors
/// The list is needed, too; or the report cannot be read.
pub(crate) fn check_report(report: &Path) -> Result<(), String> {
    if !report.is_file() {
        return Ok(());
    }
    let named = |error: io::Error| format!("{}: {error}", report.display());
    let mut needing = 0;
    for entry in super::read(report, Format::Report).map_err(named)? {
        let entry = entry.map_err(named)?;
        needing += u64::from(entry.url.as_ref().is_err_and(|why| why == NEEDS_LIST));
    }
    let urls = if needing == 1 { "1 URL" } else { &format!("{needing} URLs") };
    match needing {
        0 => Ok(()),
        _ => Err(format!(
            "{}: the list had headers for {urls}, which a report does not keep: name the list, too, with -i",
            report.display()
        )),
    }
}

fn key(entry: &Entry) -> (u64, u64) {
    (entry.line, fnv1a(entry.text.trim().as_bytes()))
}
