//! What the terminal shows: the list of programs, or one program in its views.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aioxide_monitor::schema::{Ended, Id};

use super::cursor::Cursor;
use super::series::Series;
use crate::args::{Sort, TopArgs, View};
use crate::clock;
use crate::top::poller::News;
use crate::top::sample::{Blocked, Chosen, Detail, Sample, WasBlocked, worst_us};
use crate::top::{Listed, text, words};

/// All of it.
pub(crate) struct State {
    pub(crate) mode: Mode,
    pub(crate) programs: Programs,
    /// The program that is looked at; none while programs are listed.
    pub(crate) program: Option<Watched>,
    /// The last thing that there was to say, until a key is pressed.
    pub(crate) message: Option<String>,
}

/// What keys do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Browse,
    /// They are the filter's.
    Filter,
    /// They answer: cancel this task?
    Ask {
        id: Id,
        name: String,
        coroutine: String,
    },
    Help,
}

/// The list of programs.
#[derive(Default)]
pub(crate) struct Programs {
    /// Whether there is one to go back to.
    pub(crate) there: bool,
    pub(crate) found: Option<Result<Vec<Listed>, String>>,
    pub(crate) cursor: Cursor,
}

/// One program.
pub(crate) struct Watched {
    /// What it is called until it has answered.
    pub(crate) name: String,
    pub(crate) sample: Option<Arc<Sample>>,
    pub(crate) worst_lag_us: Option<u64>,
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) was_blocked: Option<WasBlocked>,
    pub(crate) trouble: Option<String>,
    /// When it last gave a snapshot.
    pub(crate) heard: Instant,
    pub(crate) series: Series,
    pub(crate) view: View,
    pub(crate) filter: String,
    /// The coroutine of a group that was opened, and what it waits on.
    pub(crate) group: Option<(String, String)>,
    pub(crate) sort: Sort,
    pub(crate) reverse: bool,
    pub(crate) paused: bool,
    pub(crate) interval: Duration,
    /// Places of groups in the sample.
    pub(crate) groups: Rows<usize>,
    /// Places of tasks in the snapshot.
    pub(crate) tasks: Rows<u32>,
    pub(crate) loops: Cursor,
    pub(crate) history: Option<Result<Vec<Ended>, String>>,
    pub(crate) ended: Cursor,
    /// The nodes that were opened, one out of the other.
    pub(crate) opened: Vec<Id>,
    pub(crate) detail: Option<Opened>,
    /// A task to open as soon as there is a sample.
    pub(crate) wanted: Option<String>,
}

/// Chosen places of a sample in their order.
#[derive(Debug, Default)]
pub(crate) struct Rows<T> {
    pub(crate) places: Vec<T>,
    pub(crate) cursor: Cursor,
}

/// A node that was opened.
pub(crate) struct Opened {
    pub(crate) id: Id,
    pub(crate) name: String,
    /// Whether it is still there.
    pub(crate) alive: bool,
    pub(crate) lines: Vec<OpenedLine>,
    pub(crate) cursor: Cursor,
}

/// A line about a node that was opened.
pub(crate) struct OpenedLine {
    pub(crate) text: String,
    pub(crate) heading: bool,
    /// The node that it is about, which can be opened in turn.
    pub(crate) id: Option<Id>,
}

impl Watched {
    pub(crate) fn new(name: String, args: &TopArgs, interval: Duration) -> Self {
        Self {
            name,
            sample: None,
            worst_lag_us: None,
            blocked: Vec::new(),
            was_blocked: None,
            trouble: None,
            heard: clock::now(),
            series: Series::default(),
            view: args.view,
            filter: args.filter.clone(),
            group: None,
            sort: args.sort,
            reverse: false,
            paused: false,
            interval,
            groups: Rows::default(),
            tasks: Rows::default(),
            loops: Cursor::default(),
            history: None,
            ended: Cursor::default(),
            opened: Vec::new(),
            detail: None,
            wanted: args.task.clone(),
        }
    }

    /// Takes what the poller tells; gives a message for the user, if there is one.
    pub(crate) fn hear(&mut self, news: News) -> Option<String> {
        match news {
            News::Sample(sample) => {
                self.heard = clock::now();
                self.series.add(&sample);
                self.trouble = None;
                self.show(sample);
            }
            News::Pulse { lag, blocked } => {
                self.worst_lag_us = worst_us(&lag);
                self.series.add_lag(self.worst_lag_us);
                WasBlocked::remember(&mut self.was_blocked, &blocked);
                self.blocked = blocked;
            }
            News::Detail(detail) => self.show_detail(detail),
            News::History(history) => self.history = Some(history),
            News::Trouble(trouble) => self.trouble = Some(trouble),
            News::Said(said) => return Some(said),
            News::Ended => {}
        }
        None
    }

