//! Names of the user's making: `{host}/{path}`, `{n:05}-{name}`.

use url::Url;

use super::names::{NAME_BYTES, component, cut, fnv1a, safe, split_extension};

/// How files are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    /// A number, with so many digits at least.
    Number(Number, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Stem,
    Extension,
    Host,
    Directory,
    Path,
    Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Place,
    Line,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(brace) = rest.find(['{', '}']) {
            plain.push_str(&rest[..brace]);
            let doubled = &rest[brace..brace + 1];
            if rest[brace + 1..].starts_with(doubled) {
                plain.push_str(doubled);
                rest = &rest[brace + 2..];
                continue;
            }
            let end = rest[brace..].find('}').filter(|_| doubled == "{").map(|end| brace + end);
            let end = end.ok_or("a brace stands alone; write {{ or }} for one in the name")?;
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(part(&rest[brace + 1..end])?);
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Template { parts, text: text.to_owned() })
    }

    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name for a URL, made of plain components with `/` between them. `n` is its place among all URLs of the run,
    /// from 1; `name` stands for the last part of the URL.
    pub(crate) fn name(&self, url: &Url, n: u64, line: u64, name: &str) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Number(number, width) => {
                    let number = if *number == Number::Place { n } else { line };
                    text.push_str(&format!("{number:0width$}"));
                }
                Part::Field(field) => text.push_str(&value(*field, url, name)),
            }
        }
        path(&text, name, url)
    }
}

fn part(text: &str) -> Result<Part, String> {
    let (name, width) = text.split_once(':').map_or((text, None), |(name, width)| (name, Some(width)));
    let field = match name {
        "n" | "line" => {
            let number = if name == "n" { Number::Place } else { Number::Line };
            let width = width.unwrap_or("0").parse().ok().filter(|width| *width <= 20);
            return width
                .map(|width| Part::Number(number, width))
                .ok_or(format!("{{{text}}}: a width is such as 05"));
        }
        "name" => Field::Name,
        "stem" => Field::Stem,
        "ext" => Field::Extension,
        "host" => Field::Host,
        "dir" => Field::Directory,
        "path" => Field::Path,
        "hash" => Field::Hash,
        _ => return Err(format!("{{{name}}} is none of name, stem, ext, host, dir, path, hash, n, line")),
    };
    match width {
        None => Ok(Part::Field(field)),
        Some(_) => Err(format!("{{{text}}}: only n and line have a width")),
    }
}

fn value(field: Field, url: &Url, name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match field {
        Field::Name => name.to_owned(),
        Field::Stem => split_extension(last).0.to_owned(),
        Field::Extension => split_extension(last).1.trim_start_matches('.').to_owned(),
        Field::Host => match url.port() {
            Some(port) => format!("{}_{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        },
        Field::Directory => directory(url),
        Field::Path => match directory(url) {
            directory if directory.is_empty() => name.to_owned(),
            directory => format!("{directory}/{name}"),
        },
        Field::Hash => format!("{:016x}", fnv1a(url.as_str().as_bytes())),
    }
}

/// The directories of a URL's path, each as it would be named as a file.
fn directory(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    let before = path.rsplit_once('/').map_or("", |(before, _)| before);
    let parts = before.split('/').filter(|part| !part.is_empty()).map(|part| component(part, url));
    parts.collect::<Vec<_>>().join("/")
}

/// A path of plain components, whatever the text says; `otherwise`, which is safe, if nothing is left of it. The text is a
/// name already: a `%41` in it stands for itself.
pub(crate) fn path(text: &str, otherwise: &str, url: &Url) -> String {
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    let mut path: Vec<String> = parts.map(|part| safe(part, url)).collect();
    if path.iter().map(|part| part.len() + 1).sum::<usize>() > PATH_BYTES {
        shorten(&mut path, url);
    }
    match path.is_empty() {
        true => otherwise.to_owned(),
        false => path.join("/"),
    }
}

/// The longest path, in bytes: macOS takes 1024 with the directory that it stands in, Linux 4096.
const PATH_BYTES: usize = 700;

/// Leaves out directories before the last part, which gets a hash of the URL, so that two of them stay apart.
fn shorten(path: &mut Vec<String>, url: &Url) {
    let Some(last) = path.pop() else { return };
    let mut bytes = 0;
    path.retain(|part| {
        bytes += part.len() + 1;
        bytes <= PATH_BYTES - NAME_BYTES
    });
    path.push(cut(&last, url));
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::super::names::from_url;
    use super::*;

    #[track_caller]
    fn check(template: &str, url: &str, expected: &str) {
        let url = Url::parse(url).unwrap();
        assert_eq!(Template::parse(template).unwrap().name(&url, 7, 12, &from_url(&url)), expected);
    }

    #[test]
    fn fields_stand_for_parts_of_the_url_and_of_the_list() {
        let url = "http://example.org:8080/a/b%20c/photo.tar.gz?x=1";
        check("{name}", url, "photo_x=1.tar.gz");
        check("{n:05}-{stem}.{ext}", url, "00007-photo_x=1.tar.gz");
        check("{host}/{path}", url, "example.org_8080/a/b c/photo_x=1.tar.gz");
        check("{dir}/{line}.{ext}", url, "a/b c/12.tar.gz");
        check("{{{n}}}", url, "{7}");
        check("{host}/{path}", "http://a/", "a/index.html");
        check("/../{n}", "http://a/", "7");
        check("{host}/{path}", "http://a/%2e%2e%2f/x/..%2f..%2fy", "a/_._/x/_._.._y");
        check("..", "http://a/b", "b");
        // Decoded once, as without a template.
        check("{name}", "http://a/b%2541.txt", "b%41.txt");
        check("{path}", "http://a/c%2541/%252e%252e", "c%41/%2e%2e");
        check("{n}%20{n}", "http://a/", "7%207");
        assert_eq!(path("../50%41", "x", &Url::parse("http://a/").unwrap()), "50%41");
        assert_eq!(path("..", "#1.pdf", &Url::parse("http://a/b").unwrap()), "#1.pdf");
    }

    #[test]
    fn long_paths_are_shortened_and_stay_apart() {
        let name = |last: &str| {
            let url = Url::parse(&format!("http://a/{}{last}.tar.gz", "d/".repeat(30_000))).unwrap();
            Template::parse("{host}/{path}").unwrap().name(&url, 1, 1, &from_url(&url))
        };
        let (one, other) = (name("x"), name("y"));
        assert!(one.len() <= PATH_BYTES && one.starts_with("a/d/d/") && one.ends_with(".tar.gz"), "{one}");
        assert_ne!(one, other);
        check(
            "{dir}/x",
            &format!("http://a/{}/b", "d".repeat(1000)),
            &format!("{}-41eca672/x", "d".repeat(191)),
        );
    }

    #[test]
    fn wrong_templates_say_why() {
        for (text, reason) in [
            ("{nme}", "is none of"),
            ("{name", "stands alone"),
            ("name}", "stands alone"),
            ("{name:3}", "only n and line"),
            ("{n:x}", "a width"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_directory(text in "\\PC{0,60}", wanted in "[./\\\\a-z~-]{0,20}") {
            let url = Url::parse(&format!("http://host/{text}")).unwrap();
            let template = Template {
                    parts: vec![Part::Text(wanted.clone()), Part::Field(Field::Path)],
                    text: String::new(),
                };
            for name in [template.name(&url, 1, 1, &from_url(&url)), path(&wanted, "x", &url)] {
                let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(plain && !name.is_empty() && !name.starts_with('/'), "{:?}", name);
            }
        }
    }
}
