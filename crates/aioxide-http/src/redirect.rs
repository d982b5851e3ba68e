//! Redirects: what the next request is, decided without any I/O.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use url::Url;

use crate::error::redact;
use crate::headers;

/// One step on the way to a response: an answer that pointed elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    pub(crate) method: Method,
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl Redirect {
    /// The status of the answer: 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The method of the request that was answered.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// HTTP/1.0, 1.1 or 2.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The URL that gave this answer.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// An answer that points elsewhere, before it is followed: for a policy to decide on.
#[derive(Debug, Clone, Copy)]
pub struct RedirectAttempt<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) from: &'a Url,
    pub(crate) to: &'a Url,
    pub(crate) history: &'a [Redirect],
}

impl<'a> RedirectAttempt<'a> {
    /// The status of the answer: 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The URL that gave this answer.
    pub fn from(&self) -> &'a Url {
        self.from
    }

    /// The URL that would be asked next.
    pub fn to(&self) -> &'a Url {
        self.to
    }

    /// The redirects that were followed before, in order.
    pub fn history(&self) -> &'a [Redirect] {
        self.history
    }
}

/// What becomes of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectAction {
    /// It is followed, if the limit allows.
    Follow,
    /// It is the response.
    Stop,
    /// The request fails, with `is_redirect`.
    Refuse,
}

/// Decides on each redirect.
#[derive(Clone)]
pub(crate) struct RedirectPolicy(pub(crate) Rc<dyn Fn(&RedirectAttempt<'_>) -> RedirectAction>);

impl fmt::Debug for RedirectPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedirectPolicy")
    }
}

/// What an answer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This is the answer.
    Stay,
    /// Ask there.
    Follow(Target),
    /// It points to something that is not a URL, or not one that can be fetched.
    Nowhere(String),
}

/// Where to go next, and how the request changes on the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) method: Method,
    /// The body and the headers that describe it are left behind.
    pub(crate) drop_body: bool,
    /// The origin is another one: what is meant for the old one is left behind.
    pub(crate) is_elsewhere: bool,
}

/// Reads an answer to `method` at `url`.
pub(crate) fn next(method: &Method, url: &Url, status: StatusCode, headers: &HeaderMap) -> Next {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Next::Stay;
    }
    let Some(location) = headers.get(LOCATION) else { return Next::Stay };
    let text = readable(location.as_bytes());
    let target = url.join(&text).ok();
    let Some(mut target) = target.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    else {
        return Next::Nowhere(redact(&text));
    };
    if target.fragment().is_none() {
        // RFC 9110, 10.2.2: the fragment travels along unless the new place has its own.
        target.set_fragment(url.fragment());
    }
    let to_get = match status.as_u16() {
        303 => *method != Method::HEAD && *method != Method::GET,
        301 | 302 => *method == Method::POST,
        _ => false,
    };
    Next::Follow(Target {
        is_elsewhere: !same_origin(url, &target),
        method: if to_get { Method::GET } else { method.clone() },
        drop_body: to_get,
        url: target,
    })
}

/// Removes from `headers` what must not travel to `target`.
pub(crate) fn strip(headers: &mut HeaderMap, target: &Target) {
    if target.drop_body {
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
            headers.remove(name);
        }
    }
    if target.is_elsewhere {
        headers::leave_behind(headers);
    }
}

/// A location as text. Bytes that are not UTF-8 (mostly Latin-1) are percent-encoded, so the server gets them back.
fn readable(location: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(location).map_or_else(
        |_| {
            let mut text = String::new();
            for &byte in location {
                match byte.is_ascii() {
                    true => text.push(char::from(byte)),
                    false => text.extend(format!("%{byte:02X}").chars()),
                }
            }
            text.into()
        },
        Cow::from,
    )
}

