//! What ends a run before its list: a signal, or a failure with `--fail-fast`.

use std::process::ExitCode;
use std::task::{Context, Poll};

use aioxide::signal::{Signal, SignalKind, signal};

/// Why a run ends before its list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Signal(SignalKind),
    FailFast,
}

impl Stop {
    /// What the report tells of a URL that never started.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Stop::Signal(SignalKind::INTERRUPT) => "interrupted before it started",
            Stop::Signal(_) => "told to end before it started",
            Stop::FailFast => "another one failed before it started",
        }
    }

    /// The exit status: 128 and the signal's number, as shells have it.
    pub(crate) fn status(self) -> ExitCode {
        match self {
            Stop::Signal(kind) => u8::try_from(128 + kind.as_raw()).map_or(ExitCode::FAILURE, ExitCode::from),
            Stop::FailFast => ExitCode::FAILURE,
        }
    }
}

/// The signals that ask for an end: Ctrl-C, `kill` and whatever stops services, a terminal that was closed.
const ENDING: [SignalKind; 3] = [SignalKind::INTERRUPT, SignalKind::TERMINATE, SignalKind::HANGUP];

/// Listens to the signals that ask for an end.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Listens from now on, but for signals that the program was started to ignore (`nohup`, `&` in a script).
    pub(crate) fn listen() -> Self {
        let ignored = ignored();
        let heard = ENDING.into_iter().filter(|kind| ignored >> (kind.as_raw() - 1) & 1 == 0);
        // One that cannot be listened to keeps its usual effect, which is to kill.
        Signals(heard.filter_map(|kind| Some((kind, signal(kind).ok()?))).collect())
    }

    /// Ready with a signal that has come. From then on Ctrl-C kills; the others, which whoever sends them may send
    /// twice (`timeout`, a shell that hangs up), do nothing more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SignalKind> {
        let come =
            self.0.iter_mut().find_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind));
        match come {
            Some(kind) => {
                self.let_interrupt_kill();
                Poll::Ready(kind)
            }
            None => Poll::Pending,
        }
    }

    /// Leaves Ctrl-C to the system, which kills.
    pub(crate) fn let_interrupt_kill(&mut self) {
        self.0.retain(|(kind, _)| *kind != SignalKind::INTERRUPT);
    }
}

/// The signals that are ignored, as a set of bits; where the system does not tell, none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
