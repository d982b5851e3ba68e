//! What a future that goes away tells the loop's exception handler.

use super::Future;
use crate::ffi::{self, Object, Outcome, call};
use crate::interp::names;

/// Reports an exception that nobody asked for.
pub(crate) fn report_never_retrieved(this: &Future) -> Outcome<()> {
    if !this.log_traceback.get() {
        return Ok(());
    }
    let Some(exception) = this.exception.get() else { return Ok(()) };
    this.log_traceback.set(false);
    let message = format!("{} exception was never retrieved", ffi::text::type_name(this.object()));
    report(this, &message, Some(&exception), &names().future)
}

/// Calls the loop's exception handler about this future.
pub(crate) fn report(this: &Future, message: &str, exception: Option<&Object>, key: &Object) -> Outcome<()> {
    let Some(event_loop) = this.event_loop.get() else { return Ok(()) };
    let names = names();
    let details = call::dict()?;
    call::set_item(&details, &names.message, &*call::text(message)?)?;
    if let Some(exception) = exception {
        call::set_item(&details, &names.exception, exception)?;
    }
    call::set_item(&details, key, this.object())?;
    if let Some(source) = this.source_traceback.get() {
        call::set_item(&details, &names.source_traceback, &source)?;
    }
    call::call_method(&names.call_exception_handler, &[&event_loop, &details], None).map(drop)
}
