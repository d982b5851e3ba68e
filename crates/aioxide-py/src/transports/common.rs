//! What every kind of transport needs from asyncio, and how exceptions of user code are told apart and reported.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::ffi;
use crate::kernel::report::{call_handler, handling, leaves_the_loop};

/// asyncio logs the writes after the connection was lost from this one on.
pub(crate) const LOG_THRESHOLD_FOR_CONN_LOST_WRITES: u32 = 5;

/// How much asyncio reads at a time.
pub(crate) const MAX_READ_BYTES: usize = 256 * 1024;

macro_rules! imported {
    ($($(#[$doc:meta])* $name:ident = $module:literal . $attribute:literal;)*) => {
    $(
        $(#[$doc])*
        pub(crate) fn $name(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
            static CELL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let value = CELL.get_or_try_init(py, || {
                py.import($module)?.getattr($attribute).map(Bound::unbind)
            })?;
            Ok(value.bind(py))
        }
    )*

    /// Looks all of them up, but for what this interpreter was built without: while it ends, nothing can be imported.
    pub(crate) fn preload(py: Python<'_>) {
        $(let _ = $name(py);)*
    }
    };
}

imported! {
    /// asyncio's logger.
    logger = "asyncio.log"."logger";
    /// The class of protocols.
    base_protocol = "asyncio.protocols"."BaseProtocol";
    /// The class of the protocols that provide the memory to read into.
    buffered_protocol = "asyncio.protocols"."BufferedProtocol";
    /// What `get_extra_info("socket")` is wrapped in.
    transport_socket = "asyncio.trsock"."TransportSocket";
    /// The class of sockets.
    socket_class = "socket"."socket";
    /// asyncio's server.
    server_class = "asyncio.base_events"."Server";
    /// asyncio's stream transport.
    stream_class = "asyncio.selector_events"."_SelectorSocketTransport";
    /// asyncio's transport of a pipe's reading end.
    read_pipe_class = "asyncio.unix_events"."_UnixReadPipeTransport";
    /// asyncio's transport of a pipe's writing end.
    write_pipe_class = "asyncio.unix_events"."_UnixWritePipeTransport";
    /// asyncio's datagram transport.
    datagram_class = "asyncio.selector_events"."_SelectorDatagramTransport";
    /// asyncio's TLS protocol.
    ssl_protocol_class = "asyncio.sslproto"."SSLProtocol";
    /// asyncio's transport over it.
    tls_transport_class = "asyncio.sslproto"."_SSLProtocolTransport";
    /// What OpenSSL wants more bytes with.
    ssl_again_errors = "asyncio.sslproto"."SSLAgainErrors";
    /// TLS over memory BIOs.
    ssl_object_class = "ssl"."SSLObject";
    /// OpenSSL's session, behind an `SSLObject`.
    ssl_socket_class = "_ssl"."_SSLSocket";
    /// For `ResourceWarning`s.
    warn = "warnings"."warn";
}

/// The state of an `SSLProtocol` whose handshake is done.
pub(crate) fn wrapped_state(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static STATE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let state = STATE.get_or_try_init(py, || {
        let states = py.import("asyncio.sslproto")?.getattr("SSLProtocolState")?;
        states.getattr("WRAPPED").map(Bound::unbind)
    })?;
    Ok(state.bind(py))
}

/// Whether the system call is to be tried again when the descriptor is ready.
pub(crate) fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
}

/// Runs `call` in `context`.
pub(crate) fn in_context<T>(
    py: Python<'_>,
    context: &Py<PyAny>,
    call: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    ffi::enter_context(py, context)?;
    let result = call();
    let left = ffi::exit_context(py, context);
    let value = result?;
    left.map(|()| value)
}

/// Calls the loop's exception handler with asyncio's keys.
pub(crate) fn report(
    event_loop: &Bound<'_, PyAny>,
    message: &str,
    error: PyErr,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = transport.py();
    let exception = error.into_value(py);
    let context = PyDict::new(py);
    context.set_item(intern!(py, "message"), message)?;
    context.set_item(intern!(py, "exception"), &exception)?;
    context.set_item(intern!(py, "transport"), transport)?;
    context.set_item(intern!(py, "protocol"), protocol)?;
    call_handler(event_loop, &exception, &context)
}

/// Reports what a callback that asyncio would have queued with `call_soon` has raised, as its `Handle` does.
pub(crate) fn report_callback(
    event_loop: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    argument: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let py = callback.py();
    if leaves_the_loop(py, &error) {
        return Err(error);
    }
    let exception = error.into_value(py);
    let arguments = (callback, argument, &exception);
    handling(py, &exception, || event_loop.call_method1(intern!(py, "_report_callback"), arguments)).map(drop)
}

/// `futures._set_result_unless_cancelled`.
pub(crate) fn set_result_unless_cancelled(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = waiter.py();
    if !waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}

/// Whether `Server._attach` and `_detach` take the transport: they do since 3.13.
fn server_takes_transport(py: Python<'_>) -> PyResult<bool> {
    static TAKES: PyOnceLock<bool> = PyOnceLock::new();
    TAKES
        .get_or_try_init(py, || {
            let code = server_class(py)?.getattr("_attach")?.getattr("__code__")?;
            Ok(code.getattr("co_argcount")?.extract::<usize>()? == 2)
        })
        .copied()
}

/// Whether a transport that was never closed is taken out of its server's count: since 3.13.
pub(crate) fn detaches_on_finalize(py: Python<'_>) -> PyResult<bool> {
    server_takes_transport(py)
}

/// Counts the transport in its server.
pub(crate) fn server_attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    if server_takes_transport(py)? {
        server.call_method1(intern!(py, "_attach"), (transport,)).map(drop)
    } else {
        server.call_method0(intern!(py, "_attach")).map(drop)
    }
}

/// Takes the transport out of its server's count.
pub(crate) fn server_detach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    if server_takes_transport(py)? {
        server.call_method1(intern!(py, "_detach"), (transport,)).map(drop)
    } else {
        server.call_method0(intern!(py, "_detach")).map(drop)
    }
}
