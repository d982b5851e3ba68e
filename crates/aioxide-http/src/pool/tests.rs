//! The pool against a naive model: the same requests, releases and drops in any order.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use proptest::prelude::*;

use super::*;

struct Fake {
    alive: Rc<Cell<bool>>,
    _count: Rc<()>,
}

impl Pooled for Fake {
    fn is_alive(&mut self) -> bool {
        self.alive.get()
    }
}

#[derive(Clone)]
struct Never;

impl Multiplexed for Never {
    fn is_open(&self) -> bool {
        false
    }
    fn max_streams(&self) -> usize {
        0
    }
}

type TestPool = Pool<Fake, Never, ()>;
type TestHost = Host<Fake, Never, ()>;
type Acquiring = Pin<Box<dyn Future<Output = Result<Acquired<Fake, Never, ()>, PoolClosed>>>>;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody asks for a connection to that host.
    Ask(usize),
    /// One of those that wait gives up.
    GiveUp(prop::sample::Index),
    /// One of those that have a connection gives it back, alive.
    Park(prop::sample::Index),
    /// One of those that have a connection closes it.
    Close(prop::sample::Index),
    /// The server closes all idle connections.
    Kill,
    /// Time passes.
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Ask),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
        3 => any::<prop::sample::Index>().prop_map(Step::Park),
        1 => any::<prop::sample::Index>().prop_map(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::Expire),
    ]
}

/// Everything the test holds of a pool.
struct World {
    pool: Rc<TestPool>,
    hosts: Vec<Rc<TestHost>>,
    limit: usize,
    per_host: usize,
    /// Those that wait, in their order, with the host's number.
    waiting: Vec<(usize, Acquiring)>,
    /// Connections in use.
    using: Vec<(usize, Fake, Permit<Fake, Never, ()>)>,
    alive: Vec<Rc<Cell<bool>>>,
    /// Counts the fakes that exist.
    exists: Rc<()>,
}

impl World {
    fn new(limit: usize, per_host: usize) -> Self {
        let config = PoolConfig { limit, limit_per_host: per_host, idle_timeout: Duration::from_nanos(1) };
        let pool: Rc<TestPool> = Pool::new(config);
        let hosts =
            (0..3).map(|number| pool.host(&number.to_string(), false, || Ok::<_, ()>(())).unwrap()).collect();
        let (waiting, using, alive) = (Vec::new(), Vec::new(), Vec::new());
        Self { pool, hosts, limit, per_host, waiting, using, alive, exists: Rc::new(()) }
    }

    /// Polls everybody who waits; those that are served have a connection then.
    fn settle(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for (host, mut acquiring) in std::mem::take(&mut self.waiting) {
            match acquiring.as_mut().poll(&mut cx) {
                Poll::Pending => still.push((host, acquiring)),
                Poll::Ready(Ok(Acquired::Reused(fake, permit))) => {
                    assert!(fake.alive.get(), "a dead connection was handed out");
                    self.using.push((host, fake, permit));
                }
                Poll::Ready(Ok(Acquired::New(mut permit))) => {
                    permit.established();
                    let alive = Rc::new(Cell::new(true));
                    self.alive.push(alive.clone());
                    self.using.push((host, Fake { alive, _count: self.exists.clone() }, permit));
                }
                Poll::Ready(_) => panic!("neither shared nor closed here"),
            }
        }
        self.waiting = still;
    }

