//! The downloads under way.

use aioxide::Task;

/// Downloads under way, by slot. There are as many slots as downloads at a time, however long the list.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// `None`: free, or its task was taken to be cancelled.
    tasks: Vec<Option<Task<()>>>,
    free: Vec<usize>,
    active: usize,
}

impl Slots {
    /// Reserves a slot; its task is put there at once after.
    pub(crate) fn reserve(&mut self) -> usize {
        self.active += 1;
        self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        })
    }

    /// Keeps the task of a reserved slot.
    pub(crate) fn put(&mut self, slot: usize, task: Task<()>) {
        self.tasks[slot] = Some(task);
    }

    /// The download has ended.
    pub(crate) fn vacate(&mut self, slot: usize) {
        self.active -= 1;
        self.tasks[slot] = None;
        self.free.push(slot);
    }

    /// How many are under way.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Takes the tasks that were not taken yet, to cancel them.
    pub(crate) fn take_all(&mut self) -> Vec<Task<()>> {
        self.tasks.iter_mut().filter_map(Option::take).collect()
    }
}
