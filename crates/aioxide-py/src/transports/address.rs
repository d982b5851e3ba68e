//! Socket addresses as Python's `socket` module shows them.

use aioxide_core::sys::socket::{Address, AddressParts};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The address as `getsockname` and the like return it; `None` for a family that only Python's socket module knows.
pub(crate) fn address_to_python(py: Python<'_>, address: &Address) -> PyResult<Option<Py<PyAny>>> {
    Ok(Some(match address.parts() {
        AddressParts::V4(ip, port) => (ip.to_string(), port).into_py_any(py)?,
        AddressParts::V6(ip, port, flow, scope) => (v6_text(&ip), port, flow, scope).into_py_any(py)?,
        AddressParts::Unix(path) if path.first() == Some(&0) => PyBytes::new(py, &path).into_py_any(py)?,
        AddressParts::Unix(path) => {
            use std::os::unix::ffi::OsStrExt;
            std::ffi::OsStr::from_bytes(&path).into_py_any(py)?
        }
        AddressParts::Other => return Ok(None),
    }))
}

/// As `inet_ntop` writes it: Rust prints only mapped addresses in dotted form, libc also the compatible ones.
fn v6_text(ip: &std::net::Ipv6Addr) -> String {
    let segments = ip.segments();
    if segments[..6] == [0; 6] && segments[6] != 0 {
        let [.., a, b, c, d] = ip.octets();
        return format!("::{a}.{b}.{c}.{d}");
    }
    ip.to_string()
}
