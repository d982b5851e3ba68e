//! Names and passwords by host from a file: `.netrc`, as ftp, curl and git read it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The names and passwords of a `.netrc` file.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Netrc, Session};
///
/// let netrc = Netrc::parse("machine example.org login me password secret\n");
/// assert_eq!(netrc.find("example.org"), Some(("me", "secret")));
/// assert_eq!(netrc.find("example.com"), None);
/// let session = Session::builder().netrc(netrc).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Netrc {
    machines: Vec<Machine>,
}

#[derive(Clone, Default)]
struct Machine {
    /// `None` for the default.
    name: Option<String>,
    login: String,
    password: String,
}

/// A larger file is none of this kind.
const MAX_SIZE: u64 = 1 << 20;

impl Netrc {
    /// Reads a file's text; what is none of its words is passed over.
    pub fn parse(text: &str) -> Self {
        let mut machines: Vec<Machine> = Vec::new();
        let mut words = Words { rest: text };
        while let Some(word) = words.next() {
            match &*word {
                "machine" => {
                    // Without a name it would be the default, for everybody.
                    let Some(name) = words.next() else { break };
                    machines.push(Machine { name: Some(name), ..Machine::default() });
                }
                "default" => machines.push(Machine::default()),
                "macdef" => words.skip_macro(),
                "login" | "password" | "account" => {
                    let value = words.next().unwrap_or_default();
                    match (&*word, machines.last_mut()) {
                        ("login", Some(machine)) => machine.login = value,
                        ("password", Some(machine)) => machine.password = value,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Self { machines }
    }

    /// Reads this file. It blocks, as files do.
    ///
    /// # Errors
    /// Those of the file; `InvalidData` when it is not text, or larger than 1 MiB.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if std::fs::metadata(path)?.len() > MAX_SIZE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is too large", path.display()),
            ));
        }
        Ok(Self::parse(&std::fs::read_to_string(path)?))
    }

    /// Reads the file that `NETRC` names in the environment, or else `.netrc` in the home directory; an empty one when there
    /// is none.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for a file that is not there.
    pub fn from_env() -> io::Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".netrc"));
        let Some(path) = std::env::var_os("NETRC").map(PathBuf::from).or_else(home) else {
            return Ok(Self::default());
        };
        match Self::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            other => other,
        }
    }

    /// The name and the password for `host`: its own, or the default ones.
    pub fn find(&self, host: &str) -> Option<(&str, &str)> {
        let own =
            |machine: &&Machine| machine.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(host));
        let machine = self.machines.iter().find(own);
        let machine = machine.or_else(|| self.machines.iter().find(|machine| machine.name.is_none()))?;
        Some((&machine.login, &machine.password))
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netrc").field("machines", &self.machines.len()).finish_non_exhaustive()
    }
}

/// The words of a file: bare or in quotes; `#` at the start of one begins a comment.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// A macro ends at an empty line.
    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_, rest)| rest);
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        if self.rest.is_empty() {
            return None;
        }
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(word.to_owned());
        };
        let mut word = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(word);
                }
                '\\' => word.extend(characters.next().map(|(_, escaped)| match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                })),
                other => word.push(other),
            }
        }
        self.rest = "";
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_macros_quotes_and_the_default() {
        let netrc = Netrc::parse(
            "# comment\nmachine a.test login me # not a word\n  password \"se cr\\\"et\"\n\
             macdef init\nmachine evil.test login x password y\n\nmachine b.test\nlogin two account z password p#w\n\
             default login anonymous password any",
        );
        assert_eq!(netrc.find("A.test"), Some(("me", "se cr\"et")));
        assert_eq!(netrc.find("b.test"), Some(("two", "p#w")));
        assert_eq!(netrc.find("evil.test"), Some(("anonymous", "any")));
        assert!(!format!("{netrc:?}").contains("cr"));
        assert_eq!(Netrc::parse("machine").find("x"), None);
        assert_eq!(Netrc::parse("login me machine a.test login").find("a.test"), Some(("", "")));
    }
}
