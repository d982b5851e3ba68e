//! Content codings, undone step by step: bytes in, at most [`STEP`] bytes out, no I/O.
//!
//! A compressed body may grow a thousandfold. So nothing is decoded ahead of its reader: each call gives at most
//! one buffer of output and leaves the rest of the input for the next call.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::DParameter;
use compression_codecs::{BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, HeaderValue};

/// The most that one step gives out.
pub(crate) const STEP: usize = 32 * 1024;

/// The codings a body may be wrapped in, one in the other; more is an attack, not a use.
const MAX_CODINGS: usize = 4;

/// RFC 9659: what a `zstd` content coding may ask a client to remember, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What requests say they accept.
pub(crate) const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");

/// One content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Reads `Content-Encoding`: the codings in the order in which they were applied, `None` when one is unknown.
///
/// An unknown coding is not an error: the body is handed on as it came, with its header, as browsers' `fetch` and aiohttp do.
pub(crate) fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut found = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',') {
            let name = name.trim();
            found.push(match name {
                _ if name.is_empty() || name.eq_ignore_ascii_case("identity") => continue,
                _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Coding::Gzip,
                _ if name.eq_ignore_ascii_case("deflate") => Coding::Deflate,
                _ if name.eq_ignore_ascii_case("br") => Coding::Brotli,
                _ if name.eq_ignore_ascii_case("zstd") => Coding::Zstd,
                _ => return None,
            });
            if found.len() > MAX_CODINGS {
                return None;
            }
        }
    }
    Some(found)
}

/// Undoes a list of codings, the last applied first.
#[derive(Debug)]
pub(crate) struct Decoder {
    stages: VecDeque<Stage>,
    scratch: Box<[u8]>,
}

impl Decoder {
    /// `None` when there is nothing to undo.
    pub(crate) fn new(codings: &[Coding]) -> Option<Self> {
        if codings.is_empty() {
            return None;
        }
        let stages = codings.iter().rev().map(|&coding| Stage::new(coding)).collect();
        Some(Self { stages, scratch: vec![0; STEP].into_boxed_slice() })
    }

    /// Gives the next piece of input; only when [`next`](Self::next) gave nothing.
    pub(crate) fn push(&mut self, input: Bytes) {
        if let Some(first) = self.stages.front_mut() {
            debug_assert!(first.input.is_empty(), "input pushed before the last was used up");
            first.input = input;
        }
    }

    /// The next piece of output, or `None` when more input is needed.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let last = self.stages.len() - 1;
        self.pull(last)
    }

    /// Checks, after the last input, that every coding came to its proper end.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let scratch = &mut self.scratch;
        if self.stages.iter_mut().all(|stage| stage.is_whole(scratch)) {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "compressed body is cut short"))
        }
    }

    fn pull(&mut self, index: usize) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(output) = self.stages[index].step(&mut self.scratch)? {
                return Ok(Some(output));
            }
            if index == 0 {
                return Ok(None);
            }
            match self.pull(index - 1)? {
                Some(input) => self.stages[index].input = input,
                None => return Ok(None),
            }
        }
    }
}

/// One coding: its state, and what it has been given but not used.
struct Stage {
    state: State,
    input: Bytes,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("pending_input", &self.input.len()).finish_non_exhaustive()
    }
}

enum State {
    /// Nothing has come yet. An empty body is whole: servers send `Content-Encoding` with it.
    Fresh(Coding),
    /// `more`: the last step gave output, so that more may be waiting inside without any input. (That it did not fill
    /// its buffer proves nothing: inflate stops at the end of its window, too.)
    Running { codec: Box<dyn DecodeV2>, coding: Coding, more: bool },
    /// The stream ended; another member may follow (gzip and zstd allow that).
    Between { codec: Box<dyn DecodeV2>, coding: Coding },
    /// Ended for good: what follows is padding, and is thrown away as browsers do.
    Done,
}

impl Stage {
    fn new(coding: Coding) -> Self {
        Self { state: State::Fresh(coding), input: Bytes::new() }
    }

