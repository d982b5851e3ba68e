//! The base of Python's `ClientResponse`: head, body, and what is made of them when it is asked for.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide_http::{Bytes, HeaderMap, Response as Answer, Timings, Version, header};
use aioxide_pyo3::into_awaitable;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::arguments;
use crate::errors;
use crate::local::Local;
use crate::ready::{Ready, ready};
use crate::source::Source;
use crate::upload::Upload;
use crate::whole::Whole;

/// `ClientResponse` derives from it; made empty, filled when the head of the answer is there.
#[pyclass(subclass, frozen, weakref, module = "aioxide._aioxide", name = "_Response")]
pub(crate) struct Response {
    inner: Local<Inner>,
}

#[derive(Default)]
struct Inner {
    head: OnceCell<Head>,
    /// Taken out while it is polled, as that may call Python: the body of the request may be Python's.
    answer: Cell<Option<Source>>,
    /// Somebody has it in hands just now.
    is_polled: Cell<bool>,
    is_closed: Cell<bool>,
    /// Who waits for a piece of the body, and is to be told when it is given up.
    waiting: RefCell<Option<Waker>>,
    /// Somebody reads, and waits or is about to.
    is_read: Cell<bool>,
    /// The whole body, once it was read.
    body: RefCell<Option<Py<PyBytes>>>,
    /// The body is read by pieces: Python's `StreamReader` has some of it.
    is_streamed: Cell<bool>,
    /// What `headers` and `raw_headers` have made.
    headers: OnceCell<Py<PyAny>>,
    raw_headers: OnceCell<Py<PyTuple>>,
    /// The most that a line of the head, the value of a header, and their number may be; aiohttp's own where they are not set.
    head_limits: Cell<Option<(usize, usize, usize)>>,
    /// Of a plain request.
    session: OnceCell<Py<PyAny>>,
    /// As they were when the body had come.
    timings: Cell<Timings>,
}

/// What stays when the body has gone.
struct Head {
    status: u16,
    version: (u8, u8),
    reason: Vec<u8>,
    headers: HeaderMap,
    url: String,
}

impl Response {
    /// Takes the answer in.
    ///
    /// # Errors
    /// The text of why its head is refused.
    pub(crate) fn fill(&self, mut answer: Answer) -> PyResult<Result<(), String>> {
        let inner = self.inner.get()?;
        if let Err(why) = check(&answer, inner.head_limits.get().unwrap_or(HEAD_LIMITS)) {
            return Ok(Err(why));
        }
        let head = Head {
            status: answer.status().as_u16(),
            version: match answer.version() {
                Version::HTTP_10 => (1, 0),
                Version::HTTP_2 => (2, 0),
                _ => (1, 1),
            },
            reason: answer.reason().to_vec(),
            headers: std::mem::take(answer.headers_mut()),
            url: answer.url().as_str().to_owned(),
        };
        if inner.head.set(head).is_err() {
            return Err(PyRuntimeError::new_err("the response has its answer already"));
        }
        inner.answer.set(Some(Source::Received(Box::new(answer))));
        Ok(Ok(()))
    }

    /// Says whose request it answers.
    pub(crate) fn belong_to(&self, session: Py<PyAny>) -> PyResult<()> {
        // It belongs to one session for good.
        let _ = self.inner.get()?.session.set(session);
        Ok(())
    }

