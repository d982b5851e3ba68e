//! Who we are: user names, passwords and tokens as headers.

use http::header::HeaderValue;
use url::Url;

use crate::error::{Error, Kind, Result};

#[cfg(feature = "digest")]
pub use digest::Digest;
pub use netrc::Netrc;

#[cfg(feature = "digest")]
mod challenge;
#[cfg(feature = "digest")]
mod digest;
mod netrc;

/// Takes `user:password@` out of a URL: it belongs into a header, and neither into `Host` nor into messages.
pub(crate) fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = percent_decode(url.username());
    let password = percent_decode(url.password().unwrap_or_default());
    // Both can fail only for URLs without a host, which were refused before.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = [user, b":".to_vec(), password].concat();
    basic_value(&text).ok()
}

/// The header for a name and a password.
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    basic_value(format!("{user}:{password}").as_bytes())
}

fn basic_value(credentials: &[u8]) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Basic {}", base64(credentials)))
        .map_err(|error| Error::new(Kind::InvalidRequest).with_source(error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Undoes percent-encoding; what is none stays.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[index] == b'%' => {
                decoded.push(byte);
                index += 3;
            }
            _ => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    decoded
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value =
            group.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(ALPHABET[(value >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_every_length() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn credentials_leave_the_url() {
        let mut url = Url::parse("http://us%20er:p%40ss@host.test/x").unwrap();
        let value = take_credentials(&mut url).unwrap();
        assert_eq!(url.as_str(), "http://host.test/x");
        assert_eq!(value.to_str().unwrap(), format!("Basic {}", base64(b"us er:p@ss")));
    }
}
