//! What happened during an exchange, for Python's hooks, which are called after it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;

use aioxide_http::{Event, RequestId};

/// A hook's name, as `aioxide.http.tracing` has it, and the host where it takes one.
pub(crate) type Happened = (&'static str, Option<String>);

thread_local! {
    /// Of the exchange that is being polled.
    static HAPPENED: RefCell<Option<Vec<Happened>>> = const { RefCell::new(None) };
}

/// Takes down what happens while an exchange is polled by [`watched`].
pub(crate) struct Observer;

impl aioxide_http::Observer for Observer {
    fn event(&self, _request: RequestId, event: &Event<'_>) {
        let (name, host) = match event {
            Event::QueueStart => ("connection_queued_start", None),
            Event::QueueEnd => ("connection_queued_end", None),
            Event::ConnectionReused => ("connection_reuseconn", None),
            Event::ConnectStart { .. } => ("connection_create_start", None),
            Event::ConnectEnd => ("connection_create_end", None),
            Event::DnsStart { host } => ("dns_resolvehost_start", Some(*host)),
            Event::DnsEnd { host, .. } => ("dns_resolvehost_end", Some(*host)),
            Event::DnsCacheHit { host } => ("dns_cache_hit", Some(*host)),
            _ => return,
        };
        HAPPENED.with_borrow_mut(|happened| {
            if let Some(happened) = happened {
                if name == "dns_resolvehost_start" {
                    happened.push(("dns_cache_miss", host.map(str::to_owned)));
                }
                happened.push((name, host.map(str::to_owned)));
            }
        });
    }
}

/// Awaits `future`; with what its observer saw.
pub(crate) async fn watched<F: Future>(future: F) -> (F::Output, Vec<Happened>) {
    let mut future = pin!(future);
    let mut happened = Vec::new();
    let output = poll_fn(|cx| {
        // Python may be called in between, and poll another exchange: each has its own list.
        let outer = HAPPENED.replace(Some(std::mem::take(&mut happened)));
        let polled = future.as_mut().poll(cx);
        happened = HAPPENED.replace(outer).unwrap_or_default();
        polled
    })
    .await;
    (output, happened)
}
