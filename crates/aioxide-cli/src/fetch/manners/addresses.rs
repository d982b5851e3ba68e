//! How many downloads run on one address (`--per-address`): a million names can be one machine.
//!
//! Which address a name has is known only once its download is about to start. Where the address has enough to do, the job is put
//! aside and its place goes to another one; it comes back when there is room.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use aioxide::net::dns::DnsCache;
use aioxide_http::Resolver as _;
use url::{Host, Url};

use crate::fetch::job::Job;
use crate::fetch::resolver::Resolver;

/// The addresses that have something under way.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    servers: HashMap<IpAddr, Server>,
}

#[derive(Debug, Default)]
struct Server {
    active: u32,
    waiting: VecDeque<Box<Job>>,
}

impl Addresses {
    /// Takes a place at an address for a job; `false`: there is none.
    pub(super) fn claim(&mut self, job: &mut Job, address: IpAddr, limit: u32) -> bool {
        let server = self.servers.entry(address).or_default();
        let has_room = server.active < limit;
        if has_room {
            server.active += 1;
            job.address = Some(address);
        }
        has_room
    }

    /// Puts aside a job that has found no place.
    pub(super) fn put_aside(&mut self, job: Box<Job>, address: IpAddr) {
        self.servers.entry(address).or_default().waiting.push_back(job);
    }

    /// A place is free again; returns the job that may have it.
    pub(super) fn release(&mut self, address: IpAddr) -> Option<Box<Job>> {
        let server = self.servers.get_mut(&address)?;
        server.active = server.active.saturating_sub(1);
        let next = server.waiting.pop_front();
        if server.active == 0 && server.waiting.is_empty() {
            self.servers.remove(&address);
        }
        next
    }

    /// Takes all that wait.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Box<Job>> {
        self.servers.drain().flat_map(|(_, server)| server.waiting)
    }
}

/// Finds the address that a name counts for.
#[derive(Debug)]
pub(crate) struct Finder {
    /// Downloads at a time.
    pub(crate) limit: u32,
    /// The session's, too: nothing is asked twice.
    pub(crate) cache: DnsCache,
    /// The session's, if it is not the system that is asked.
    pub(crate) resolver: Option<Resolver>,
    /// Of `--resolve`: name, port (0 for any), addresses.
    pub(crate) given: Vec<(String, u16, Vec<IpAddr>)>,
}

impl Finder {
    /// The address of a URL's host: of several always the same one. `None` where there is none, which the attempt will tell.
    pub(crate) async fn find(&self, url: &Url) -> Option<IpAddr> {
        let port = url.port_or_known_default()?;
        let name = match url.host()? {
            Host::Ipv4(address) => return Some(address.into()),
            Host::Ipv6(address) => return Some(address.into()),
            Host::Domain(name) => name,
        };
        let given = self.given.iter().find(|(host, at, _)| host == name && (*at == 0 || *at == port));
        if let Some((_, _, addresses)) = given {
            return addresses.iter().min().copied();
        }
        let found = match &self.resolver {
            Some(resolver) => self.cache.lookup_with(name, port, || resolver.resolve(name, port)).await,
            None => self.cache.lookup(name, port).await,
        };
        let found = found.ok()?;
        found.iter().map(|address| address.ip()).min()
    }
}
