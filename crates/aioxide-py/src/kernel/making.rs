//! How `create_task` makes a task, where nobody has put anything else in its place.

use super::LoopState;

/// When a task of asyncio's eager factory gets its name: that changed from version to version, and `python/aioxide/eager.py`
/// asks the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    BeforeItStarts,
    /// After its first step, if a name was given.
    AfterIfGiven,
    /// After its first step, `None` too.
    AfterAlways,
}

impl Naming {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::BeforeItStarts),
            2 => Some(Self::AfterIfGiven),
            3 => Some(Self::AfterAlways),
            _ => None,
        }
    }
}

/// How a loop makes its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// Their first step is put into the ready queue.
    Queued,
    /// They run until they wait for the first time, as asyncio's eager factory has them.
    Eager(Naming),
}

impl LoopState {
    /// Whether `create_task` would make one of our tasks now, with nothing that somebody else put in its place.
    #[inline]
    pub(crate) fn makes_tasks(&self) -> bool {
        self.task_factory.is_empty() && self.makes_own_tasks()
    }

    #[inline]
    fn makes_own_tasks(&self) -> bool {
        self.own_classes.get() && !self.replaces_create_task.get() && !self.core.is_closed()
    }

    /// How `create_task` would make one of our tasks now; nothing where somebody else is to be asked.
    #[inline]
    pub(crate) fn making(&self) -> Option<Making> {
        if self.makes_tasks() {
            return Some(Making::Queued);
        }
        let naming = self.eager_naming.get()?;
        self.makes_own_tasks().then_some(Making::Eager(naming))
    }
}
