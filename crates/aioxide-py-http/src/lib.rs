//! The part of `aioxide.http` that runs per request: aiohttp's session over `aioxide-http`, on the loop's own thread.
//!
//! ```text
//! ClientSession.get(url)      session     plain requests: one Rust future from the call to the response
//!   anything special           └─> Python's `_request`, which calls `_exchange` for each hop
//! _Connector._exchange        connector   one exchange: a request with all its headers, an answer
//! ClientResponse.read()       response    the body, while it comes; Python's StreamReader takes pieces
//!                             source      where they come from;  whole: they as one object
//! ```
//!
//! Both ways end in the same Rust future of `aioxide-http`, polled inside of the task that awaits. What is looked at rarely
//! (headers as a multidict, URLs, cookies, exceptions) is made by Python when somebody looks.

mod arguments;
mod connector;
mod errors;
mod fast;
mod local;
mod observer;
mod ready;
mod resolver;
mod response;
mod session;
mod settings;
mod source;
mod tls;
mod upload;
mod websocket;
mod whole;

use pyo3::prelude::*;

/// Adds the classes to the extension's module.
///
/// # Errors
/// MemoryError.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("_http_version", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<connector::Connector>()?;
    module.add_class::<fast::FastRequest>()?;
    module.add_class::<response::Response>()?;
    module.add_class::<ready::Ready>()?;
    module.add("_ready", ready::ready(module.py())?)?;
    module.add_class::<tls::Tls>()?;
    module.add_class::<websocket::WebSocket>()?;
    module.add_class::<session::Session>()
}
