//! The threads that ask a program again and again, so that the one that draws never waits for it.
//!
//! The poller takes snapshots, which takes its time in a large program. The pulse asks how late the loops are, some times a
//! second: that is answered from numbers that are kept, also while a loop is blocked or the interpreter is held, and it is
//! when the stack of what blocks has to be asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aioxide_monitor::client::{Client, Error};
use aioxide_monitor::protocol::SnapshotOptions;
use aioxide_monitor::schema::{Ended, Id, Lag};

use super::sample::{BLOCKED, Blocked, Detail, Sample};
use crate::clock;

/// How often the lag is asked for, if not as often as snapshots are.
const PULSE: Duration = Duration::from_millis(200);

/// What the poller is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// What to tell of with every look, and now: a node, and the tasks that have ended.
    Show {
        watch: Option<Id>,
        history: bool,
    },
    Cancel {
        id: Id,
        name: String,
    },
    /// Do not look until this is taken back.
    Pause(bool),
    /// Look now.
    Look,
    Interval(Duration),
}

/// What the poller and the pulse tell.
#[derive(Debug)]
pub(crate) enum News {
    Sample(Arc<Sample>),
    /// Of each loop that the watchdog beats, and of those that do not answer now.
    Pulse {
        lag: Vec<Lag>,
        blocked: Vec<Blocked>,
    },
    /// The watched node; `None` when it is no more.
    Detail(Option<Box<Detail>>),
    History(Result<Vec<Ended>, String>),
    /// What became of an order.
    Said(String),
    /// The program refused, for the time being.
    Trouble(String),
    /// It is no more, or has closed its monitor. May be told twice.
    Ended,
}

/// Starts the threads. They end when the orders' sender is dropped, `tell` says that nobody listens any more, or the
/// program has ended.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn start(
    path: PathBuf,
    client: Client,
    interval: Duration,
    tell: impl Fn(News) -> bool + Send + Sync + 'static,
) -> std::io::Result<Sender<Order>> {
    let (orders, receiver) = channel();
    let (pulse, beats) = channel();
    let tell = Arc::new(tell);
    let mut pulsing = Pulse { path: path.clone(), client: None, tell: Arc::clone(&tell) };
    thread::Builder::new()
        .name("aioxide-pulse".to_owned())
        .spawn(move || pulsing.run(&beats, interval.min(PULSE)))?;
    let poller = Poller {
        path,
        client,
        interval,
        paused: false,
        history: false,
        watched: None,
        latest: None,
        pulse,
        tell,
    };
    thread::Builder::new().name("aioxide-top".to_owned()).spawn(move || poller.run(&receiver))?;
    Ok(orders)
}

/// Asks again over a new connection if the old one has ended: it does after some idle minutes.
fn ask_again<T>(
    path: &Path,
    client: &mut Client,
    ask: impl Fn(&mut Client) -> Result<T, Error>,
) -> Result<T, Error> {
    match ask(client) {
        Err(error) if error.io().is_some() => {
            *client = Client::connect(path)?;
            ask(client)
        }
        answered => answered,
    }
}

/// The thread that asks for the lag.
struct Pulse<F> {
    path: PathBuf,
    client: Option<Client>,
    tell: Arc<F>,
}

impl<F: Fn(News) -> bool> Pulse<F> {
    /// `paused` tells whether to pause, and ends this by its own end.
    fn run(&mut self, paused: &Receiver<bool>, interval: Duration) {
        let mut pausing = false;
        loop {
            if !pausing {
                match self.beat() {
                    Ok(news) => {
                        if !(self.tell)(news) {
                            return;
                        }
                    }
                    Err(error) if error.io().is_some() => {
                        let _ = (self.tell)(News::Ended);
                        return;
                    }
                    // A refusal: too many ask at a time.
                    Err(_) => {}
                }
            }
            let told = match pausing {
                true => paused.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => paused.recv_timeout(interval),
            };
            match told {
                Ok(pause) => pausing = pause,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn beat(&mut self) -> Result<News, Error> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&self.path)?),
        };
        ask_again(&self.path, client, |client| {
            let lag = client.lag()?;
            let blocked = find_blocked(client, &lag)?;
            Ok(News::Pulse { lag, blocked })
        })
    }
}

/// Asks once for all that a sample holds.
///
/// # Errors
/// The client's.
pub(crate) fn take(client: &mut Client) -> Result<Sample, Error> {
    let lag = client.lag()?;
    let blocked = find_blocked(client, &lag)?;
    let snapshot = client.snapshot(SnapshotOptions::default())?;
    Ok(Sample::new(*snapshot, lag, blocked))
}

