//! Locks, events and queues for the tasks of one thread, each first in, first out.
//!
//! All of them stand on one wait queue. Whoever is woken has been given what it waited for there and then, so that
//! nobody who comes later can take it away; a waiter that is dropped after that hands it to the next. Nothing here is
//! `Send`: other threads reach the loop through [`RemoteHandle`](crate::RemoteHandle).

mod wait_queue;

mod barrier;
mod condition;
mod event;
mod mutex;
mod queue;
mod semaphore;

pub use barrier::{Barrier, BarrierWait, BrokenBarrier};
pub use condition::{Condition, ConditionWait};
pub use event::{Event, EventWait};
pub use mutex::{Lock, LockFuture, Mutex, MutexGuard};
pub use queue::{
    BaseQueue, Fifo, Get, Lifo, LifoQueue, Priority, PriorityQueue, Put, Queue, QueueEmpty, QueueFull,
    QueueShutDown, Store, TooManyDone,
};
pub use semaphore::{Acquire, BoundedSemaphore, OverReleased, Permit, Semaphore};
