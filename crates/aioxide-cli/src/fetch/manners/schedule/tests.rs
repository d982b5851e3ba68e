//! How the schedule hands out jobs, on a loop whose clock jumps.

use std::future::poll_fn;

use super::*;

fn schedule(urls: &[&str], jobs: Option<u32>, interval: Option<u64>) -> Schedule {
    let urls = urls.iter().map(|url| format!("http://{url}")).collect();
    let limits = PerHost { jobs, adapts: false, interval: interval.map(Duration::from_secs) };
    Schedule::new(Source::open(urls, None).unwrap(), limits)
}

/// Runs on a loop whose clock jumps to the next timer.
fn on_a_loop<T: 'static>(test: impl AsyncFnOnce() -> T + 'static) -> T {
    let runtime = aioxide::Runtime::builder().virtual_clock(true).build().unwrap();
    runtime.block_on(async move { test().await }).unwrap()
}

/// What may start now, without waiting.
async fn now(schedule: &mut Schedule) -> Option<Box<Job>> {
    poll_fn(|cx| {
        Poll::Ready(match schedule.poll_next(cx) {
            Poll::Ready(Some(job)) => Some(job.unwrap()),
            _ => None,
        })
    })
    .await
}

async fn next(schedule: &mut Schedule) -> Option<Box<Job>> {
    poll_fn(|cx| schedule.poll_next(cx)).await.map(|job| job.unwrap())
}

fn url(job: &Job) -> &str {
    job.entry.text.strip_prefix("http://").unwrap()
}

#[test]
fn order_of_the_list_without_limits() {
    on_a_loop(async || {
        let mut schedule = schedule(&["a/1", "a/2", "b/1", "a:b:c"], None, None);
        for expected in ["a/1", "a/2", "b/1"] {
            assert_eq!(url(&next(&mut schedule).await.unwrap()), expected);
        }
        assert!(next(&mut schedule).await.unwrap().entry.url.is_err());
        assert!(next(&mut schedule).await.is_none());
    });
}

#[test]
fn busy_host_is_passed_over_and_hosts_take_turns() {
    on_a_loop(async || {
        let urls = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3", "a:81/"];
        let mut schedule = schedule(&urls, Some(1), None);
        let first = next(&mut schedule).await.unwrap();
        let second = next(&mut schedule).await.unwrap();
        assert_eq!((url(&first), url(&second)), ("a/1", "b/1"));
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "a:81/");
        assert!(now(&mut schedule).await.is_none());
        schedule.release(&second.host, 0, Seen::Nothing);
        schedule.release(&first.host, 0, Seen::Nothing);
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/2");
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "a/2");
        schedule.release(&first.host, 0, Seen::Nothing);
        schedule.release(&second.host, 0, Seen::Nothing);
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "a/3");
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/3");
    });
}