    /// Shows a sample; what was chosen stays chosen as long as it is there.
    fn show(&mut self, sample: Arc<Sample>) {
        let (task, group) = (self.chosen_task(), self.chosen_group());
        self.sample = Some(sample);
        self.choose();
        let Some(sample) = self.sample.clone() else { return };
        // At the top, the cursor stays at the top.
        if self.tasks.cursor.at > 0
            && let Some(id) = task
        {
            let same = |place: &u32| sample.task_at(*place).is_some_and(|(node, _)| node.id == id);
            self.tasks.cursor.at = self.tasks.places.iter().position(same).unwrap_or(self.tasks.cursor.at);
        }
        if self.groups.cursor.at > 0
            && let Some((coroutine, waits)) = group
        {
            let same = |place: &usize| {
                let group = &sample.groups[*place];
                group.coroutine == coroutine && group.waits == waits
            };
            self.groups.cursor.at = self.groups.places.iter().position(same).unwrap_or(self.groups.cursor.at);
        }
    }

    /// Applies the filter, the group and the order.
    pub(crate) fn choose(&mut self) {
        let Some(sample) = &self.sample else { return };
        self.groups.places = sample.select_groups(&self.filter);
        self.tasks.places = sample.select(&Chosen {
            filter: &self.filter,
            group: self.group.as_ref().map(|(coroutine, waits)| (coroutine.as_str(), waits.as_str())),
            sort: self.sort,
            reverse: self.reverse,
        });
    }

    /// The task in the chosen row.
    pub(crate) fn chosen_task(&self) -> Option<Id> {
        let place = self.tasks.places.get(self.tasks.cursor.at)?;
        Some(self.sample.as_ref()?.task_at(*place)?.0.id)
    }

    /// The group in the chosen row.
    pub(crate) fn chosen_group(&self) -> Option<(String, String)> {
        let place = self.groups.places.get(self.groups.cursor.at)?;
        let group = &self.sample.as_ref()?.groups[*place];
        Some((group.coroutine.clone(), group.waits.clone()))
    }

    fn show_detail(&mut self, detail: Option<Box<Detail>>) {
        let Some(detail) = detail else {
            if let Some(opened) = &mut self.detail {
                opened.alive = false;
            }
            return;
        };
        let (Some(sample), true) = (&self.sample, self.opened.last() == Some(&detail.node.id)) else {
            return;
        };
        let lines = opened_lines(&detail, sample);
        match &mut self.detail {
            Some(opened) if opened.id == detail.node.id => {
                opened.alive = true;
                opened.lines = lines;
            }
            other => {
                let name = words::clean(&detail.node.name).into_owned();
                *other =
                    Some(Opened { id: detail.node.id, name, alive: true, lines, cursor: Cursor::default() });
            }
        }
    }

    /// The ended tasks that the filter lets through.
    pub(crate) fn shown_history(&self) -> Vec<&Ended> {
        match &self.history {
            Some(Ok(history)) => text::select_ended(history, &self.filter),
            _ => Vec::new(),
        }
    }
}

fn opened_lines(detail: &Detail, sample: &Sample) -> Vec<OpenedLine> {
    let line = |text: String, id: Option<Id>| OpenedLine { text, heading: false, id };
    let heading = |text: &str| OpenedLine { text: text.to_owned(), heading: true, id: None };
    let mut lines: Vec<OpenedLine> = text::facts(detail, sample)
        .into_iter()
        .map(|(name, fact)| line(format!("{name:<12} {fact}"), None))
        .collect();
    for (title, tree, upwards) in
        [("waits on", &detail.below, false), ("is waited for by", &detail.above, true)]
    {
        lines.push(line(String::new(), None));
        lines.push(heading(title));
        if tree.len() < 2 {
            lines.push(line("  nothing known".to_owned(), None));
        }
        let below = tree.iter().skip(1);
        lines.extend(below.map(|one| line(text::tree_line(one, sample, upwards), Some(one.id))));
    }
    if !detail.stack.is_empty() {
        lines.push(line(String::new(), None));
        lines.push(heading("stack, the innermost last"));
        lines.extend(detail.stack.iter().map(|frame| line(format!("  {}", text::frame_line(frame)), None)));
    }
    lines
}
