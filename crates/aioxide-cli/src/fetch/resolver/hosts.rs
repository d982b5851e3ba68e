//! `/etc/hosts`, which comes before all servers. It is read again when it has changed.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aioxide::time::Instant;

/// How long a look at the file is good for.
const LOOKED_AT: Duration = Duration::from_secs(5);

/// The file, and what it said when it was read.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    looked: Option<Instant>,
    /// Its time and length then; `None` where there is no such file.
    mark: Option<(SystemTime, u64)>,
    names: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, looked: None, mark: None, names: HashMap::new() }
    }

    /// The addresses that the file has for a lower-case name.
    pub(super) fn find(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOKED_AT) {
            self.look();
        }
        self.names.get(name.strip_suffix('.').unwrap_or(name)).cloned()
    }

    fn look(&mut self) {
        self.looked = Some(Instant::now());
        let there = fs::metadata(&self.path).ok();
        let mark = there.and_then(|there| Some((there.modified().ok()?, there.len())));
        if mark != self.mark {
            self.mark = mark;
            // One that cannot be read has no names, as for the system.
            self.names = fs::read(&self.path).map(|file| parse(&file)).unwrap_or_default();
        }
    }
}

/// Lines of an address and its names. What is not one is passed over.
fn parse(file: &[u8]) -> HashMap<String, Vec<IpAddr>> {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in file.split(|&byte| byte == b'\n') {
        let Ok(line) = str::from_utf8(line) else { continue };
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let addresses = names.entry(name.to_ascii_lowercase()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_addresses_of_all_their_lines() {
        let names = parse(
            b"127.0.0.1\tlocalhost Here.test # there.test\n::1 localhost\nno-address x\n10.0.0.1\n\xff y\n127.0.0.1 localhost",
        );
        assert_eq!(names.len(), 2);
        let expected: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        assert_eq!(names["localhost"], expected);
        assert_eq!(names["here.test"], expected[..1]);
    }

    #[test]
    fn file_that_changes_is_read_again() {
        aioxide::testing::run(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("hosts");
            let mut hosts = Hosts::new(path.clone());
            assert_eq!(hosts.find("a.test"), None);
            fs::write(&path, "10.0.0.1 a.test").unwrap();
            assert_eq!(hosts.find("a.test"), None, "it was looked at a moment ago");
            aioxide::time::sleep(LOOKED_AT).await;
            assert_eq!(hosts.find("a.test."), Some(vec![[10, 0, 0, 1].into()]));
            fs::remove_file(&path).unwrap();
            aioxide::time::sleep(LOOKED_AT).await;
            assert_eq!(hosts.find("a.test"), None);
        });
    }
}