    fn is_whole(&mut self, scratch: &mut [u8]) -> bool {
        match &mut self.state {
            State::Fresh(_) | State::Between { .. } | State::Done => true,
            // The end may have been reached while output was fetched without input, which does not say so.
            State::Running { codec, .. } => {
                let mut sink = WriteBuffer::new_initialized(scratch);
                matches!(codec.finish(&mut sink), Ok(true)) && sink.written_len() == 0
            }
        }
    }

    /// Gives output, or `None` when all input is used up.
    fn step(&mut self, scratch: &mut [u8]) -> io::Result<Option<Bytes>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Fresh(coding) => {
                    if self.input.is_empty() {
                        self.state = State::Fresh(coding);
                        return Ok(None);
                    }
                    let codec = codec(coding, &self.input);
                    self.state = State::Running { codec, coding, more: false };
                }
                State::Running { mut codec, coding, more } => {
                    if self.input.is_empty() && !more {
                        self.state = State::Running { codec, coding, more };
                        return Ok(None);
                    }
                    let (used, written, ended) = run(&mut *codec, coding, &self.input, scratch)?;
                    self.input.advance(used);
                    let more = written > 0;
                    self.state = if ended {
                        State::Between { codec, coding }
                    } else {
                        if used == 0 && written == 0 && !self.input.is_empty() {
                            return Err(io::Error::new(io::ErrorKind::InvalidData, "decoder is stuck"));
                        }
                        State::Running { codec, coding, more }
                    };
                    if written > 0 {
                        return Ok(Some(Bytes::copy_from_slice(&scratch[..written])));
                    }
                }
                State::Between { mut codec, coding } => {
                    if self.input.is_empty() {
                        self.state = State::Between { codec, coding };
                        return Ok(None);
                    }
                    if starts_member(coding, &self.input) {
                        codec.reinit()?;
                        self.state = State::Running { codec, coding, more: false };
                    }
                }
                State::Done => {
                    self.input.clear();
                    return Ok(None);
                }
            }
        }
    }
}

/// One call of the codec: how much input it used, how much it wrote, and whether its stream ended.
fn run(
    codec: &mut dyn DecodeV2,
    coding: Coding,
    input: &[u8],
    scratch: &mut [u8],
) -> io::Result<(usize, usize, bool)> {
    let mut source = PartialBuffer::new(input);
    let mut sink = WriteBuffer::new_initialized(scratch);
    let ended = if input.is_empty() && matches!(coding, Coding::Gzip | Coding::Deflate) {
        // flate2 calls it an error to be asked without input when nothing is left inside; a flush is not.
        codec.flush(&mut sink)?;
        false
    } else {
        codec.decode(&mut source, &mut sink)?
    };
    Ok((source.written_len(), sink.written_len(), ended))
}

fn codec(coding: Coding, first: &[u8]) -> Box<dyn DecodeV2> {
    match coding {
        Coding::Gzip => Box::new(GzipDecoder::new()),
        Coding::Deflate if is_zlib(first[0]) => Box::new(ZlibDecoder::new()),
        // RFC 9110 says zlib, but servers that send bare deflate are old and many.
        Coding::Deflate => Box::new(DeflateDecoder::new()),
        Coding::Brotli => Box::new(BrotliDecoder::new()),
        Coding::Zstd => {
            Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)]))
        }
    }
}

