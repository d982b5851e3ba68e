//! The reactor: which descriptors are watched, for whom, and what a wait's events turn into.
//!
//! A descriptor is in one of three states:
//!
//! ```text
//! Vacant   nobody watches it
//! Level    callbacks: a token for reading, one for writing (asyncio's add_reader and add_writer, transports)
//! Edge     Rust I/O: a Registration with remembered readiness and the wakers that wait for it
//! ```
//!
//! * A level descriptor stays in the kernel's set when its last token goes: the next event that nobody wants takes it
//!   out. Re-arming after a removal is therefore one system call instead of two. The call is never left out, because
//!   the number may have been closed and opened anew meanwhile; the kernel's ENOENT tells, and it is added again.
//! * Each registration has a generation, which is part of the kernel's key, so an event of a closed descriptor whose
//!   duplicate is still open somewhere (fork, dup) is recognised. Such an event cannot be switched off by number: the
//!   kernel's set is then built anew. That is how a closed, still registered descriptor neither spins nor kills the loop.
//! * No borrow is alive while a waker runs.

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::LoopId;
use crate::patience::Patience;
use crate::readiness::Readiness;
use crate::sys::{Event, Interest, Selector, Trigger, is_open, wakeup_seen};

/// What a face gets back when a descriptor that it watches by callback is ready; its meaning is the face's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The key of the inbox's wake-up descriptor.
const WAKEUP_KEY: u64 = u64::MAX;

/// The table of watched descriptors, and the kernel's set behind it.
pub struct Reactor {
    /// None of one that no loop has.
    loop_id: Option<LoopId>,
    /// None once the loop is closed.
    selector: RefCell<Option<Selector>>,
    sources: RefCell<Vec<Source>>,
    wakeup_fd: Cell<RawFd>,
    next_generation: Cell<u32>,
    watched: Cell<usize>,
    patience: Patience,
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reactor").field("watched", &self.watched.get()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Source {
    generation: u32,
    /// What the kernel was last told; `NONE` with `in_kernel` cannot be (it would still report errors).
    armed: Interest,
    in_kernel: bool,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Vacant,
    Level {
        reader: Option<Token>,
        writer: Option<Token>,
    },
    Edge(Rc<Readiness>),
}

impl Source {
    fn wanted(&self) -> Interest {
        match &self.state {
            State::Vacant => Interest::NONE,
            State::Level { reader, writer } => {
                let mut wanted = Interest::NONE;
                if reader.is_some() {
                    wanted = wanted.union(Interest::READABLE);
                }
                if writer.is_some() {
                    wanted = wanted.union(Interest::WRITABLE);
                }
                wanted
            }
            State::Edge(_) => Interest::BOTH,
        }
    }

    fn trigger(&self) -> Trigger {
        if matches!(self.state, State::Edge(_)) { Trigger::Edge } else { Trigger::Level }
    }