    fn head(&self) -> PyResult<&Head> {
        self.inner
            .get()?
            .head
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("the response has not been started"))
    }

    /// The status and whether there are cookies, for who decides what is next.
    pub(crate) fn looks(&self) -> PyResult<(u16, bool)> {
        let head = self.head()?;
        Ok((head.status, head.headers.contains_key(header::SET_COOKIE)))
    }

    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<PyResult<Result<Option<Bytes>, aioxide_http::Error>>> {
        let inner = match self.inner.get() {
            Ok(inner) => inner,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let Some(mut answer) = inner.answer.take() else {
            if inner.is_polled.get() {
                let message = "the response's body is being read already";
                return Poll::Ready(Err(PyRuntimeError::new_err(message)));
            }
            return Poll::Ready(Ok(Ok(None)));
        };
        inner.is_polled.set(true);
        let polled = answer.poll_chunk(cx);
        inner.is_polled.set(false);
        if matches!(polled, Poll::Ready(Ok(Ok(None)))) {
            inner.timings.set(answer.timings());
        }
        if !inner.is_closed.get() && !matches!(polled, Poll::Ready(Ok(Ok(None) | Err(_)) | Err(_))) {
            inner.answer.set(Some(answer));
        }
        if polled.is_pending()
            && !inner.waiting.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            let before = inner.waiting.replace(Some(cx.waker().clone()));
            drop(before);
        }
        polled
    }

    /// How long the body is, where that is known.
    fn length_to_come(&self) -> PyResult<Option<u64>> {
        let inner = self.inner.get()?;
        let answer = inner.answer.take();
        let length = answer.as_ref().and_then(|answer| answer.remaining_length());
        inner.answer.set(answer);
        Ok(length)
    }

    fn close_now(&self) -> PyResult<()> {
        let inner = self.inner.get()?;
        inner.is_closed.set(true);
        drop(inner.answer.take());
        if let Some(waker) = inner.waiting.take() {
            waker.wake();
        }
        Ok(())
    }
}

/// aiohttp's: `max_line_size`, `max_field_size`, `max_headers`.
const HEAD_LIMITS: (usize, usize, usize) = (8190, 8190, 128);

fn check(answer: &Answer, (line, field, count): (usize, usize, usize)) -> Result<(), String> {
    if answer.reason().len() > line {
        return Err(format!("Got more than {line} bytes when reading the status line"));
    }
    if answer.headers().len() > count {
        return Err(format!("Got more than {count} headers"));
    }
    match answer.headers().iter().find(|(name, value)| name.as_str().len() + value.len() > field) {
        Some((name, _)) => Err(format!("Got more than {field} bytes when reading the header {name}")),
        None => Ok(()),
    }
}

/// Only one at a time reads: there is one waker for the body.
struct Turn<'a> {
    inner: &'a Inner,
}

impl<'a> Turn<'a> {
    fn begin(response: &'a Response) -> PyResult<Self> {
        let inner = response.inner.get()?;
        if inner.is_read.replace(true) {
            let message = "the body is read while another coroutine is already waiting for incoming data";
            return Err(PyRuntimeError::new_err(message));
        }
        Ok(Self { inner })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inner.is_read.set(false);
    }
}

/// Closes the response unless its reading came to an end.
struct Reading {
    response: Py<Response>,
    is_over: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_over {
            // In another thread there is nothing to be closed: the future is dropped on its own.
            let _ = self.response.get().close_now();
        }
    }
}

async fn read_all(response: Py<Response>) -> PyResult<Py<PyBytes>> {
    let mine = Python::attach(|py| response.clone_ref(py));
    let _turn = Turn::begin(mine.get())?;
    if let Some(body) = mine.get().inner.get()?.body.borrow().as_ref() {
        // Another one has read it since the call.
        return Ok(Python::attach(|py| body.clone_ref(py)));
    }
    let mut reading = Reading { response, is_over: false };
    let mut whole = Whole::of_length(mine.get().length_to_come()?);
    loop {
        let this = reading.response.get();
        match poll_fn(|cx| this.poll_chunk(cx)).await? {
            Ok(Some(piece)) => whole.push(piece),
            Ok(None) if this.inner.get()?.is_closed.get() => {
                return Err(Python::attach(|py| errors::closed(py, reading.response.bind(py))));
            }
            Ok(None) => break,
            Err(error) => {
                return Err(Python::attach(|py| {
                    errors::exception(py, reading.response.bind(py), &error, true)
                }));
            }
        }
    }
    reading.is_over = true;
    Python::attach(|py| {
        let whole = whole.finish(py)?;
        let inner = reading.response.get().inner.get()?;
        drop(inner.body.replace(Some(whole.clone().unbind())));
        Ok(whole.unbind())
    })
}