/// Whether a deflate body starts as zlib does: method 8, window of at most 32 KiB.
///
/// As bare deflate, a first byte like that would announce a stored block whose padding bits are not zero.
fn is_zlib(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

/// Whether what follows a finished stream is another one of the same coding.
fn starts_member(coding: Coding, input: &[u8]) -> bool {
    match coding {
        Coding::Gzip => input[0] == 0x1f,
        // A frame starts with 28, a skippable one with 50 to 5f.
        Coding::Zstd => input[0] == 0x28 || input[0] & 0xf0 == 0x50,
        Coding::Deflate | Coding::Brotli => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compression_codecs::brotli::params::EncoderParams;
    use compression_codecs::flate::params::FlateEncoderParams;
    use compression_codecs::{
        BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder,
    };
    use flate2::Compression;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn encode(mut encoder: impl EncodeV2, plain: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2 * plain.len() + 4096];
        let mut sink = WriteBuffer::new_initialized(&mut buffer);
        let mut source = PartialBuffer::new(plain);
        while !source.unwritten().is_empty() {
            encoder.encode(&mut source, &mut sink).unwrap();
        }
        while !encoder.finish(&mut sink).unwrap() {}
        sink.written().to_vec()
    }

    fn wrap(coding: Coding, bare: bool, plain: &[u8]) -> Vec<u8> {
        let flate = FlateEncoderParams::from(Compression::fast());
        match coding {
            Coding::Gzip => encode(GzipEncoder::new(flate), plain),
            Coding::Deflate if bare => encode(DeflateEncoder::new(flate), plain),
            Coding::Deflate => encode(ZlibEncoder::new(flate), plain),
            Coding::Brotli => encode(BrotliEncoder::new(EncoderParams::default()), plain),
            Coding::Zstd => encode(ZstdEncoder::new(3), plain),
        }
    }

    /// Undoes `codings`, with the input cut into pieces of these lengths in turn.
    fn undo(codings: &[Coding], coded: &[u8], pieces: &[usize]) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(codings).unwrap();
        let mut plain = Vec::new();
        let mut rest = coded;
        let mut lengths = pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
            rest = left;
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(output) = decoder.next()? {
                assert!(!output.is_empty() && output.len() <= STEP);
                plain.extend_from_slice(&output);
            }
        }
        decoder.finish()?;
        Ok(plain)
    }

    fn coding() -> impl Strategy<Value = Coding> {
        prop_oneof![Just(Coding::Gzip), Just(Coding::Deflate), Just(Coding::Brotli), Just(Coding::Zstd)]
    }

    /// Runs and noise, of lengths around those of the buffers.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), prop_oneof![0..100_usize, 32_760..32_780_usize, Just(65_536)])
            .prop_map(|(byte, length)| vec![byte; length]);
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        prop::collection::vec(prop_oneof![run, noise], 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn decoding_undoes_encoding(
            coding in coding(),
            bare in any::<bool>(),
            plain in content(),
            pieces in prop::collection::vec(1..5000_usize, 1..5),
        ) {
            let coded = wrap(coding, bare, &plain);
            prop_assert!(undo(&[coding], &coded, &pieces).unwrap() == plain);
        }

        #[test]
        fn two_codings_are_undone_in_reverse(first in coding(), second in coding(), plain in content()) {
            let coded = wrap(second, false, &wrap(first, false, &plain));
            prop_assert!(undo(&[first, second], &coded, &[1000]).unwrap() == plain);
        }

        #[test]
        fn a_cut_is_always_noticed(coding in coding(), plain in content(), cut in any::<prop::sample::Index>()) {
            let coded = wrap(coding, false, &plain);
            let length = cut.index(coded.len());
            prop_assume!(length > 0);
            prop_assert!(undo(&[coding], &coded[..length], &[700]).is_err());
        }

        #[test]
        fn nonsense_neither_panics_nor_spins(coding in coding(), bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = undo(&[coding], &bytes, &[50]);
        }
    }

    #[test]
    fn members_follow_each_other_and_padding_is_ignored() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut coded = wrap(coding, false, b"one ");
            coded.extend(wrap(coding, false, b"two"));
            coded.extend([0; 100]);
            for piece in [1, 3, 1000] {
                assert_eq!(undo(&[coding], &coded, &[piece]).unwrap(), b"one two");
            }
        }
    }

    #[test]
    fn content_encoding_is_read_as_a_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(codings(&headers), Some(vec![]));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("GZIP, identity,"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(codings(&headers), Some(vec![Coding::Gzip, Coding::Brotli]));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("rot13"));
        assert_eq!(codings(&headers), None);
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip,gzip,gzip,gzip,gzip"));
        assert_eq!(codings(&headers), None, "too many to be meant well");
    }
}