    fn key(&self, fd: RawFd) -> u64 {
        u64::from(self.generation) << 32 | fd as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

fn open(selector: &Option<Selector>) -> io::Result<&Selector> {
    selector.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
}

impl Reactor {
    /// A reactor that watches nothing.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        Self::of_loop(None)
    }

    /// That of the loop with this name.
    pub(crate) fn of_loop(loop_id: Option<LoopId>) -> io::Result<Self> {
        Ok(Self {
            loop_id,
            selector: RefCell::new(Some(Selector::new()?)),
            sources: RefCell::new(Vec::new()),
            wakeup_fd: Cell::new(-1),
            next_generation: Cell::new(0),
            watched: Cell::new(0),
            patience: Patience::default(),
        })
    }

    /// Something was written or closed, or has begun to be watched: the kernel is asked in each of the next iterations,
    /// however long the loop has been busy. Faces that write by themselves call it.
    #[inline]
    pub fn expect_events(&self) {
        self.patience.lose();
    }

    /// How long a busy loop may go on before it asks the kernel.
    #[inline]
    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Watches the descriptor that ends waits.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC.
    pub fn watch_wakeup(&self, fd: RawFd) -> io::Result<()> {
        self.wakeup_fd.set(fd);
        open(&self.selector.borrow())?.add(fd, WAKEUP_KEY, Interest::READABLE, Trigger::Edge)
    }

    /// The selector's own descriptor (for `fork` checks and nesting in another loop); -1 once closed.
    pub fn selector_fd(&self) -> RawFd {
        self.selector.borrow().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// How many descriptors are watched.
    pub fn watched(&self) -> usize {
        self.watched.get()
    }

    /// Watches `fd` for reading; gives back the token that was there before.
    ///
    /// # Errors
    /// EBADF; EPERM for what cannot be watched, such as a regular file; `AlreadyExists` when a [`Registration`] has it.
    pub fn set_reader(&self, fd: RawFd, token: Token) -> io::Result<Option<Token>> {
        self.set(fd, token, Direction::Read)
    }

    /// Watches `fd` for writing; gives back the token that was there before.
    ///
    /// # Errors
    /// As [`set_reader`](Self::set_reader).
    pub fn set_writer(&self, fd: RawFd, token: Token) -> io::Result<Option<Token>> {
        self.set(fd, token, Direction::Write)
    }

    /// Stops watching `fd` for reading; the token that was there.
    pub fn remove_reader(&self, fd: RawFd) -> Option<Token> {
        self.remove(fd, Direction::Read)
    }

    /// Stops watching `fd` for writing; the token that was there.
    pub fn remove_writer(&self, fd: RawFd) -> Option<Token> {
        self.remove(fd, Direction::Write)
    }

    /// The tokens that watch `fd` now, for reading and for writing.
    pub fn tokens(&self, fd: RawFd) -> (Option<Token>, Option<Token>) {
        match self.sources.borrow().get(fd as usize).map(|source| &source.state) {
            Some(State::Level { reader, writer }) => (*reader, *writer),
            _ => (None, None),
        }
    }

    /// The watched descriptors, in ascending order.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let sources = self.sources.borrow();
        let watched = sources.iter().enumerate().filter(|(_, source)| !matches!(source.state, State::Vacant));
        watched.map(|(fd, _)| fd as RawFd).collect()
    }

    /// Forgets `fd` altogether; whoever is about to close a descriptor that was watched calls this first.
    pub fn forget(&self, fd: RawFd) {
        self.expect_events();
        let mut sources = self.sources.borrow_mut();
        let Some(source) = sources.get_mut(fd as usize) else { return };
        if source.in_kernel {
            // It fails only when the descriptor is closed already, and then the kernel has forgotten it as well.
            let _gone = self.selector.borrow().as_ref().map(|selector| selector.delete(fd));
        }
        if !matches!(source.state, State::Vacant) {
            self.watched.set(self.watched.get() - 1);
        }
        let before = std::mem::take(source);
        drop(sources);
        drop(before);
    }

    /// Watches `fd` edge-triggered for Rust I/O, until the registration is dropped (which must precede the close).
    ///
    /// # Errors
    /// EBADF, EPERM; `AlreadyExists` when the descriptor is watched already.
    pub fn register(self: &Rc<Self>, fd: RawFd) -> io::Result<Registration> {
        self.expect_events();
        let readiness = Rc::new(Readiness::default());
        {
            let mut sources = self.sources.borrow_mut();
            let source = self.source(&mut sources, fd)?;
            if !matches!(source.state, State::Vacant) {
                return Err(already_watched(fd));
            }
            source.state = State::Edge(Rc::clone(&readiness));
            self.watched.set(self.watched.get() + 1);
            if let Err(error) = self.arm(source, fd) {
                *source = Source::default();
                self.watched.set(self.watched.get() - 1);
                return Err(error);
            }
        }
        Ok(Registration { reactor: Rc::clone(self), readiness, fd })
    }

    /// The selector, for a wait that may last: borrowed before the face lets other threads in, given back after.
    pub(crate) fn selector(&self) -> Ref<'_, Option<Selector>> {
        self.selector.borrow()
    }

    /// Closes the kernel's set. What is still registered hears nothing any more; new watches are refused with EBADF.
    pub fn close(&self) {
        let selector = self.selector.take();
        drop(selector);
    }

    /// Turns events into calls of `fired` (callbacks) and wake-ups (Rust I/O), in the kernel's order.
    pub(crate) fn dispatch(&self, events: impl Iterator<Item = Event>, mut fired: impl FnMut(Token)) {
        let mut stale = false;
        for event in events {
            if event.key == WAKEUP_KEY {
                wakeup_seen(self.wakeup_fd.get());
                continue;
            }
            stale |= !self.dispatch_one(event, &mut fired);
        }
        if stale {
            self.rebuild();
        }
    }

