//! The list of URLs: read lazily, line by line, so that memory does not depend on its length.

use std::io::{self, BufRead};

use super::entry::Entry;
use super::format::{self, Columns, Fields, Format};

/// The longest line that is read; the rest of a longer one is skipped, and the line counts as an invalid URL.
const LINE_BYTES: usize = 64 * 1024;

/// Reads entries from lines; blank ones and those that begin with `#` are skipped but counted.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    format: Format,
    /// Of a table, once its first line has been read.
    columns: Option<Columns>,
    /// Of a table, once it is read.
    fields: Option<Box<Fields>>,
    line: u64,
    buf: Vec<u8>,
    /// How many bytes of the list have been read, and where the last entry begins.
    offset: u64,
    begin: u64,
}

impl<R: BufRead> Lines<R> {
    /// Starts at line 1.
    pub(crate) fn new(reader: R) -> Self {
        Self::of(reader, Format::Lines)
    }

    /// Starts at line 1 of a list in that format.
    pub(crate) fn of(reader: R, format: Format) -> Self {
        Lines { reader, format, columns: None, fields: None, line: 0, buf: Vec::new(), offset: 0, begin: 0 }
    }

    /// Goes on in the midst of the list that `self` reads: at a byte, where that line begins.
    pub(super) fn again<S: BufRead>(&self, reader: S, offset: u64, line: u64) -> Lines<S> {
        let mut lines = Lines::of(reader, self.format);
        lines.columns.clone_from(&self.columns);
        (lines.offset, lines.line) = (offset, line.saturating_sub(1));
        lines
    }

    /// How many bytes of the list have been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many lines of the list have been read.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Reads one line into `buf`, behind what is there if it `goes_on`, without its end; says whether it was cut, `None` at the
    /// end of the input.
    fn read_line(&mut self, goes_on: bool) -> io::Result<Option<bool>> {
        if !goes_on {
            self.buf.clear();
        }
        let mut seen = false;
        let mut too_long = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(seen.then_some(too_long));
            }
            seen = true;
            let end = available.iter().position(|&byte| byte == b'\n');
            let piece = &available[..end.unwrap_or(available.len())];
            let room = LINE_BYTES.saturating_sub(self.buf.len());
            too_long |= piece.len() > room;
            self.buf.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(used);
            self.offset += used as u64;
            if end.is_some() {
                return Ok(Some(too_long));
            }
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads up to the next line that is an entry; returns the line's number, and why it cannot be read.
    fn read_entry(&mut self) -> io::Result<Option<(u64, Option<&'static str>)>> {
        loop {
            self.begin = self.offset;
            let Some(mut too_long) = self.read_line(false)? else { return Ok(None) };
            self.line += 1;
            let first = self.line;
            // Not only at the beginning: lists are put together from several files.
            if self.buf.starts_with("\u{feff}".as_bytes()) {
                self.buf.drain(..3);
            }
            let mut is_open = self.format.leaves_quote_open(self.buf.trim_ascii_start(), false);
            while is_open && !too_long {
                self.buf.push(b'\n');
                let before = self.buf.len();
                let Some(cut) = self.read_line(true)? else { break };
                self.line += 1;
                too_long = cut;
                is_open = self.format.leaves_quote_open(&self.buf[before..], true);
            }
            let bytes = self.buf.trim_ascii();
            let is_comment = self.format.has_comments() && bytes.starts_with(b"#");
            if !bytes.is_empty() && !is_comment {
                let fault = match (too_long, is_open) {
                    (_, true) => Some("a quote is opened and not closed within 64 KiB"),
                    (true, _) => Some("longer than 64 KiB"),
                    _ => None,
                };
                return Ok(Some((first, fault)));
            }
        }
    }

    /// Reads the first line of a table.
    fn read_columns(&mut self) -> io::Result<()> {
        if !self.format.has_columns() || self.columns.is_some() || self.read_entry()?.is_none() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.buf);
        let columns = Fields::of(self.format)
            .read(text.trim_end_matches(['\r', '\n']))
            .and_then(|names| Columns::new(&names));
        self.columns = Some(columns.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
        Ok(())
    }