/// The loops that do not answer now, with what their threads do.
fn find_blocked(client: &mut Client, lag: &[Lag]) -> Result<Vec<Blocked>, Error> {
    let late = |lag: &&Lag| Duration::from_micros(lag.waiting_us) >= BLOCKED;
    let mut blocked: Vec<Blocked> = lag
        .iter()
        .filter(late)
        .map(|lag| Blocked { lag: lag.clone(), thread: None, why_not: None })
        .collect();
    if blocked.is_empty() {
        return Ok(blocked);
    }
    match client.stacks(Vec::new()) {
        Ok(stacks) => {
            for one in &mut blocked {
                one.thread =
                    stacks.threads.iter().find(|thread| thread.loop_id == Some(one.lag.loop_id)).cloned();
            }
        }
        Err(error) if error.io().is_some() => return Err(error),
        Err(error) => blocked.iter_mut().for_each(|one| one.why_not = Some(error.to_string())),
    }
    Ok(blocked)
}

struct Poller<F> {
    path: PathBuf,
    client: Client,
    interval: Duration,
    paused: bool,
    history: bool,
    watched: Option<Id>,
    latest: Option<Arc<Sample>>,
    /// Tells the pulse to pause or to go on; its end ends it.
    pulse: Sender<bool>,
    /// Returns false when nobody listens.
    tell: Arc<F>,
}

/// The end of the thread.
struct Stop;

impl<F: Fn(News) -> bool> Poller<F> {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut next = clock::now();
        loop {
            let now = clock::now();
            if !self.paused && now >= next {
                if self.look().is_err() {
                    return;
                }
                let took = now.elapsed();
                next = now + self.interval.max(took * 2);
            }
            let order = match self.paused {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(next.saturating_duration_since(clock::now())),
            };
            match order {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => {
                    if self.obey(order, &mut next).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn obey(&mut self, order: Order, next: &mut Instant) -> Result<(), Stop> {
        match order {
            Order::Show { watch, history } => {
                self.watched = watch;
                self.history = history;
                self.tell_detail()?;
                self.tell_history()?;
            }
            Order::Pause(paused) => {
                self.paused = paused;
                let _ = self.pulse.send(paused);
            }
            Order::Look => *next = clock::now(),
            Order::Interval(interval) => {
                self.interval = interval;
                *next = (*next).min(clock::now() + interval);
            }
            Order::Cancel { id, name } => {
                let said = match self.ask(|client| client.cancel(id, &name))? {
                    Ok(true) => format!("{name} was asked to cancel"),
                    Ok(false) => format!("{name} was done already"),
                    Err(error) => format!("{name} was not cancelled: {error}"),
                };
                self.tell(News::Said(said))?;
                *next = clock::now();
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Stop> {
        let asked = self.ask(|client| {
            let lag = client.lag()?;
            Ok((lag, client.snapshot(SnapshotOptions::default())?))
        });
        match asked? {
            Ok((lag, snapshot)) => {
                let sample = Arc::new(Sample::new(*snapshot, lag, Vec::new()));
                self.latest = Some(Arc::clone(&sample));
                self.tell(News::Sample(sample))?;
            }
            Err(error) => self.tell(News::Trouble(error.to_string()))?,
        }
        self.tell_detail()?;
        self.tell_history()
    }

    fn tell_detail(&mut self) -> Result<(), Stop> {
        let (Some(id), Some(sample)) = (self.watched, self.latest.clone()) else { return Ok(()) };
        let is_task = sample.node(id).is_some_and(|node| node.task.is_some());
        let stack = match is_task {
            true => self.ask(|client| client.stacks(vec![id]))?.ok(),
            false => None,
        };
        let stack = stack.and_then(|stacks| stacks.tasks.into_iter().find(|stack| stack.id == id));
        self.tell(News::Detail(
            sample.detail(id, stack.map_or_else(Vec::new, |stack| stack.frames)).map(Box::new),
        ))
    }

    fn tell_history(&mut self) -> Result<(), Stop> {
        if !self.history {
            return Ok(());
        }
        let history = self.ask(|client| client.history(None))?;
        self.tell(News::History(history.map_err(|error| error.to_string())))
    }

    /// Asks; tells when the program has ended.
    fn ask<T>(&mut self, ask: impl Fn(&mut Client) -> Result<T, Error>) -> Result<Result<T, Error>, Stop> {
        match ask_again(&self.path, &mut self.client, ask) {
            Err(error) if error.io().is_some() => {
                let _ = (self.tell)(News::Ended);
                Err(Stop)
            }
            answered => Ok(answered),
        }
    }

    fn tell(&self, news: News) -> Result<(), Stop> {
        if (self.tell)(news) { Ok(()) } else { Err(Stop) }
    }
}
