//! Numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes of the system.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // A system without random numbers has no TLS either; what is asked for here is unique at least.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        for (byte, digit) in bytes.iter_mut().zip(now.as_nanos().to_le_bytes().iter().cycle()) {
            *byte = *digit;
        }
    }
    bytes
}
