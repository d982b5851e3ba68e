//! Headers as programs give them: read, marked as secret, joined; and what of them a redirect leaves behind.

use http::header::{
    AUTHORIZATION, COOKIE, Entry, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
};

use crate::error::{Error, Kind, Result};

/// The two methods by which a builder takes headers, over its `add_header`.
macro_rules! methods {
    ($(#[$header:meta])* header; $(#[$secret:meta])* secret_header) => {
        $(#[$header])*
        pub fn header<N, V>(self, name: N, value: V) -> Self
        where
            N: TryInto<HeaderName>,
            N::Error: Into<http::Error>,
            V: TryInto<HeaderValue>,
            V::Error: Into<http::Error>,
        {
            self.add_header($crate::headers::pair(name, value, false))
        }

        $(#[$secret])*
        pub fn secret_header<N, V>(self, name: N, value: V) -> Self
        where
            N: TryInto<HeaderName>,
            N::Error: Into<http::Error>,
            V: TryInto<HeaderValue>,
            V::Error: Into<http::Error>,
        {
            self.add_header($crate::headers::pair(name, value, true))
        }
    };
}

pub(crate) use methods;

/// A header that HTTP does not allow.
pub(crate) fn invalid(error: impl Into<http::Error>) -> Error {
    Error::new(Kind::InvalidRequest).with_source(error.into())
}

/// A header's name and value, as they were given.
pub(crate) fn pair<N, V>(name: N, value: V, is_secret: bool) -> Result<(HeaderName, HeaderValue)>
where
    N: TryInto<HeaderName>,
    N::Error: Into<http::Error>,
    V: TryInto<HeaderValue>,
    V::Error: Into<http::Error>,
{
    let name = name.try_into().map_err(invalid)?;
    let mut value = value.try_into().map_err(invalid)?;
    value.set_sensitive(value.is_sensitive() || is_secret);
    Ok((name, value))
}

/// Adds a header beside those of its name that are there, as a request needs it.
///
/// Cookies are joined, since a request has one line of them (RFC 6265, 5.4), and there is only one `Host`. What is secret by
/// its name is marked so, and is not printed by `Debug`.
pub(crate) fn add(headers: &mut HeaderMap, name: HeaderName, mut value: HeaderValue) {
    value.set_sensitive(value.is_sensitive() || is_secret(&name));
    if name == HOST {
        headers.insert(name, value);
        return;
    }
    match headers.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
        }
        Entry::Occupied(mut place) if place.key() == COOKIE => {
            let joined = [place.get().as_bytes(), b"; ", value.as_bytes()].concat();
            // Two values and a separator are a value: this does not fail.
            if let Ok(mut joined) = HeaderValue::from_bytes(&joined) {
                joined.set_sensitive(true);
                place.insert(joined);
            }
        }
        Entry::Occupied(mut place) => place.append(value),
    }
}

/// Removes what is meant for the origin that is left: its `Host`, what proves who we are, and what is marked as secret.
pub(crate) fn leave_behind(headers: &mut HeaderMap) {
    let meant = |(name, value): &(&HeaderName, &HeaderValue)| {
        *name == HOST || is_secret(name) || value.is_sensitive()
    };
    let names: Vec<HeaderName> = headers.iter().filter(meant).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a header of this name proves who we are.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE].contains(name) || name == "cookie2"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            add(&mut headers, HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn equal_names_are_kept_and_cookies_joined() {
        let headers = headers(&[
            ("x", "1"),
            ("cookie", "a=1"),
            ("x", "2"),
            ("cookie", "b=2"),
            ("host", "a"),
            ("host", "b"),
        ]);
        assert!(headers.get_all("x").iter().eq(["1", "2"]));
        assert!(headers.get_all("cookie").iter().eq(["a=1; b=2"]));
        assert!(headers.get_all("host").iter().eq(["b"]));
    }

    #[test]
    fn only_what_is_meant_for_everybody_goes_on() {
        let mut headers = headers(&[
            ("authorization", "Bearer x"),
            ("cookie", "a=1"),
            ("proxy-authorization", "Basic x"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        let mut key = HeaderValue::from_static("key");
        key.set_sensitive(true);
        add(&mut headers, HeaderName::from_static("x-api-key"), key);
        assert!(!format!("{headers:?}").contains("Bearer"));
        leave_behind(&mut headers);
        assert!(headers.keys().eq(["accept"]));
    }
}
