//! HTTP/1's framing, where hyper believes too much or takes too little: the answer's head as it comes, and its headers after.
//!
//! hyper's parser is told to skip header lines that it cannot read, as curl and browsers do. But a line that says where the
//! body ends must never be skipped: without it a cut body would look whole. And chunks in an answer of HTTP/1.0, which
//! curl takes, hyper refuses. So a [`Head`] reads along, from the first byte of an exchange to the end of the head, and
//! after that costs one comparison per read.

use std::io;
use std::sync::LazyLock;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode, Version};
use http_body::Body;
use memchr::memmem;

pub(crate) use frames::Frames;

mod frames;

/// The head of an answer, passing by in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Head {
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// How many 1xx answers have come before the answer.
    interim: usize,
    /// The head that is passing is that of a 1xx answer.
    is_interim: bool,
    /// That 1xx answer is a 100.
    is_continue: bool,
    /// The server has said 100: it wants the body.
    is_continued: bool,
    /// The words behind the status, where they are not ASCII: hyper leaves those out.
    reason: Option<Vec<u8>>,
    /// The header whose lines are passing says where the body ends.
    is_framing: bool,
    is_http10: bool,
    /// The lines of the head as they came, when somebody wants them.
    kept: Option<Vec<u8>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No head is expected, or it has passed.
    #[default]
    Over,
    StatusLine,
    FirstHeader,
    Headers,
}

/// How many 1xx answers may come before the answer itself.
const MAX_INTERIM: usize = 64;

/// A line that is longer is left to hyper, which has a limit for the whole head.
const MAX_LINE: usize = 64 * 1024;

impl Head {
    /// A request goes out: what comes next is the head of its answer.
    pub(crate) fn expect(&mut self) {
        self.line.clear();
        *self = Self { state: State::StatusLine, line: std::mem::take(&mut self.line), ..Self::default() };
    }

    /// The head that is expected is kept as it comes.
    pub(crate) fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// The head as it came, if it was to be kept.
    pub(crate) fn take_kept(&mut self) -> Option<Vec<u8>> {
        let mut kept = self.kept.take()?;
        if self.is_http10
            && let Some(version) = kept.get_mut(7)
        {
            *version = b'0';
        }
        Some(kept)
    }

    fn keep_line(&mut self, line: &[u8]) {
        let is_before = self.state == State::StatusLine && line.trim_ascii().is_empty();
        if let Some(kept) = self.kept.as_mut().filter(|_| !is_before) {
            kept.extend_from_slice(line);
        }
    }

    /// Whether bytes that come now belong to a head.
    pub(crate) fn is_passing(&self) -> bool {
        self.state != State::Over
    }

    /// Whether the server has said that it wants the body.
    pub(crate) fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// The words behind the status of the answer, if hyper has left them out.
    pub(crate) fn take_reason(&mut self) -> Option<Vec<u8>> {
        self.reason.take()
    }

    /// Whether the answer was one of HTTP/1.0.
    pub(crate) fn is_http10(&self) -> bool {
        self.is_http10
    }

