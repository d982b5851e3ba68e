//! The thread that asks a program again and again, so that the one that draws never waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aioxide_monitor::client::{Client, Error};
use aioxide_monitor::protocol::SnapshotOptions;
use aioxide_monitor::schema::{Ended, Id, Lag};

use super::sample::{BLOCKED, Blocked, Detail, Sample};
use crate::clock;

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

/// What the poller tells.
#[derive(Debug)]
pub(crate) enum News {
    Sample(Arc<Sample>),
    /// The lag is known before a snapshot is there, and also when there is none.
    Blocked(Vec<Blocked>),
    /// The watched node; `None` when it is no more.
    Detail(Option<Box<Detail>>),
    History(Result<Vec<Ended>, String>),
    /// What became of an order.
    Said(String),
    /// The program refused, for the time being.
    Trouble(String),
    /// It is no more, or has closed its monitor.
    Ended,
}

/// Starts the thread. It ends when nobody listens any more, or the program has ended.
pub(crate) fn start(
    path: PathBuf,
    client: Client,
    interval: Duration,
    tell: impl Fn(News) -> bool + Send + 'static,
) -> std::io::Result<Sender<Order>> {
    let (orders, receiver) = channel();
    let poller =
        Poller { path, client, interval, paused: false, history: false, watched: None, latest: None, tell };
    thread::Builder::new().name("aioxide-top".to_owned()).spawn(move || poller.run(&receiver))?;
    Ok(orders)
}

/// Asks once for all that a sample holds.
///
/// # Errors
/// The client's.
pub(crate) fn take(client: &mut Client) -> Result<Sample, Error> {
    let began = clock::now();
    let lag = client.lag()?;
    let blocked = find_blocked(client, &lag)?;
    let snapshot = client.snapshot(SnapshotOptions::default())?;
    let mut sample = Sample::new(*snapshot, lag, blocked);
    sample.took = began.elapsed();
    Ok(sample)
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
    /// Returns false when nobody listens.
    tell: F,
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
            Order::Pause(paused) => self.paused = paused,
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
        let began = clock::now();
        let asked = self.ask(|client| {
            let lag = client.lag()?;
            let blocked = find_blocked(client, &lag)?;
            Ok((lag, blocked))
        })?;
        let (lag, blocked) = match asked {
            Ok(known) => known,
            Err(error) => return self.tell(News::Trouble(error.to_string())),
        };
        // It may be long before a program that is blocked gives a snapshot.
        self.tell(News::Blocked(blocked.clone()))?;
        match self.ask(|client| client.snapshot(SnapshotOptions::default()))? {
            Ok(snapshot) => {
                let mut sample = Sample::new(*snapshot, lag, blocked);
                sample.took = began.elapsed();
                let sample = Arc::new(sample);
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

    /// Asks, once more over a new connection if the old one has ended: it does after some idle minutes.
    fn ask<T>(&mut self, ask: impl Fn(&mut Client) -> Result<T, Error>) -> Result<Result<T, Error>, Stop> {
        match ask(&mut self.client) {
            Err(error) if error.io().is_some() => {}
            answered => return Ok(answered),
        }
        let again = Client::connect(&self.path).and_then(|client| {
            self.client = client;
            ask(&mut self.client)
        });
        match again {
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
