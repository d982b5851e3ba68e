//! A resolver that Python has written.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use aioxide_pyo3::await_python;
use pyo3::prelude::*;

/// Calls `resolver.resolve(host, port, family)`, which is a coroutine function as aiohttp's are.
pub(crate) struct Resolver {
    pub(crate) resolver: Py<PyAny>,
    pub(crate) family: i32,
}

impl aioxide_http::Resolver for Resolver {
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
        let started = Python::attach(|py| {
            let resolver = self.resolver.bind(py);
            let arguments = (host, port);
            let family = [("family", self.family)];
            let keywords = pyo3::types::IntoPyDict::into_py_dict(family, py)?;
            resolver.call_method("resolve", arguments, Some(&keywords)).map(|found| await_python(found))
        });
        Box::pin(async move {
            let found = started.map_err(io::Error::other)?.await.map_err(io::Error::other)?;
            Python::attach(|py| addresses(found.bind(py))).map_err(io::Error::other)
        })
    }
}

/// Of a list of dicts with `host` (an address) and `port`.
fn addresses(found: &Bound<'_, PyAny>) -> PyResult<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for entry in found.try_iter()? {
        let entry = entry?;
        let host: String = entry.get_item("host")?.extract()?;
        let port: u16 = entry.get_item("port")?.extract()?;
        let address: IpAddr = host.parse().map_err(|_| {
            pyo3::exceptions::PyValueError::new_err(format!(
                "the resolver's answer {host:?} is not an address"
            ))
        })?;
        addresses.push(SocketAddr::new(address, port));
    }
    Ok(addresses)
}
