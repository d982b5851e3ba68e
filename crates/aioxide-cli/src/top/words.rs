//! Durations, counts and nodes in a few words, safe to print: names come from the program that is looked at.

use std::borrow::Cow;

pub(crate) use aioxide_monitor::schema::clean;
use aioxide_monitor::schema::{Frame, How, Kind, Node, TaskState, Why};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text of at most `width` columns; what is cut ends in `…`.
pub(crate) fn fit(text: &str, width: usize) -> Cow<'_, str> {
    // Most texts are short, and no character is wider than its bytes.
    if text.len() <= width || text.width() <= width {
        return Cow::Borrowed(text);
    }
    let (mut end, mut taken) = (0, 0);
    for (place, character) in text.char_indices() {
        taken += character.width().unwrap_or(0);
        if taken + 1 > width {
            break;
        }
        end = place + character.len_utf8();
    }
    Cow::Owned(if width == 0 { String::new() } else { format!("{}…", &text[..end]) })
}

/// A time: `12 us`, `3.4 ms`, `1.2 s`, `5 min`, `3.1 h`, `2 d`.
pub(crate) fn micros(us: u64) -> String {
    let value = us as f64;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", value / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..100_000_000 => format!("{:.1} s", value / 1e6),
        100_000_000..6_000_000_000 => format!("{:.0} min", value / 60e6),
        6_000_000_000..172_800_000_000 => format!("{:.1} h", value / 3600e6),
        _ => format!("{:.0} d", value / 86400e6),
    }
}

/// The same of milliseconds.
pub(crate) fn millis(ms: u64) -> String {
    micros(ms.saturating_mul(1_000))
}

/// A number with its groups of three apart: `4 812`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2 tasks`.
pub(crate) fn counted(number: u64, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

/// What is not known is a dash.
pub(crate) fn known<T>(value: Option<T>, say: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), say)
}

/// A task's state.
pub(crate) fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Ready => "ready",
        TaskState::Waiting => "waiting",
        TaskState::Done => "done",
        TaskState::Other => "other",
    }
}

/// How a task ended.
pub(crate) fn why(why: Why) -> &'static str {
    match why {
        Why::Returned => "returned",
        Why::Raised => "raised",
        Why::Cancelled => "cancelled",
        Why::Unknown => "unknown",
    }
}

/// What an edge says between the one above and the one below it in a tree.
pub(crate) fn how(how: How) -> &'static str {
    match how {
        How::Await => "awaits",
        How::Acquire => "acquires",
        How::HeldBy => "held by",
        How::TakenBy => "taken by",
        How::Get => "gets from",
        How::Put => "puts into",
        How::Join => "joins",
        How::Wait => "waits for",
        How::Gather => "gathers",
        How::TaskGroup => "has in its group",
        How::Shield => "shields",
        How::Member => "waits among others for",
        How::FinishedBy => "finished by",
        How::Other => "waits on",
    }
}

/// A place in a program, `server.py:31`, with the folder left out.
pub(crate) fn place(frame: &Frame) -> String {
    let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
    match frame.line {
        0 => clean(file).into_owned(),
        line => format!("{}:{line}", clean(file)),
    }
}

/// A node in a line: `Task-7  handle_request  server.py:31`, or `Lock db, taken`.
pub(crate) fn node(node: &Node) -> String {
    if let Some(task) = &node.task {
        let at = task.at.as_ref().map(|frame| format!("  {}", place(frame))).unwrap_or_default();
        return format!("{}  {}{at}", clean(&node.name), clean(&task.coroutine));
    }
    let mut text = clean(&node.name).into_owned();
    if !node.label.is_empty() {
        text.push(' ');
        text.push_str(&clean(&node.label));
    }
    let detail = &node.detail;
    let mut add = |fact: String| {
        text.push_str(", ");
        text.push_str(&fact);
    };
    match (detail.size, detail.limit) {
        (Some(size), Some(limit)) if limit > 0 => add(format!("{size} of {limit}")),
        (Some(size), _) if node.kind == Kind::Semaphore => add(format!("{size} free")),
        (Some(size), _) => add(format!("{size} in it")),
        (None, Some(limit)) => add(format!("limit {limit}")),
        (None, None) => {}
    }
    match detail.set {
        Some(true) => add(if node.kind == Kind::Event { "set" } else { "taken" }.to_owned()),
        Some(false) => add(if node.kind == Kind::Event { "not set" } else { "free" }.to_owned()),
        None => {}
    }
    if let Some(left) = detail.left_ms {
        let late = if left < 0.0 { "late" } else { "left" };
        add(format!("{} {late}", micros((left.abs() * 1e3) as u64)));
    }
    if let Some(fd) = detail.fd {
        add(format!("descriptor {fd}"));
    }
    if !detail.direction.is_empty() {
        add(clean(&detail.direction).into_owned());
    }
    if !detail.peer.is_empty() {
        add(clean(&detail.peer).into_owned());
    }
    if let Some(pid) = detail.pid {
        add(format!("process {pid}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_and_say_that_they_were_cut() {
        for (text, width, cut) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("any", 1, "…"),
            ("any", 0, ""),
        ] {
            assert_eq!(fit(text, width), cut, "{text} in {width}");
        }
    }

    #[test]
    fn numbers_have_their_groups_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (4_812, "4 812"), (1_000_000, "1 000 000")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn names_of_the_program_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
        assert!(matches!(clean("Task-7 é"), Cow::Borrowed(_)));
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (us, text) in [
            (12, "12 us"),
            (3_400, "3.4 ms"),
            (999_000, "999 ms"),
            (1_200_000, "1.2 s"),
            (300_000_000, "5 min"),
            (11_160_000_000, "3.1 h"),
            (200_000_000_000, "2 d"),
        ] {
            assert_eq!(micros(us), text);
        }
    }
}