/// Whether two URLs name the same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn target_of(method: Method, from: &str, status: u16, location: &str) -> Target {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_bytes(location.as_bytes()).unwrap());
        match next(&method, &Url::parse(from).unwrap(), StatusCode::from_u16(status).unwrap(), &headers) {
            Next::Follow(target) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn relative_location_is_joined_and_keeps_the_fragment() {
        let target = target_of(Method::GET, "http://a.test/x/y?q=1#part", 302, "../z");
        assert_eq!(target.url.as_str(), "http://a.test/z#part");
        assert!(!target.is_elsewhere);
    }

    #[test]
    fn only_post_becomes_get_after_301_and_302() {
        for status in [301, 302] {
            for (method, expected) in
                [(Method::POST, Method::GET), (Method::PUT, Method::PUT), (Method::DELETE, Method::DELETE)]
            {
                assert_eq!(target_of(method, "http://a.test/", status, "/b").method, expected);
            }
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        for (to, dropped) in [
            ("http://a.test/b", false),
            ("http://a.test:80/b", false),
            ("http://a.test:81/b", true),
            ("https://a.test/b", true),
            ("//b.test/", true),
        ] {
            assert_eq!(target_of(Method::GET, "http://a.test/", 307, to).is_elsewhere, dropped, "{to}");
        }
    }

    #[test]
    fn location_in_latin_1_is_percent_encoded_byte_by_byte() {
        for (location, expected) in [
            (&b"/caf\xe9?q=\xfc"[..], "http://a.test/caf%E9?q=%FC"),
            ("/caf\u{e9}".as_bytes(), "http://a.test/caf%C3%A9"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_bytes(location).unwrap());
            let url = Url::parse("http://a.test/").unwrap();
            let Next::Follow(target) = next(&Method::GET, &url, StatusCode::FOUND, &headers) else {
                panic!("{location:?} is not followed");
            };
            assert_eq!(target.url.as_str(), expected);
        }
    }

    #[test]
    fn a_scheme_that_cannot_be_fetched_leads_nowhere() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("file:///etc/passwd"));
        let url = Url::parse("http://a.test/").unwrap();
        assert!(matches!(next(&Method::GET, &url, StatusCode::FOUND, &headers), Next::Nowhere(_)));
    }

    /// What RFC 9110 and the fetch standard say, written out as a table.
    fn model(method: &str, status: u16) -> (&str, bool) {
        match (status, method) {
            (301 | 302, "POST") => ("GET", true),
            (303, "GET") => ("GET", false),
            (303, "HEAD") => ("HEAD", false),
            (303, _) => ("GET", true),
            _ => (method, false),
        }
    }

    /// Joins by the steps of RFC 3986, 5.2, on strings: for absolute paths and plain relative ones.
    fn model_join(base_path: &str, location: &str) -> String {
        let joined = if location.starts_with('/') {
            location.to_owned()
        } else {
            format!("{}{location}", &base_path[..=base_path.rfind('/').unwrap()])
        };
        let mut segments: Vec<&str> = Vec::new();
        let parts: Vec<&str> = joined.split('/').skip(1).collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            match *part {
                ".." => {
                    segments.pop();
                    if last {
                        segments.push("");
                    }
                }
                "." => {
                    if last {
                        segments.push("");
                    }
                }
                part => segments.push(part),
            }
        }
        format!("/{}", segments.join("/"))
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just(".."), Just("."), Just("c.d")], 1..6)
            .prop_map(|parts| parts.join("/"))
    }

    proptest! {
        #[test]
        fn follows_the_model(
            method in prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("PUT"), Just("DELETE"), Just("PATCH")],
            status in prop_oneof![Just(301_u16), Just(302), Just(303), Just(307), Just(308)],
            from_secure in any::<bool>(),
            from_port in prop_oneof![Just(80_u16), Just(443), Just(8080)],
            base in path(),
            absolute in any::<bool>(),
            location in path(),
            elsewhere in prop::option::of((any::<bool>(), prop_oneof![Just("a.test"), Just("b.test")], prop_oneof![Just(80_u16), Just(443), Just(8080)])),
        ) {
            let scheme = |secure: bool| if secure { "https" } else { "http" };
            let from = Url::parse(&format!("{}://a.test:{from_port}/{base}", scheme(from_secure))).unwrap();
            let local = if absolute { format!("/{location}") } else { location.clone() };
            let (text, same, expected_path) = match elsewhere {
                None => (local.clone(), true, model_join(from.path(), &local)),
                Some((secure, host, port)) => (
                    format!("{}://{host}:{port}/{location}", scheme(secure)),
                    secure == from_secure && host == "a.test" && port == from_port,
                    model_join("/", &location),
                ),
            };
            let target = target_of(method.parse().unwrap(), from.as_str(), status, &text);
            let (expected_method, drops) = model(method, status);
            prop_assert_eq!(target.method.as_str(), expected_method);
            prop_assert_eq!(target.drop_body, drops);
            prop_assert_eq!(target.is_elsewhere, !same);
            prop_assert_eq!(target.url.path(), expected_path);
        }

        #[test]
        fn any_location_is_answered_without_a_panic(bytes in prop::collection::vec(32_u8..=255, 0..60)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(LOCATION, value);
            }
            let url = Url::parse("http://a.test/x").unwrap();
            if let Next::Follow(target) = next(&Method::GET, &url, StatusCode::FOUND, &headers) {
                prop_assert!(matches!(target.url.scheme(), "http" | "https"));
                prop_assert!(target.url.has_host());
            }
        }
    }
}
