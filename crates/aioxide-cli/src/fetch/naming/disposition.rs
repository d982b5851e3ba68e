//! The name that a server gives a file: `Content-Disposition` (RFC 6266).

use http::HeaderValue;
use url::Url;

use super::names;

/// The name in a header, as one safe component; `None`: there is none.
///
/// `filename*` goes before `filename`, whatever comes first. What looks like a path is its last part.
pub(crate) fn from_disposition(value: &HeaderValue, url: &Url) -> Option<String> {
    let text = names::text(value.as_bytes());
    let (mut plain, mut extended) = (None, None);
    for (name, value) in Parameters(text.split_once(';')?.1) {
        match name.to_ascii_lowercase().as_str() {
            "filename*" => extended = extended.or(decoded(&value)),
            "filename" => plain = plain.or(Some(value)),
            _ => {}
        }
    }
    let name = extended.or(plain)?;
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    (!last.is_empty()).then(|| names::safe(last, url))
}

/// `UTF-8''a%20b`
fn decoded(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let coded = rest.split_once('\'')?.1;
    let is_known = ["utf-8", "iso-8859-1"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    is_known.then(|| names::decoded(coded).into_owned())
}

/// The parameters of a header's value: `a=b; c="d"`.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_once('=')?;
        let rest = rest.trim_start();
        let mut value = String::new();
        let end = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (mut end, mut escaped) = (rest.len(), false);
                for (at, character) in quoted.char_indices() {
                    match character {
                        '"' if !escaped => {
                            end = at + 2;
                            break;
                        }
                        '\\' if !escaped => escaped = true,
                        other => {
                            value.push(other);
                            escaped = false;
                        }
                    }
                }
                end
            }
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                value.push_str(rest[..end].trim());
                end
            }
        };
        self.0 = rest[end..].split_once(';').map_or("", |(_, rest)| rest);
        // Before it there may be words that have no value.
        Some((name.rsplit(';').next().unwrap_or(name).trim(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_found_and_made_safe() {
        let url = Url::parse("http://host/download?id=1").unwrap();
        for (header, name) in [
            (&b"attachment; filename=a.pdf"[..], Some("a.pdf")),
            (b"Attachment;FileName = \"a b.pdf\" ; size=1", Some("a b.pdf")),
            (b"inline; filename=\"a\\\"b;c.txt\"; x=y", Some("a_b;c.txt")),
            (
                b"attachment; filename=\"x.txt\"; filename*=UTF-8''%e2%82%ac%20rates.txt",
                Some("\u{20ac} rates.txt"),
            ),
            (b"attachment; filename*=iso-8859-1'en'%A3.txt; filename=x", Some("\u{a3}.txt")),
            (b"attachment; filename*=koi8-r''%A3.txt; filename=x", Some("x")),
            (b"attachment; filename=\"na\xc3\xafve.txt\"", Some("na\u{ef}ve.txt")),
            (b"attachment; filename=\"na\xefve.txt\"", Some("na\u{ef}ve.txt")),
            (b"attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (b"attachment; filename=\"C:\\\\x\\\\y.exe\"", Some("y.exe")),
            (b"attachment; filename=\".bashrc\"", Some("_bashrc")),
            (b"attachment; filename=\"a/\"", None),
            (b"attachment; filename=\"\"", None),
            (b"attachment; filename=\"open", Some("open")),
            (b"attachment; foo; filename=x.txt", Some("x.txt")),
            (b"attachment;; filename=\"x\"; foo", Some("x")),
            (b"attachment", None),
            (b"filename=a", None),
        ] {
            let value = HeaderValue::from_bytes(header).unwrap();
            assert_eq!(
                from_disposition(&value, &url).as_deref(),
                name,
                "{}",
                String::from_utf8_lossy(header)
            );
        }
    }
}
