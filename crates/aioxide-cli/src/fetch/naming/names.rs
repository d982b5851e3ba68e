//! Safe file names from URLs: one plain component each, whatever the URL says.

use std::borrow::Cow;

use aioxide_monitor::schema::is_unsafe_to_show;
use icu_normalizer::DecomposingNormalizerBorrowed;
use url::Url;

/// The longest name made from a URL, in bytes; file systems allow 255, and a number may have to fit.
pub(crate) const NAME_BYTES: usize = 200;

/// Makes a file name from the last part of a URL's path, and its query.
///
/// The name is one plain path component: never empty, `.` or `..`, without separators, control characters or characters
/// that Windows refuses, and it begins neither with `.` (hidden), `-` (an option to a shell's commands) nor `~`. It has
/// at most [`NAME_BYTES`] bytes; a longer one is cut and ends in a hash of the URL, so that two of them stay apart.
pub(crate) fn from_url(url: &Url) -> String {
    let last = last_part(url.path().trim_end_matches('/'));
    let mut name = sanitized(&decoded(last));
    if name.is_empty() {
        name = "index.html".to_owned();
    }
    if let Some(query) = url.query().filter(|query| !query.is_empty()) {
        let (stem, extension) = split_extension(&name);
        name = format!("{stem}_{}{extension}", sanitized(&decoded(query)));
    }
    // Only now is it known how the name begins and ends.
    let mut name = trimmed(name);
    if name.len() > NAME_BYTES {
        name = cut(&name, url);
    }
    name
}

/// What stands behind the last slash of a path. (A search by bytes: paths are short.)
pub(crate) fn last_part(path: &str) -> &str {
    path.bytes().rposition(|byte| byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// The extension of a name, without its dot: `tar.gz`.
pub(crate) fn extension(name: &str) -> Option<String> {
    let extension = split_extension(last_part(name)).1;
    extension.strip_prefix('.').map(str::to_ascii_lowercase)
}

/// One component of a path from any text, as safe as [`from_url`]'s.
pub(super) fn component(text: &str, url: &Url) -> String {
    safe(&decoded(text), url)
}

/// One component of a path from a text in which nothing is encoded.
pub(super) fn safe(text: &str, url: &Url) -> String {
    let name = trimmed(sanitized(text));
    if name.len() > NAME_BYTES { cut(&name, url) } else { name }
}

/// The `number`-th alternative to `name`: `a.tar.gz` becomes `a-1.tar.gz`.
pub(crate) fn numbered(name: &str, number: u64) -> String {
    let (directory, last) = name.rfind('/').map_or(("", name), |slash| name.split_at(slash + 1));
    let (stem, extension) = split_extension(last);
    format!("{directory}{stem}-{number}{extension}")
}

/// Splits `a.txt` into `a` and `.txt`, `a.tar.gz` into `a` and `.tar.gz`; the first part is never empty.
pub(super) fn split_extension(name: &str) -> (&str, &str) {
    let Some(dot) = extension_dot(name) else { return (name, "") };
    let (stem, extension) = name.split_at(dot);
    if let Some(inner) = extension_dot(stem)
        && &stem[inner..] == ".tar"
    {
        return name.split_at(inner);
    }
    (stem, extension)
}

/// Where the extension's dot stands: something before it, 1 to 10 letters or digits after it.
fn extension_dot(name: &str) -> Option<usize> {
    let dot = name.rfind('.')?;
    let extension = &name[dot + 1..];
    let fits =
        (1..=10).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (dot > 0 && fits).then_some(dot)
}

/// Undoes percent-encoding. Bytes that are no UTF-8 are read as Latin-1, in which old servers have their names, and in
/// which each byte stays what it is.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    self::text(&bytes).into()
}

/// UTF-8, or else Latin-1.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.unwrap_or_else(|_| bytes.iter().map(|&byte| char::from(byte)).collect())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Replaces every character that has no place in a file name by `_`.
fn sanitized(text: &str) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.bytes().all(is_usual) {
        return text.to_owned();
    }
    text.chars().map(|character| if is_plain(character) { character } else { '_' }).collect()
}

