//! The program's own code in odd places: values that look at the cell that holds them when they are cloned, destructors
//! that use loops.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use aioxide::{Future, ResultError, Runtime, run, spawn, yield_now};

/// Its `Clone` looks at the cell that holds it.
struct Curious(Rc<RefCell<Option<Future<Curious>>>>);

impl Clone for Curious {
    fn clone(&self) -> Self {
        let cell = self.0.take();
        if let Some(cell) = cell {
            assert!(cell.done() && !cell.cancelled() && !cell.cancel());
            assert!(cell.set_result(Self(Rc::default())).is_err());
            assert!(cell.result().is_ok());
            cell.add_done_callback(|cell| assert!(cell.done()));
            assert!(format!("{cell:?}").contains("finished"));
        }
        Self(Rc::clone(&self.0))
    }
}

#[test]
fn values_may_look_at_their_cell_when_they_are_cloned() {
    run(async {
        for waits in [false, true] {
            let cell = Future::new();
            let value = Curious(Rc::new(RefCell::new(Some(cell.clone()))));
            let reader = waits.then(|| spawn(cell.clone()));
            yield_now().await;
            assert!(matches!(cell.result(), Err(ResultError::InvalidState)));
            cell.set_result(value).unwrap_or_else(|_| unreachable!());
            match reader {
                Some(reader) => drop(reader.await),
                None => drop(cell.result().unwrap()),
            }
            yield_now().await;
        }
    })
    .unwrap();
}

/// Spawns when it is dropped, on a loop that is closing; what it spawns owns another loop.
struct SpawnsAtTheEnd(Option<Runtime>);

impl Drop for SpawnsAtTheEnd {
    fn drop(&mut self) {
        let other = self.0.take();
        let task = spawn(async move {
            let _other = other;
            pending::<()>().await;
        });
        assert!(task.cancelled());
    }
}

#[test]
fn future_that_a_closed_loop_refuses_may_close_another_loop() {
    let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let value = Rc::new(());
    let held = Rc::clone(&value);
    other.spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    other.block_on(yield_now()).unwrap();
    one.spawn(async move {
        let _guard = SpawnsAtTheEnd(Some(other));
        pending::<()>().await;
    });
    one.block_on(yield_now()).unwrap();
    one.close();
    // The other loop was closed, with its task.
    assert_eq!(Rc::strong_count(&value), 1);
}
