//! `--once`: what there is now, as plain text.

use std::fmt::Write as _;

use aioxide_monitor::graph::Line;
use aioxide_monitor::schema::{Collector, Durations, Ended, Frame, LAG_BOUNDS_US, Lag, Loop, RUN_BOUNDS_US};
use unicode_width::UnicodeWidthStr;

use super::sample::{Blocked, Chosen, Detail, Sample, Words};
use super::words::{self, clean, count, counted, fit, known, micros, millis};
use crate::args::TopArgs;

/// The longest column; what is longer is cut.
const COLUMN: usize = 60;

/// The program, its loops, and what is wrong with them.
pub(crate) fn head(sample: &Sample) -> String {
    let mut text = format!("{}\n", title(sample));
    for one in &sample.snapshot.loops {
        let _ = writeln!(text, "{}", loop_line(one, sample));
    }
    for one in &sample.blocked {
        let _ = writeln!(text, "\nblocked: {}", blocked(one, sample));
        for frame in one.thread.iter().flat_map(|thread| &thread.frames) {
            let _ = writeln!(text, "    {}", frame_line(frame));
        }
    }
    for deadlock in &sample.deadlocks {
        text.push('\n');
        for line in deadlock.text.lines() {
            let _ = writeln!(text, "{}", clean(line));
        }
    }
    text
}

/// The program in a line.
pub(crate) fn title(sample: &Sample) -> String {
    let program = &sample.snapshot.program;
    let mut text = format!("{}  {}  {}", clean(&program.name), program.pid, clean(&program.runtime));
    if !program.aioxide.is_empty() {
        let _ = write!(text, "  aioxide {}", clean(&program.aioxide));
    }
    let _ = write!(text, "  {}", counted(sample.count() as u64, "task"));
    if sample.snapshot.left_out > 0 {
        let _ = write!(text, " ({} more left out)", count(sample.snapshot.left_out));
    }
    let taken = &sample.snapshot.taken;
    let _ =
        write!(text, "  seen in {}, paused for {}", micros(taken.took_us), micros(taken.longest_pause_us));
    text
}

fn loop_line(one: &Loop, sample: &Sample) -> String {
    let some = |number: Option<u64>, word: &str| match number {
        Some(number) => counted(number, word),
        None => format!("– {word}s"),
    };
    let mut text = format!(
        "{}{}: {}, {} ready, {}, {}, {}",
        clean(&one.class),
        if one.running { "" } else { " (not running)" },
        counted(one.tasks, "task"),
        known(one.ready, count),
        some(one.timers, "timer"),
        some(one.descriptors, "descriptor"),
        some(one.jobs, "thread job"),
    );
    match lag_of(one, sample) {
        Some(lag) => {
            let _ = write!(
                text,
                ", lag {} (longest {}), {}",
                micros(lag.last_us.max(lag.waiting_us)),
                micros(lag.longest_us),
                counted(lag.blocked, "blocked step")
            );
            if let Some(collector) = &lag.collector {
                let _ = write!(text, ", {}", collected(collector));
            }
        }
        None => text.push_str(", lag not measured (no watchdog)"),
    }
    text
}

/// What the garbage collector took, in a few words.
pub(crate) fn collected(collector: &Collector) -> String {
    format!(
        "{} of garbage in {} (longest {})",
        counted(collector.collections, "collection"),
        micros(collector.total_us),
        micros(collector.longest_us)
    )
}

/// The lag of a loop as it was asked for beside the snapshot, or as it stands in it.
pub(crate) fn lag_of<'a>(one: &'a Loop, sample: &'a Sample) -> Option<&'a Lag> {
    sample.lag.iter().find(|lag| lag.loop_id == one.id).or(one.lag.as_ref())
}

/// A loop that is blocked, in a line.
pub(crate) fn blocked(one: &Blocked, sample: &Sample) -> String {
    let begin = format!("a loop has not answered for {}", micros(one.lag.waiting_us));
    match (by_whom(one, sample), &one.why_not) {
        (Some(by), _) => format!("{begin}, {by}"),
        (None, Some(why_not)) => format!("{begin}; {}", clean(why_not)),
        (None, None) => begin,
    }
}

/// The same after it.
pub(crate) fn was_blocked(one: &Blocked, sample: &Sample) -> String {
    let begin = format!("a loop did not answer for {} or longer", micros(one.lag.waiting_us));
    by_whom(one, sample).map_or(begin.clone(), |by| format!("{begin}, {by}"))
}

/// `Task-7 in slow_hash at server.py:99`, or `collecting garbage, Task-7 in …`.
fn by_whom(one: &Blocked, sample: &Sample) -> Option<String> {
    let collects = one.lag.collector.as_ref().is_some_and(|collector| collector.running_us > 0);
    let stands = where_it_stands(one, sample);
    match (collects, stands) {
        (true, Some(stands)) => Some(format!("collecting garbage, {stands}")),
        (true, None) => Some("collecting garbage".to_owned()),
        (false, stands) => stands,
    }
}

