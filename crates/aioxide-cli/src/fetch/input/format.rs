//! What a line of a list says: a URL alone, or with a name, headers and checksums, in CSV, TSV or JSON.

use std::path::Path;

use csv_core::ReadRecordResult;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::entry::{Entry, More};
use super::failed::NEEDS_LIST;
use crate::fetch::report::{Listed, Outcome};
use crate::fetch::resume::Digest;

/// How the lines of a list are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One URL per line
    Lines,
    /// Comma-separated values; the first line names the columns
    Csv,
    /// Tab-separated values; the first line names the columns
    Tsv,
    /// One JSON object per line
    Jsonl,
    /// The report of an earlier run: what failed there
    #[value(skip)]
    Report,
    /// A part of a list in a queue: JSON lines that tell in which line of the whole they stood
    #[value(skip)]
    Shard,
}

impl Format {
    /// By the name of the file, whether it is compressed or not.
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Format::Csv,
            Some("tsv") => Format::Tsv,
            Some("jsonl" | "ndjson") => Format::Jsonl,
            _ => Format::Lines,
        }
    }

    /// Whether blank lines and comments are passed over.
    pub(super) fn has_comments(self) -> bool {
        self == Format::Lines
    }

    /// Whether a record goes on in the next line: a quote is open after this line. `is_open`: one is before it. A quote opens
    /// at the beginning of a field only, as the reader of the fields has it.
    pub(super) fn leaves_quote_open(self, line: &[u8], is_open: bool) -> bool {
        let (mut is_open, mut begins, mut closed) = (is_open, !is_open, false);
        for byte in if self == Format::Csv { line } else { b"" } {
            match byte {
                b'"' if is_open => (is_open, closed) = (false, true),
                b'"' if begins || closed => is_open = true,
                _ => closed = false,
            }
            begins = !is_open && *byte == b',';
        }
        is_open
    }

    /// Whether the first line names columns.
    pub(super) fn has_columns(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv)
    }
}

/// Reads the fields of records, one after the other: making a reader for each would take most of the time.
#[derive(Debug)]
pub(super) struct Fields {
    reader: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    /// A reader for tables of that format.
    pub(super) fn of(format: Format) -> Self {
        let mut reader = csv_core::ReaderBuilder::new();
        if format == Format::Tsv {
            reader.delimiter(b'\t').quoting(false);
        }
        Fields { reader: reader.build(), text: vec![0; 1024], ends: vec![0; 32] }
    }

    /// The fields of one record.
    ///
    /// # Errors
    /// It is more than one.
    pub(super) fn read(&mut self, record: &str) -> Result<Vec<String>, String> {
        self.reader.reset();
        let mut rest = record.as_bytes();
        let (mut text, mut ends) = (0, 0);
        loop {
            let (result, read, written, ended) =
                self.reader.read_record(rest, &mut self.text[text..], &mut self.ends[ends..]);
            rest = &rest[read..];
            (text, ends) = (text + written, ends + ended);
            match result {
                // The next call is told that nothing follows.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record if rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => break,
                ReadRecordResult::Record => return Err("a carriage return stands in it".to_owned()),
                ReadRecordResult::End => break,
            }
        }
        let mut begin = 0;
        let fields = self.ends[..ends].iter().map(|end| {
            let field = String::from_utf8_lossy(&self.text[begin..*end]).into_owned();
            begin = *end;
            field
        });
        Ok(fields.collect())
    }
}

/// Which column says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<Column>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Url,
    Name,
    Checksum,
    /// Of this algorithm.
    Digits(String),
    Header(HeaderName),
    Other,
}

impl Columns {
    /// Reads the first line.
    ///
    /// # Errors
    /// There is no column `url`, or more than one, or one of a header that cannot be.
    pub(super) fn new(names: &[String]) -> Result<Self, String> {
        let columns: Vec<Column> = names.iter().map(|name| column(name)).collect::<Result<_, _>>()?;
        match columns.iter().filter(|column| **column == Column::Url).count() {
            1 => Ok(Columns(columns)),
            0 => Err(format!("no column is named url; there are {}", names.join(", "))),
            count => Err(format!("{count} columns are named url; there are {}", names.join(", "))),
        }
    }

