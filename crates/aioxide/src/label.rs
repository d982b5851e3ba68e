//! What a run of a task is called in a timeline; the Python face calls its Rust tasks the same.

use aioxide_core::Notified;
use aioxide_core::observer::Label;

use crate::task::{AnyTask, is_listed};

/// The label of a woken task: its name, where it was spawned, and its number.
///
/// What is not a task to whoever looks (a callback, the crate's own machinery) has the place alone.
#[doc(hidden)]
#[must_use]
pub fn label(woken: &Notified) -> Label {
    let Some(task) = woken.task() else { return Label { kind: "rust", ..Label::default() } };
    let Some(is_listed) = is_listed(&task) else {
        return Label { kind: "rust", name: format!("Task-{}", task.id()), ..Label::default() };
    };
    let task = AnyTask::from_ref(task);
    let place = task.place();
    let place = format!("{}:{}", short(place.file()), place.line());
    if is_listed {
        Label { kind: "rust", name: task.name(), code: place, task: task.id() }
    } else {
        Label { kind: "callback", name: place, ..Label::default() }
    }
}

/// The last two parts of a path.
pub(crate) fn short(file: &str) -> &str {
    let mut parts = file.rmatch_indices('/');
    parts.nth(1).map_or(file, |(place, _)| &file[place + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_of_a_path_are_enough() {
        for (path, expected) in [
            ("/a/b/c.rs", "b/c.rs"),
            ("a/b/c.rs", "b/c.rs"),
            ("b/c.rs", "b/c.rs"),
            ("c.rs", "c.rs"),
            ("", ""),
        ] {
            assert_eq!(short(path), expected);
        }
    }
}
