//! The index of a WARC file: lines by which replay tools find a URL's record.
//!
//! A line is `KEY TIMESTAMP {JSON}`, as pywb, cdxj-indexer and Common Crawl have it. The key is the URL with its host turned around
//! (SURT), so that the pages of a host and of its subdomains stand together, and written the way tools look it up.

use std::time::SystemTime;

use serde::Serialize;
use url::{Host, Url};

/// What the JSON of a line tells; numbers are strings there.
#[derive(Debug, Serialize)]
struct Told<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<&'a str>,
    status: &'a str,
    digest: &'a str,
    length: String,
    offset: String,
    filename: &'a str,
}

/// The line of a response, but for where it stands.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) timestamp: String,
    pub(super) url: String,
    pub(super) mime: Option<String>,
    pub(super) status: String,
    pub(super) digest: String,
}

impl Line {
    /// The line of a record of so many bytes at `offset` of that file.
    pub(super) fn write(
        &self,
        filename: &str,
        offset: u64,
        length: u64,
        to: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let Line { key, timestamp, url, mime, status, digest } = self;
        let mime = mime.as_deref();
        let (offset, length) = (offset.to_string(), length.to_string());
        to.extend_from_slice(format!("{key} {timestamp} ").as_bytes());
        serde_json::to_writer(&mut *to, &Told { url, mime, status, digest, length, offset, filename })?;
        to.push(b'\n');
        Ok(())
    }
}

/// A time in UTC as WARC has it, `2026-11-30T07:01:53.000123Z`, and as CDXJ has it, `20261130070153`.
pub(super) fn dates(time: SystemTime) -> (String, String) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    // Howard Hinnant's civil_from_days: the year begins in March, so that a leap day is its last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let micros = since.subsec_micros();
    (
        format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{micros:06}Z"),
        format!("{year:04}{month:02}{day:02}{hours:02}{minutes:02}{seconds:02}"),
    )
}

/// The key of a URL: `http://www.Example.org:80/A/?b=2&a=1` is `org,example)/a?a=1&b=2`.
pub(super) fn surt(url: &Url) -> String {
    let mut key = match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_matches('.');
            without_www(name).rsplit('.').collect::<Vec<_>>().join(",")
        }
        // The tools turn these around, too.
        Some(Host::Ipv4(address)) => address.to_string().rsplit('.').collect::<Vec<_>>().join(","),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    if let Some(port) = url.port() {
        key.push_str(&format!(":{port}"));
    }
    key.push(')');
    let mut path = String::new();
    let plain = unescaped(url.path().as_bytes());
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in plain.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    for part in parts {
        path.push('/');
        path.push_str(&escaped(part));
    }
    key.push_str(if path.is_empty() { "/" } else { &path });
    let query = without_session(&escaped(&unescaped(url.query().unwrap_or_default().as_bytes())));
    if !query.is_empty() {
        let mut pairs: Vec<Vec<&str>> = query.split('&').map(|pair| pair.splitn(2, '=').collect()).collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs.iter().map(|pair| pair.join("=")).collect();
        key.push('?');
        key.push_str(&pairs.join("&"));
    }
    key.make_ascii_lowercase();
    key
}

/// Without `www.`, `www2.` and the like in front.
fn without_www(name: &str) -> &str {
    let rest =
        name.strip_prefix("www").map(|rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    rest.and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}

/// A query, lower case, without the number of a visit in it.
fn without_session(query: &str) -> String {
    let mut query = query.to_ascii_lowercase();
    for name in ["jsessionid=", "phpsessid=", "sid="] {
        let places: Vec<usize> = query.match_indices(name).map(|(place, _)| place).collect();
        let number = |place: usize| {
            let rest = &query[place + name.len()..];
            let end = rest.find('&').unwrap_or(rest.len());
            let is_number = end == 32 && rest[..end].bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_number.then(|| (place, (place + name.len() + end + 1).min(query.len())))
        };
        if let Some((begin, end)) = places.into_iter().rev().find_map(number) {
            query.replace_range(begin..end, "");
        }
    }
    query
}

/// Percent-decoded until nothing is left to decode.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    loop {
        let mut plain = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let hex = text.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
            let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            match byte.filter(|_| text[at] == b'%') {
                Some(byte) => {
                    plain.push(byte);
                    at += 3;
                }
                None => {
                    plain.push(text[at]);
                    at += 1;
                }
            }
        }
        if plain == text {
            return plain;
        }
        text = plain;
    }
}

/// Percent-encoded where it must be.
fn escaped(text: &[u8]) -> String {
    text.iter().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'#' | b'%' => escaped.push_str(&format!("%{byte:02x}")),
            0x21..=0x7e => escaped.push(char::from(*byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_is_that_of_the_tools() {
        // What `surt.surt` of the Python package of that name says.
        for (url, key) in [
            ("http://www.Example.org:80/A/?b=2&a=1#x", "org,example)/a?a=1&b=2"),
            ("https://www2.example.org", "org,example)/"),
            ("https://example.org:8443//a//b.html/", "org,example:8443)/a/b.html"),
            ("http://127.0.0.1:8000/x?", "1,0,0,127:8000)/x"),
            ("http://www.example.org./%2541%20%c3%a9?q=%20%26&r", "org,example)/a%20%c3%a9?&q=%20&r"),
            ("http://a.b/?jsessionid=0123456789abcdef0123456789ABCDEF&x=1", "b,a)/?x=1"),
            ("http://a.b/?x&x=&w", "b,a)/?w&x&x="),
            ("http://me:secret@wwwx.b/", "b,wwwx)/"),
            ("http://[::1]:8000/a", "::1:8000)/a"),
            ("http://a.b/%2f/x/%252e/", "b,a)/x"),
        ] {
            assert_eq!(surt(&Url::parse(url).unwrap()), key, "{url}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            let (date, digits) = dates(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date, expected);
            assert_eq!(digits, expected[..19].replace(['-', ':', 'T'], ""));
        }
    }

    proptest! {
        #[test]
        fn any_url_has_a_key_of_one_word(text in "[ -~é%/?&=#.]{0,60}") {
            if let Ok(url) = Url::parse(&format!("http://a.b/{text}")) {
                let key = surt(&url);
                prop_assert!(key.starts_with("b,a)/") && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
            }
        }
    }
}
