//! Ends all connections of a session at once, those in use too.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::task::Wake;

/// The connections of a session, as long as they live.
#[derive(Default)]
pub(crate) struct Aborts {
    is_set: Cell<bool>,
    connections: RefCell<Vec<Weak<dyn Ring>>>,
}

/// What wakes whoever waits for a connection: each kind has its own.
trait Ring: Send + Sync {
    fn ring(self: Arc<Self>);
}

impl<T: Wake + Send + Sync> Ring for T {
    fn ring(self: Arc<Self>) {
        self.wake();
    }
}

impl Aborts {
    /// Wakes `who` when the session is aborted.
    pub(crate) fn watch<T: Wake + Send + Sync + 'static>(&self, who: &Arc<T>) {
        let mut connections = self.connections.borrow_mut();
        if connections.len() == connections.capacity() {
            connections.retain(|connection| connection.strong_count() > 0);
        }
        let who: Weak<T> = Arc::downgrade(who);
        connections.push(who);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Whoever waits for a connection gets an error at the next turn.
    pub(crate) fn abort(&self) {
        self.is_set.set(true);
        for connection in self.connections.take() {
            if let Some(connection) = connection.upgrade() {
                connection.ring();
            }
        }
    }
}
