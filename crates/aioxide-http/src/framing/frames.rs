//! HTTP/2's frames as they pass, both ways: which answers are whole while their requests are still being sent.
//!
//! When a connection ends, h2 forgets of a stream whose own side is still open that the answer had come to its end: the caller
//! would get the end of the connection in place of a whole answer. A reset without error behind the end of an
//! answer is what RFC 9113, 8.1 has for a server that wants no more of the request, and after one h2 keeps the answer. So
//! [`Frames`] reads along, frame heads only, and at the end of the connection says which resets are to be shown to h2.

/// Both ways of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    outgoing: Direction,
    incoming: Direction,
    /// The requests whose bodies have not ended. As many as the server takes streams at a time.
    uploads: Vec<Upload>,
    /// The stream whose headers are its end, and go on in the next frame.
    continued: Option<u32>,
}

#[derive(Debug)]
struct Upload {
    stream: u32,
    is_answered: bool,
}

/// Where one way is: within the head of a frame, or so many bytes before the next.
#[derive(Debug, Default)]
struct Direction {
    head: [u8; HEAD],
    /// How much of the head has passed.
    passed: usize,
    /// How much of the payload is still to come.
    left: usize,
}

/// The head of a frame, after its length.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

const HEAD: usize = 9;

/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Frames {
    pub(crate) fn new() -> Self {
        let outgoing = Direction { left: PREFACE, ..Direction::default() };
        Self { outgoing, incoming: Direction::default(), uploads: Vec::new(), continued: None }
    }

    /// These bytes have been sent.
    pub(crate) fn sent(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.outgoing.next(&mut bytes) {
            match frame.kind {
                HEADERS | DATA if frame.flags & END_STREAM != 0 => self.forget(frame.stream),
                HEADERS => self.uploads.push(Upload { stream: frame.stream, is_answered: false }),
                RST_STREAM => self.forget(frame.stream),
                _ => {}
            }
        }
    }

    /// These bytes have come.
    pub(crate) fn received(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.incoming.next(&mut bytes) {
            let ends_headers = frame.flags & END_HEADERS != 0;
            match frame.kind {
                DATA if frame.flags & END_STREAM != 0 => self.answered(frame.stream),
                HEADERS if frame.flags & END_STREAM != 0 && ends_headers => self.answered(frame.stream),
                HEADERS if frame.flags & END_STREAM != 0 => self.continued = Some(frame.stream),
                CONTINUATION if ends_headers && self.continued == Some(frame.stream) => {
                    self.continued = None;
                    self.answered(frame.stream);
                }
                RST_STREAM => self.forget(frame.stream),
                _ => {}
            }
        }
    }

    /// The connection has ended: resets of the streams whose answers are whole and whose requests are not.
    ///
    /// None when it ended within a frame: they would be taken for the rest of that.
    pub(crate) fn resets(&mut self) -> Vec<u8> {
        let uploads = std::mem::take(&mut self.uploads);
        if !self.incoming.is_between() {
            return Vec::new();
        }
        let answered = uploads.into_iter().filter(|upload| upload.is_answered);
        answered.flat_map(|upload| reset(upload.stream)).collect()
    }

    fn forget(&mut self, stream: u32) {
        self.uploads.retain(|upload| upload.stream != stream);
    }

    fn answered(&mut self, stream: u32) {
        for upload in self.uploads.iter_mut().filter(|upload| upload.stream == stream) {
            upload.is_answered = true;
        }
    }
}

impl Direction {
    fn is_between(&self) -> bool {
        self.passed == 0 && self.left == 0
    }

    /// Takes bytes up to the end of the next head, and returns it; `None` when they end before.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = self.left.min(bytes.len());
        self.left -= skipped;
        let (head, rest) = bytes[skipped..].split_at((HEAD - self.passed).min(bytes.len() - skipped));
        *bytes = rest;
        self.head[self.passed..][..head.len()].copy_from_slice(head);
        self.passed += head.len();
        if self.passed < HEAD {
            return None;
        }
        self.passed = 0;
        let [length @ .., kind, flags, a, b, c, d] = self.head;
        self.left = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        // The highest bit means nothing.
        Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff })
    }
}

/// The frame RST_STREAM with the code NO_ERROR.
fn reset(stream: u32) -> [u8; HEAD + 4] {
    let mut frame = [0; HEAD + 4];
    (frame[2], frame[3]) = (4, RST_STREAM);
    frame[5..HEAD].copy_from_slice(&stream.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let head = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0x80, 0, 0, stream];
        [&head, payload].concat()
    }

    /// What is shown at the end of a connection over which these bytes passed, in pieces of any size.
    fn resets(sent: &[Vec<u8>], received: &[Vec<u8>]) -> Vec<u8> {
        let (sent, received) = ([vec![b'P'; PREFACE], sent.concat()].concat(), received.concat());
        let mut shown: Vec<Vec<u8>> = (1..40)
            .map(|size| {
                let mut frames = Frames::new();
                sent.chunks(size).for_each(|piece| frames.sent(piece));
                received.chunks(size).for_each(|piece| frames.received(piece));
                let shown = frames.resets();
                assert!(frames.resets().is_empty());
                shown
            })
            .collect();
        shown.dedup();
        assert_eq!(shown.len(), 1, "{shown:?}");
        shown.remove(0)
    }

    #[test]
    fn whole_answers_to_requests_still_being_sent_are_reset_at_the_end() {
        let upload = |stream| frame(HEADERS, END_HEADERS, stream, b"head");
        let head = |flags, stream| frame(HEADERS, flags, stream, b"head");
        let part = frame(DATA, 0, 1, b"part");
        let end = |stream| frame(DATA, END_STREAM, stream, b"end");
        assert_eq!(resets(&[upload(1), part.clone()], &[head(END_HEADERS, 1), end(1)]), reset(1));
        assert_eq!(resets(&[upload(1)], &[head(END_HEADERS | END_STREAM, 1)]), reset(1));
        let block = [head(END_STREAM, 1), frame(CONTINUATION, END_HEADERS, 1, b"more")];
        assert_eq!(resets(&[upload(1)], &block), reset(1));
        let both = [head(END_HEADERS, 1), end(3), end(1)];
        assert_eq!(resets(&[upload(1), upload(3)], &both), [reset(1), reset(3)].concat());
        assert_eq!(resets(&[upload(1), upload(3)], &[end(3), part]), reset(3));
    }

    #[test]
    fn nothing_is_reset_that_is_not_whole_or_has_been_sent() {
        let upload = frame(HEADERS, END_HEADERS, 1, b"head");
        let end = frame(DATA, END_STREAM, 1, b"end");
        let cut = end[..end.len() - 1].to_vec();
        let reset = reset(1).to_vec();
        for (sent, received) in [
            (vec![upload.clone()], vec![]),
            (vec![upload.clone()], vec![frame(DATA, 0, 1, b"part")]),
            (vec![upload.clone()], vec![cut]),
            (vec![upload.clone()], vec![end.clone(), b"\0\0".to_vec()]),
            (vec![upload.clone()], vec![frame(HEADERS, END_STREAM, 1, b"head")]),
            (vec![upload.clone()], vec![end.clone(), reset.clone()]),
            (vec![upload.clone(), reset], vec![end.clone()]),
            (vec![upload, end.clone()], vec![end.clone()]),
            (vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, b"head")], vec![end]),
        ] {
            assert_eq!(resets(&sent, &received), b"", "{sent:?}, {received:?}");
        }
    }
}
