//! Who may see the page: who sends its secret, to its own name.
//!
//! * The secret, of 192 bits from the system, is the first part of the path, or for `/metrics` a bearer token.
//! * The `Host` has to be the address itself. A name that somebody's DNS leads here (rebinding) is refused, so that no script
//!   of another site counts as of this one.
//! * A browser that says that another site asks (`Sec-Fetch-Site`) is refused.

use std::fs::File;
use std::io::{self, Read};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, Request, header};

/// The page's address and its secret.
pub(super) struct Door {
    port: u16,
    secret: String,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Method,
    Host,
    Site,
    /// Of a wrong secret nothing is told.
    Secret,
    /// The page itself without its last slash.
    NoSlash,
}

impl Door {
    /// A door with a new secret.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(port: u16) -> io::Result<Self> {
        let mut bytes = [0; 24];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self { port, secret: BASE64_URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// The page's address.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.secret)
    }

    /// What is asked for, below the secret.
    pub(super) fn admit<'a, B>(&self, request: &'a Request<B>) -> Result<&'a str, Refused> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Refused::Method);
        }
        if !self.is_own_name(request) {
            return Err(Refused::Host);
        }
        let headers = request.headers();
        // Typed or clicked elsewhere is `none` or a navigation; the page asks as `same-origin`.
        let site = text(headers, "sec-fetch-site");
        if matches!(site, Some("cross-site" | "same-site"))
            && text(headers, "sec-fetch-mode") != Some("navigate")
        {
            return Err(Refused::Site);
        }
        let path = request.uri().path().strip_prefix('/').unwrap_or("");
        if path == "metrics" {
            let token =
                text(headers, header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
            return if self.is_secret(token.unwrap_or("")) { Ok("metrics") } else { Err(Refused::Secret) };
        }
        match path.split_once('/') {
            Some((secret, rest)) if self.is_secret(secret) => Ok(rest),
            None if self.is_secret(path) => Err(Refused::NoSlash),
            _ => Err(Refused::Secret),
        }
    }

    fn is_own_name<B>(&self, request: &Request<B>) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        // A request to a proxy names a host in its first line, too.
        let of_line = request
            .uri()
            .authority()
            .is_none_or(|authority| authority.as_str().as_bytes() == host.as_bytes());
        let own = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port));
        of_line && own.iter().any(|own| host.as_bytes().eq_ignore_ascii_case(own.as_bytes()))
    }

    /// In a time that does not tell how much of it is right.
    fn is_secret(&self, given: &str) -> bool {
        let (given, secret) = (given.as_bytes(), self.secret.as_bytes());
        let differs = given.iter().zip(secret).fold(0, |differs, (a, b)| differs | (a ^ b));
        given.len() == secret.len() && differs == 0
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(path: &str, headers: &[(&str, &str)]) -> Result<String, Refused> {
        let door = Door { port: 8000, secret: "secret".to_owned() };
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        door.admit(&request).map(str::to_owned)
    }

    #[test]
    fn only_the_secret_under_the_own_name_opens() {
        let own = ("host", "127.0.0.1:8000");
        for (path, headers, expected) in [
            ("/secret/", &[own][..], Ok("")),
            ("/secret/node/7?x=/", &[own], Ok("node/7")),
            ("/secret/", &[("host", "LOCALHOST:8000")], Ok("")),
            ("/secret", &[own], Err(Refused::NoSlash)),
            ("/", &[own], Err(Refused::Secret)),
            ("//", &[own], Err(Refused::Secret)),
            ("/secre/", &[own], Err(Refused::Secret)),
            ("/secrets/", &[own], Err(Refused::Secret)),
            ("/secret/", &[], Err(Refused::Host)),
            ("/secret/", &[own, own], Err(Refused::Host)),
            ("/secret/", &[("host", "127.0.0.1")], Err(Refused::Host)),
            ("/secret/", &[("host", "127.0.0.1:8001")], Err(Refused::Host)),
            ("/secret/", &[("host", "evil.example:8000")], Err(Refused::Host)),
            ("http://evil.example:8000/secret/", &[own], Err(Refused::Host)),
            ("/secret/state", &[own, ("sec-fetch-site", "cross-site")], Err(Refused::Site)),
            ("/secret/state", &[own, ("sec-fetch-site", "same-origin")], Ok("state")),
            ("/secret/", &[own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Ok("")),
            ("/metrics", &[own], Err(Refused::Secret)),
            ("/metrics", &[own, ("authorization", "Bearer wrong")], Err(Refused::Secret)),
            ("/metrics", &[own, ("authorization", "Bearer secret")], Ok("metrics")),
        ] {
            assert_eq!(admit(path, headers), expected.map(str::to_owned), "{path} {headers:?}");
        }
    }

    #[test]
    fn secrets_are_long_and_new() {
        let secret = || Door::new(1).expect("a secret").secret;
        assert!(secret().len() == 32 && secret() != secret());
    }
}