#[pymethods]
impl Response {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self { inner: Local::new(Inner::default()) }
    }

    /// The session of a plain request; else None.
    #[getter]
    fn _plain_session(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.inner.get()?.session.get().map(|session| session.clone_ref(py)))
    }

    /// Takes an answer that Python has made: its body is an asynchronous iterator of bytes, or None.
    fn _answer(
        &self,
        status: u16,
        reason: Vec<u8>,
        headers: &Bound<'_, PyList>,
        url: String,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let inner = self.inner.get()?;
        let headers = arguments::headers(headers)?;
        let head = Head { status, version: (1, 1), reason, headers, url };
        if inner.head.set(head).is_err() {
            return Err(PyRuntimeError::new_err("the response has its answer already"));
        }
        inner.answer.set(body.map(|body| Source::Made(Upload::new(body))));
        Ok(())
    }

    /// The status, as a number.
    #[getter]
    fn status(&self) -> PyResult<u16> {
        Ok(self.head()?.status)
    }

    /// The words behind the status.
    #[getter]
    fn reason<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text_of(py, &self.head()?.reason)
    }

    #[getter]
    fn _version(&self) -> PyResult<(u8, u8)> {
        Ok(self.head()?.version)
    }

    /// The URL as it was asked for, without its fragment.
    #[getter]
    fn _url_text(&self) -> PyResult<&str> {
        Ok(&self.head()?.url)
    }

    #[getter]
    fn _is_started(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.head.get().is_some())
    }

    /// Whether the status is under 400.
    #[getter]
    fn ok(&self) -> PyResult<bool> {
        Ok(self.head()?.status < 400)
    }

    /// The headers, as they came, in bytes.
    #[getter]
    fn raw_headers(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        let inner = self.inner.get()?;
        if let Some(made) = inner.raw_headers.get() {
            return Ok(made.clone_ref(py));
        }
        let head = self.head()?;
        let pairs = head.headers.iter().map(|(name, value)| {
            let name = title(name.as_str());
            (PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value.as_bytes()))
        });
        let made = PyTuple::new(py, pairs.collect::<Vec<_>>())?.unbind();
        Ok(inner.raw_headers.get_or_init(|| made).clone_ref(py))
    }

    /// The headers: a case-insensitive multidict, made at the first look.
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let inner = self.inner.get()?;
        if let Some(made) = inner.headers.get() {
            return Ok(made.clone_ref(py));
        }
        let head = self.head()?;
        let pairs = PyList::empty(py);
        for (name, value) in &head.headers {
            pairs.append((title(name.as_str()), text_of(py, value.as_bytes())?))?;
        }
        let made = MAKE.import(py, "aioxide.http.headers", "proxy")?.call1((pairs,))?.unbind();
        Ok(inner.headers.get_or_init(|| made).clone_ref(py))
    }

    /// The first value of a header, without making the multidict.
    fn _header<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.head()?.headers.get(name) {
            Some(value) => text_of(py, value.as_bytes()).map(Some),
            None => Ok(None),
        }
    }

    /// All values of a header, without making the multidict.
    fn _header_values<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.head()?.headers.get_all(name).iter().map(|value| text_of(py, value.as_bytes())).collect()
    }

    /// The whole body, once it was read; else None.
    #[getter]
    fn _body(&self, py: Python<'_>) -> PyResult<Option<Py<PyBytes>>> {
        Ok(self.inner.get()?.body.borrow().as_ref().map(|body| body.clone_ref(py)))
    }

    #[setter(_body)]
    fn set_body(&self, body: Option<Py<PyBytes>>) -> PyResult<()> {
        let before = self.inner.get()?.body.replace(body);
        drop(before);
        Ok(())
    }

    fn _set_head_limits(&self, line: usize, field: usize, count: usize) -> PyResult<()> {
        self.inner.get()?.head_limits.set(Some((line, field, count)));
        Ok(())
    }

    /// How long each phase took, in seconds: `queue`, `dns`, `connect`, `tls`, `first_byte`, `body`; None for one that was not needed,
    /// or is not over.
    #[getter]
    fn timings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.inner.get()?;
        let answer = inner.answer.take();
        if let Some(answer) = &answer {
            inner.timings.set(answer.timings());
        }
        inner.answer.set(answer);
        let timings = inner.timings.get();
        let made = PyDict::new(py);
        let seconds = |duration: Duration| duration.as_secs_f64();
        made.set_item("queue", seconds(timings.queue))?;
        made.set_item("dns", timings.dns.map(seconds))?;
        made.set_item("connect", timings.connect.map(seconds))?;
        made.set_item("tls", timings.tls.map(seconds))?;
        made.set_item("first_byte", seconds(timings.first_byte))?;
        made.set_item("body", timings.body.map(seconds))?;
        Ok(made)
    }

    #[getter]
    fn _is_streamed(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.is_streamed.get())
    }

    fn _stream(&self) -> PyResult<()> {
        self.inner.get()?.is_streamed.set(true);
        Ok(())
    }

    /// Whether nothing is left to read, or ever will be.
    #[getter]
    fn _is_over(&self) -> PyResult<bool> {
        let inner = self.inner.get()?;
        if inner.is_polled.get() {
            return Ok(false);
        }
        let answer = inner.answer.take();
        let is_over = answer.as_ref().is_none_or(|answer| answer.is_complete());
        inner.answer.set(answer);
        Ok(is_over)
    }

    /// An awaitable of the whole body, which is kept.
    fn read<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let inner = slf.get().inner.get()?;
        if inner.is_streamed.get() || inner.is_closed.get() {
            return slf.call_method0("_read_rest");
        }
        if let Some(body) = inner.body.borrow().as_ref().map(|body| body.clone_ref(py)) {
            return into_awaitable(py, async move { Ok(body) });
        }
        into_awaitable(py, read_all(slf.clone().unbind()))
    }

    /// An awaitable of the next piece of the body: bytes, None at the end.
    fn _chunk<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let response = slf.clone().unbind();
        into_awaitable(slf.py(), async move {
            let this = response.get();
            let _turn = Turn::begin(this)?;
            let next = poll_fn(|cx| this.poll_chunk(cx)).await?;
            Python::attach(|py| match next {
                Ok(Some(piece)) => Ok(Some(PyBytes::new(py, &piece).unbind())),
                Ok(None) => Ok(None),
                Err(error) => Err(errors::exception(py, response.bind(py), &error, true)),
            })
        })
    }

    /// The next piece of the body if it is here already; None if not, or at the end.
    fn _chunk_now<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = slf.py();
        if slf.get().inner.get()?.is_read.get() {
            // It would take the place of who waits.
            return Ok(None);
        }
        let mut cx = Context::from_waker(Waker::noop());
        match slf.get().poll_chunk(&mut cx) {
            Poll::Pending => Ok(None),
            Poll::Ready(next) => match next? {
                Ok(piece) => Ok(piece.map(|piece| PyBytes::new(py, &piece))),
                Err(error) => Err(errors::exception(py, slf, &error, true)),
            },
        }
    }

    /// Gives the connection back, or closes it when too much of the body is left.
    fn _release(&self) -> PyResult<()> {
        self.close_now()
    }

    #[getter]
    fn _is_closed(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.is_closed.get())
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.clone().unbind();
        into_awaitable(slf.py(), async move { Ok(this) })
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<Py<Ready>> {
        slf.get().close_now()?;
        ready(slf.py())
    }
}

/// As aiohttp has it: UTF-8, with what is none as surrogates.
pub(crate) fn text_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogateescape")),
    }
}

/// `content-type` as servers write it.
fn title(name: &str) -> String {
    let mut title = String::with_capacity(name.len());
    let mut is_first = true;
    for letter in name.chars() {
        title.push(if is_first { letter.to_ascii_uppercase() } else { letter });
        is_first = letter == '-';
    }
    title
}