    /// How many entries follow.
    pub(crate) fn count_entries(mut self) -> io::Result<u64> {
        let mut count = 0;
        if self.format == Format::Report {
            for entry in self {
                entry?;
                count += 1;
            }
            return Ok(count);
        }
        self.read_columns()?;
        while self.read_entry()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// What the line in `buf` says; `None`: that there is nothing to do.
    fn entry(&mut self, line: u64, fault: Option<&str>) -> Option<Entry> {
        let bytes = match self.format {
            // A field may be empty at the end.
            Format::Tsv => self.buf.strip_suffix(b"\r").unwrap_or(&self.buf),
            _ => self.buf.trim_ascii(),
        };
        if let Some(fault) = fault {
            return Some(Entry::unreadable(line, bytes, fault));
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => match (self.format, &self.columns) {
                (Format::Jsonl | Format::Report | Format::Shard, _) => {
                    return format::of_json(self.format, line, text);
                }
                (Format::Csv | Format::Tsv, Some(columns)) => {
                    let fields = self.fields.get_or_insert_with(|| Box::new(Fields::of(self.format)));
                    match fields.read(text) {
                        Ok(fields) => columns.entry(line, fields),
                        Err(error) => Entry::unreadable(line, bytes, &error),
                    }
                }
                _ => Entry::new(line, text.to_owned()),
            },
            Err(_) if bytes.contains(&0) => {
                Entry::unreadable(line, bytes, "the list must be UTF-8, not UTF-16")
            }
            Err(_) => Entry::unreadable(line, bytes, "not UTF-8"),
        })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.read_columns() {
            return Some(Err(error));
        }
        loop {
            match self.read_entry() {
                Ok(Some((line, fault))) => {
                    if let Some(mut entry) = self.entry(line, fault) {
                        entry.at = Some(self.begin);
                        return Some(Ok(entry));
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    let told = format!("after line {}: {error}", self.line);
                    return Some(Err(io::Error::new(error.kind(), told)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn entries(input: &[u8]) -> Vec<Entry> {
        // A buffer of 7 bytes, so that lines are cut at every place.
        Lines::new(BufReader::with_capacity(7, input)).map(|entry| entry.unwrap()).collect()
    }

    #[test]
    fn blank_lines_and_comments_are_counted_but_skipped() {
        let list = entries(b"# a list\n\n  http://a/1 \r\n\t\n#http://b/\nhttps://a/2#part");
        let seen: Vec<_> = list.iter().map(|entry| (entry.line, entry.text.as_str())).collect();
        assert_eq!(seen, [(3, "http://a/1"), (6, "https://a/2#part")]);
        assert!(list.iter().all(|entry| entry.url.is_ok()));
    }

    #[test]
    fn count_is_that_of_the_entries() {
        let input = b"# a list\n\nhttp://a/1\nbad\n \nhttp://a/2";
        assert_eq!(Lines::new(&input[..]).count_entries().unwrap(), entries(input).len() as u64);
    }

    #[test]
    fn byte_order_marks_are_skipped() {
        let list = entries("\u{feff}http://a/\n\u{feff}# a second file\n\u{feff}http://b/\n".as_bytes());
        let seen: Vec<_> = list.iter().map(|entry| (entry.line, entry.text.as_str())).collect();
        assert_eq!(seen, [(1, "http://a/"), (3, "http://b/")]);
    }

    #[test]
    fn list_in_utf_16_says_so_in_every_line() {
        let bytes: Vec<u8> =
            "\u{feff}http://a/é\nhttp://b/\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let errors: Vec<_> = entries(&bytes).into_iter().map(|entry| entry.url.unwrap_err()).collect();
        assert!(errors.len() >= 2 && errors.iter().all(|error| error.contains("UTF-16")), "{errors:?}");
    }

    #[test]
    fn reading_that_fails_says_after_which_line() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let mut lines = Lines::new(BufReader::new((&b"\nhttp://a/\n"[..]).chain(Broken)));
        assert_eq!(lines.next().unwrap().unwrap().line, 2);
        assert_eq!(lines.next().unwrap().unwrap_err().to_string(), "after line 2: the disk is gone");
    }

    #[test]
    fn bad_lines_carry_their_number_and_reason() {
        #[track_caller]
        fn check(line: &[u8], reason: &str) {
            let list = entries(&[b"http://a/\n", line, b"\nhttp://b/\n"].concat());
            assert_eq!(list.len(), 3);
            assert_eq!(list[1].line, 2);
            let error = list[1].url.clone().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        check(b"example.org/a", "no http://");
        check(b"ftp://example.org/a", "scheme \"ftp\"");
        check(b"http://", "empty host");
        check(b"http://host:99999/", "port");
        check(b"http://\xff\xfe/", "not UTF-8");
        check(b"http://a/x\tcaption", "a tab inside");
        check(b"http://a/x\thttp://a/y", "a tab inside");
        check(b"http://a/x\rhttp://a/y", "a carriage return inside");
        check(b"http://a/x\0y", "a NUL inside");
        check(b"http://a/x\x1b[2Jy", "a control character inside: \\u{1b}");
        check(b"http://a/x HTTPS://b/y", "two URLs");
        check(b"http://a/x # the first", "a comment behind the URL");
        check(b"http://a/x\t#", "a tab inside");
        check(b"http://a/x\xc2\x85y", "a control character inside: \\u{85}");
        check(&[b"http://host/".as_slice(), &vec![b'x'; 70_000]].concat(), "64 KiB");
    }

    #[test]
    fn blanks_around_and_inside_a_url_are_no_fault() {
        for line in ["\thttp://a/x\t\r", " http://a/x ", "http://a/a b", "http://a/?to=http://b/"] {
            let list = entries(line.as_bytes());
            assert!(list[0].url.is_ok(), "{line:?}: {:?}", list[0].url);
        }
        assert!(Entry::new(1, "http://a/x\r".to_owned()).url.is_ok(), "an argument from a file with \\r\\n");
    }

    #[test]
    fn long_line_takes_bounded_memory() {
        let endless = io::repeat(b'x').take(50_000_000).chain(&b"\nhttp://a/"[..]);
        let mut lines = Lines::new(BufReader::new(endless));
        assert!(lines.next().unwrap().unwrap().url.is_err());
        assert!(lines.buf.capacity() <= 2 * LINE_BYTES);
        assert_eq!(lines.next().unwrap().unwrap().text, "http://a/");
        assert!(lines.next().is_none());
    }

    #[test]
    fn host_carries_the_port() {
        assert_eq!(Entry::new(1, "http://a/x".to_owned()).host(), "a:80");
        assert_eq!(Entry::new(1, "https://a:8443/x".to_owned()).host(), "a:8443");
    }
}
