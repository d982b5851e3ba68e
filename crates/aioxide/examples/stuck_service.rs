//! A service with everything wrong with it, to look into with `aioxide top`: what is stuck, and why?
//!
//! ```sh
//! cargo run --release --features watchdog --example stuck_service &
//! aioxide top
//! ```
//!
//! 50 000 tasks of a dozen kinds wait for each other, for a pool of ten database connections and for timers. Somewhere among them two
//! transfers hold a lock each and wait for the other's, and every five seconds one request calls a function that blocks the loop for
//! most of a second. `examples/stuck_service.py` is the same in Python.
#![expect(clippy::disallowed_methods, reason = "it blocks the loop on purpose")]

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use aioxide::sync::{Condition, Event, Mutex, Queue, Semaphore};
use aioxide::time::sleep;
use aioxide::watchdog::Watchdog;
use aioxide::{Runtime, Task, gather, ok, spawn, timeout};

const TASKS: usize = 50_000;

/// What the tasks share.
struct Service {
    database: Semaphore,
    orders: Queue<u32>,
    events: Queue<u32>,
    ready: Event,
    stock: Mutex<u32>,
    refill: Condition,
    accounts: [Mutex<i64>; 2],
    settings: Mutex<()>,
}

async fn handle_request(service: Rc<Service>) {
    let _connection = service.database.acquire().await;
    sleep(Duration::from_secs(60)).await;
}

async fn check_out(service: Rc<Service>) {
    handle_request(service).await;
}

async fn take_orders(service: Rc<Service>) {
    while service.orders.get().await.is_ok() {}
}

async fn publish_events(service: Rc<Service>) {
    while service.events.put(1).await.is_ok() {}
}

async fn wait_until_ready(service: Rc<Service>) {
    service.ready.wait().await;
}

async fn keep_stock(service: Rc<Service>) {
    let stock = service.stock.lock().await;
    drop(service.refill.wait(stock).await);
}

async fn read_settings(service: Rc<Service>) {
    let _settings = service.settings.lock().await;
    sleep(Duration::from_secs(3600)).await;
}

async fn expire_session(_: Rc<Service>) {
    sleep(Duration::from_secs(600)).await;
}

async fn send_mail(service: Rc<Service>) {
    let _given_up = timeout(Duration::from_secs(900), service.ready.wait()).await;
}

async fn render_page(_: Rc<Service>) {
    let part = || ok(spawn(sleep(Duration::from_secs(300))));
    let _parts = gather([part(), part()]).await;
}

async fn keep_alive(_: Rc<Service>) {
    loop {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn transfer(service: Rc<Service>, source: usize, target: usize) {
    let mut from = service.accounts[source].lock().await;
    sleep(Duration::from_millis(100)).await;
    let mut to = service.accounts[target].lock().await;
    *from -= 1;
    *to += 1;
}

/// Blocks: it is a call that waits, in a future that should have used `spawn_blocking`.
#[inline(never)]
fn build_report() {
    std::thread::sleep(Duration::from_millis(800));
    // So that it stands in the stack, and does not end in its last call.
    std::hint::black_box(());
}

async fn handle_report() {
    build_report();
}

/// Makes the loop block now and then.
async fn troubles() {
    for number in 1.. {
        sleep(Duration::from_secs(5)).await;
        drop(Task::builder().name(format!("report {number}")).spawn(handle_report()));
    }
}

/// So many fiftieths of the tasks.
#[track_caller]
fn start<F: Future<Output = ()> + 'static>(
    service: &Rc<Service>,
    share: usize,
    name: &str,
    kind: impl Fn(Rc<Service>) -> F,
) {
    for number in 1..=TASKS * share / 50 {
        drop(Task::builder().name(format!("{name} {number}")).spawn(kind(Rc::clone(service))));
    }
}

async fn serve() {
    let service = Rc::new(Service {
        database: Semaphore::new(10),
        orders: Queue::new(0),
        events: Queue::new(100),
        ready: Event::new(),
        stock: Mutex::new(0),
        refill: Condition::new(),
        accounts: [Mutex::new(100), Mutex::new(100)],
        settings: Mutex::new(()),
    });
    start(&service, 12, "request", handle_request);
    start(&service, 6, "check-out", check_out);
    start(&service, 6, "orders", take_orders);
    start(&service, 4, "events", publish_events);
    start(&service, 6, "wait", wait_until_ready);
    start(&service, 3, "stock", keep_stock);
    start(&service, 3, "settings", read_settings);
    start(&service, 5, "session", expire_session);
    start(&service, 3, "mail", send_mail);
    start(&service, 1, "page", render_page);
    start(&service, 1, "alive", keep_alive);
    drop(Task::builder().name("transfer there").spawn(transfer(Rc::clone(&service), 0, 1)));
    drop(Task::builder().name("transfer back").spawn(transfer(Rc::clone(&service), 1, 0)));
    Task::builder().name("troubles").spawn(troubles()).await;
}

fn main() -> Result<(), aioxide::Error> {
    let watchdog = Watchdog::new(Duration::from_millis(200));
    let runtime = Runtime::builder().monitor(true).watchdog(watchdog).build()?;
    runtime.block_on(serve())
}
