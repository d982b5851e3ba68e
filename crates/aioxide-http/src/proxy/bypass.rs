//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// A list of names, addresses and networks.
#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy {
    all: bool,
    entries: Vec<(What, Option<u16>)>,
}

#[derive(Debug, Clone)]
enum What {
    /// This name, and names under it.
    Name(String),
    Network(IpNet),
}

impl NoProxy {
    pub(super) fn new(list: &str) -> Self {
        let words = list.split([',', ' ', '\t']).map(str::trim).filter(|word| !word.is_empty());
        let mut without = Self::default();
        for word in words {
            if word == "*" {
                without.all = true;
            } else {
                without.entries.push(entry(word));
            }
        }
        without
    }

    pub(super) fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let port = url.port_or_known_default();
        let matches = |what: &What| match (what, &host) {
            (What::Name(name), Host::Domain(host)) => is_under(host.trim_end_matches('.'), name),
            (What::Network(network), Host::Ipv4(address)) => network.contains(&IpAddr::V4(*address)),
            (What::Network(network), Host::Ipv6(address)) => {
                network.contains(&IpAddr::V6(*address)) || network.contains(&address.to_canonical())
            }
            _ => false,
        };
        self.all
            || self
                .entries
                .iter()
                .any(|(what, only)| matches(what) && only.is_none_or(|only| Some(only) == port))
    }
}

fn entry(word: &str) -> (What, Option<u16>) {
    let network = |text: &str| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpNet>().ok().or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from))
    };
    if let Some(network) = network(word) {
        return (What::Network(network), None);
    }
    let (host, port) = match word.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (word, None),
    };
    match network(host) {
        Some(network) => (What::Network(network), port),
        None => {
            let name = host.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
            (What::Name(name), port)
        }
    }
}

fn is_under(host: &str, name: &str) -> bool {
    match host.len().checked_sub(name.len()) {
        Some(0) => host.eq_ignore_ascii_case(name),
        Some(before) if !name.is_empty() => {
            host.as_bytes()[before - 1] == b'.'
                && host.is_char_boundary(before)
                && host[before..].eq_ignore_ascii_case(name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_at_dots_and_addresses_by_network() {
        let list = "localhost, .example.org *.wild.test,10.0.0.0/8,::1,192.168.1.1,fd00::/8 host.test:8080 [fe80::1]:81";
        let without = NoProxy::new(list);
        for (url, covered) in [
            ("http://localhost:3000/", true),
            ("http://example.org/", true),
            ("http://www.example.org/", true),
            ("http://EXAMPLE.org./", true),
            ("http://notexample.org/", false),
            ("http://a.wild.test/", true),
            ("http://10.1.2.3/", true),
            ("http://0x0a010203/", true),
            ("http://11.1.2.3/", false),
            ("http://[::1]/", true),
            ("http://[::ffff:10.0.0.1]/", true),
            ("http://[fd12::1]/", true),
            ("http://192.168.1.1:99/", true),
            ("http://host.test:8080/", true),
            ("http://host.test/", false),
            ("http://[fe80::1]:81/", true),
            ("http://[fe80::1]/", false),
        ] {
            assert_eq!(without.covers(&Url::parse(url).unwrap()), covered, "{url}");
        }
        assert!(NoProxy::new("*").covers(&Url::parse("http://any.test/").unwrap()));
        assert!(!NoProxy::new("").covers(&Url::parse("http://any.test/").unwrap()));
    }
}
