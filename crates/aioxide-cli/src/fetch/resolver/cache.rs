//! Answers that are kept for as long as they say, and not longer than is good: a bounded number of names.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use aioxide::time::Instant;

/// What is known of a name.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Addresses(Rc<[IpAddr]>),
    Failed(io::ErrorKind, Rc<str>),
}

/// Answers by lower-case name. The oldest one goes first when there are too many.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    names: HashMap<Rc<str>, Entry>,
    /// In the order in which answers came; some of them have been replaced since.
    order: VecDeque<(Rc<str>, u64)>,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    until: Instant,
    number: u64,
}

impl Cache {
    /// A cache of at most `most` names.
    pub(super) fn new(most: usize) -> Self {
        Self { most, names: HashMap::new(), order: VecDeque::new(), number: 0 }
    }

    pub(super) fn get(&self, name: &str) -> Option<Known> {
        let entry = self.names.get(name)?;
        (Instant::now() < entry.until).then(|| entry.known.clone())
    }

    /// Keeps an answer, `time` long.
    pub(super) fn keep(&mut self, name: &str, known: Known, time: Duration) {
        if time.is_zero() {
            return;
        }
        let name: Rc<str> = name.into();
        self.number += 1;
        let entry = Entry { known, until: Instant::now() + time, number: self.number };
        self.order.push_back((Rc::clone(&name), self.number));
        self.names.insert(name, entry);
        // A name that is replaced again and again must not make the order grow, either.
        while self.names.len() > self.most || self.order.len() > 2 * self.most {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.names.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.names.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Known {
        Known::Addresses([IpAddr::from([127, 0, 0, last])].into())
    }

    fn found(cache: &Cache, name: &str) -> Option<IpAddr> {
        match cache.get(name)? {
            Known::Addresses(addresses) => addresses.first().copied(),
            Known::Failed(..) => None,
        }
    }

    #[test]
    fn answers_are_known_for_their_time() {
        aioxide::testing::run(async {
            let mut cache = Cache::new(10);
            cache.keep("a.test", address(1), Duration::from_secs(60));
            cache.keep(
                "b.test",
                Known::Failed(io::ErrorKind::NotFound, "none".into()),
                Duration::from_secs(5),
            );
            cache.keep("c.test", address(3), Duration::ZERO);
            assert!(cache.get("c.test").is_none());
            aioxide::time::sleep(Duration::from_secs(4)).await;
            assert!(matches!(cache.get("b.test"), Some(Known::Failed(io::ErrorKind::NotFound, _))));
            aioxide::time::sleep(Duration::from_secs(2)).await;
            assert!(cache.get("b.test").is_none());
            assert_eq!(found(&cache, "a.test"), Some([127, 0, 0, 1].into()));
            aioxide::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(found(&cache, "a.test"), None);
        });
    }

    #[test]
    fn oldest_name_goes_first_and_nothing_grows() {
        aioxide::testing::run(async {
            let mut cache = Cache::new(100);
            for round in 0..1000_u32 {
                cache.keep("same.test", address(1), Duration::from_secs(60));
                cache.keep(&format!("{round}.test"), address(2), Duration::from_secs(60));
                assert!(cache.names.len() <= 100 && cache.order.len() <= 200);
            }
            assert_eq!(found(&cache, "999.test"), Some([127, 0, 0, 2].into()));
            assert_eq!(found(&cache, "same.test"), Some([127, 0, 0, 1].into()));
            assert_eq!(found(&cache, "1.test"), None);
        });
    }
}
