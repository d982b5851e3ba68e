//! What keys do.

use aioxide_monitor::schema::Id;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::cursor::Move;
use super::state::{Mode, State, Watched};
use crate::args::{Sort, View};
use crate::top::Listed;
use crate::top::poller::Order;

/// What a key asks of the program.
#[derive(Debug)]
pub(crate) enum Action {
    Nothing,
    /// `q`.
    Quit,
    /// Ctrl-C.
    Interrupt,
    Suspend,
    /// Look at this program.
    Open(Listed),
    /// Back to the list.
    Close,
    Order(Order),
}

/// The keys, for the help.
pub(crate) const HELP: [(&str, &str); 17] = [
    ("1 2 3 4, Tab", "groups, tasks, loops, ended tasks"),
    ("Up Down, j k", "choose; PgUp PgDn, Home End, too"),
    ("Enter", "open: a group's tasks, a task, what it waits on"),
    ("Esc, Left", "back"),
    ("/", "filter: all the words, in names, states, what is waited on"),
    ("s S", "sort tasks by the next, the previous column"),
    ("r", "turn the order round"),
    ("d", "go to the deadlock"),
    ("b", "go to the task that blocks the loop, or did so last"),
    ("c", "cancel the task, after a question"),
    ("Space", "stop looking, go on"),
    ("F5, Ctrl-L", "look now, draw all anew"),
    ("+ -", "look less often, more often"),
    ("Ctrl-Z", "stop the program, as in a shell"),
    ("?", "this help"),
    ("q", "quit"),
    ("", "Any key closes the help."),
];

impl State {
    /// Does what a key says, or tells what is to be done.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Action {
        self.message = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (control, key.code) {
            (true, KeyCode::Char('c')) => return Action::Interrupt,
            (true, KeyCode::Char('z')) => return Action::Suspend,
            _ => {}
        }
        match self.mode.clone() {
            Mode::Help => {
                self.mode = Mode::Browse;
                Action::Nothing
            }
            Mode::Ask { id, name, .. } => {
                self.mode = Mode::Browse;
                match key.code {
                    KeyCode::Char('y' | 'Y') => Action::Order(Order::Cancel { id, name }),
                    _ => self.say("nothing was cancelled"),
                }
            }
            Mode::Filter => self.type_filter(key),
            Mode::Browse => self.browse(key, control),
        }
    }

    fn say(&mut self, message: &str) -> Action {
        self.message = Some(message.to_owned());
        Action::Nothing
    }

    fn type_filter(&mut self, key: KeyEvent) -> Action {
        let Some(program) = &mut self.program else {
            self.mode = Mode::Browse;
            return Action::Nothing;
        };
        match key.code {
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                program.filter.clear();
                self.mode = Mode::Browse;
            }
            KeyCode::Backspace => _ = program.filter.pop(),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => program.filter.clear(),
            // More than anybody types.
            KeyCode::Char(character) if program.filter.len() < 1_000 => program.filter.push(character),
            _ => return Action::Nothing,
        }
        program.choose();
        Action::Nothing
    }

    fn browse(&mut self, key: KeyEvent, control: bool) -> Action {
        let direction = match key.code {
            KeyCode::Up | KeyCode::Char('k') => Some(Move::Up),
            KeyCode::Down | KeyCode::Char('j') => Some(Move::Down),
            KeyCode::PageUp => Some(Move::PageUp),
            KeyCode::PageDown => Some(Move::PageDown),
            KeyCode::Home | KeyCode::Char('g') => Some(Move::First),
            KeyCode::End | KeyCode::Char('G') => Some(Move::Last),
            _ => None,
        };
        if let Some(direction) = direction {
            self.go(direction);
            return Action::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.mode = Mode::Help;
                return Action::Nothing;
            }
            _ => {}
        }
        let Some(program) = &mut self.program else {
            return match key.code {
                KeyCode::Enter | KeyCode::Right => {
                    let found = self.programs.found.as_ref().and_then(|found| found.as_ref().ok());
                    let chosen = found.and_then(|found| found.get(self.programs.cursor.at));
                    chosen.map_or(Action::Nothing, |listed| Action::Open(listed.clone()))
                }
                _ => Action::Nothing,
            };
        };
        match key.code {
            KeyCode::Enter | KeyCode::Right => program.open_chosen(),
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => match program.back() {
                Some(action) => action,
                None if self.programs.there => Action::Close,
                None => Action::Nothing,
            },
            KeyCode::Char('/') if program.opened.is_empty() => {
                self.mode = Mode::Filter;
                Action::Nothing
            }
            KeyCode::Char('c') => match program.to_cancel() {
                Ok(question) => {
                    self.mode = question;
                    Action::Nothing
                }
                Err(why_not) => self.say(why_not),
            },
            KeyCode::Char('d') => match program.deadlocked() {
                Some(id) => program.open(id),
                None => self.say("there is no deadlock"),
            },
            KeyCode::Char('b') => match program.blocking() {
                Some(id) => program.open(id),
                None => self.say("no loop is blocked by a task that is known"),
            },
            KeyCode::F(5) => Action::Order(Order::Look),
            KeyCode::Char('l') if control => Action::Order(Order::Look),
            code => program.browse(code),
        }
    }

    fn go(&mut self, direction: Move) {
        let Some(program) = &mut self.program else {
            let count = match &self.programs.found {
                Some(Ok(found)) => found.len(),
                _ => 0,
            };
            return self.programs.cursor.go(direction, count);
        };
        if let Some(opened) = &mut program.detail {
            return opened.cursor.go(direction, opened.lines.len());
        }
        match program.view {
            View::Groups => program.groups.cursor.go(direction, program.groups.places.len()),
            View::Tasks => program.tasks.cursor.go(direction, program.tasks.places.len()),
            View::Loops => {
                let count = program.sample.as_ref().map_or(0, |sample| sample.snapshot.loops.len());
                program.loops.go(direction, count);
            }
            View::Ended => {
                let count = program.shown_history().len();
                program.ended.go(direction, count);
            }
        }
    }
}