    /// What must hold whatever happened.
    fn check(&self) {
        let fakes = Rc::strong_count(&self.exists) - 1;
        let (open, idle) = self.pool.counts();
        assert_eq!(open, fakes, "slots and connections differ");
        assert_eq!(open, idle + self.using.len());
        assert!(self.limit == 0 || open <= self.limit);
        for host in 0..3 {
            let used = self.using.iter().filter(|(used, ..)| *used == host).count();
            assert!(self.per_host == 0 || used <= self.per_host);
        }
        // Nobody waits who could be served: the naive model looks at all of them.
        for (host, _) in &self.waiting {
            let used = self.using.iter().filter(|(used, ..)| used == host).count();
            let host_full = self.per_host > 0 && used >= self.per_host;
            let all_full = self.limit > 0 && self.using.len() >= self.limit;
            assert!(host_full || all_full, "somebody waits although there is room");
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Ask(number) => {
                let (pool, host) = (self.pool.clone(), self.hosts[*number].clone());
                self.waiting.push((*number, Box::pin(async move { pool.acquire(&host, false).await })));
            }
            Step::GiveUp(index) if !self.waiting.is_empty() => {
                let _given_up = self.waiting.remove(index.index(self.waiting.len()));
            }
            Step::Park(index) if !self.using.is_empty() => {
                let (_, fake, permit) = self.using.remove(index.index(self.using.len()));
                permit.park(fake, Some(crate::rt::now()));
            }
            Step::Close(index) if !self.using.is_empty() => {
                self.using.remove(index.index(self.using.len()));
            }
            Step::Kill => {
                let used: Vec<_> = self.using.iter().map(|(_, fake, _)| fake.alive.clone()).collect();
                for alive in &self.alive {
                    alive.set(used.iter().any(|used| Rc::ptr_eq(used, alive)));
                }
            }
            Step::Expire => {
                self.pool.expire(crate::rt::now() + Duration::from_nanos(1));
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn no_slot_is_lost_and_nobody_waits_in_vain(
        limit in 0..5_usize,
        per_host in 0..3_usize,
        steps in prop::collection::vec(step(), 0..80),
        lazy in any::<bool>(),
    ) {
        aioxide::testing::run(async move {
        let mut world = World::new(limit, per_host);
        for (number, step) in steps.iter().enumerate() {
            world.apply(step);
            // Served ones may be given up before they look: with `lazy`, they look only now and then.
            if !lazy || number % 3 == 0 {
                world.settle();
                world.settle();
                world.check();
            }
        }
        world.settle();
        world.settle();
        world.check();
        world.waiting.clear();
        world.using.clear();
        world.pool.close();
        assert_eq!(world.pool.counts(), (0, 0));
        assert_eq!(Rc::strong_count(&world.exists), 1);
        });
    }
}

#[test]
fn who_wants_a_fresh_connection_gets_none_that_was_given_back() {
    aioxide::testing::run(async {
        let mut world = World::new(1, 0);
        world.apply(&Step::Ask(0));
        world.settle();
        let (pool, host) = (world.pool.clone(), world.hosts[0].clone());
        let mut cx = Context::from_waker(Waker::noop());
        let mut fresh = Box::pin(async move { pool.acquire(&host, true).await });
        assert!(fresh.as_mut().poll(&mut cx).is_pending());
        let (_, fake, permit) = world.using.pop().unwrap();
        permit.park(fake, Some(crate::rt::now()));
        let Poll::Ready(Ok(Acquired::New(mut permit))) = fresh.as_mut().poll(&mut cx) else {
            panic!("the connection that was given back may be as dead as the one before")
        };
        permit.established();
        assert_eq!(Rc::strong_count(&world.exists), 1, "the other one was closed");
        assert_eq!(world.pool.counts(), (1, 0));
    });
}

#[test]
fn waiters_of_one_host_are_served_in_order_and_wakers_are_called() {
    struct Count(std::sync::atomic::AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    aioxide::testing::run(async {
        let count = std::sync::Arc::new(Count(Default::default()));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let mut world = World::new(1, 0);
        world.apply(&Step::Ask(0));
        world.settle();
        for _ in 0..3 {
            world.apply(&Step::Ask(0));
        }
        for (_, acquiring) in &mut world.waiting {
            assert!(acquiring.as_mut().poll(&mut cx).is_pending());
        }
        for left in (0..3).rev() {
            let (_, fake, permit) = world.using.pop().unwrap();
            permit.park(fake, Some(crate::rt::now()));
            assert_eq!(
                count.0.load(std::sync::atomic::Ordering::SeqCst),
                3 - left,
                "one wake for one connection"
            );
            let (_, mut first) = world.waiting.remove(0);
            let Poll::Ready(Ok(Acquired::Reused(fake, permit))) = first.as_mut().poll(&mut cx) else {
                panic!("the first in the queue was not served")
            };
            world.using.push((0, fake, permit));
        }
    });
}

#[test]
fn who_waits_for_a_connection_that_nobody_makes_any_more_opens_its_own() {
    aioxide::testing::run(async {
        let config = PoolConfig { limit: 0, limit_per_host: 0, idle_timeout: Duration::from_secs(1) };
        let pool: Rc<TestPool> = Pool::new(config);
        let host = pool.host("shared", true, || Ok::<_, ()>(())).unwrap();
        let Ok(Acquired::New(never)) = pool.acquire(&host, false).await else { panic!("the first one") };
        let mut other = Box::pin(pool.acquire(&host, false));
        let mut third = Box::pin(pool.acquire(&host, false));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        let hour = Duration::from_secs(3600);
        let Ok(Ok(Acquired::New(mut second))) = aioxide::timeout(hour, other.as_mut()).await else {
            panic!("it waits with the one that is not made")
        };
        assert!(third.as_mut().poll(&mut cx).is_pending(), "one at a time");
        assert_eq!(pool.stats().waiting, 1);
        second.established();
        let Poll::Ready(Ok(Acquired::New(third))) = third.as_mut().poll(&mut cx) else {
            panic!("it is known that the connections are not shared")
        };
        assert_eq!((pool.stats().open, pool.stats().waiting), (3, 0));
        drop((never, second, third));
        assert_eq!(pool.stats(), Stats::default());
    });
}