    /// Handles one event; `false` if it belongs to no registration and could not be switched off.
    fn dispatch_one(&self, event: Event, fired: &mut impl FnMut(Token)) -> bool {
        let fd = (event.key & 0xffff_ffff) as RawFd;
        let mut sources = self.sources.borrow_mut();
        let Some(source) = sources.get_mut(fd as usize).filter(|source| source.key(fd) == event.key) else {
            return false;
        };
        let (mut read, mut write) = (None, None);
        let switched_off = match &source.state {
            State::Edge(readiness) => {
                let readiness = Rc::clone(readiness);
                drop(sources);
                readiness.set(event.ready, event.read_closed);
                return true;
            }
            State::Level { reader, writer } => {
                if event.ready.is_readable() {
                    read = *reader;
                }
                if event.ready.is_writable() {
                    write = *writer;
                }
                source.armed == source.wanted() || self.arm(source, fd).is_ok()
            }
            State::Vacant => self.arm(source, fd).is_ok(),
        };
        drop(sources);
        read.into_iter().chain(write).for_each(fired);
        switched_off
    }

    /// A number that no live registration has; with a descriptor, which is never negative, it cannot make `WAKEUP_KEY`.
    fn new_generation(&self) -> u32 {
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        generation
    }

    fn source<'a>(&self, sources: &'a mut Vec<Source>, fd: RawFd) -> io::Result<&'a mut Source> {
        let index = usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        if index >= sources.len() {
            // The table is as large as the largest descriptor, not as a number that somebody has made up.
            if !is_open(fd) {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            sources.resize_with(index + 1, Source::default);
        }
        let source = &mut sources[index];
        if matches!(source.state, State::Vacant) && !source.in_kernel {
            source.generation = self.new_generation();
        }
        Ok(source)
    }

    fn set(&self, fd: RawFd, token: Token, direction: Direction) -> io::Result<Option<Token>> {
        self.expect_events();
        let mut sources = self.sources.borrow_mut();
        let source = self.source(&mut sources, fd)?;
        let fresh = match source.state {
            State::Vacant => {
                source.state = State::Level { reader: None, writer: None };
                self.watched.set(self.watched.get() + 1);
                true
            }
            State::Level { .. } => false,
            State::Edge(_) => return Err(already_watched(fd)),
        };
        let State::Level { reader, writer } = &mut source.state else { unreachable!("set to Level above") };
        let before = match direction {
            Direction::Read => reader.replace(token),
            Direction::Write => writer.replace(token),
        };
        if (fresh || before.is_none())
            && let Err(error) = self.arm(source, fd)
        {
            if fresh {
                *source = Source::default();
                self.watched.set(self.watched.get() - 1);
            } else if let State::Level { reader, writer } = &mut source.state {
                *if direction == Direction::Read { reader } else { writer } = None;
            }
            return Err(error);
        }
        Ok(before)
    }

    fn remove(&self, fd: RawFd, direction: Direction) -> Option<Token> {
        let index = usize::try_from(fd).ok()?;
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(index)?;
        let State::Level { reader, writer } = &mut source.state else { return None };
        // Mostly it is closed next, which its other end hears of.
        self.expect_events();
        let before = match direction {
            Direction::Read => reader.take(),
            Direction::Write => writer.take(),
        };
        if reader.is_none() && writer.is_none() {
            source.state = State::Vacant;
            self.watched.set(self.watched.get() - 1);
        }
        before
    }

    /// Tells the kernel what `source` wants.
    fn arm(&self, source: &mut Source, fd: RawFd) -> io::Result<()> {
        let selector = self.selector.borrow();
        let selector = open(&selector)?;
        let (wanted, trigger, key) = (source.wanted(), source.trigger(), source.key(fd));
        let result = match (source.in_kernel, wanted.is_none()) {
            (false, true) => Ok(()),
            (true, true) => selector.delete(fd),
            (false, false) => selector.add(fd, key, wanted, trigger),
            (true, false) => match selector.modify(fd, key, wanted, trigger) {
                // Closed and opened anew since: the kernel forgot the old one, unless a duplicate keeps it alive;
                // the new generation tells their events apart.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    source.generation = self.new_generation();
                    selector.add(fd, source.key(fd), wanted, trigger)
                }
                other => other,
            },
        };
        if result.is_ok() || wanted.is_none() {
            source.in_kernel = !wanted.is_none();
            source.armed = wanted;
        }
        result
    }

    /// Replaces the kernel's set by a new one that holds what the table holds.
    fn rebuild(&self) {
        // No descriptor free for a new set: the stale event stays a while longer, and the next wait tries again.
        let Ok(selector) = Selector::new() else { return };
        if self.selector.borrow().is_none() {
            return;
        }
        let mut place = self.selector.borrow_mut();
        let selector = place.insert(selector);
        // Each was accepted before, so it fails only if its descriptor was closed: then there is nothing to watch.
        let _known = selector.add(self.wakeup_fd.get(), WAKEUP_KEY, Interest::READABLE, Trigger::Edge);
        for (fd, source) in self.sources.borrow_mut().iter_mut().enumerate() {
            let wanted = source.wanted();
            source.in_kernel = !wanted.is_none()
                && selector.add(fd as RawFd, source.key(fd as RawFd), wanted, source.trigger()).is_ok();
            source.armed = if source.in_kernel { wanted } else { Interest::NONE };
        }
    }
}

