//! Ranges in URLs of the command line: `page[1-100]`, `[001-100]`, `[0-100:10]`, `[a-f]`; several make all combinations.

/// The URLs that a text with ranges stands for, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Expand {
    parts: Vec<Part>,
    /// Where each range is; `None` when all have come.
    state: Option<Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Numbers { first: u64, last: u64, step: u64, width: usize },
    Letters { first: u8, last: u8 },
}

impl Expand {
    /// Reads a text; what is no range stays as it is, an IPv6 address among others.
    pub(super) fn new(text: &str) -> Self {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(open) = rest.find('[') {
            let end = rest[open..].find(']').map(|end| open + end);
            match end.and_then(|end| Some((end, range(&rest[open + 1..end])?))) {
                Some((end, range)) => {
                    plain.push_str(&rest[..open]);
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(range);
                    rest = &rest[end + 1..];
                }
                None => {
                    plain.push_str(&rest[..=open]);
                    rest = &rest[open + 1..];
                }
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        let state = Some(parts.iter().map(|part| part.ends().0).collect());
        Expand { parts, state }
    }

    /// What looks like a range and is none: it runs backwards, its step is 0, or its numbers are too large.
    pub(super) fn fault(text: &str) -> Option<&str> {
        let looks_like_one = |inner: &str| {
            let ends = inner.split_once(':').map_or(inner, |(ends, _)| ends);
            ends.split_once('-').is_some_and(|(first, last)| {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let letter = |text: &str| text.len() == 1 && text.as_bytes()[0].is_ascii_alphabetic();
                digits(first) && digits(last) || ends == inner && letter(first) && letter(last)
            })
        };
        let opens = text.match_indices('[').map(|(place, _)| place);
        let inside = opens.filter_map(|open| Some(&text[open + 1..][..text[open + 1..].find(']')?]));
        inside.into_iter().find(|inner| looks_like_one(inner) && range(inner).is_none())
    }

    /// How many URLs it stands for.
    pub(super) fn total(&self) -> u64 {
        self.parts.iter().fold(1, |count, part| {
            let (first, last, step) = part.ends();
            count.saturating_mul((last - first) / step + 1)
        })
    }
}

impl Part {
    /// The first and the last number, and how far it is from one to the next.
    fn ends(&self) -> (u64, u64, u64) {
        match self {
            Part::Text(_) => (0, 0, 1),
            Part::Numbers { first, last, step, .. } => (*first, *last, *step),
            Part::Letters { first, last } => (u64::from(*first), u64::from(*last), 1),
        }
    }
}

impl Iterator for Expand {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let state = self.state.as_mut()?;
        let mut url = String::new();
        for (part, at) in self.parts.iter().zip(&*state) {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Numbers { width, .. } => url.push_str(&format!("{at:0width$}")),
                Part::Letters { .. } => url.extend(u8::try_from(*at).map(char::from)),
            }
        }
        // The last range runs fastest.
        let mut all_over = true;
        for (part, at) in self.parts.iter().zip(state).rev() {
            let (first, last, step) = part.ends();
            if *at <= last - step.min(last) && *at + step <= last {
                *at += step;
                all_over = false;
                break;
            }
            *at = first;
        }
        if all_over {
            self.state = None;
        }
        Some(url)
    }
}

/// `1-100`, `001-100`, `0-100:10`, `a-f`
fn range(text: &str) -> Option<Part> {
    let (ends, step) = match text.split_once(':') {
        Some((ends, step)) => (ends, step.parse().ok().filter(|step| *step > 0)?),
        None => (text, 1),
    };
    let (first, last) = ends.split_once('-')?;
    let digits =
        |text: &str| !text.is_empty() && text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(first) && digits(last) {
        let width = if first.starts_with('0') && first.len() > 1 { first.len() } else { 0 };
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        return (first <= last).then_some(Part::Numbers { first, last, step, width });
    }
    match (first.as_bytes(), last.as_bytes()) {
        ([first], [last]) if text.len() == 3 && first.is_ascii_alphabetic() && last.is_ascii_alphabetic() => {
            (first <= last).then_some(Part::Letters { first: *first, last: *last })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_range_and_is_none_is_found() {
        for (text, fault) in [
            ("http://a/[3-1]", Some("3-1")),
            ("http://a/[1-3:0]", Some("1-3:0")),
            ("http://a/[1-2]/[1-18446744073709551616]", Some("1-18446744073709551616")),
            ("http://a/[a-F]", Some("a-F")),
            ("http://a/[1-2]", None),
            ("http://[::1]:80/", None),
            ("http://a/?x[]=1&y[a]=b-c&z[2026-12-01]", None),
            ("http://a/[x", None),
        ] {
            assert_eq!(Expand::fault(text), fault, "{text}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let expand = Expand::new(text);
        assert_eq!(expand.total(), expected.len() as u64, "{text}");
        assert_eq!(expand.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn ranges_make_all_combinations_and_everything_else_stays() {
        check("http://a/[1-3].jpg", &["http://a/1.jpg", "http://a/2.jpg", "http://a/3.jpg"]);
        check("[08-11]", &["08", "09", "10", "11"]);
        check("[0-25:10]", &["0", "10", "20"]);
        check("[a-c]", &["a", "b", "c"]);
        check("[a-b][1-2]", &["a1", "a2", "b1", "b2"]);
        check("x[7-7]", &["x7"]);
        for text in [
            "http://[::1]:80/",
            "http://a/",
            "[3-1]",
            "[a-1]",
            "[ab-c]",
            "[1-2:0]",
            "[1-",
            "[]",
            "[[x]",
            "[z-a]",
        ] {
            check(text, &[text]);
        }
        assert_eq!(Expand::new("[0-999999999999][0-999999999999]").total(), u64::MAX);
        assert_eq!(Expand::new("[[1-2]").collect::<Vec<_>>(), ["[1", "[2"]);
    }
}
