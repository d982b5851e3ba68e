//! How transports are made from sockets.

use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::Confined;
use crate::kernel::LoopCore;
use crate::transports::{Connection, ConnectionSocket, StreamTransport, Transports};

#[pymethods]
impl LoopCore {
    /// The transports by descriptor.
    #[getter(_transports)]
    fn transports(&self) -> Transports {
        Transports(Confined::new(Rc::clone(&self.state)))
    }

    /// Refuses a descriptor that a transport uses.
    fn _ensure_fd_no_transport(&self, fd: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = fd.py();
        let number = match fd.extract() {
            Ok(number) => number,
            Err(_) => fd
                .call_method0(intern!(py, "fileno"))
                .and_then(|number| number.extract())
                .map_err(|_| PyValueError::new_err(format!("Invalid file object: {fd:?}")))?,
        };
        self.state.transports.ensure_unused(py, number, fd)
    }

    /// Makes the transport of a connected socket.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None, context=None))]
    fn _make_stream_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
        server: Option<Bound<'py, PyAny>>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get()._ensure_fd_no_transport(&sock)?;
        let socket = ConnectionSocket::Python(sock);
        StreamTransport::make(slf, Connection { socket, protocol, waiter, extra, server, context })
    }
}
