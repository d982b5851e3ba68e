//! What `aioxide.monitor` calls.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aioxide_monitor::protocol::{Refusal, SnapshotOptions};
use aioxide_monitor::schema::Program;
use aioxide_monitor::{Server, Source, chrome, clock, server};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::locked;
use crate::source::PythonSource;
use crate::watch::{CollectorWatch, Settings, Watchdog};
use crate::watched;

/// The monitor of this process.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_Monitor")]
#[derive(Debug)]
pub(crate) struct Monitor {
    source: Arc<PythonSource>,
    server: Mutex<Option<Server>>,
    watchdog: Mutex<Option<Watchdog>>,
}

#[pymethods]
impl Monitor {
    #[new]
    fn new(py: Python<'_>, name: String, runtime: String, version: String) -> PyResult<Self> {
        let program = Program {
            pid: std::process::id(),
            name,
            runtime,
            aioxide: version,
            monitored_since_unix_ms: clock::unix_ms(),
            ..Program::default()
        };
        let source = Arc::new(PythonSource::new(py, program)?);
        Ok(Self { source, server: Mutex::default(), watchdog: Mutex::default() })
    }

    /// Opens the socket, and returns where it is.
    #[pyo3(signature = (path=None))]
    fn serve(&self, path: Option<PathBuf>) -> PyResult<PathBuf> {
        let mut server = locked(&self.server);
        if server.is_some() {
            return Err(PyRuntimeError::new_err("the socket is open already"));
        }
        watched::begin();
        let started = Server::start(path.as_deref(), Arc::clone(&self.source) as Arc<dyn Source>)?;
        Ok(server.insert(started).path().to_owned())
    }

    /// Closes the socket.
    fn close(&self, py: Python<'_>) {
        let server = locked(&self.server).take();
        py.detach(|| drop(server));
        // Where a watchdog looks for deadlocks, its next look begins it again.
        watched::end();
    }

    /// The numbers of the socket's descriptors.
    fn descriptors(&self) -> Vec<i32> {
        locked(&self.server).as_ref().map_or_else(Vec::new, Server::descriptors)
    }

    /// A snapshot, as JSON.
    fn snapshot(&self, py: Python<'_>, stacks: bool, limit: Option<u32>) -> PyResult<String> {
        let options = SnapshotOptions { stacks, limit };
        // The text is made detached, too: that of 100 000 tasks takes a while.
        py.detach(|| json(server::snapshot(&*self.source, &options)))
    }

    /// The deadlocks, as JSON.
    fn deadlocks(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| json(server::deadlocks(&*self.source)))
    }

    /// How late the loops answer, as JSON.
    fn lag(&self) -> PyResult<String> {
        json(Ok(self.source.lag()))
    }

    /// The running loops and their numbers, as JSON.
    fn loops(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| json(self.source.loops()))
    }

    /// Begins to record what the running loops run, for at most so many seconds.
    fn record(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let length = duration(seconds)?;
        py.detach(|| self.source.record(length)).map_err(refused)
    }

    /// Ends that; what was recorded, as a trace of Chrome's.
    fn recorded<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let trace = py.detach(|| -> PyResult<Vec<u8>> {
            let mut trace = Vec::new();
            let timeline = server::timeline(&*self.source).map_err(refused)?;
            chrome::write(&timeline, &mut trace)?;
            Ok(trace)
        })?;
        Ok(PyBytes::new(py, &trace))
    }

    /// Starts the watchdog; `collector` has to be among `gc.callbacks` meanwhile.
    #[pyo3(signature = (limit, every, deadlocks, report, collector, *, beaten, leave))]
    #[expect(clippy::too_many_arguments, reason = "each is a setting, and aioxide.monitor alone calls it")]
    fn watch(
        &self,
        limit: f64,
        every: f64,
        deadlocks: bool,
        report: Py<PyAny>,
        collector: Py<CollectorWatch>,
        beaten: Option<Py<PyAny>>,
        leave: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let mut watchdog = locked(&self.watchdog);
        if watchdog.is_some() {
            return Err(PyRuntimeError::new_err("the watchdog runs already"));
        }
        let (limit, every) = (duration(limit)?, duration(every)?);
        if limit < Duration::from_millis(1) {
            return Err(PyValueError::new_err("a limit below a millisecond measures the monitor"));
        }
        let settings = Settings { limit, every, deadlocks, report, collector, beaten, leave };
        *watchdog = Some(Watchdog::start(Arc::clone(&self.source), settings)?);
        Ok(())
    }

    /// Ends the watchdog.
    fn unwatch(&self, py: Python<'_>) {
        let watchdog = locked(&self.watchdog).take();
        py.detach(|| {
            if let Some(mut watchdog) = watchdog {
                watchdog.stop();
            }
        });
    }

    /// What the collector is to call.
    #[staticmethod]
    fn collector_watch(py: Python<'_>) -> PyResult<Py<CollectorWatch>> {
        Py::new(py, CollectorWatch::new())
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{seconds} is no number of seconds")))
}

fn refused(refusal: Refusal) -> PyErr {
    PyRuntimeError::new_err(refusal.text)
}

fn json<T: serde::Serialize>(found: Result<T, Refusal>) -> PyResult<String> {
    let found = found.map_err(refused)?;
    serde_json::to_string(&found).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
