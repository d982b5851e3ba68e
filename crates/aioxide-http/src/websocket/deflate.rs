//! `permessage-deflate` (RFC 7692): what was agreed on, and messages through it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a compressed message leaves out at its end.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much room is made at a time.
const STEP: usize = 8 * 1024;

/// What the client offers. Its window stays as it is: the compressor has one size.
pub(super) const OFFER: &str = "permessage-deflate";

pub(super) struct Deflate {
    compress: Compress,
    decompress: Decompress,
    /// Each message is compressed for itself.
    forgets_ours: bool,
    forgets_theirs: bool,
}

/// A message is larger than allowed.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Deflate {
    /// Reads what the server has agreed to; `None` when it is nothing that was offered.
    pub(super) fn agreed(answer: &str) -> Option<Self> {
        let mut words = answer.split(';').map(str::trim);
        if !words.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let (mut forgets_ours, mut forgets_theirs, mut window) = (false, false, None);
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (word, None),
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("client_no_context_takeover", None) if !forgets_ours => forgets_ours = true,
                ("server_no_context_takeover", None) if !forgets_theirs => forgets_theirs = true,
                // A smaller window of the server's needs nothing of us.
                ("server_max_window_bits", Some(bits)) if window.is_none() => {
                    window = Some(bits.parse::<u8>().ok().filter(|bits| (8..=15).contains(bits))?);
                }
                _ => return None,
            }
        }
        Some(Self {
            compress: Compress::new(Compression::fast(), false),
            decompress: Decompress::new(false),
            forgets_ours,
            forgets_theirs,
        })
    }

    pub(super) fn compress(&mut self, data: &[u8]) -> Vec<u8> {
        if self.forgets_ours {
            self.compress.reset();
        }
        let before = self.compress.total_in();
        let mut packed = Vec::with_capacity(data.len() / 2 + STEP);
        loop {
            let used = (self.compress.total_in() - before) as usize;
            if packed.len() == packed.capacity() {
                packed.reserve(STEP);
            }
            // It fails only when it was finished before, which never happens.
            let result = self.compress.compress_vec(&data[used..], &mut packed, FlushCompress::Sync);
            let all_in = (self.compress.total_in() - before) as usize == data.len();
            if result.is_err() || all_in && packed.len() < packed.capacity() {
                break;
            }
        }
        if packed.ends_with(&TAIL) {
            packed.truncate(packed.len() - TAIL.len());
        }
        packed
    }

    /// # Errors
    /// `Some`: more than `most` bytes come out. `None`: it is not compressed rightly.
    pub(super) fn decompress(
        &mut self,
        mut packed: Vec<u8>,
        most: usize,
    ) -> Result<Vec<u8>, Option<TooMuch>> {
        packed.extend(TAIL);
        let before = self.decompress.total_in();
        let mut data = Vec::with_capacity((packed.len() * 3).clamp(STEP, 16 * STEP));
        loop {
            let used = (self.decompress.total_in() - before) as usize;
            if data.len() == data.capacity() {
                data.reserve(data.len().max(STEP).min((most - data.len()).saturating_add(1)));
            }
            let status = self.decompress.decompress_vec(&packed[used..], &mut data, FlushDecompress::Sync);
            if data.len() > most {
                return Err(Some(TooMuch));
            }
            let now_used = (self.decompress.total_in() - before) as usize;
            match status {
                Ok(Status::StreamEnd) => {
                    // A last block ends the stream; the next message begins another one.
                    self.decompress.reset(false);
                    return Ok(data);
                }
                Ok(_) if now_used == packed.len() && data.len() < data.capacity() => break,
                Ok(Status::BufError) if data.len() < data.capacity() => return Err(None),
                Ok(_) => {}
                Err(_) => return Err(None),
            }
        }
        if self.forgets_theirs {
            self.decompress.reset(false);
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(answer: &str) -> Deflate {
        Deflate::agreed(answer).unwrap()
    }

    #[test]
    fn only_what_was_offered_can_be_agreed_on() {
        for answer in [
            "permessage-deflate",
            "Permessage-Deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=\"15\"",
        ] {
            assert!(Deflate::agreed(answer).is_some(), "{answer}");
        }
        for answer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; unknown",
        ] {
            assert!(Deflate::agreed(answer).is_none(), "{answer}");
        }
    }

    #[test]
    fn messages_of_all_sizes_come_out_as_they_went_in() {
        for answer in [
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ] {
            let (mut client, mut server) = (agreed(answer), agreed(answer));
            for length in [0, 1, 63, 64, 1000, 8191, 8192, 8193, 100_000, 1 << 20] {
                for noise in [1_usize, 7919] {
                    let data: Vec<u8> = (0..length).map(|place| (place * noise % 251) as u8).collect();
                    let packed = client.compress(&data);
                    assert!(server.decompress(packed, length).unwrap() == data, "{length} {noise}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_and_rubbish_is_an_error() {
        let packed = agreed("permessage-deflate").compress(&vec![0; 10 << 20]);
        assert!(packed.len() < 100_000);
        assert!(matches!(agreed("permessage-deflate").decompress(packed, 1 << 16), Err(Some(TooMuch))));
        assert!(matches!(agreed("permessage-deflate").decompress(vec![0xff; 50], 1 << 16), Err(None)));
        // The example of RFC 7692, 7.2.3.4: a last block.
        let last = vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(agreed("permessage-deflate").decompress(last, 100).unwrap(), b"Hello");
    }
}
