//! Digest authentication (RFC 7616): a challenge read, and the answer to it.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Write as _;
use std::rc::Rc;

use http::Method;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use md5::{Digest as _, Md5};
use ring::digest::{SHA256, SHA512_256};

use crate::random;

use super::challenge::{Challenge, challenges};

/// A name and a password that are proved without being sent; cloning shares what servers have asked so far.
///
/// The first request is answered with a challenge (401) and sent once more; later ones answer it in advance. MD5, SHA-256 and
/// SHA-512-256 are known, the last first. It is for the origin of the URL that it is given with: a redirect elsewhere leaves it behind.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// use aioxide_http::Digest;
///
/// let me = Digest::new("user", "password");
/// session.get("http://127.0.0.1:8000/private").digest_auth(&me).send().await?.error_for_status()?;
/// # Ok(()) }
/// ```
///
/// asyncio: aiohttp's `DigestAuthMiddleware`.
#[derive(Clone)]
pub struct Digest {
    inner: Rc<Inner>,
}

struct Inner {
    user: String,
    password: String,
    /// What was asked last, and by which origin.
    asked: RefCell<Option<Asked>>,
}

struct Asked {
    origin: String,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    protection: Protection,
    hashes_user: bool,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Algorithm {
    hash: Hash,
    is_session: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
    Sha512,
}

/// What is protected (`qop`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// As RFC 2069 had it.
    None,
    Auth,
    AuthInt,
}

impl Digest {
    /// A name and a password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        let (user, password) = (user.into(), password.into());
        Self { inner: Rc::new(Inner { user, password, asked: RefCell::new(None) }) }
    }

    /// Reads what `origin` asks in an answer of 401; says whether another attempt can answer it.
    ///
    /// `answered`: this very request had answered a challenge, so that only a new nonce is worth another attempt.
    pub(crate) fn challenged(&self, origin: &str, headers: &HeaderMap, answered: bool) -> bool {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let read =
            values.flat_map(challenges).filter(|challenge| challenge.scheme.eq_ignore_ascii_case("digest"));
        let mut asked: Vec<(Asked, bool)> =
            read.filter_map(|challenge| Asked::new(origin, &challenge)).collect();
        asked.sort_by_key(|(asked, _)| asked.algorithm.hash);
        let Some((asked, is_stale)) = asked.pop() else { return false };
        if answered && !is_stale {
            return false;
        }
        self.inner.asked.replace(Some(asked));
        true
    }

    /// The value of `Authorization`, when `origin` has asked before; `body`: what is sent, if that is known.
    pub(crate) fn header(
        &self,
        origin: &str,
        method: &Method,
        target: &str,
        body: Option<&[u8]>,
    ) -> Option<HeaderValue> {
        let mut asked = self.inner.asked.borrow_mut();
        let asked = asked.as_mut().filter(|asked| asked.origin == origin)?;
        asked.count += 1;
        let client_nonce: String = random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let text =
            asked.answer(&self.inner.user, &self.inner.password, method, target, body, &client_nonce)?;
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").field("user", &self.inner.user).finish_non_exhaustive()
    }
}

impl Asked {
    /// What is asked, and whether it says that the nonce before was merely too old.
    fn new(origin: &str, challenge: &Challenge) -> Option<(Self, bool)> {
        let algorithm = match challenge.get("algorithm").unwrap_or("MD5").to_ascii_uppercase().as_str() {
            "MD5" => (Hash::Md5, false),
            "MD5-SESS" => (Hash::Md5, true),
            "SHA-256" => (Hash::Sha256, false),
            "SHA-256-SESS" => (Hash::Sha256, true),
            "SHA-512-256" => (Hash::Sha512, false),
            "SHA-512-256-SESS" => (Hash::Sha512, true),
            _ => return None,
        };
        let protection = match challenge.get("qop") {
            None => Protection::None,
            Some(list) => {
                let has = |name: &str| list.split(',').any(|word| word.trim().eq_ignore_ascii_case(name));
                match (has("auth"), has("auth-int")) {
                    (true, _) => Protection::Auth,
                    (false, true) => Protection::AuthInt,
                    (false, false) => return None,
                }
            }
        };
        let is = |name| challenge.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let asked = Self {
            origin: origin.to_owned(),
            realm: challenge.get("realm")?.to_owned(),
            nonce: challenge.get("nonce")?.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            algorithm: Algorithm { hash: algorithm.0, is_session: algorithm.1 },
            protection,
            hashes_user: is("userhash"),
            count: 0,
        };
        Some((asked, is("stale")))
    }