    /// Looks at what has come; shows hyper an HTTP/1.0 as an HTTP/1.1, so that it takes the chunks of one, too.
    ///
    /// # Errors
    /// A line that frames the body cannot be read, or 1xx answers do not end.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        if self.state == State::StatusLine
            && self.line.is_empty()
            && self.kept.is_none()
            && is_whole_and_plain(bytes)
        {
            self.state = State::Over;
            return Ok(());
        }
        while self.is_passing() && !bytes.is_empty() {
            let length = memchr::memchr(b'\n', bytes).map(|end| end + 1);
            let (line, rest) = bytes.split_at_mut(length.unwrap_or(bytes.len()));
            if self.state == State::StatusLine {
                self.raise_version(line);
            }
            if length.is_none() || !self.line.is_empty() {
                self.line.extend_from_slice(line);
            }
            if length.is_none() {
                if self.line.len() > MAX_LINE {
                    self.kept = None;
                    self.state = State::Over;
                }
                return Ok(());
            }
            if self.line.is_empty() {
                self.keep_line(line);
                if self.is_headers() && is_plain(line[0]) {
                    self.is_framing = false;
                    self.state = State::Headers;
                } else {
                    self.end_line(line)?;
                }
            } else {
                let line = std::mem::take(&mut self.line);
                self.keep_line(&line);
                self.end_line(&line)?;
                self.line = line;
                self.line.clear();
            }
            bytes = rest;
        }
        Ok(())
    }

    fn is_headers(&self) -> bool {
        matches!(self.state, State::FirstHeader | State::Headers)
    }

    /// Makes the `0` of `HTTP/1.0` a `1`, at the moment it passes.
    fn raise_version(&mut self, piece: &mut [u8]) {
        const BEFORE: &[u8] = b"HTTP/1.";
        let before = self.line.len();
        let Some(place) = BEFORE.len().checked_sub(before) else { return };
        if piece.get(place) == Some(&b'0')
            && self.line == BEFORE[..before]
            && piece[..place] == BEFORE[before..]
        {
            piece[place] = b'1';
            self.is_http10 = true;
        }
    }

    fn end_line(&mut self, line: &[u8]) -> io::Result<()> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.state = match self.state {
            State::StatusLine if line.is_empty() => State::StatusLine,
            State::StatusLine => {
                // 101 is an answer, and the last one.
                let code = line.get(9..12);
                self.is_interim = code.is_some_and(|code| code[0] == b'1' && code != b"101");
                self.is_continue = code == Some(b"100");
                let reason = line.get(13..).filter(|reason| !reason.is_ascii());
                self.reason = reason.map(<[u8]>::to_vec);
                State::FirstHeader
            }
            _ if !line.is_empty() => {
                let is_indented = line[0].is_ascii_whitespace();
                // A first line that is indented continues nothing, and is skipped.
                let is_skipped = is_indented && self.state == State::FirstHeader;
                if !is_indented || is_skipped {
                    self.is_framing = frames_body(line.trim_ascii_start());
                }
                if self.is_framing && (is_skipped || line.iter().any(is_control)) {
                    return Err(invalid("a header that frames the body cannot be read"));
                }
                State::Headers
            }
            _ if self.is_interim => {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(invalid("answers of status 1xx do not end"));
                }
                self.is_http10 = false;
                if let Some(kept) = &mut self.kept {
                    kept.clear();
                }
                self.is_continued |= self.is_continue;
                State::StatusLine
            }
            _ => State::Over,
        };
        Ok(())
    }
}

/// Whether `bytes` begin with the whole head of an answer in which nothing is left to look at: of HTTP/1.1, no 1xx, printable
/// ASCII, and no line that goes on in the next one. Nearly every head is like that, and this costs a fifth of reading its lines.
fn is_whole_and_plain(bytes: &[u8]) -> bool {
    static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\n\r"));
    const BEFORE_CODE: &[u8] = b"HTTP/1.1 ";
    if !bytes.starts_with(BEFORE_CODE) || bytes.get(BEFORE_CODE.len()).is_none_or(|&digit| digit == b'1') {
        return false;
    }
    // An empty line without a `\r`, and a `\r` that ends no line, are found below.
    let Some(end) = END.find(bytes).map(|end| end + 2).filter(|&end| end < bytes.len()) else { return false };
    let (before, head, next) = (&bytes[..end - 1], &bytes[1..end], &bytes[2..=end]);
    // Without a branch and in bytes, so that it looks at many at once. A tab is rare enough to be read with care.
    before.iter().zip(head).zip(next).fold(true, |is_plain, ((&before, &byte), &next)| {
        let is_printable = byte.wrapping_sub(b' ') <= b'~' - b' ';
        let is_return = (byte == b'\r') & (next == b'\n');
        let is_end = (byte == b'\n') & (before == b'\r') & (next != b' ');
        is_plain & (is_printable | is_return | is_end)
    })
}

