//! How a gather hears of its children.
use crate::ffi::{Object, Outcome, raised};
pub(crate) fn as_callback(_what: &Object) -> Outcome<(crate::ffi::Owned, crate::ffi::Owned)> {
    Err(raised::raise(raised::runtime_error(), "gather"))
}
pub(crate) fn child_done(_parent: &Object, _child: &Object) -> Outcome<()> {
    Ok(())
}
