//! From a name to the addresses that may be connected to.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;

use aioxide::net::dns::{self, DnsCache};

use crate::error::{Error, Kind, Result};
use crate::filter::AddressFilter;
use crate::rt;
use crate::trace::{self, Event, Progress};

/// Resolves names in place of the system; see [`SessionBuilder::resolver`](crate::SessionBuilder::resolver).
///
/// Its answers are kept in the session's cache, and several who ask for the same name at once are one question.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Resolver, Session};
/// use std::io;
/// use std::net::SocketAddr;
/// use std::pin::Pin;
///
/// /// Knows the hosts of a test.
/// struct Local;
///
/// impl Resolver for Local {
///     fn resolve(&self, _host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
///         Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) })
///     }
/// }
///
/// let session = Session::builder().resolver(Local).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
pub trait Resolver {
    /// The addresses of `host` (never one itself), each with `port`, the best first.
    ///
    /// # Errors
    /// The name is not known, or cannot be asked for; none at all is an error, too.
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>;
}

impl<T: Resolver + ?Sized> Resolver for Rc<T> {
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
        (**self).resolve(host, port)
    }
}

/// How a session's names are resolved, and which addresses of theirs it may use.
pub(crate) struct Names {
    pub(crate) cache: DnsCache,
    pub(crate) resolver: Option<Rc<dyn Resolver>>,
    /// By lower-case name; a port of 0 stands for every port.
    pub(crate) overrides: HashMap<(String, u16), Vec<SocketAddr>>,
    pub(crate) filter: Option<AddressFilter>,
}

/// Whether an address must pass the session's filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filtered {
    Yes,
    No,
}

/// More addresses of one name are not tried.
const MAX_ADDRESSES: usize = 64;

impl Names {
    pub(crate) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    pub(crate) async fn find(
        &self,
        host: &str,
        port: u16,
        filtered: Filtered,
        progress: &mut Progress,
    ) -> Result<Vec<SocketAddr>> {
        let mut addresses = match self.overridden(host, port) {
            Some(addresses) => addresses,
            None if host.parse::<IpAddr>().is_ok() => dns::lookup(host, port).await.map_err(failed)?,
            None => self.look_up(host, port, progress).await.map_err(failed)?,
        };
        addresses.truncate(MAX_ADDRESSES);
        if let Some(filter) = self.filter.as_ref().filter(|_| filtered == Filtered::Yes) {
            let found = std::mem::take(&mut addresses);
            let (permitted, denied): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| filter.permits(address.ip()));
            if permitted.is_empty() {
                let denied: Vec<String> = denied.iter().map(|address| address.ip().to_string()).collect();
                let why = format!("{host} is {}, which the address filter denies", denied.join(", "));
                return Err(Error::new(Kind::Denied).with_source(why));
            }
            addresses = permitted;
        }
        progress.tell(&Event::DnsEnd { host, addresses: &addresses });
        Ok(addresses)
    }

    /// Waits until the system would be asked for `host` at once, if it is the system that is asked.
    pub(crate) async fn turn(&self, host: &str, port: u16, progress: &mut Progress) {
        if self.resolver.is_none() && host.parse::<IpAddr>().is_err() && self.overridden(host, port).is_none()
        {
            let began = rt::now();
            self.cache.turn(host).await;
            if rt::now() > began {
                trace::add(&mut progress.timings.dns, began);
            }
        }
    }

    fn overridden(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if self.overrides.is_empty() {
            return None;
        }
        let name = host.to_ascii_lowercase();
        let found = self.overrides.get(&(name.clone(), port)).or_else(|| self.overrides.get(&(name, 0)))?;
        let with_port = |address: &SocketAddr| match address.port() {
            0 => SocketAddr::new(address.ip(), port),
            _ => *address,
        };
        Some(found.iter().map(with_port).collect())
    }

    async fn look_up(&self, host: &str, port: u16, progress: &mut Progress) -> io::Result<Vec<SocketAddr>> {
        if let Some(known) = self.cache.known(host, port) {
            progress.tell(&Event::DnsCacheHit { host });
            return Ok(known);
        }
        let began = rt::now();
        progress.tell(&Event::DnsStart { host });
        let found = match &self.resolver {
            None => self.cache.lookup(host, port).await?,
            Some(resolver) => {
                let ask = || {
                    let (resolver, host) = (resolver.clone(), host.to_owned());
                    async move {
                        let found = resolver.resolve(&host, port).await?;
                        match found.is_empty() {
                            true => Err(io::Error::new(
                                io::ErrorKind::NotFound,
                                format!("cannot resolve {host}: it has no address"),
                            )),
                            false => Ok(found),
                        }
                    }
                };
                self.cache.lookup_with(host, port, ask).await?
            }
        };
        trace::add(&mut progress.timings.dns, began);
        Ok(found)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(Kind::Connect).with_source(error)
}
