//! The signals that ask for an end: Ctrl-C, `kill`, a terminal that was closed.

use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;

use aioxide::signal::{SignalKind, signal};

const ENDING: [SignalKind; 3] = [SignalKind::INTERRUPT, SignalKind::TERMINATE, SignalKind::HANGUP];

/// Waits for one of them, on the running loop. It listens from the call on, not from the first poll. One that cannot be
/// listened to keeps its usual effect, which is to kill.
pub(crate) fn ending() -> impl Future<Output = SignalKind> {
    let mut listeners: Vec<_> =
        ENDING.into_iter().filter_map(|kind| Some((kind, signal(kind).ok()?))).collect();
    poll_fn(move |cx| {
        let come = listeners
            .iter_mut()
            .find_map(|(kind, listener)| listener.poll_recv(cx).is_ready().then_some(*kind));
        come.map_or(Poll::Pending, Poll::Ready)
    })
}

/// Tells the first of them, from a thread with a loop of its own. It listens when this returns.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn listen(tell: impl FnOnce(SignalKind) + Send + 'static) -> io::Result<()> {
    let (listens, listening) = channel();
    let thread = thread::Builder::new().name("aioxide-signals".to_owned());
    thread.spawn(move || {
        crate::keep_quiet_about_slowness();
        let ended = aioxide::run(async move {
            let ending = ending();
            let _ = listens.send(());
            ending.await
        });
        if let Ok(kind) = ended {
            tell(kind);
        }
    })?;
    // An error is a loop that could not be made; then signals keep their usual effect.
    let _ = listening.recv();
    Ok(())
}

/// 128 and the signal's number, as shells have it.
pub(crate) fn status(kind: SignalKind) -> ExitCode {
    u8::try_from(128 + kind.as_raw()).map_or(ExitCode::FAILURE, ExitCode::from)
}
