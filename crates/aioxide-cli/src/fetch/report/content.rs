//! A web page in place of what a name promises: a proof of being human, a consent or a login answer so, with 200.

use http::{HeaderMap, header};

use super::failure::Failed;
use super::record::Outcome;
use crate::fetch::naming;

/// The extension of the first of the names that promises something that is no page: a picture, an archive, a table.
pub(crate) fn promised<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .filter_map(extension)
        .find(|extension| NO_PAGES.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Refuses a page where the `extension` promises something that is none. `beginning`: how the body begins, unless it is coded.
///
/// # Errors
/// `unexpected_content`.
pub(crate) fn check_content(
    extension: &str,
    headers: &HeaderMap,
    beginning: Option<&[u8]>,
) -> Result<(), Failed> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let says_page = PAGE_TYPES.iter().any(|page| content_type.eq_ignore_ascii_case(page));
    let is_page = match beginning {
        Some(beginning) => begins_as_page(beginning) || says_page && !is_evidently_none(beginning),
        None => says_page,
    };
    match is_page {
        true => {
            let told = format!("a web page in place of .{extension} (--any-content takes it)");
            Err(Failed::new(Outcome::UnexpectedContent, told))
        }
        false => Ok(()),
    }
}

/// The extension of the last part of a path.
pub(crate) fn extension(path: &str) -> Option<&str> {
    let last = naming::last_part(path);
    let dot = last.bytes().rposition(|byte| byte == b'.')?;
    Some(&last[dot + 1..]).filter(|extension| !extension.is_empty())
}

fn begins_as_page(beginning: &[u8]) -> bool {
    let mut rest = beginning.strip_prefix("\u{feff}".as_bytes()).unwrap_or(beginning).trim_ascii_start();
    // What made it may stand before it.
    while let Some(after) = rest.strip_prefix(b"<!--") {
        let Some(end) = after.windows(3).position(|end| end == b"-->") else { return false };
        rest = after[end + 3..].trim_ascii_start();
    }
    PAGE.iter().any(|tag| rest.len() >= tag.len() && rest[..tag.len()].eq_ignore_ascii_case(tag.as_bytes()))
}

/// Programs that send files may leave the type at text/html.
fn is_evidently_none(beginning: &[u8]) -> bool {
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c' | b'\x1b');
    !beginning.iter().take(LOOKED_AT).all(is_text)
        || matches!(beginning.trim_ascii_start().first(), Some(b'{' | b'['))
        || beginning.starts_with(b"%PDF-")
}

/// So many bytes tell text from what is none.
const LOOKED_AT: usize = 512;

/// How a web page begins.
const PAGE: [&str; 3] = ["<!doctype html", "<html", "<head"];

const PAGE_TYPES: [&str; 2] = ["text/html", "application/xhtml+xml"];

/// Extensions of what is registered as something that no page can be.
#[rustfmt::skip]
const NO_PAGES: [&str; 156] = [
    // Pictures, sound, film.
    "jpg", "jpeg", "jpe", "png", "apng", "gif", "webp", "avif", "heic", "heif", "bmp", "tif", "tiff", "ico", "jxl", "jp2", "svg", "svgz",
    "psd", "raw", "dng", "mp3", "mp4", "m4a", "m4b", "m4v", "mov", "mkv", "mka", "webm", "avi", "ogg", "oga", "ogv", "opus", "flac", "wav",
    "aac", "aiff", "mid", "wma", "wmv", "flv", "mpg", "mpeg", "3gp", "ts", "m3u8", "mpd", "srt", "vtt",
    // Archives, packages, images of disks, programs.
    "zip", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst", "lz4", "lzma", "br", "7z", "rar", "tar", "cab", "cpio", "whl", "egg", "jar", "war",
    "gem", "crate", "nupkg", "apk", "ipa", "exe", "msi", "dll", "so", "deb", "rpm", "snap", "flatpak", "appimage", "dmg", "pkg", "iso", "img",
    "bin", "qcow2", "vmdk", "vdi", "ova", "wasm", "torrent", "sh",
    // Documents, fonts.
    "pdf", "ps", "eps", "djvu", "epub", "mobi", "azw3", "doc", "docx", "docm", "xls", "xlsx", "xlsm", "ppt", "pptx", "odt", "ods", "odp",
    "rtf", "woff", "woff2", "ttf", "otf",
    // Text that is none of a page.
    "txt", "csv", "tsv", "json", "jsonl", "ndjson", "geojson", "xml", "rss", "atom", "gpx", "kml", "yaml", "yml", "toml", "css", "js",
    "mjs", "sql", "ics", "vcf", "bib", "pem", "crt", "asc", "sig", "sha256", "md5",
    // Data.
    "parquet", "arrow", "orc", "avro", "npy", "npz", "h5", "warc",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn page_in_place_of_something_else_is_told() {
        let (html, none) = (Some("text/html; charset=utf-8"), None);
        for (names, content_type, body, fine) in [
            (&["b.jpg"][..], none, &b"\xff\xd8\xff\xe0"[..], true),
            (&["b.JPG"], none, b"\n <!DOCTYPE html><title>Just a moment...", false),
            (&["b.pdf"], none, b"<HTML>", false),
            (&["b.pdf"], none, b"<!-- made by x -->\n<html>", false),
            (&["b.html"], html, b"<html>", true),
            (&["b"], html, b"<html>", true),
            (&["/"], html, b"<html>", true),
            (&["b", "/to/b.zip"], html, b"<html>", false),
            (&["b.zip"], none, b"<h", true),
            (&["b.zip"], none, b"", true),
            (&["b.csv"], html, b"Please log in", false),
            (&["b.xml"], none, b"<?xml version=\"1.0\"?><a/>", true),
            (&["b.xml"], html, b"<p>", false),
            // The type is the one of a program that sends whatever it is.
            (&["b.zip"], html, b"PK\x03\x04", true),
            (&["b.json"], html, b" {\"a\":1}", true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let checked = promised(names.iter().copied())
                .map_or(Ok(()), |extension| check_content(extension, &headers, Some(body)));
            assert_eq!(checked.is_ok(), fine, "{names:?} {content_type:?} {body:?}");
        }
    }
}
