//! What a message may show of a URL: logs keep it, and others read them.

use url::Url;

/// The text of a URL without its password; a name that stands alone may be a token, and goes too.
pub(crate) fn hidden(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if !url.cannot_be_a_base() => match url.password() {
            Some(_) => without(url, |url| url.set_password(Some("***"))),
            None if !url.username().is_empty() => without(url, |url| url.set_username("***")),
            None => within(text),
        },
        // It cannot be told what the parts of it are: all that may be a name and a password goes.
        _ => {
            let start = text.find("://").map_or(0, |place| place + 3);
            match text[start..].rfind('@') {
                Some(at) => format!("{}***{}", &text[..start], &text[start + at..]),
                None => text.to_owned(),
            }
        }
    }
}

/// A URL in whose path another one stands, as when it was pasted twice: that one's password goes, too.
fn within(text: &str) -> String {
    let start = text.rfind("://").map_or(0, |place| place + 3);
    let host = &text[start..][..text[start..].find(['/', '?', '#']).unwrap_or(text.len() - start)];
    match host.rfind('@') {
        Some(at) if text[..start].matches("://").count() > 1 => {
            format!("{}***{}", &text[..start], &text[start + at..])
        }
        _ => text.to_owned(),
    }
}

/// Whether a text has what a message must not show.
pub(crate) fn is_in(text: &str) -> bool {
    text.contains('@') && hidden(text) != text
}

fn without(mut url: Url, hide: impl FnOnce(&mut Url) -> Result<(), ()>) -> String {
    match hide(&mut url) {
        Ok(()) => url.into(),
        Err(()) => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_are_hidden() {
        for (text, shown) in [
            ("http://user:hunter2@host/file", "http://user:***@host/file"),
            ("https://user:@host:8443/", "https://***@host:8443/"),
            ("https://ghp_token@host/file?a=b#c", "https://***@host/file?a=b#c"),
            ("http://:hunter2@host/", "http://:***@host/"),
            ("ftp://user:hunter2@host/", "ftp://user:***@host/"),
            ("http://user:hunt/er2@host/", "http://***@host/"),
            ("http://user:hunt@er2@host:99999/", "http://***@host:99999/"),
            ("user:hunter2@host/file", "***@host/file"),
            ("http://host/@name/page", "http://host/@name/page"),
            ("http://http://uu:hunter2@127.0.0.1:1/", "http://http://***@127.0.0.1:1/"),
            ("http://host/http://host/@name", "http://host/http://host/@name"),
            ("no url", "no url"),
        ] {
            assert_eq!(hidden(text), shown, "{text}");
        }
    }
}