fn is_plain(character: char) -> bool {
    match character {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => false,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200d}' => false,
        // Among them are marks that turn the direction of text, with which a name can pretend to have another extension.
        _ => !is_unsafe_to_show(character),
    }
}

/// Puts `_` where the beginning or the end of a name would mean something.
fn trimmed(name: String) -> String {
    let mut name = name;
    if name.starts_with(['.', '-', '~', ' ']) {
        name.replace_range(..1, "_");
    }
    if name.ends_with(['.', ' ']) {
        name.pop();
        name.push('_');
    }
    if is_windows_device(&name) {
        name.insert(0, '_');
    }
    name
}

/// `CON`, `nul.txt` and the like, which Windows takes for devices.
fn is_windows_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    // From `CON` to `COM` with a small digit.
    if !(3..=5).contains(&stem.len()) {
        return false;
    }
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        _ => {
            let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
            numbered.is_some_and(|rest| {
                let mut digits = rest.chars();
                // The small digits that are in Latin-1 count, too.
                let digit =
                    digits.next().is_some_and(|c| c.is_ascii_digit() || "\u{b9}\u{b2}\u{b3}".contains(c));
                digit && digits.next().is_none()
            })
        }
    }
}

/// Cuts a name to [`NAME_BYTES`], keeping its extension and adding a hash of the whole URL.
pub(super) fn cut(name: &str, url: &Url) -> String {
    let (stem, extension) = split_extension(name);
    let hash = format!("-{:08x}", fnv1a(url.as_str().as_bytes()) as u32);
    let mut room = NAME_BYTES - hash.len() - extension.len();
    while !stem.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{hash}{extension}", &stem[..room])
}

/// What a name and others have in common that a file system which ignores case or the form of letters takes for the same:
/// `É` in one character and `e` with an accent after it. It may be shared by names that are two on some file system.
pub(crate) fn folded(name: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(name).to_lowercase();
    // Upper case last: it makes one of ß and ss, of the two forms of sigma, and of the long s and the short one.
    DecomposingNormalizerBorrowed::new_nfkd().normalize(&decomposed.to_uppercase()).into_owned()
}