fn where_it_stands(one: &Blocked, sample: &Sample) -> Option<String> {
    let thread = one.thread.as_ref()?;
    let task = thread.task.and_then(|id| sample.node(id)).map(|task| format!("{} ", clean(&task.name)));
    let frame = thread.frames.last()?;
    Some(format!("{}in {} at {}", task.unwrap_or_default(), clean(&frame.function), words::place(frame)))
}

/// A frame in a line.
pub(crate) fn frame_line(frame: &Frame) -> String {
    format!("{}:{} in {}", clean(&frame.file), frame.line, clean(&frame.function))
}

/// The groups, the largest first.
pub(crate) fn groups(sample: &Sample, args: &TopArgs) -> String {
    let places = sample.select_groups(&args.filter);
    let rows = limited(&places, args.rows).iter().map(|place| {
        let group = &sample.groups[*place];
        vec![
            format!("{} x", count(group.tasks.len() as u64)),
            clean(&group.coroutine).into_owned(),
            waiting(&group.waits),
            known(sample.longest[*place], millis),
        ]
    });
    table(&[">tasks", "coroutine", "waiting on", ">longest"], rows.collect(), places.len())
}

/// `ready` as it is; `on Lock` for what is waited on.
pub(crate) fn waiting(waits: &str) -> String {
    clean(waits).into_owned()
}

/// The tasks.
pub(crate) fn tasks(sample: &Sample, args: &TopArgs) -> String {
    let places =
        sample.select(&Chosen { filter: &args.filter, group: None, sort: args.sort, reverse: false });
    let rows = limited(&places, args.rows).iter().filter_map(|place| {
        let (node, task) = sample.task_at(*place)?;
        Some(vec![
            clean(&node.name).into_owned(),
            clean(&task.coroutine).into_owned(),
            words::state(task.state).to_owned(),
            waiting(sample.waits(node.id)),
            known(task.waiting_ms, millis),
            known(task.age_ms, |age| format!("{}{}", if task.age_is_least { ">" } else { "" }, millis(age))),
            known(task.ran_us, micros),
            known(task.steps, count),
            task.at.as_ref().map_or_else(String::new, words::place),
        ])
    });
    let head = ["task", "coroutine", "state", "waiting on", ">waiting", ">age", ">ran", ">steps", "at"];
    table(&head, rows.collect(), places.len())
}

/// The loops, with the distributions of their lag and of how long their entries ran.
pub(crate) fn loops(sample: &Sample) -> String {
    let mut text = String::new();
    for one in &sample.snapshot.loops {
        if let Some(lag) = lag_of(one, sample) {
            let _ = writeln!(text, "{}: {}", clean(&one.class), counted(lag.beats, "heartbeat"));
            for (bound, beats, length) in bars(&lag.histogram, &LAG_BOUNDS_US, 40) {
                let _ = writeln!(text, "{bound:>8} {beats:>9} {}", "#".repeat(length));
            }
        }
        if let Some(durations) = one.durations.as_ref().filter(|durations| durations.runs > 0) {
            let _ = writeln!(text, "{}: {}", clean(&one.class), ran(durations));
            for (bound, runs, length) in bars(&durations.histogram, &RUN_BOUNDS_US, 40) {
                let _ = writeln!(text, "{bound:>8} {runs:>9} {}", "#".repeat(length));
            }
        }
    }
    text
}

/// `12 000 entries ran for 1.2 s, the longest for 3 ms`
pub(crate) fn ran(durations: &Durations) -> String {
    let number =
        format!("{} {}", count(durations.runs), if durations.runs == 1 { "entry" } else { "entries" });
    format!(
        "{number} ran for {}, the longest for {}",
        micros(durations.total_us),
        micros(durations.longest_us)
    )
}

/// The bars of a histogram: the bound, how many, and how long the bar is, at most `width`.
pub(crate) fn bars(histogram: &[u64], bounds_us: &[u64], width: usize) -> Vec<(String, String, usize)> {
    let most = histogram.iter().max().copied().unwrap_or(0).max(1);
    let bar = |(place, number): (usize, &u64)| {
        let bound = bounds_us.get(place).map_or_else(|| "more".to_owned(), |us| micros(*us));
        (bound, count(*number), (*number as f64 / most as f64 * width as f64).ceil() as usize)
    };
    histogram.iter().enumerate().map(bar).collect()
}

/// Tasks that have ended, the newest first.
pub(crate) fn ended(history: &[Ended], now_ms: u64, args: &TopArgs) -> String {
    let found = select_ended(history, &args.filter);
    let rows = limited(&found, args.rows).iter().map(|ended| ended_row(ended, now_ms));
    table(&[">ago", "task", "coroutine", "why", ">lived"], rows.collect(), found.len())
}