    /// The entry that a record is.
    pub(super) fn entry(&self, line: u64, fields: Vec<String>) -> Entry {
        let (mut url, mut more) = (String::new(), More::default());
        let mut fault = (fields.len() > self.0.len())
            .then(|| format!("{} fields, where {} columns have names", fields.len(), self.0.len()));
        for (column, field) in self.0.iter().zip(fields) {
            let said = match column {
                Column::Url => {
                    url = field.trim().to_owned();
                    Ok(())
                }
                _ if field.is_empty() => Ok(()),
                Column::Name => {
                    more.name = Some(field);
                    Ok(())
                }
                Column::Checksum => Digest::parse(&field).map(|digest| more.digests.push(digest)),
                Column::Digits(algorithm) => {
                    Digest::new(algorithm, &field).map(|digest| more.digests.push(digest))
                }
                Column::Header(name) => {
                    header_value(name, &field).map(|value| more.headers.push((name.clone(), value)))
                }
                Column::Other => Ok(()),
            };
            fault = fault.or(said.err());
        }
        made(line, url, more, fault)
    }
}

fn column(name: &str) -> Result<Column, String> {
    let lower = name.trim().to_ascii_lowercase();
    Ok(match lower.as_str() {
        "url" => Column::Url,
        "name" => Column::Name,
        "checksum" => Column::Checksum,
        "sha256" | "sha512" | "sha1" | "md5" => Column::Digits(lower),
        _ => match lower.strip_prefix("header:") {
            Some(header) => Column::Header(header_name(header)?),
            None => Column::Other,
        },
    })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(name.trim()).map_err(|_| format!("{name:?} is no name of a header"))?;
    match frames_a_body(&name) {
        true => Err(format!("{name} says how long the body of a request is, and there is none")),
        false => Ok(name),
    }
}

/// Whether a header announces a body: what comes next on the connection, another request, would be taken for it.
pub(crate) fn frames_a_body(name: &HeaderName) -> bool {
    matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING)
}

