//! What needs not be waited for: an awaitable that is over at once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// `await` of it returns None at once.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_Ready")]
pub(crate) struct Ready;

#[pymethods]
impl Ready {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[expect(clippy::unused_self, reason = "a method")]
    fn __next__(&self) -> Option<()> {
        None
    }
}

/// The one instance.
pub(crate) fn ready(py: Python<'_>) -> PyResult<Py<Ready>> {
    static ONE: PyOnceLock<Py<Ready>> = PyOnceLock::new();
    ONE.get_or_try_init(py, || Py::new(py, Ready)).map(|one| one.clone_ref(py))
}
