//! Which way a name takes: to the servers, to the system, or nowhere at all.

use hickory_proto::rr::Name;

/// The way of a name that `/etc/hosts` does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// `localhost`, and what is below it (RFC 6761).
    Loopback,
    /// What a question to a name server does not answer: names of the local network, and those that a search domain completes.
    System,
    Servers(Name),
}

impl Way {
    /// The way of `host`, which is in ASCII as URLs have it.
    ///
    /// # Errors
    /// Why nobody can be asked for it.
    pub(super) fn of(host: &str) -> Result<Way, String> {
        let bare = host.strip_suffix('.').unwrap_or(host);
        if bare.len() > MAX_NAME {
            return Err(format!(
                "the name has {} characters, and at most {MAX_NAME} can be asked for",
                bare.len()
            ));
        }
        for label in bare.split('.') {
            match label.len() {
                0 => return Err("a part of the name, between two dots, is empty".to_owned()),
                1..=MAX_LABEL => {}
                length => {
                    return Err(format!(
                        "a part of the name has {length} characters, and at most {MAX_LABEL} can be asked for"
                    ));
                }
            }
        }
        let last = bare.rsplit('.').next().unwrap_or(bare).to_ascii_lowercase();
        match last.as_str() {
            "localhost" => return Ok(Way::Loopback),
            "onion" => {
                return Err("names of the Tor network are for its proxy (--proxy socks5h://127.0.0.1:9050)"
                    .to_owned());
            }
            "invalid" | "alt" => return Err(format!("no name under .{last} is one of the DNS")),
            "local" => return Ok(Way::System),
            _ => {}
        }
        // A name that ends in a dot is whole, whatever it has.
        if !bare.contains('.') && bare.len() == host.len() {
            return Ok(Way::System);
        }
        let mut name =
            Name::from_ascii(bare).map_err(|error| format!("the name cannot be asked for: {error}"))?;
        name.set_fqdn(true);
        Ok(Way::Servers(name))
    }
}

/// The longest name and the longest part of one that a question can hold (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_dns_go_to_the_servers() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for host in ["example.org", "_x.example.org", "xn--bcher-kva.example", "com.", longest.as_str()] {
            let Ok(Way::Servers(name)) = Way::of(host) else { panic!("{host}: {:?}", Way::of(host)) };
            assert_eq!(name.to_ascii().trim_end_matches('.'), host.trim_end_matches('.'));
            assert!(name.is_fqdn());
        }
    }

    #[test]
    fn names_of_the_machine_and_its_network_do_not() {
        for host in ["localhost", "a.localhost", "LOCALHOST."] {
            assert_eq!(Way::of(host), Ok(Way::Loopback), "{host}");
        }
        for host in ["printer", "printer.local", "printer.local.", "a.b.LOCAL"] {
            assert_eq!(Way::of(host), Ok(Way::System), "{host}");
        }
    }

    #[test]
    fn names_that_nobody_can_be_asked_for_are_refused_with_the_reason() {
        for (host, reason) in [
            (format!("{}.test", "a".repeat(64)), "has 64 characters, and at most 63"),
            (format!("{}test", "a.".repeat(125)), "has 254 characters, and at most 253"),
            ("a..test".to_owned(), "is empty"),
            (".test".to_owned(), "is empty"),
            (".".to_owned(), "is empty"),
            ("abc.onion".to_owned(), "socks5h"),
            ("a.invalid".to_owned(), ".invalid"),
        ] {
            let refused = Way::of(&host).unwrap_err();
            assert!(refused.contains(reason), "{host}: {refused}");
        }
    }
}
