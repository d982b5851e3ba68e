//! The program's own code in odd places: values that look at the cell that holds them when they are cloned.

use std::cell::RefCell;
use std::rc::Rc;

use aioxide::{Future, ResultError, run, spawn, yield_now};

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
