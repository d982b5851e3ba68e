//! What ends a run before its list: a signal, or a failure with `--fail-fast`.

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide::signal::{Signal, SignalKind, signal};

use crate::clock::Stopwatch;

/// Why a run ends before its list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Signal(SignalKind),
    FailFast,
    DiskFull,
    /// Of a queue: another worker has it.
    ShardLost,
}

impl Stop {
    /// What the report tells of a URL that never started.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Stop::Signal(SignalKind::INTERRUPT) => "interrupted before it started",
            Stop::Signal(_) => "told to end before it started",
            Stop::FailFast => "another one failed before it started",
            Stop::ShardLost => "its shard went to another worker before it started",
            Stop::DiskFull => "the disk was full before it started",
        }
    }

    /// The exit status: 128 and the signal's number, as shells have it.
    pub(crate) fn status(self) -> ExitCode {
        match self {
            Stop::Signal(kind) => u8::try_from(128 + kind.as_raw()).map_or(ExitCode::FAILURE, ExitCode::from),
            Stop::FailFast | Stop::DiskFull | Stop::ShardLost => ExitCode::FAILURE,
        }
    }
}

/// The signals that ask for an end: Ctrl-C, `kill` and whatever stops services, a terminal that was closed.
const ENDING: [SignalKind; 3] = [SignalKind::INTERRUPT, SignalKind::TERMINATE, SignalKind::HANGUP];

/// SIGXFSZ, on Linux and the BSDs.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(25);

/// Listens to the signals that ask for an end.
#[derive(Debug)]
pub(crate) struct Signals(Rc<Heard>);

/// The first signal that came, and who waits for it.
#[derive(Debug)]
struct Heard {
    listeners: RefCell<Vec<(SignalKind, Signal)>>,
    /// Never looked at: with a listener, a file that grows over the limit (`ulimit -f`) is an error of its write, and kills
    /// nobody.
    _too_large: Option<Signal>,
    come: Cell<Option<(SignalKind, Stopwatch)>>,
    given_up: Cell<bool>,
}

thread_local! {
    /// Those of the run, for outputs that hold it up.
    static OF_THE_RUN: RefCell<Weak<Heard>> = const { RefCell::new(Weak::new()) };
}

/// After a signal, how long an output may take nothing before it is given up.
const PATIENCE: Duration = Duration::from_secs(1);

impl Signals {
    /// Listens from now on, but for signals that the program was started to ignore (`nohup`, `&` in a script).
    pub(crate) fn listen() -> Self {
        let ignored = ignored();
        let heard = ENDING.into_iter().filter(|kind| ignored >> (kind.as_raw() - 1) & 1 == 0);
        // One that cannot be listened to keeps its usual effect, which is to kill.
        let listeners = heard.filter_map(|kind| Some((kind, signal(kind).ok()?))).collect();
        let heard = Rc::new(Heard {
            listeners: RefCell::new(listeners),
            _too_large: signal(FILE_TOO_LARGE).ok(),
            come: Cell::new(None),
            given_up: Cell::new(false),
        });
        OF_THE_RUN.set(Rc::downgrade(&heard));
        Signals(heard)
    }

    /// Ready once a signal has come. From then on Ctrl-C kills; the others, which whoever sends them may send
    /// twice (`timeout`, a shell that hangs up), do nothing more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SignalKind> {
        self.0.look(cx).map_or(Poll::Pending, |(kind, _)| Poll::Ready(kind))
    }

    /// Leaves Ctrl-C to the system, which kills.
    pub(crate) fn let_interrupt_kill(&mut self) {
        self.0.let_interrupt_kill();
    }
}

impl Heard {
    fn look(&self, cx: &mut Context<'_>) -> Option<(SignalKind, Stopwatch)> {
        if self.come.get().is_none() {
            let mut listeners = self.listeners.borrow_mut();
            let kind = listeners
                .iter_mut()
                .find_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind))?;
            drop(listeners);
            self.come.set(Some((kind, Stopwatch::start())));
            self.let_interrupt_kill();
        }
        self.come.get()
    }

    fn let_interrupt_kill(&self) {
        self.listeners.borrow_mut().retain(|(kind, _)| *kind != SignalKind::INTERRUPT);
    }
}

/// Whether a signal has asked the run to end so long ago that an output which takes nothing is to be given up.
///
/// It is asked by whoever holds up the loop meanwhile, so that the loop cannot tell of the signal.
pub(crate) fn is_overdue() -> bool {
    let Some(heard) = OF_THE_RUN.with_borrow(Weak::upgrade) else { return false };
    // The run's task stays the one that is woken: what has come is there when it asks.
    let come = heard.look(&mut Context::from_waker(Waker::noop()));
    heard.given_up.set(come.is_some_and(|(_, since)| since.elapsed() >= PATIENCE));
    heard.given_up.get()
}

/// Whether it [was](is_overdue) overdue when it was last asked: then no output is waited for again.
pub(crate) fn has_given_up() -> bool {
    OF_THE_RUN.with_borrow(Weak::upgrade).is_some_and(|heard| heard.given_up.get())
}

/// The signal after which an output [was given up](has_given_up).
pub(crate) fn gave_up_after() -> Option<SignalKind> {
    let heard = OF_THE_RUN.with_borrow(Weak::upgrade)?;
    heard.come.get().filter(|_| heard.given_up.get()).map(|(kind, _)| kind)
}

/// The signals that are ignored, as a set of bits; where the system does not tell, none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