/// Those that a filter lets through.
pub(crate) fn select_ended<'a>(history: &'a [Ended], filter: &str) -> Vec<&'a Ended> {
    let words = Words::new(filter);
    let texts =
        |ended: &'a Ended| [&*ended.name, &*ended.coroutine, words::why(ended.why), &*ended.exception];
    history.iter().filter(|ended| words.are_in(&texts(ended))).collect()
}

/// How long ago, name, coroutine, why, lived.
pub(crate) fn ended_row(ended: &Ended, now_ms: u64) -> Vec<String> {
    let why = match ended.exception.as_str() {
        "" => words::why(ended.why).to_owned(),
        exception => format!("{} {}", words::why(ended.why), clean(exception)),
    };
    vec![
        millis(now_ms.saturating_sub(ended.noticed_unix_ms)),
        clean(&ended.name).into_owned(),
        clean(&ended.coroutine).into_owned(),
        why,
        millis(ended.lived_ms),
    ]
}

/// A node: its facts, what it waits on, who waits for it, its stack.
pub(crate) fn detail(detail: &Detail, sample: &Sample) -> String {
    let mut text = String::new();
    for (name, fact) in facts(detail, sample) {
        let _ = writeln!(text, "{name:<12} {fact}");
    }
    for (title, lines, upwards) in
        [("waits on", &detail.below, false), ("is waited for by", &detail.above, true)]
    {
        let _ = writeln!(text, "\n{title}");
        if lines.len() < 2 {
            text.push_str("  nothing known\n");
        }
        for line in &lines[1.min(lines.len())..] {
            let _ = writeln!(text, "{}", tree_line(line, sample, upwards));
        }
    }
    if !detail.stack.is_empty() {
        text.push_str("\nstack, the innermost last\n");
        for frame in &detail.stack {
            let _ = writeln!(text, "  {}", frame_line(frame));
        }
    }
    text
}

/// What is known of a node, by name.
pub(crate) fn facts(detail: &Detail, sample: &Sample) -> Vec<(&'static str, String)> {
    let node = &detail.node;
    let Some(task) = &node.task else { return vec![("node", words::node(node))] };
    let mut facts = vec![
        ("task", clean(&node.name).into_owned()),
        ("coroutine", clean(&task.coroutine).into_owned()),
        ("state", words::state(task.state).to_owned()),
    ];
    if !node.label.is_empty() {
        facts.push(("label", clean(&node.label).into_owned()));
    }
    let least = if task.age_is_least { "at least " } else { "" };
    facts.extend(task.age_ms.map(|age| ("age", format!("{least}{}", millis(age)))));
    facts.extend(task.waiting_ms.map(|waiting| ("waiting", millis(waiting))));
    facts.extend(task.ran_us.map(|ran| ("ran", micros(ran))));
    facts.extend(task.steps.map(|steps| ("steps", count(steps))));
    if task.cancelling > 0 {
        facts.push(("cancelling", counted(u64::from(task.cancelling), "request")));
    }
    facts.extend(task.created.as_ref().map(|frame| ("created at", frame_line(frame))));
    facts.extend(
        task.parent
            .map(|id| ("created by", sample.node(id).map_or("a task that is gone".into(), words::node))),
    );
    facts
}

/// A line of a tree, two columns in for each step down.
pub(crate) fn tree_line(line: &Line, sample: &Sample, upwards: bool) -> String {
    let indent = "  ".repeat(line.depth.min(40));
    let node = sample.node(line.id).map_or_else(|| "?".to_owned(), words::node);
    let how = line.how.map_or("", words::how);
    let again = if line.again { "  (see above)" } else { "" };
    match upwards {
        // The one below does it to the one above.
        true => format!("{indent}{node}  [{how} it]{again}"),
        false => format!("{indent}[{how}] {node}{again}"),
    }
}

fn limited<T>(rows: &[T], limit: usize) -> &[T] {
    if limit == 0 { rows } else { &rows[..limit.min(rows.len())] }
}

/// Rows under a head; a column whose head begins with `>` stands to the right. Of `whole` rows, some may be left out.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>, whole: usize) -> String {
    let shown = rows.len();
    let names = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(names)
        .chain(rows)
        .map(|row| row.iter().map(|cell| fit(cell, COLUMN).into_owned()).collect())
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| lines.iter().map(|line: &Vec<String>| line[column].width()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.width());
            let _ = match head[column].starts_with('>') {
                true => write!(row, "{pad}{cell}  "),
                false => write!(row, "{cell}{pad}  "),
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    if whole > shown {
        let _ = writeln!(text, "… and {} more", count((whole - shown) as u64));
    }
    text
}