#[test]
fn look_ahead_is_bounded_and_idle_hosts_are_forgotten() {
    on_a_loop(async || {
        let urls: Vec<String> = (0..5000).map(|number| format!("a/{number}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut busy = schedule(&urls, Some(1), None);
        let first = next(&mut busy).await.unwrap();
        assert!(now(&mut busy).await.is_none());
        assert_eq!(busy.waiting, LOOK_AHEAD);
        busy.release(&first.host, 0, Seen::Nothing);
        assert_eq!(url(&next(&mut busy).await.unwrap()), "a/1");

        let mut idle = schedule(&["a/", "b/", "c/"], None, None);
        while let Some(job) = next(&mut idle).await {
            idle.release(&job.host, 0, Seen::Nothing);
        }
        assert!(idle.hosts.is_empty());
    });
}

#[test]
fn sorted_list_keeps_all_its_hosts_busy_and_is_not_held_in_memory() {
    on_a_loop(async || {
        let mut list = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        let mut text = "name,url\n".to_owned();
        let mut expected = Vec::new();
        for host in 0..100 {
            for number in 0..200 {
                // Some records take two lines.
                let name = if number % 7 == 0 { "\"a\n,b\"" } else { "c" };
                text.push_str(&format!("{name},http://host-{host}/{number}\n"));
                expected.push(format!("host-{host}/{number}"));
            }
        }
        std::io::Write::write_all(&mut list, text.as_bytes()).unwrap();
        let source = || Source::open(Vec::new(), Some((list.path(), crate::fetch::Format::Csv))).unwrap();
        let limits = PerHost { jobs: Some(2), adapts: false, interval: None };
        let mut sorted = Schedule::new(source(), limits);
        let mut active = Vec::new();
        while active.len() < 200 {
            active.push(next(&mut sorted).await.unwrap());
        }
        assert!(sorted.waiting < 2 * LOOK_AHEAD + KEPT, "{}", sorted.waiting);
        let (mut seen, mut numbers) = (Vec::new(), Vec::new());
        while let Some(job) = active.pop() {
            sorted.release(&job.host, 0, Seen::Nothing);
            assert_eq!(expected[job.entry.number as usize], url(&job));
            numbers.push((job.entry.number, job.entry.line, job.entry.more.unwrap().name.unwrap().len()));
            seen.push(job.entry.text);
            active.extend(now(&mut sorted).await);
        }
        assert!(next(&mut sorted).await.is_none());
        assert_eq!((seen.len(), sorted.passed, sorted.waiting), (expected.len(), 0, 0));
        numbers.sort_unstable();
        let mut line = 2;
        for (number, seen) in numbers.into_iter().enumerate() {
            let long = number % 200 % 7 == 0;
            assert_eq!(seen, (number as u64, line, if long { 4 } else { 1 }));
            line += 1 + u64::from(long);
        }

        // What was passed over is left over, too.
        let mut stopped = Schedule::new(source(), limits);
        let mut left: Vec<u64> = Vec::new();
        while left.len() < 150 {
            left.push(next(&mut stopped).await.unwrap().entry.number);
        }
        assert!(stopped.passed > 50);
        while let Some(job) = stopped.next_left_over(Stopwatch::start()) {
            left.push(job.unwrap().entry.number);
        }
        left.sort_unstable();
        assert_eq!(left, (0..expected.len() as u64).collect::<Vec<_>>());
    });
}

#[test]
fn starts_of_one_host_keep_their_distance() {
    on_a_loop(async || {
        let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1"], None, Some(10));
        let begin = Instant::now();
        let mut seen = Vec::new();
        while let Some(job) = next(&mut schedule).await {
            seen.push(format!("{} {}", url(&job), begin.elapsed().as_secs()));
            schedule.release(&job.host, 0, Seen::Nothing);
        }
        assert_eq!(seen, ["a/1 0", "b/1 0", "a/2 10", "a/3 20"]);
        assert!(schedule.hosts.is_empty() || schedule.hosts.values().all(|host| host.queued));
    });
}

#[test]
fn host_that_asks_for_a_pause_is_left_alone_while_others_go_on() {
    on_a_loop(async || {
        let mut schedule = schedule(&["a/1", "a/2", "b/1"], Some(1), None);
        let begin = Instant::now();
        let job = next(&mut schedule).await.unwrap();
        schedule.leave_alone(&job.host, Duration::from_secs(30));
        schedule.release(&Rc::clone(&job.host), 0, Seen::Nothing);
        schedule.put_off(job, Duration::from_secs(30));
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/1");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let mut seen = Vec::new();
        while let Some(job) = next(&mut schedule).await {
            seen.push(url(&job).to_owned());
            schedule.release(&job.host, 0, Seen::Nothing);
        }
        seen.sort_unstable();
        assert_eq!((seen, begin.elapsed()), (vec!["a/1".into(), "a/2".into()], Duration::from_secs(30)));
    });
}

#[test]
fn what_is_left_over_comes_once_and_in_order() {
    on_a_loop(async || {
        let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "c/"], Some(1), None);
        let first = next(&mut schedule).await.unwrap();
        assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/1");
        schedule.release(&Rc::clone(&first.host), 0, Seen::Nothing);
        schedule.put_off(first, Duration::from_secs(1));
        let mut left = Vec::new();
        while let Some(job) = schedule.next_left_over(Stopwatch::start()) {
            left.push(url(&job.unwrap()).to_owned());
        }
        assert_eq!(left, ["a/1", "a/2", "a/3", "b/2", "b/3", "c/"]);
    });
}
