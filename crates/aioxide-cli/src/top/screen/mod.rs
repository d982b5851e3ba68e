//! The terminal view: one thread draws and takes keys; others ask the program, read keys and listen to signals.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aioxide::signal::SignalKind;
use aioxide_monitor::client::Client;
use ratatui::crossterm::event::{self, Event as Input, KeyEventKind};

use super::poller::{self, News, Order};
use super::signals;
use super::{INTERVAL, Listed, connect, list, named};
use crate::args::TopArgs;
use crate::{Failure, clock};

mod cursor;
mod draw;
mod keys;
mod series;
mod state;
mod table;
mod terminal;

use keys::Action;
use state::{Mode, Programs, State, Watched};
use terminal::Taken;

/// How often the picture is drawn when nothing happens: it tells how long ago something did.
const REDRAW: Duration = Duration::from_secs(1);

/// What happens.
enum Event {
    Input(Input),
    /// The terminal gives no more keys.
    Deaf(io::Error),
    Signal(SignalKind),
    /// Of the program that was opened as the so manieth.
    News(u64, News),
    Listed(Result<Vec<Listed>, String>),
}

/// Runs the view until it is left, or the program ends.
///
/// # Errors
/// There is no such program, or no terminal.
pub(crate) fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    let path = named(args);
    let client = path.as_ref().map(|path| connect(args, path)).transpose()?;
    let (tell, events) = channel();
    let mut screen = Screen {
        args,
        interval: args.interval.unwrap_or(INTERVAL),
        tell,
        orders: None,
        opened: 0,
        asked_for_list: None,
        listing: false,
        state: State {
            mode: Mode::Browse,
            programs: Programs { there: path.is_none(), ..Programs::default() },
            program: None,
            message: None,
        },
    };
    // A signal that comes while the terminal is taken must give it back.
    screen.listen_to_signals()?;
    let mut taken = Taken::take()?;
    screen.listen_to_keys()?;
    if let (Some(path), Some(client)) = (path, client) {
        let name = args.pid.map_or_else(|| path.display().to_string(), |pid| format!("process {pid}"));
        screen.open(name, path, client)?;
    }
    let end = screen.go(&mut taken, &events);
    drop(taken);
    match end? {
        End::Left => Ok(ExitCode::SUCCESS),
        End::Signal(kind) => Ok(signals::status(kind)),
        End::Program(name) => {
            crate::say(&format!("the program has ended: {name}").into());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Why the view ends.
enum End {
    Left,
    Signal(SignalKind),
    /// The program that was named on the command line has ended.
    Program(String),
}

struct Screen<'a> {
    args: &'a TopArgs,
    interval: Duration,
    tell: Sender<Event>,
    /// To the poller of the program that is looked at.
    orders: Option<Sender<Order>>,
    /// How many programs were opened: what a former one's poller still tells is not for this one.
    opened: u64,
    asked_for_list: Option<Instant>,
    /// The list is on its way.
    listing: bool,
    state: State,
}

impl Screen<'_> {
    fn listen_to_signals(&self) -> io::Result<()> {
        let tell = self.tell.clone();
        signals::listen(move |kind| _ = tell.send(Event::Signal(kind)))
    }

    fn listen_to_keys(&self) -> io::Result<()> {
        let tell = self.tell.clone();
        thread::Builder::new().name("aioxide-keys".to_owned()).spawn(move || {
            loop {
                let event = match event::read() {
                    Ok(input) => Event::Input(input),
                    Err(error) => Event::Deaf(error),
                };
                let last = matches!(event, Event::Deaf(_));
                if tell.send(event).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn go(&mut self, taken: &mut Taken, events: &Receiver<Event>) -> Result<End, Failure> {
        loop {
            self.list_if_due()?;
            taken.draw(&mut self.state)?;
            let event = match events.recv_timeout(REDRAW.min(self.interval)) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(End::Left),
            };
            // Whatever has come meanwhile is one picture.
            for event in std::iter::once(event).chain(events.try_iter()) {
                if let Some(end) = self.take(event, taken)? {
                    return Ok(end);
                }
            }
        }
    }

    fn take(&mut self, event: Event, taken: &mut Taken) -> Result<Option<End>, Failure> {
        match event {
            Event::Input(Input::Key(key)) if key.kind != KeyEventKind::Release => {
                let action = self.state.press(key);
                return self.act(action, taken);
            }
            Event::Input(_) => {}
            Event::Deaf(error) => return Err(format!("the terminal gives no keys any more: {error}").into()),
            Event::Signal(kind) => return Ok(Some(End::Signal(kind))),
            Event::Listed(found) => {
                self.listing = false;
                self.state.programs.found = Some(found);
            }
            Event::News(opened, _) if opened != self.opened => {}
            Event::News(_, News::Ended) => return Ok(self.program_ended()),
            Event::News(_, news) => {
                let Some(program) = &mut self.state.program else { return Ok(None) };
                if let Some(said) = program.hear(news) {
                    self.state.message = Some(said);
                }
                self.open_wanted();
            }
        }
        Ok(None)
    }

    fn act(&mut self, action: Action, taken: &mut Taken) -> Result<Option<End>, Failure> {
        match action {
            Action::Nothing => {}
            Action::Quit => return Ok(Some(End::Left)),
            Action::Interrupt => return Ok(Some(End::Signal(SignalKind::INTERRUPT))),
            Action::Suspend => taken.suspend()?,
            Action::Close => self.close(),
            Action::Open(listed) => match Client::connect(&listed.path) {
                Ok(client) => self.open(listed.hello.program.name, listed.path, client)?,
                Err(error) => self.state.message = Some(format!("it does not answer: {error}")),
            },
            Action::Order(order) => {
                if matches!(order, Order::Look) {
                    taken.terminal.clear()?;
                }
                self.order(order);
            }
        }
        Ok(None)
    }

    /// Orders something of the poller. When it has ended, that is told soon.
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    fn open(&mut self, name: String, path: std::path::PathBuf, client: Client) -> io::Result<()> {
        self.opened += 1;
        let (opened, tell) = (self.opened, self.tell.clone());
        let tell = move |news| tell.send(Event::News(opened, news)).is_ok();
        self.orders = Some(poller::start(path, client, self.interval, tell)?);
        let program = Watched::new(name, self.args, self.interval);
        self.order(Order::Show { watch: None, history: program.view == crate::args::View::Ended });
        self.state.program = Some(program);
        Ok(())
    }

    fn close(&mut self) {
        // Without anybody who orders, the poller ends.
        self.orders = None;
        self.opened += 1;
        self.state.program = None;
        self.asked_for_list = None;
    }

    fn program_ended(&mut self) -> Option<End> {
        let program = self.state.program.as_ref()?;
        let name = match &program.sample {
            Some(sample) => format!("{} ({})", sample.snapshot.program.name, sample.snapshot.program.pid),
            None => program.name.clone(),
        };
        if !self.state.programs.there {
            return Some(End::Program(name));
        }
        self.close();
        self.state.mode = Mode::Browse;
        self.state.message = Some(format!("the program has ended: {name}"));
        None
    }

    /// Opens the task of the command line.
    fn open_wanted(&mut self) {
        let Some(program) = &mut self.state.program else { return };
        let Some(sample) = program.sample.clone() else { return };
        let Some(name) = program.wanted.take() else { return };
        match sample.named(&name)[..] {
            [id] => {
                let action = program.open(id);
                if let Action::Order(order) = action {
                    self.order(order);
                }
            }
            [] => self.state.message = Some(format!("there is no task {name:?}")),
            _ => {
                program.filter = name;
                program.view = crate::args::View::Tasks;
                program.choose();
            }
        }
    }

    /// Looks for programs, in a thread of its own: one that is stuck may answer late.
    fn list_if_due(&mut self) -> io::Result<()> {
        let due = self.asked_for_list.is_none_or(|asked| asked.elapsed() >= self.interval);
        if self.state.program.is_some() || self.listing || !due {
            return Ok(());
        }
        self.asked_for_list = Some(clock::now());
        self.listing = true;
        let tell = self.tell.clone();
        thread::Builder::new().name("aioxide-list".to_owned()).spawn(move || {
            let found = list().map_err(|error| error.to_string());
            let _ = tell.send(Event::Listed(found));
        })?;
        Ok(())
    }
}
