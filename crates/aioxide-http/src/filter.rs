//! Which addresses may be connected to, decided on what a name resolves to and not on the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::error::{Error, Kind, Result};

/// A rule about the addresses that a session connects to; see [`SessionBuilder::address_filter`](crate::SessionBuilder::address_filter).
///
/// It is asked about every address to which a name resolves, and about addresses in URLs however they are written (octal,
/// decimal, IPv4 within IPv6), after each redirect. A connection goes to an address that was asked about: a name that
/// resolves differently the second time wins nothing. Through a proxy, names are resolved here and the proxy is
/// given the address, also for plain `http`, which then goes through a tunnel. The proxy's own address is not asked about.
///
/// The first rule that covers an address decides: those of `allow` before those of `deny`.
///
/// # Examples
///
/// ```
/// use aioxide_http::{AddressFilter, Session};
///
/// let filter = AddressFilter::deny_private().allow("10.1.0.0/16")?;
/// assert!(filter.permits("93.184.215.14".parse().expect("an address")));
/// assert!(filter.permits("10.1.2.3".parse().expect("an address")));
/// assert!(!filter.permits("10.2.2.3".parse().expect("an address")));
/// assert!(!filter.permits("::ffff:127.0.0.1".parse().expect("an address")));
/// let session = Session::builder().address_filter(filter).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AddressFilter {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
    private: bool,
    others: bool,
}

impl AddressFilter {
    /// Denies what is not a public address: private, shared, loopback and link-local networks, multicast, documentation and
    /// whatever else is reserved.
    pub fn deny_private() -> Self {
        Self { allowed: Vec::new(), denied: Vec::new(), private: false, others: true }
    }

    /// Denies nothing, to be narrowed by [`deny`](Self::deny).
    pub fn allow_all() -> Self {
        Self { private: true, ..Self::deny_private() }
    }

    /// Denies everything, to be widened by [`allow`](Self::allow).
    pub fn deny_all() -> Self {
        Self { others: false, ..Self::deny_private() }
    }

    /// Allows a network (`10.0.0.0/8`) or one address.
    ///
    /// # Errors
    /// `is_invalid_request`: the text is neither.
    pub fn allow(mut self, network: &str) -> Result<Self> {
        self.allowed.push(parse(network)?);
        Ok(self)
    }

    /// Denies a network (`10.0.0.0/8`) or one address.
    ///
    /// # Errors
    /// `is_invalid_request`: the text is neither.
    pub fn deny(mut self, network: &str) -> Result<Self> {
        self.denied.push(parse(network)?);
        Ok(self)
    }

    /// Whether `address` may be connected to.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if within(&self.allowed) {
            return true;
        }
        if within(&self.denied) {
            return false;
        }
        // An address that leads through a translator or a tunnel is asked about as where it leads.
        if let IpAddr::V6(address) = address
            && let Some(inner) = embedded(address)
        {
            return self.permits(IpAddr::V4(inner));
        }
        if self.private { true } else { self.others && is_public(address) }
    }
}

fn parse(network: &str) -> Result<IpNet> {
    let parsed = network.parse::<IpNet>().ok().or_else(|| network.parse::<IpAddr>().ok().map(IpNet::from));
    parsed.ok_or_else(|| {
        Error::new(Kind::InvalidRequest)
            .with_source(format!("{network:?} is neither a network nor an address"))
    })
}

/// The IPv4 address within one of IPv6: compatible, NAT64 (RFC 6052), 6to4, Teredo.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let last = Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last),
        [0x2002, a, b, ..] => Some(Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b))),
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last.to_bits())),
        _ => None,
    }
}

/// By IANA's registries of special addresses: whether it is one for everybody.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(a == 0
                || address.is_private()
                || a == 100 && b & 0xc0 == 64
                || address.is_loopback()
                || address.is_link_local()
                || a == 192 && b == 0 && (c == 0 || c == 2)
                || a == 192 && b == 88 && c == 99
                || a == 198 && b & 0xfe == 18
                || address.is_documentation()
                || a >= 224)
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            // What is in use for the world lies in 2000::/3.
            segments[0] & 0xe000 == 0x2000
                && !(segments[0] == 0x2001 && segments[1] < 0x200)
                && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass_however_they_are_written() {
        let filter = AddressFilter::deny_private();
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:0:0:0:0:80ff:fffe",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001:2::1",
            "100::1",
            "3fff::1",
            "fec0::1",
        ] {
            assert!(!filter.permits(address.parse().unwrap()), "{address}");
            assert!(AddressFilter::allow_all().permits(address.parse().unwrap()), "{address}");
        }
        for address in [
            "93.184.215.14",
            "172.32.0.1",
            "100.128.0.1",
            "2606:2800:21f::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(filter.permits(address.parse().unwrap()), "{address}");
            assert!(!AddressFilter::deny_all().permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_counts_before_a_denied_one() {
        let filter = AddressFilter::allow_all().deny("10.0.0.0/8").unwrap().allow("10.1.1.1").unwrap();
        assert!(filter.permits("10.1.1.1".parse().unwrap()));
        assert!(filter.permits("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!filter.permits("10.1.1.2".parse().unwrap()));
        assert!(!filter.permits("2002:a01:102::".parse().unwrap()));
        assert!(AddressFilter::allow_all().deny("everything").unwrap_err().is_invalid_request());
    }
}