    fn answer(
        &self,
        user: &str,
        password: &str,
        method: &Method,
        target: &str,
        body: Option<&[u8]>,
        client_nonce: &str,
    ) -> Option<String> {
        let hash = |text: &str| self.algorithm.hash.hex(text.as_bytes());
        let (realm, nonce) = (&self.realm, &self.nonce);
        let mut secret = hash(&format!("{user}:{realm}:{password}"));
        if self.algorithm.is_session {
            secret = hash(&format!("{secret}:{nonce}:{client_nonce}"));
        }
        let request = match self.protection {
            Protection::AuthInt => hash(&format!("{method}:{target}:{}", self.algorithm.hash.hex(body?))),
            Protection::None | Protection::Auth => hash(&format!("{method}:{target}")),
        };
        let count = format!("{:08x}", self.count);
        let protection = match self.protection {
            Protection::None => None,
            Protection::Auth => Some("auth"),
            Protection::AuthInt => Some("auth-int"),
        };
        let response = match protection {
            None => hash(&format!("{secret}:{nonce}:{request}")),
            Some(qop) => hash(&format!("{secret}:{nonce}:{count}:{client_nonce}:{qop}:{request}")),
        };
        let name = match (self.hashes_user, user.is_ascii()) {
            (true, _) => format!("username=\"{}\", userhash=true", hash(&format!("{user}:{realm}"))),
            (false, true) => format!("username=\"{}\"", quoted(user)),
            (false, false) => format!("username*=UTF-8''{}", percent_encoded(user)),
        };
        let mut text = format!(
            "Digest {name}, realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\", algorithm={}",
            quoted(realm),
            quoted(nonce),
            quoted(target),
            self.algorithm.name(),
        );
        // Writing to a string does not fail.
        if let Some(opaque) = &self.opaque {
            let _ = write!(text, ", opaque=\"{}\"", quoted(opaque));
        }
        if let Some(qop) = protection {
            let _ = write!(text, ", qop={qop}, nc={count}, cnonce=\"{client_nonce}\"");
        }
        Some(text)
    }
}

impl Algorithm {
    fn name(self) -> String {
        let name = match self.hash {
            Hash::Md5 => "MD5",
            Hash::Sha256 => "SHA-256",
            Hash::Sha512 => "SHA-512-256",
        };
        format!("{name}{}", if self.is_session { "-sess" } else { "" })
    }
}

impl Hash {
    fn hex(self, bytes: &[u8]) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Md5 => hex(&Md5::digest(bytes)),
            Self::Sha256 => hex(ring::digest::digest(&SHA256, bytes).as_ref()),
            Self::Sha512 => hex(ring::digest::digest(&SHA512_256, bytes).as_ref()),
        }
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn percent_encoded(text: &str) -> String {
    let coded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(coded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        challenge: &str,
        user: &str,
        password: &str,
        body: &[u8],
        client_nonce: &str,
        target: &str,
    ) -> String {
        let challenge = challenges(challenge).remove(0);
        let (mut asked, _) = Asked::new("o", &challenge).unwrap();
        asked.count = 1;
        asked.answer(user, password, &Method::GET, target, Some(body), client_nonce).unwrap()
    }

    fn response_of(text: &str) -> &str {
        text.split("response=\"").nth(1).unwrap().split('"').next().unwrap()
    }

    #[test]
    fn examples_of_the_standard_come_out() {
        // RFC 7616, 3.9.1.
        let base = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                    nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                    opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\", algorithm=";
        let client_nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let text = answer(
                &format!("{base}{algorithm}"),
                "Mufasa",
                "Circle of Life",
                b"",
                client_nonce,
                "/dir/index.html",
            );
            assert_eq!(response_of(&text), expected);
            assert!(text.contains(", qop=auth, nc=00000001, ") && text.contains("opaque=\"FQhe"), "{text}");
        }
        // RFC 2069's way, by the example of RFC 2617's predecessor, as verified by curl.
        let old = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let text = answer(old, "Mufasa", "Circle Of Life", b"", "x", "/dir/index.html");
        assert_eq!(response_of(&text), "670fd8c2df070c60b045671b8b24ff02");
        assert!(!text.contains("qop"));
    }

    #[test]
    fn names_are_hashed_or_coded_and_the_strongest_way_is_chosen() {
        let text = answer("Digest realm=\"r\", nonce=\"n\", userhash=true", "me", "p", b"", "x", "/");
        assert!(text.contains(&format!("username=\"{}\"", Hash::Md5.hex(b"me:r"))), "{text}");
        let text = answer("Digest realm=\"r\", nonce=\"n\"", "J\u{e4}s\u{f8}n", "p", b"", "x", "/");
        assert!(text.contains("username*=UTF-8''J%C3%A4s%C3%B8n"), "{text}");
        let text =
            answer("Digest realm=\"r\\\"s\", nonce=\"n\", qop=auth-int", "a\"b", "p", b"body", "x", "/");
        assert!(text.contains("username=\"a\\\"b\"") && text.contains("realm=\"r\\\"s\""), "{text}");
        let me = Digest::new("me", "secret");
        let mut headers = HeaderMap::new();
        for value in [
            "Digest realm=\"a\", nonce=\"1\", algorithm=MD5, Basic realm=\"x\"",
            "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256",
        ] {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        assert!(me.challenged("o", &headers, false));
        let value = me.header("o", &Method::GET, "/", None).unwrap();
        assert!(value.to_str().unwrap().contains("algorithm=SHA-256") && value.is_sensitive());
        assert!(me.header("other", &Method::GET, "/", None).is_none());
        assert!(!me.challenged("o", &headers, true), "a wrong password is not tried again");
        assert!(!format!("{me:?}").contains("secret"));
    }
}
