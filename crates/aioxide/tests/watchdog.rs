//! What keeps a loop from running is told while it does, and who can never go on.

#![cfg(feature = "watchdog")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aioxide::sync::Mutex;
use aioxide::time::sleep;
use aioxide::watchdog::{Blocked, Finding, Watchdog};
use aioxide::{Runtime, spawn};

const LIMIT: Duration = Duration::from_millis(20);

fn watched(watchdog: Watchdog) -> (Runtime, Receiver<Finding>) {
    let (tell, told) = channel();
    let watchdog = watchdog.report(move |found| drop(tell.send(found.clone())));
    (Runtime::builder().watchdog(watchdog).build().unwrap(), told)
}

#[inline(never)]
fn query_that_blocks(told: &Receiver<Finding>) -> Finding {
    told.recv().unwrap()
}

fn blocked(found: &Finding) -> &Blocked {
    match found {
        Finding::Blocked(blocked) => blocked,
        other => panic!("{other}"),
    }
}

#[test]
fn task_that_blocks_is_told_with_its_stack_while_it_does() {
    let (runtime, told) = watched(Watchdog::new(LIMIT));
    let found = runtime.block_on(async move {
        let task = spawn(async move { query_that_blocks(&told) });
        task.set_name("request 7");
        (task.id(), task.place().line(), task.await)
    });
    let (id, line, found) = found.unwrap();
    let blocked = blocked(&found);
    assert!(blocked.duration >= LIMIT && blocked.suppressed == 0, "{blocked:?}");
    assert_eq!((blocked.task_id, blocked.task_name.as_deref()), (Some(id), Some("request 7")));
    assert_eq!(blocked.place.unwrap().line(), line);
    let place = blocked.stack.iter().position(|frame| frame.function.contains("query_that_blocks"));
    let frame = &blocked.stack[place.expect("the blocking function stands in the stack")];
    assert!(frame.place.as_ref().is_some_and(|(file, _)| file.ends_with("tests/watchdog.rs")), "{frame:?}");
    // From the innermost frame to the task's future, without the loop.
    let text = found.to_string();
    assert!(text.contains("in task 'request 7' spawned at") && text.contains("tests/watchdog.rs"), "{text}");
    assert!(!text.contains("aioxide_core") && !text.contains("sample::handler"), "{text}");
    assert!(blocked.stack.last().unwrap().function.contains("task_that_blocks_is_told"), "{text}");
}

#[test]
fn callback_and_a_task_without_a_name_are_told() {
    let (runtime, told) = watched(Watchdog::new(LIMIT));
    let found = runtime.block_on(async move {
        let (give, given) = channel();
        aioxide::Handle::current().call_soon(move || give.send((query_that_blocks(&told), told)).unwrap());
        aioxide::yield_now().await;
        let (first, told) = given.recv().unwrap();
        let task = spawn(async move { told.recv().unwrap() });
        (first, task.any().name(), task.await)
    });
    let (first, name, second) = found.unwrap();
    assert_eq!((blocked(&first).task_id, blocked(&first).task_name.as_deref()), (None, None));
    assert!(first.to_string().contains("in a callback made at"), "{first}");
    assert_eq!(blocked(&second).task_name, Some(name));
}

/// Blocks the loop until something is told, or not at all for a few limits; the names of the tasks that were told of.
async fn block(told: Rc<Receiver<Finding>>, name: &'static str, until_told: bool) -> Option<String> {
    let patience = if until_told { Duration::from_secs(60) } else { LIMIT * 5 };
    let blocking = async move { told.recv_timeout(patience).ok() };
    let found = aioxide::Task::builder().name(name).spawn(blocking).await;
    // The next heartbeat is another one.
    sleep(LIMIT * 2).await;
    found.map(|found| blocked(&found).task_name.clone().unwrap())
}

#[test]
fn place_is_told_once_in_a_while() {
    let (runtime, told) = watched(Watchdog::new(LIMIT).every(Duration::from_secs(1000)));
    let names = runtime.block_on(async move {
        let told = Rc::new(told);
        let first = block(Rc::clone(&told), "first", true).await;
        let again = block(Rc::clone(&told), "again", false).await;
        // Another place: were the one before told late, it would come first.
        let elsewhere = Box::pin(async move { told.recv_timeout(Duration::from_secs(60)).ok() });
        let last = aioxide::Task::builder().name("elsewhere").spawn(elsewhere).await;
        (first, again, last.map(|found| blocked(&found).task_name.clone().unwrap()))
    });
    let expected = (Some("first".to_owned()), None, Some("elsewhere".to_owned()));
    assert_eq!(names.unwrap(), expected);
}

#[test]
fn place_is_told_always_where_that_is_wanted() {
    let (runtime, told) = watched(Watchdog::new(LIMIT).every(Duration::ZERO));
    let names = runtime.block_on(async move {
        let told = Rc::new(told);
        [block(Rc::clone(&told), "first", true).await, block(told, "again", true).await]
    });
    assert_eq!(names.unwrap(), ["first", "again"].map(|name| Some(name.to_owned())));
}

#[test]
fn loop_that_answers_is_not_told_of_and_neither_is_one_that_does_not_run() {
    let (runtime, told) = watched(Watchdog::new(Duration::from_millis(400)));
    runtime
        .block_on(async {
            for _ in 0..40 {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .unwrap();
    assert!(told.recv_timeout(Duration::from_millis(1000)).is_err());
    drop(runtime);
    assert!(told.recv().is_err(), "the watchdog has ended with its loop");
}

#[test]
fn tasks_that_can_never_go_on_are_told_once() {
    let (runtime, told) = watched(Watchdog::new(LIMIT));
    let (first, second) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
    let handle = runtime.handle().remote();
    let ender = std::thread::Builder::new().name("aioxide-test".to_owned()).spawn(move || {
        let found = told.recv().unwrap();
        let again = told.recv_timeout(Duration::from_millis(1500));
        handle.call_soon(|| aioxide::all_tasks().iter().for_each(|task| assert!(task.cancel()))).unwrap();
        (found, again)
    });
    let take = |one: &Rc<Mutex<()>>, two: &Rc<Mutex<()>>| {
        let (one, two) = (Rc::clone(one), Rc::clone(two));
        runtime.spawn(async move {
            let _one = one.lock().await;
            aioxide::yield_now().await;
            let _two = two.lock().await;
        })
    };
    let (there, back) = (take(&first, &second), take(&second, &first));
    let ended = runtime.block_on(async move {
        there.await;
        back.await;
    });
    assert!(ended.is_err());
    let (found, again) = ender.unwrap().join().unwrap();
    let Finding::Deadlock(deadlock) = &found else { panic!("{found}") };
    // The main task waits for one of them.
    assert_eq!(deadlock.tasks, 3, "{found}");
    assert!(found.to_string().starts_with("deadlock: 3 tasks"), "{found}");
    assert!(again.is_err(), "{again:?}");
}

#[test]
fn report_that_panics_does_not_end_the_watchdog() {
    let (tell, told) = channel();
    let watchdog = Watchdog::new(LIMIT).every(Duration::ZERO).report(move |found| {
        tell.send(found.to_string()).unwrap();
        panic!("the report's own fault");
    });
    let runtime = Runtime::builder().watchdog(watchdog).build().unwrap();
    let ended = runtime.block_on(async move {
        for _ in 0..2 {
            told.recv().unwrap();
            sleep(LIMIT * 2).await;
        }
    });
    ended.unwrap();
}