fn already_watched(fd: RawFd) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("file descriptor {fd} is watched already"))
}

/// A descriptor that the reactor watches for Rust I/O.
///
/// The pattern is: try the call; on `WouldBlock` clear the readiness and poll for it. Dropping it stops the watching.
pub struct Registration {
    reactor: Rc<Reactor>,
    readiness: Rc<Readiness>,
    fd: RawFd,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registration").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl Registration {
    /// Ready when reading may succeed; else the task is woken when it may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness.read.poll(cx)
    }

    /// Ready when writing may succeed; else the task is woken when it may.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness.write.poll(cx)
    }

    /// Lets go of the waker of somebody who waited to read, and has given up; it is woken, since others may wait by it.
    pub fn forget_reader(&self, waker: &Waker) {
        self.readiness.read.forget(waker);
    }

    /// The same for writing.
    pub fn forget_writer(&self, waker: &Waker) {
        self.readiness.write.forget(waker);
    }

    /// Reading returned `WouldBlock`: wait for the next edge.
    pub fn clear_readable(&self) {
        self.readiness.read.clear();
    }

    /// Reading a byte stream brought less than there was room for, so the next read would return `WouldBlock`.
    ///
    /// It saves that read, unless the peer's end was reported already: what is left to read then is the end itself, of
    /// which no further edge tells.
    pub fn drained(&self) {
        if !self.readiness.is_read_closed() {
            self.readiness.read.clear();
        }
    }

    /// Lets the first write be tried at once: the buffer of a connection just made is empty.
    pub fn assume_writable(&self) {
        self.readiness.write.assume();
    }

    /// Writing returned `WouldBlock` (or took less than was offered): wait for the next edge.
    pub fn clear_writable(&self) {
        self.readiness.write.clear();
    }

    /// Whether the loop that this thread runs is another one than that of the reactor, so that no event would come.
    pub fn is_of_another_loop(&self) -> bool {
        crate::current::is_another(self.reactor.loop_id)
    }

    /// Runs `call` as soon as reading may succeed, again after each `WouldBlock`.
    ///
    /// # Errors
    /// What `call` returns, `WouldBlock` apart; `Interrupted` is tried again.
    pub fn poll_read<T>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if self.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear_readable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Runs `call` as soon as writing may succeed, again after each `WouldBlock`.
    ///
    /// # Errors
    /// What `call` returns, `WouldBlock` apart; `Interrupted` is tried again.
    pub fn poll_write<T>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if self.poll_writable(cx).is_pending() {
                return Poll::Pending;
            }
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear_writable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    self.reactor.expect_events();
                    return Poll::Ready(other);
                }
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.reactor.forget(self.fd);
        // Whoever still waits finds the descriptor gone when it is polled again.
        self.readiness.read.wake_all();
        self.readiness.write.wake_all();
    }
}