/// Whether a line that begins with `first` is a header of its own that says nothing about the body's end.
fn is_plain(first: u8) -> bool {
    !matches!(first, b'c' | b'C' | b't' | b'T') && !first.is_ascii_whitespace()
}

/// Whether a line is one of the headers that say where the body ends.
fn frames_body(line: &[u8]) -> bool {
    let name: &[u8] = match line.first() {
        Some(b'c' | b'C') => b"content-length",
        Some(b't' | b'T') => b"transfer-encoding",
        _ => return false,
    };
    line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
        && line[name.len()..].trim_ascii_start().first() == Some(&b':')
}

fn is_control(byte: &u8) -> bool {
    byte.is_ascii_control() && *byte != b'\t'
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether another exchange may follow on the connection of an answer; an error when the end of its body cannot be known.
pub(crate) fn judge<B: Body>(method: &Method, answer: &Response<B>) -> Result<bool, &'static str> {
    let headers = answer.headers();
    let mut reusable = answer.version() == Version::HTTP_11 || has_token(headers, "keep-alive");
    // A body whose length is known has no transfer coding.
    let is_sized = answer.body().size_hint().exact().is_some();
    if !is_sized && has_body(method, answer.status()) && headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112, 6.1: other codings are sent only to who asked for them, and we never do.
        let mut codings = headers
            .get_all(TRANSFER_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii);
        // "identity" is none, but hyper looks at the last one: behind "chunked" it would let the chunks through as they are.
        let first = codings.find(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        if first.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
            return Err("the transfer coding is not \"chunked\"");
        }
        // RFC 9112, 6.3: two lengths may be an attempt to smuggle an answer in. The chunks count, and nothing follows.
        reusable &= !headers.contains_key(CONTENT_LENGTH);
    }
    Ok(reusable)
}

