//! How a connection is watched: which events it asks for, and what is done about one.

use std::cell::Cell;

use aioxide_core::Token;
use pyo3::intern;
use pyo3::prelude::*;

use super::common;
use super::stream::This;
use crate::ffi;
use crate::kernel::report::leaves_the_loop;
use crate::kernel::{Direction, Watcher, error};

impl This<'_, '_> {
    pub(super) fn add_reader(self, context: Py<PyAny>) -> PyResult<()> {
        self.core.reader_context.set(context.into());
        let token = self.watcher(Direction::Read);
        let set = self.core.state.core.reactor().set_reader(self.core.own_fd(), token);
        self.watched(&self.core.reader, token, set)
    }

    pub(super) fn start_reading(self) -> PyResult<()> {
        self.add_reader(self.callback_context()?)
    }

    pub(super) fn start_writing(self) -> PyResult<()> {
        self.core.writer_context.set(self.callback_context()?.into());
        let token = self.watcher(Direction::Write);
        let set = self.core.state.core.reactor().set_writer(self.core.own_fd(), token);
        self.watched(&self.core.writer, token, set)
    }

    fn watcher(self, direction: Direction) -> Token {
        self.core
            .state
            .watchers
            .add(Watcher::Transport { transport: self.transport.clone().into(), direction })
    }

    fn watched(
        self,
        place: &Cell<Option<Token>>,
        token: Token,
        set: std::io::Result<Option<Token>>,
    ) -> PyResult<()> {
        match set {
            Ok(before) => {
                place.set(Some(token));
                drop(before.and_then(|before| self.core.state.watchers.remove(before)));
                Ok(())
            }
            Err(error) => {
                drop(self.core.state.watchers.remove(token));
                Err(error::os_error(&error))
            }
        }
    }

    pub(super) fn stop_reading(self) {
        if let Some(token) = self.core.reader.take() {
            let reactor = self.core.state.core.reactor();
            // Unless the number is another's by now.
            if reactor.tokens(self.core.fd).0 == Some(token) {
                reactor.remove_reader(self.core.fd);
            }
            drop(self.core.state.watchers.remove(token));
        }
    }

    pub(super) fn stop_writing(self) {
        if let Some(token) = self.core.writer.take() {
            let reactor = self.core.state.core.reactor();
            if reactor.tokens(self.core.fd).1 == Some(token) {
                reactor.remove_writer(self.core.fd);
            }
            drop(self.core.state.watchers.remove(token));
        }
    }

    pub(super) fn on_event(self, direction: Direction) -> PyResult<()> {
        let py = self.py();
        let context = match direction {
            Direction::Read => &self.core.reader_context,
            Direction::Write => &self.core.writer_context,
        };
        let Some(context) = context.get() else { return Ok(()) };
        let entered = ffi::context::enter(&context);
        let result = match (&entered, direction) {
            (Err(_), _) => Err(PyErr::fetch(py)),
            (Ok(()), Direction::Read) => self.read_ready(),
            (Ok(()), Direction::Write) => self.write_ready(),
        };
        let left = if entered.is_ok() { ffi::context::exit(&context) } else { Ok(()) };
        let result = match (result, left) {
            (Ok(()), Err(raised)) => Err(ffi::raised::to_pyerr(py, raised)),
            (result, _) => result,
        };
        if let Err(error) = result { self.event_failed(direction, error) } else { Ok(()) }
    }

    #[cold]
    fn event_failed(self, direction: Direction, error: PyErr) -> PyResult<()> {
        let py = self.py();
        if leaves_the_loop(py, &error) {
            return Err(error);
        }
        let name = if direction == Direction::Read {
            intern!(py, "_read_ready")
        } else {
            intern!(py, "_write_ready")
        };
        let event_loop = self.core.state.python_loop(py)?;
        common::report_callback(&event_loop, &self.transport.getattr(name)?, &py.None().into_bound(py), error)
    }
}