/// The value of a header; it may be a token, so messages name the header alone, and it stays with the origin of its URL.
fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(value);
    let mut value = value.map_err(|_| format!("the value of header {name} cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn made(line: u64, url: String, more: More, fault: Option<String>) -> Entry {
    let mut entry = Entry::new(line, url);
    if entry.text.is_empty() {
        entry.url = Err("the URL is empty".to_owned());
    }
    if let (Ok(_), Some(fault)) = (&entry.url, fault) {
        entry.url = Err(fault);
    }
    if more != More::default() {
        entry.more = Some(Box::new(more));
    }
    entry
}

/// The entry that a JSON object is; `None`: a line of a report that says that all went well.
pub(super) fn of_json(format: Format, line: u64, text: &str) -> Option<Entry> {
    let object: Map<String, Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            return Some(Entry::unreadable(line, text.as_bytes(), &format!("not a JSON object: {error}")));
        }
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    if format == Format::Report {
        let outcome = object.get("outcome").and_then(|outcome| Outcome::deserialize(outcome).ok());
        if outcome.is_some_and(Outcome::is_good) {
            return None;
        }
        let line = object.get("line").and_then(Value::as_u64).unwrap_or(line);
        let url = text("url").unwrap_or_default().to_owned();
        let listed = object.get("list").map(Listed::deserialize).transpose();
        let Ok(Listed { name, checksums, headers }) = listed.map(Option::unwrap_or_default) else {
            return Some(made(line, url, More::default(), Some("its list is of the wrong type".to_owned())));
        };
        let digests: Result<Vec<_>, _> = checksums.iter().map(|text| Digest::parse(text)).collect();
        let (digests, fault) = match digests {
            Ok(digests) => (digests, (!headers.is_empty()).then(|| NEEDS_LIST.to_owned())),
            Err(why) => (Vec::new(), Some(why)),
        };
        return Some(made(line, url, More { name, digests, headers: Vec::new() }, fault));
    }
    let Some(url) = text("url") else {
        return Some(Entry::unreadable(line, b"", "the object has no text named url"));
    };
    let own = object.get("line").and_then(Value::as_u64).filter(|_| format == Format::Shard);
    let line = own.unwrap_or(line);
    let (mut more, mut fault) = (More::default(), None);
    for (name, value) in &object {
        let said = match (name.as_str(), value) {
            (_, Value::Null) => Ok(()),
            ("name", Value::String(name)) => {
                more.name = Some(name.clone());
                Ok(())
            }
            ("checksum", Value::String(text)) => Digest::parse(text).map(|digest| more.digests.push(digest)),
            ("sha256" | "sha512" | "sha1" | "md5", Value::String(hex)) => {
                Digest::new(name, hex).map(|digest| more.digests.push(digest))
            }
            ("headers", Value::Object(headers)) => headers.iter().try_for_each(|(name, value)| {
                let name = header_name(name)?;
                let value = value.as_str().ok_or_else(|| format!("header {name} is no text"))?;
                more.headers.push((name.clone(), header_value(&name, value)?));
                Ok(())
            }),
            ("name" | "checksum" | "sha256" | "sha512" | "sha1" | "md5" | "headers", _) => {
                Err(format!("{name} is of the wrong type"))
            }
            _ => Ok(()),
        };
        fault = fault.or(said.err());
    }
    Some(made(line, url.to_owned(), more, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_that_of_the_name() {
        for (name, format) in [
            ("a.csv", Format::Csv),
            ("a.CSV.gz", Format::Csv),
            ("a.tsv.zst", Format::Tsv),
            ("a.jsonl", Format::Jsonl),
            ("a.txt", Format::Lines),
            ("csv", Format::Lines),
            ("a.gz", Format::Lines),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let names = ["Caption", "URL", "sha1", "header:X-A", "name"].map(str::to_owned);
        let columns = Columns::new(&names).unwrap();
        let fields =
            ["c", "http://a/", "a9993e364706816aba3e25717850c26c9cd0d89d", "v", "n.jpg"].map(str::to_owned);
        let entry = columns.entry(3, fields.to_vec());
        let more = entry.more.unwrap();
        assert_eq!((entry.line, entry.text.as_str(), entry.url.is_ok()), (3, "http://a/", true));
        assert_eq!((more.name.as_deref(), more.digests.len(), more.headers.len()), (Some("n.jpg"), 1, 1));
        assert!(columns.entry(1, vec!["c".to_owned()]).url.unwrap_err().contains("empty"));
        let wrong = ["c", "http://a/", "123", "", ""].map(str::to_owned);
        assert!(columns.entry(1, wrong.to_vec()).url.unwrap_err().contains("40 hexadecimal digits"));
        assert!(Columns::new(&["link".to_owned()]).unwrap_err().contains("no column is named url"));
        let twice = ["url", "name", "URL"].map(str::to_owned);
        assert!(Columns::new(&twice).unwrap_err().contains("2 columns are named url"));
    }

    #[test]
    fn objects_say_what_columns_do_and_wrong_ones_why() {
        let entry = |text| of_json(Format::Jsonl, 1, text).unwrap();
        let whole = entry(
            r#"{"url":"http://a/","name":"x","headers":{"A":"b"},"md5":"900150983cd24fb0d6963f7d28e17f72","z":1}"#,
        );
        assert!(whole.url.is_ok());
        assert_eq!(whole.more.unwrap().headers.len(), 1);
        for (text, reason) in [
            ("http://a/", "not a JSON object"),
            ("[1]", "not a JSON object"),
            ("{}", "no text named url"),
            (r#"{"url":"http://a/","name":1}"#, "name is of the wrong type"),
            (r#"{"url":"http://a/","headers":{"a b":"c"}}"#, "no name of a header"),
            (r#"{"url":"http://a/","headers":{"Content-Length":"5"}}"#, "content-length says how long"),
            (r#"{"url":"http://a/","headers":{"a":"c\nd"}}"#, "header a cannot be sent"),
        ] {
            let error = entry(text).url.unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn report_is_the_list_of_what_failed_there() {
        let entry = |text| of_json(Format::Report, 9, text);
        assert_eq!(entry(r#"{"line":4,"url":"http://a/","outcome":"ok"}"#), None);
        assert_eq!(entry(r#"{"line":4,"url":"http://a/","outcome":"skipped"}"#), None);
        let failed = entry(r#"{"line":4,"url":"http://a/","outcome":"timeout"}"#).unwrap();
        assert_eq!((failed.line, failed.text.as_str()), (4, "http://a/"));
    }
}