/// Whether an answer with that status has a body at all, even an empty one.
fn has_body(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && !status.is_informational() && !matches!(status.as_u16(), 204 | 304)
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderValue;
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt, Full, StreamBody};
    use proptest::prelude::*;

    use super::*;

    /// Passes `bytes` in pieces of `size`; what hyper would see, and the head after.
    fn pass(bytes: &[u8], size: usize) -> (io::Result<Vec<u8>>, Head) {
        let mut head = Head::default();
        head.expect();
        let mut seen = bytes.to_vec();
        let passed = seen.chunks_mut(size).try_for_each(|piece| head.pass(piece));
        (passed.map(|()| seen), head)
    }

    #[test]
    fn http_1_0_is_raised_however_it_is_cut_and_the_body_is_left_alone() {
        let answer = b"\r\nHTTP/1.0 200 OK\r\nA: b\r\n\r\nHTTP/1.0 in the body\r\n";
        for size in 1..answer.len() {
            let (seen, head) = pass(answer, size);
            assert_eq!(
                seen.unwrap(),
                b"\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.0 in the body\r\n",
                "{size}"
            );
            assert!(head.is_http10() && !head.is_passing());
        }
    }

    #[test]
    fn head_after_interim_answers_is_still_read() {
        let answer = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\n\nbody";
        let (seen, head) = pass(answer, 5);
        assert!(seen.unwrap().ends_with(b"HTTP/1.1 200 OK\n\nbody"));
        assert!(head.is_http10() && !head.is_passing());
        let (_, head) = pass(b"HTTP/1.0 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 5);
        assert!(!head.is_http10());
        assert!(pass(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1), 100).0.is_err());
    }

    #[test]
    fn head_is_kept_as_it_came_without_those_before() {
        let answer =
            b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.0 200 So\r\nX-One:  1\n y\r\nbroken\r\n\r\nbody\r\n";
        for size in 1..answer.len() {
            let mut head = Head::default();
            head.expect();
            head.keep();
            answer.to_vec().chunks_mut(size).try_for_each(|piece| head.pass(piece)).unwrap();
            let kept = head.take_kept().unwrap();
            assert_eq!(kept, b"HTTP/1.0 200 So\r\nX-One:  1\n y\r\nbroken\r\n\r\n", "{size}");
            assert_eq!(head.take_kept(), None);
        }
    }

    #[test]
    fn unreadable_framing_is_refused_and_other_unreadable_lines_are_not() {
        for line in [
            "Content-Length: 5\x01",
            "transfer-ENCODING : chun\x7fked",
            " Content-Length: 5",
            "Content-Length: 5\r\n \x01",
        ] {
            assert!(pass(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").as_bytes(), 7).0.is_err(), "{line:?}");
        }
        for line in [
            "X: \x01",
            "Content-Lengthy: \x01",
            "Cookie: a\x02",
            "Content-Length: 5",
            "T",
            "X: y\r\n Content-Length: \x01",
        ] {
            assert!(pass(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").as_bytes(), 7).0.is_ok(), "{line:?}");
        }
    }

    #[test]
    fn transfer_codings_we_did_not_ask_for_are_refused() {
        let judged = |values: &[&str], length: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            if length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
            }
            let body: BoxBody<&[u8], Infallible> = if values.is_empty() {
                Full::new(&b"12345"[..]).boxed()
            } else {
                StreamBody::new(futures_util::stream::empty()).boxed()
            };
            let mut answer = Response::new(body);
            *answer.headers_mut() = headers;
            judge(&Method::GET, &answer)
        };
        assert_eq!(judged(&[], true), Ok(true));
        assert_eq!(judged(&["chunked"], false), Ok(true));
        assert_eq!(judged(&["identity, Chunked"], false), Ok(true));
        assert_eq!(judged(&["chunked"], true), Ok(false));
        for values in [
            &["gzip, chunked"][..],
            &["gzip"],
            &["chunked, chunked"],
            &["chunked", "gzip"],
            &["chunked, identity"],
            &["chunked", "identity"],
            &[""],
        ] {
            assert!(judged(values, false).is_err(), "{values:?}");
        }
    }

    /// What is seen, and what is left of a head, after `bytes` came in pieces of `size`.
    fn outcome(bytes: &[u8], size: usize) -> String {
        let (seen, Head { state, is_http10, is_continued, reason, .. }) = pass(bytes, size);
        seen.map_or_else(
            |error| error.to_string(),
            |seen| format!("{seen:?} {state:?} {is_http10} {is_continued} {reason:?}"),
        )
    }

    #[test]
    fn head_that_comes_at_once_is_read_as_one_that_comes_in_pieces() {
        let lines = [
            "",
            " ",
            "X: y",
            "\tgo on",
            " Content-Length: \x01",
            "Content-Length: 5\x01",
            "Content-Length: 5",
            "Transfer-Encoding : chunked",
            "X: \x01",
            "X: \u{e9}",
            "C\r: x",
            "transfer-encoding: a\rb",
            "HTTP/1.1 200 OK",
        ];
        let starts = [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 \u{e9}",
            "HTTP/1.0 200",
            "HTTP/1.1 100 Continue",
            "HTTP/1.1 101 X",
            "HTTP/1.1 ",
            "",
        ];
        let ends = ["\r\n", "\n"];
        for start in starts {
            for first in lines {
                for second in lines {
                    for (end, last) in
                        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(end, last)| (ends[end], ends[last]))
                    {
                        let head = format!("{start}{end}{first}{end}{second}{end}{last}body\nmore\n\r\n");
                        let [whole, pieces] = [head.len(), 1].map(|size| outcome(head.as_bytes(), size));
                        assert_eq!(whole, pieces, "{head:?}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn anything_passes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
            let _ = pass(&[b"HTTP/1.0 200 OK\r\n", &bytes[..]].concat(), size);
        }
    }
}
