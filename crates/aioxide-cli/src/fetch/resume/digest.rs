//! Checksums: those that a list tells and those that a server tells, and what a body has.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

/// The headers in which an answer tells checksums: of its content, and of the whole file.
static DIGESTS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("repr-digest")];

/// A checksum that a body is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// `sha256`, `SHA-256` and the like.
    fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase().replace('-', "");
        let all = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
        all.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl Digest {
    /// `sha256:HEX`, as it is parsed.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.algorithm(), self.hex())
    }

    /// Reads `sha256:HEX` or `sha256=HEX`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, hex) =
            text.split_once([':', '=']).ok_or("must read ALGORITHM:HEX, such as sha256:9f86d0...")?;
        Self::new(name, hex)
    }

    /// Reads the hexadecimal digits of a checksum.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(algorithm: &str, hex: &str) -> Result<Self, String> {
        let algorithm = Algorithm::named(algorithm)
            .ok_or_else(|| format!("checksum {algorithm:?} is none of sha256, sha512, sha1, md5"))?;
        let hex = hex.trim();
        let bytes: Option<Vec<u8>> = match hex.is_ascii() && hex.len() == 2 * algorithm.bytes() {
            true => {
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
            }
            false => None,
        };
        let bytes = bytes.ok_or_else(|| {
            format!("{} has {} hexadecimal digits, not {hex:?}", algorithm.name(), 2 * algorithm.bytes())
        })?;
        Ok(Digest { algorithm, bytes })
    }

    /// The name of its algorithm.
    pub(crate) fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// Its hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Those that an answer tells of its content (RFC 9530), which is the whole file unless it `is_part`. Algorithms that are
    /// not known, or not trusted there, are passed over.
    pub(crate) fn of_answer(headers: &HeaderMap, is_part: bool) -> Vec<Self> {
        let names = if is_part { &DIGESTS[..1] } else { &DIGESTS };
        let values = names.iter().flat_map(|name| headers.get_all(name));
        let members = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        members.filter_map(Self::member).collect()
    }

    /// `sha-256=:BASE64:`
    fn member(text: &str) -> Option<Self> {
        let (name, value) = text.trim().split_once('=')?;
        let algorithm = match name {
            "sha-256" => Algorithm::Sha256,
            "sha-512" => Algorithm::Sha512,
            _ => return None,
        };
        let coded = value.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?;
        let bytes = STANDARD.decode(coded).ok()?;
        (bytes.len() == algorithm.bytes()).then_some(Digest { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), hex(&self.bytes))
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Computes the checksum that a body has, and compares.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    expected: Vec<Digest>,
    running: Vec<Running>,
}

#[derive(Debug, Clone)]
enum Running {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Nothing has come; `None` when there is nothing to compare with.
    pub(crate) fn new(expected: Vec<Digest>) -> Option<Self> {
        let running = expected.iter().map(|digest| match digest.algorithm {
            Algorithm::Md5 => Running::Md5(Md5::new()),
            Algorithm::Sha1 => Running::Sha1(Sha1::new()),
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
            Algorithm::Sha512 => Running::Sha512(Sha512::new()),
        });
        let running: Vec<_> = running.collect();
        (!running.is_empty()).then_some(Hasher { expected, running })
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for running in &mut self.running {
            match running {
                Running::Md5(running) => running.update(bytes),
                Running::Sha1(running) => running.update(bytes),
                Running::Sha256(running) => running.update(bytes),
                Running::Sha512(running) => running.update(bytes),
            }
        }
    }

    /// Takes the first `bytes` of a file.
    ///
    /// # Errors
    /// It cannot be read, or has fewer.
    pub(crate) fn read(mut self, file: &File, bytes: u64) -> io::Result<Self> {
        let mut buf = vec![0; 256 * 1024];
        let mut at = 0;
        while at < bytes {
            let some = usize::try_from(bytes - at).map_or(buf.len(), |rest| rest.min(buf.len()));
            file.read_exact_at(&mut buf[..some], at)?;
            self.update(&buf[..some]);
            at += some as u64;
        }
        Ok(self)
    }

    /// Compares; an error tells what came and what was to come.
    pub(crate) fn verify(self) -> Result<(), String> {
        for (expected, running) in self.expected.into_iter().zip(self.running) {
            let bytes = match running {
                Running::Md5(running) => running.finalize().to_vec(),
                Running::Sha1(running) => running.finalize().to_vec(),
                Running::Sha256(running) => running.finalize().to_vec(),
                Running::Sha512(running) => running.finalize().to_vec(),
            };
            let found = Digest { algorithm: expected.algorithm, bytes };
            if found != expected {
                return Err(format!("what came has {found}, not {expected}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: [&str; 4] = [
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha1=a9993e364706816aba3e25717850c26c9cd0d89d",
        "SHA-256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ];

    #[test]
    fn known_checksums_agree_and_others_do_not() {
        for text in ABC {
            let digest = Digest::parse(text).unwrap();
            let mut right = Hasher::new(vec![digest.clone()]).unwrap();
            let mut wrong = right.clone();
            right.update(b"a");
            right.update(b"bc");
            wrong.update(b"abd");
            assert_eq!(right.verify(), Ok(()));
            assert!(wrong.verify().unwrap_err().ends_with(&digest.to_string()));
        }
    }

    #[test]
    fn what_is_no_checksum_says_why() {
        for (text, why) in [
            ("9f86", "ALGORITHM:HEX"),
            ("crc32:00000000", "is none of"),
            ("md5:9001", "32 hexadecimal digits"),
            ("md5:zz0150983cd24fb0d6963f7d28e17f72", "32 hexadecimal digits"),
            ("md5:éé0150983cd24fb0d6963f7d28e17f", "32 hexadecimal digits"),
        ] {
            let error = Digest::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn digests_of_an_answer_are_those_of_what_comes() {
        let sha256 = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
        let mut headers = HeaderMap::new();
        headers.insert("content-digest", sha256.parse().unwrap());
        for is_part in [true, false] {
            assert_eq!(Digest::of_answer(&headers, is_part), [Digest::parse(ABC[2]).unwrap()]);
        }
        headers.clear();
        headers.insert("repr-digest", format!("md5=:AAAA:, {sha256}, sha-256=:AAAA:, x").parse().unwrap());
        assert_eq!(Digest::of_answer(&headers, false), [Digest::parse(ABC[2]).unwrap()]);
        assert_eq!(Digest::of_answer(&headers, true), []);
    }
}
