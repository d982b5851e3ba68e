//! Who is told that a descriptor is ready.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;

use aioxide_core::Token;
use pyo3::prelude::*;
use pyo3::types::PyBool;
use pyo3::{PyTraverseError, PyVisit};

use super::handle::Handle;
use crate::ffi::{Object, Owned};

/// What a watched descriptor became ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Who is told that a descriptor is ready.
pub(crate) enum Watcher {
    /// `add_reader`, `add_writer`.
    Callback(Handle),
    /// A transport, by far the most frequent.
    Transport { transport: Owned, direction: Direction },
    /// A listening socket, a `sock_*` method.
    Other(Rc<dyn Watch>),
}

/// A watcher that does its work itself.
pub(crate) trait Watch: Any {
    /// The descriptor that is watched by `token` is ready. `Err` only for what must leave the loop.
    fn on_event(&self, py: Python<'_>, token: Token) -> PyResult<()>;
    /// Shows the collector what it holds.
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

impl Watcher {
    fn share(&self) -> Self {
        match self {
            Self::Callback(handle) => Self::Callback(handle.clone()),
            Self::Transport { transport, direction } => {
                Self::Transport { transport: transport.clone(), direction: *direction }
            }
            Self::Other(watch) => Self::Other(Rc::clone(watch)),
        }
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Callback(handle) => handle.traverse(visit),
            Self::Transport { transport, .. } => transport.traverse(visit),
            Self::Other(watch) => watch.traverse(visit),
        }
    }
}

/// A place in the table; the generation tells a token of a former user.
struct Place {
    generation: u32,
    watcher: Option<Watcher>,
}

/// The watchers of a loop by token, and the files by which some of them are known.
#[derive(Default)]
pub(crate) struct Watchers {
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<u32>>,
    /// The file objects by which descriptors are watched, where it is not their number; held as asyncio's selector holds them.
    files: RefCell<HashMap<RawFd, Owned>>,
}

fn index_of(token: Token) -> usize {
    (token.0 & 0xffff_ffff) as usize
}

impl Watchers {
    /// Puts a watcher into the table; the token names it.
    pub(crate) fn add(&self, watcher: Watcher) -> Token {
        let mut places = self.places.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None => {
                places.push(Place { generation: 0, watcher: None });
                (places.len() - 1) as u32
            }
        };
        let place = &mut places[index as usize];
        place.watcher = Some(watcher);
        Token(u64::from(place.generation) << 32 | u64::from(index))
    }

    /// Takes a watcher out; events of its that are queued already are dropped when their turn comes.
    pub(crate) fn remove(&self, token: Token) -> Option<Watcher> {
        let mut places = self.places.borrow_mut();
        let place = places.get_mut(index_of(token))?;
        if u64::from(place.generation) != token.0 >> 32 {
            return None;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.borrow_mut().push(index_of(token) as u32);
        place.watcher.take()
    }

    /// The watcher behind `token`, if it still is the one that the event was for.
    #[inline]
    pub(crate) fn get(&self, token: Token) -> Option<Watcher> {
        let places = self.places.borrow();
        let place = places.get(index_of(token))?;
        if u64::from(place.generation) != token.0 >> 32 {
            None
        } else {
            place.watcher.as_ref().map(Watcher::share)
        }
    }

    /// What `loop._selector` shows of a watcher: its handle, `True` if it has none; `None` where nobody watches.
    pub(crate) fn shown<'py>(&self, py: Python<'py>, token: Option<Token>) -> Bound<'py, PyAny> {
        let Some(token) = token else { return py.None().into_bound(py) };
        match self.places.borrow().get(index_of(token)).map(|place| &place.watcher) {
            Some(Some(Watcher::Callback(handle))) => handle.bind(py).to_owned(),
            _ => PyBool::new(py, true).to_owned().into_any(),
        }
    }

    /// The first watcher of the type `T` that `is_meant`; looks at those behind `tokens`, or at all.
    pub(crate) fn find<T: Watch>(
        &self,
        tokens: Option<&[Token]>,
        is_meant: impl Fn(&T) -> bool,
    ) -> Option<Rc<T>> {
        let places = self.places.borrow();
        let of_type = |place: &Place| match &place.watcher {
            Some(Watcher::Other(watch)) => {
                Rc::downcast::<T>(Rc::clone(watch) as Rc<dyn Any>).ok().filter(|watch| is_meant(watch))
            }
            _ => None,
        };
        match tokens {
            Some(tokens) => tokens.iter().find_map(|token| of_type(places.get(index_of(*token))?)),
            None => places.iter().find_map(of_type),
        }
    }

    /// A descriptor has begun to be watched by `file`.
    #[cold]
    pub(crate) fn remember_file(&self, fd: RawFd, file: &Object) {
        self.files.borrow_mut().entry(fd).or_insert_with(|| file.own());
    }

    /// The descriptor that is watched by `file`.
    pub(crate) fn descriptor_of_file(&self, file: &Object) -> Option<RawFd> {
        self.files.borrow().iter().find_map(|(fd, known)| known.is(file).then_some(*fd))
    }

    /// Lets go of the file by which a descriptor was watched, unless `is_watched` says that it still is.
    pub(crate) fn forget_file(&self, fd: RawFd, is_watched: impl FnOnce() -> bool) {
        if !self.files.borrow().is_empty() && !is_watched() {
            let file = self.files.borrow_mut().remove(&fd);
            drop(file);
        }
    }

    /// Shows the collector what they hold.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for watcher in self.places.borrow().iter().filter_map(|place| place.watcher.as_ref()) {
            watcher.traverse(visit)?;
        }
        self.files.borrow().values().try_for_each(|file| file.traverse(visit))
    }

    /// Drops every watcher.
    pub(crate) fn clear(&self) {
        let places = self.places.take();
        self.free.borrow_mut().clear();
        let files = self.files.take();
        drop((places, files));
    }
}
