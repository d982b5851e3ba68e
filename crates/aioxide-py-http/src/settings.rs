//! What a connector is told: limits, addresses, names. The keys are those of `aioxide.http.connector`.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use aioxide_http::{AddressFilter, Error, Proxies, Proxy, Session, SessionBuilder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::resolver::Resolver;
use crate::tls::Tls;

/// The value of a key; `None` where it is missing or None.
pub(crate) fn setting<'py, T>(settings: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py>,
    for<'a> PyErr: From<<T as FromPyObject<'a, 'py>>::Error>,
{
    match settings.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract()?)),
        _ => Ok(None),
    }
}

fn duration(seconds: f64) -> Duration {
    // What no clock can count has no end.
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// What a head may be at most; `ClientSession` has narrower limits for its lines and their number.
const MAX_HEAD: usize = 256 * 1024;

/// A session to be.
pub(crate) fn prepare(settings: &Bound<'_, PyDict>) -> PyResult<SessionBuilder> {
    let mut builder =
        Session::builder().title_case_headers(true).max_header_size(MAX_HEAD).proxies(Proxies::none());
    if let Some(limit) = setting::<usize>(settings, "limit")? {
        builder = builder.limit(limit);
    }
    if let Some(limit) = setting::<usize>(settings, "limit_per_host")? {
        builder = builder.limit_per_host(limit);
    }
    if let Some(seconds) = setting::<f64>(settings, "keepalive_timeout")? {
        builder = builder.idle_timeout(duration(seconds));
    }
    if let Some(agent) = setting::<String>(settings, "user_agent")? {
        builder = builder.user_agent(&agent);
    }
    if let Some(yes) = setting::<bool>(settings, "http2")? {
        builder = builder.http2(yes);
    }
    if let Some(path) = setting::<String>(settings, "path")? {
        builder = builder.unix_socket(path);
    }
    if let Some(address) = setting::<IpAddr>(settings, "local_address")? {
        builder = builder.local_address(address);
    }
    if let Some(setup) = setting::<Py<PyAny>>(settings, "socket_setup")? {
        builder = builder.socket_setup(move |socket| {
            let number = socket.as_raw_fd();
            Python::attach(|py| match setup.call1(py, (number,)) {
                Ok(_) => Ok(()),
                Err(error) => Err(io_error(py, error)),
            })
        });
    }
    if let Some(seconds) = setting::<f64>(settings, "happy_eyeballs_delay")? {
        builder = builder.happy_eyeballs_delay(duration(seconds));
    }
    if let Some((resolver, family)) = setting::<(Py<PyAny>, i32)>(settings, "resolver")? {
        builder = builder.resolver(Resolver { resolver, family });
    }
    if let Some(seconds) = setting::<f64>(settings, "ttl_dns_cache")? {
        builder = builder.dns_ttl(duration(seconds));
    }
    match filter(settings)? {
        Some(filter) => Ok(builder.address_filter(filter)),
        None => Ok(builder),
    }
}

/// What Python raised, with its number where it has one.
fn io_error(py: Python<'_>, error: PyErr) -> io::Error {
    let errno = error.value(py).getattr("errno").and_then(|errno| errno.extract::<i32>());
    errno.map_or_else(|_| io::Error::other(error), io::Error::from_raw_os_error)
}

/// `deny` and `allow` are lists of networks; `private` among the denied stands for all that is not public.
fn filter(settings: &Bound<'_, PyDict>) -> PyResult<Option<AddressFilter>> {
    let wrong = |error: Error| PyValueError::new_err(errors::text(&error));
    let deny = setting::<Vec<String>>(settings, "deny")?.unwrap_or_default();
    let allow = setting::<Vec<String>>(settings, "allow")?.unwrap_or_default();
    if deny.is_empty() && allow.is_empty() {
        return Ok(None);
    }
    let mut filter = match () {
        () if deny.iter().any(|network| network == "private") => AddressFilter::deny_private(),
        () if deny.is_empty() => AddressFilter::deny_all(),
        () => AddressFilter::allow_all(),
    };
    for network in deny.iter().filter(|network| *network != "private") {
        filter = filter.deny(network).map_err(wrong)?;
    }
    for network in &allow {
        filter = filter.allow(network).map_err(wrong)?;
    }
    Ok(Some(filter))
}

/// Its URL, name and password, headers, and how TLS to it is made.
pub(crate) type ProxyParts = (String, Option<(String, String)>, Vec<(String, String)>, Option<Py<Tls>>);

/// # Errors
/// ValueError: a URL or a header that cannot be.
pub(crate) fn proxy((url, login, headers, tls): ProxyParts) -> PyResult<Proxy> {
    let wrong = |error: Error| PyValueError::new_err(errors::text(&error));
    let mut proxy = Proxy::new(&url).map_err(wrong)?;
    if let Some((user, password)) = login {
        proxy = proxy.basic_auth(&user, &password).map_err(wrong)?;
    }
    for (name, value) in headers {
        proxy = proxy.header(name, value).map_err(wrong)?;
    }
    if let Some(tls) = tls {
        proxy = proxy.tls(tls.get().settings()?);
    }
    Ok(proxy)
}