/// The 64-bit FNV-1a hash: the same on every run and every machine, which std's is not.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(url: &str, name: &str) {
        assert_eq!(from_url(&Url::parse(url).unwrap()), name, "{url}");
    }

    #[test]
    fn name_is_the_last_part_of_the_path() {
        check("http://host/a/b/photo.jpg", "photo.jpg");
        check("http://host/a/b/", "b");
        check("http://host/", "index.html");
        check("http://host", "index.html");
        check("http://host//", "index.html");
        check("http://host/a%20b.txt", "a b.txt");
        check("http://host/%E2%82%AC.txt", "€.txt");
        check("http://host/caf%E9.txt", "café.txt");
        check("http://host/%80%ff%E2%82.txt", "_ÿâ_.txt");
        check("http://host/100%25.txt", "100%.txt");
        check("http://host/50%.txt", "50%.txt");
        check("http://host/a.txt#part", "a.txt");
    }

    #[test]
    fn query_is_part_of_the_name() {
        check("http://host/download?id=12", "download_id=12");
        check("http://host/img.png?w=200&h=100", "img_w=200&h=100.png");
        check("http://host/?page=2", "index_page=2.html");
        check("http://host/a.txt?", "a.txt");
        check("http://host/a.txt?q=../../etc", "a_q=.._.._etc.txt");
    }

    #[test]
    fn what_could_leave_the_directory_is_replaced() {
        check("http://host/..%2f..%2fetc%2fpasswd", "_._.._etc_passwd");
        check("http://host/a/%2e%2e", "index.html"); // the URL standard itself takes this for `..`
        check("http://host/%2e%2e%00", "_._");
        check("http://host/..%5c..%5cboot.ini", "_._.._boot.ini");
        check("http://host/c:evil", "c_evil");
        check("http://host/%2Fetc%2Fpasswd", "_etc_passwd");
    }

    #[test]
    fn what_could_hide_or_deceive_is_replaced() {
        check("http://host/.bashrc", "_bashrc");
        check("http://host/-rf", "_rf");
        check("http://host/~root", "_root");
        check("http://host/a%0ab", "a_b");
        check("http://host/a%1b[31mb", "a_[31mb");
        check("http://host/nul.txt", "_nul.txt");
        check("http://host/com1", "_com1");
        check("http://host/com%C2%B9.txt", "_com\u{b9}.txt");
        check("http://host/%D8%9Cfdp.exe", "_fdp.exe");
        check("http://host/compile", "compile");
        check("http://host/trailing.", "trailing_");
        check("http://host/exe%E2%80%AEfdp.txt", "exe_fdp.txt");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "x".repeat(300);
        let first = from_url(&Url::parse(&format!("http://host/{long}1.tar.gz")).unwrap());
        let second = from_url(&Url::parse(&format!("http://host/{long}2.tar.gz")).unwrap());
        assert_eq!(first.len(), NAME_BYTES);
        assert!(first.ends_with(".tar.gz"), "{first}");
        assert_ne!(first, second);
    }

    #[test]
    fn number_stands_before_the_extension() {
        assert_eq!(numbered("a.txt", 1), "a-1.txt");
        assert_eq!(numbered("a.tar.gz", 12), "a-12.tar.gz");
        assert_eq!(numbered("README", 3), "README-3");
        assert_eq!(numbered("v1.0/README", 3), "v1.0/README-3");
        assert_eq!(numbered("v1.2 beta", 1), "v1.2 beta-1");
    }

    #[test]
    fn names_that_a_file_system_may_take_for_one_fold_into_one() {
        for (one, other) in [
            ("A.txt", "a.TXT"),
            ("É", "e\u{301}"),
            ("straße", "STRASSE"),
            ("ΣΑΣ", "σας"),
            ("ﬁ", "FI"),
            ("Å", "Å"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        assert_ne!(folded("a.txt"), folded("b.txt"));
        assert_ne!(folded("é"), folded("e"));
    }

    #[track_caller]
    fn assert_plain(name: &str) {
        let components: Vec<_> = Path::new(name).components().collect();
        assert!(matches!(components[..], [Component::Normal(_)]), "{name:?}");
        assert!(name.len() <= NAME_BYTES, "{name:?}");
        assert!(!name.starts_with(['.', '-', '~', ' ']) && !name.ends_with(['.', ' ']), "{name:?}");
        assert!(name.chars().all(is_plain), "{name:?}");
        assert!(!is_windows_device(name), "{name:?}");
    }

    /// Pieces out of which hostile paths are made, more often than chance would.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("..".to_owned()),
            Just("%2e".to_owned()),
            Just("%2f".to_owned()),
            Just("%5C".to_owned()),
            Just("%00".to_owned()),
            Just("/".to_owned()),
            Just("CON".to_owned()),
            Just(".tar".to_owned()),
            "\\PC{0,300}",
            "[a-z.]{0,9}",
            "%[0-9a-fA-F]{2}",
        ]
    }

    proptest! {
        #[test]
        fn any_url_gives_one_plain_component(
            path in prop::collection::vec(piece(), 0..6),
            query in prop::option::of(piece()),
        ) {
            let mut text = format!("http://host/{}", path.concat());
            if let Some(query) = query {
                text = format!("{text}?{query}");
            }
            if let Ok(url) = Url::parse(&text) {
                let name = from_url(&url);
                assert_plain(&name);
                prop_assert!(numbered(&name, u64::MAX).len() <= 255);
            }
        }

        #[test]
        fn numbers_never_meet(name in "[a-z.]{1,12}", first in 1..10_000u64, second in 1..10_000u64) {
            prop_assume!(first != second);
            prop_assert_ne!(numbered(&name, first), numbered(&name, second));
        }
    }
}
