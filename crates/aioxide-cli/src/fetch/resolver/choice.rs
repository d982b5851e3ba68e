//! What `--resolver` names: the system, servers, or a file that has them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Who is asked for names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    System,
    At(Vec<SocketAddr>),
    /// Such as `/etc/resolv.conf`.
    File(PathBuf),
}

/// More servers are not asked.
const MAX_SERVERS: usize = 8;

impl Choice {
    /// Reads the option's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "system" {
            return Ok(Choice::System);
        }
        if text.contains('/') {
            return Ok(Choice::File(text.into()));
        }
        let servers: Vec<SocketAddr> = text.split(',').map(server).collect::<Result<_, _>>()?;
        if servers.len() > MAX_SERVERS {
            return Err(format!("{} servers; at most {MAX_SERVERS} are asked", servers.len()));
        }
        Ok(Choice::At(servers))
    }

    /// The servers, in the order in which they are asked; `None`: the system.
    pub(super) fn servers(&self) -> Result<Option<Vec<SocketAddr>>, String> {
        match self {
            Choice::System => Ok(None),
            Choice::At(servers) => Ok(Some(servers.clone())),
            Choice::File(path) => {
                let named = |error: String| format!("--resolver {}: {error}", path.display());
                let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
                let servers = name_servers(&text);
                if servers.is_empty() {
                    return Err(named("no line of it reads `nameserver ADDRESS`".to_owned()));
                }
                Ok(Some(servers))
            }
        }
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 53));
    }
    // With a port, or an interface (fe80::1%2).
    let with_port = || text.parse().or_else(|_| format!("[{address}]:53").parse::<SocketAddr>());
    match with_port() {
        Ok(server) if server.port() != 0 => Ok(server),
        _ => Err(format!(
            "{text:?} is no server: give addresses, such as 9.9.9.9, 127.0.0.1:5353 or [2620:fe::fe]:53, separated by commas; \
             or `system`; or a file such as /etc/resolv.conf"
        )),
    }
}

/// The servers of a file of the form of `/etc/resolv.conf`.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver")
            .then(|| words.next())
            .flatten()
            .and_then(|address| server(address).ok())
    });
    servers.take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let Ok(Choice::At(servers)) =
            Choice::parse("9.9.9.9, 127.0.0.1:5353,2620:fe::fe,[::1],[::1]:54,fe80::1%2")
        else {
            panic!("refused")
        };
        let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        let expected =
            ["9.9.9.9:53", "127.0.0.1:5353", "[2620:fe::fe]:53", "[::1]:53", "[::1]:54", "[fe80::1%2]:53"];
        assert_eq!(servers, expected);
        assert_eq!(Choice::parse("system"), Ok(Choice::System));
        assert_eq!(Choice::parse("/etc/resolv.conf"), Ok(Choice::File("/etc/resolv.conf".into())));
        for text in ["", "dns.google", "9.9.9.9,", "9.9.9.9:0", "9.9.9.9:x", "[::1", "1,2", "system,9.9.9.9"]
        {
            assert!(Choice::parse(text).unwrap_err().contains("is no server"), "{text}");
        }
        let many = ["9.9.9.9"; 9].join(",");
        assert!(Choice::parse(&many).unwrap_err().contains("at most 8"));
    }

    #[test]
    fn file_names_servers_as_the_system_s_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        fs::write(&path, "# nameserver 1.1.1.1\nsearch a.test\nnameserver 10.0.0.1 # x\nnameserver\nnameserver fe80::1%2\n").unwrap();
        let choice = Choice::File(path.clone());
        let expected = vec!["10.0.0.1:53".parse().unwrap(), "[fe80::1%2]:53".parse().unwrap()];
        assert_eq!(choice.servers(), Ok(Some(expected)));
        fs::write(&path, "options edns0\n").unwrap();
        assert!(choice.servers().unwrap_err().contains("nameserver ADDRESS"));
        assert!(Choice::File("/does/not/exist".into()).servers().unwrap_err().contains("/does/not/exist"));
    }
}
