//! `WWW-Authenticate`, read: several challenges may stand in one header (RFC 9110, 11.6.1).

/// One challenge: a scheme and its parameters.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

/// More parameters of a header are passed over.
const MAX_PARAMETERS: usize = 64;

impl Challenge {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

/// The challenges of one header; what cannot be read is passed over.
pub(super) fn challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    for _ in 0..MAX_PARAMETERS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = word(rest);
        if word.is_empty() {
            break;
        }
        let after_blank = after.trim_start_matches([' ', '\t']);
        match after_blank.strip_prefix('=') {
            Some(value) => {
                let (value, after) = value_of(value.trim_start_matches([' ', '\t', '=']));
                if let Some(challenge) = found.last_mut() {
                    challenge.parameters.push((word.to_owned(), value));
                }
                rest = after;
            }
            None => {
                found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
                rest = after_blank;
            }
        }
    }
    found
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t', ',', '=', '"']).unwrap_or(text.len());
    text.split_at(end)
}

/// A value, quoted or not, and what comes after it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = word(text);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn several_challenges_of_one_header_are_told_apart() {
        let found = challenges(
            "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\", a\", Basic realm=\"simple\", Negotiate",
        );
        let schemes: Vec<&str> = found.iter().map(|challenge| &*challenge.scheme).collect();
        assert_eq!(schemes, ["Newauth", "Basic", "Negotiate"]);
        assert_eq!(found[0].get("TITLE"), Some("Login to \"apps\", a"));
        assert_eq!(found[1].get("realm"), Some("simple"));
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(text in "[ -~\u{e9}]{0,80}") {
            let _ = challenges(&text);
        }
    }
}
