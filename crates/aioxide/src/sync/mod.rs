//! Locks, events and queues for the tasks of one thread, each first in, first out.