impl Watched {
    fn browse(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Char(digit @ '1'..='4') => self.see(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab | KeyCode::BackTab => {
                let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
                let step = if code == KeyCode::Tab { 1 } else { View::ALL.len() - 1 };
                self.see(View::ALL[(at + step) % View::ALL.len()])
            }
            KeyCode::Char('s' | 'S') => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                let step = if code == KeyCode::Char('s') { 1 } else { Sort::ALL.len() - 1 };
                self.sort = Sort::ALL[(at + step) % Sort::ALL.len()];
                self.choose();
                Action::Nothing
            }
            KeyCode::Char('r') => {
                self.reverse = !self.reverse;
                self.choose();
                Action::Nothing
            }
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                Action::Order(Order::Pause(self.paused))
            }
            KeyCode::Char('+') => self.look_every(2.0),
            KeyCode::Char('-') => self.look_every(0.5),
            _ => Action::Nothing,
        }
    }

    fn look_every(&mut self, factor: f64) -> Action {
        let seconds = (self.interval.as_secs_f64() * factor).clamp(0.0625, 64.0);
        self.interval = std::time::Duration::from_secs_f64(seconds);
        Action::Order(Order::Interval(self.interval))
    }

    fn see(&mut self, view: View) -> Action {
        self.opened.clear();
        self.view = view;
        self.watch()
    }

    fn open_chosen(&mut self) -> Action {
        if let Some(opened) = &self.detail {
            let id = opened.lines.get(opened.cursor.at).and_then(|line| line.id);
            return id.map_or(Action::Nothing, |id| self.open(id));
        }
        match self.view {
            View::Groups => {
                self.group = self.chosen_group();
                if self.group.is_some() {
                    self.view = View::Tasks;
                    self.tasks.cursor = Default::default();
                    self.choose();
                }
                Action::Nothing
            }
            View::Tasks => self.chosen_task().map_or(Action::Nothing, |id| self.open(id)),
            View::Loops | View::Ended => Action::Nothing,
        }
    }

    /// Opens a node. What was opened before is gone back to by [`Watched::back`].
    pub(crate) fn open(&mut self, id: Id) -> Action {
        if self.opened.last() != Some(&id) {
            // Who goes round in a cycle does not fill the memory.
            if self.opened.len() >= 1_000 {
                self.opened.remove(0);
            }
            self.opened.push(id);
        }
        self.watch()
    }

    fn watch(&mut self) -> Action {
        let watch = self.opened.last().copied();
        if watch.is_none() {
            self.detail = None;
        }
        Action::Order(Order::Show { watch, history: self.view == View::Ended })
    }

    /// Goes back a step; `None` when there is none.
    fn back(&mut self) -> Option<Action> {
        if self.opened.pop().is_some() {
            return Some(self.watch());
        }
        if self.group.take().is_some() {
            self.view = View::Groups;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            return None;
        }
        self.choose();
        Some(Action::Nothing)
    }

    fn to_cancel(&self) -> Result<Mode, &'static str> {
        let id = match (&self.detail, self.view) {
            (Some(opened), _) => Some(opened.id),
            (None, View::Tasks) => self.chosen_task(),
            (None, _) => None,
        };
        let found = id.and_then(|id| self.sample.as_ref()?.node(id));
        let Some(node) = found else { return Err("choose a task in the list of tasks first") };
        let Some(task) = &node.task else { return Err("only tasks can be cancelled") };
        Ok(Mode::Ask { id: node.id, name: node.name.clone(), coroutine: task.coroutine.clone() })
    }

    /// A task of the first deadlock.
    fn deadlocked(&self) -> Option<Id> {
        let sample = self.sample.as_ref()?;
        let deadlock = sample.deadlocks.first()?;
        let nodes = deadlock.cycle.iter().chain(&deadlock.ends);
        let is_task = |id: &&Id| sample.node(**id).is_some_and(|node| node.task.is_some());
        nodes.clone().find(is_task).or_else(|| nodes.clone().next()).copied()
    }

    /// The task in which a loop is blocked, or was of late.
    fn blocking(&self) -> Option<Id> {
        let was = self.was_blocked.iter().filter(|was| was.ago().is_some()).map(|was| &was.blocked);
        self.blocked.iter().chain(was).find_map(|one| one.thread.as_ref()?.task)
    }
}
