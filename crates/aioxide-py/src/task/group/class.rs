//! The class as Python sees it: its methods, and the attributes by which asyncio's own methods work on it.

use super::{CLASSES, Group, GroupData, aexit, create_task};
use crate::awaitable::Awaitable;
use crate::awaitable::entering::{Entering, aenter};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::{attribute, method_fast, method_none};
use crate::ffi::{self, Object, Outcome, Owned, call, raised};
use crate::task::group_exit;

/// Attributes by asyncio's names, for its own methods and for those who look inside.
macro_rules! fields {
    ([$($get:ident, $set:ident: $slot:ident;)*] [$($get_flag:ident, $set_flag:ident: $flag:ident;)*]) => {
        $(
            fn $get(this: &Group) -> Outcome {
                Ok(this.$slot.get_or_none())
            }

            fn $set(this: &Group, value: Option<&Object>) -> Outcome<()> {
                this.$slot.put(value.filter(|value| !value.is_none()).map(Object::own));
                Ok(())
            }
        )*
        $(
            fn $get_flag(this: &Group) -> Outcome {
                Ok(Owned::boolean(this.$flag.get()))
            }

            fn $set_flag(this: &Group, value: Option<&Object>) -> Outcome<()> {
                this.$flag.set(value.map_or(Ok(false), call::truth)?);
                Ok(())
            }
        )*
    };
}

fields! {
    [
        get_loop, set_loop: event_loop;
        get_parent_task, set_parent_task: parent_task;
        get_tasks, set_tasks: tasks;
        get_errors, set_errors: errors;
        get_base_error, set_base_error: base_error;
        get_on_completed, set_on_completed: on_completed;
    ]
    [
        get_entered, set_entered: entered;
        get_exiting, set_exiting: exiting;
        get_aborting, set_aborting: aborting;
        get_cancel_on_enter, set_cancel_on_enter: cancel_on_enter;
        get_parent_cancel, set_parent_cancel: parent_cancel_requested;
    ]
}

/// `_equip_groups(TaskGroup, stock)`: tells the class, and asyncio's own.
fn equip(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(class), Some(stock)) = (given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "two arguments are needed"));
    };
    CLASSES.group.set(class.own());
    CLASSES.stock.set(stock.own());
    for (place, name) in [
        (&CLASSES.enter, c"__aenter__"),
        (&CLASSES.exit, c"__aexit__"),
        (&CLASSES.create_task, c"create_task"),
        (&CLASSES.on_task_done, c"_on_task_done"),
    ] {
        place.set(call::get_attribute(stock, &*call::interned(name)?)?);
    }
    ffi::function::dress(class, stock)?;
    CLASSES.lets_go.set(call::find_attribute(stock, &*call::interned(c"_aexit")?)?.is_some());
    Ok(Owned::none())
}

/// With the parameters that asyncio's method has.
const CREATE_TASK: &std::ffi::CStr = if cfg!(Py_3_14) {
    c"create_task($self, coro, **kwargs)\n--\n\nCreate a task in this group and return it."
} else {
    c"create_task($self, coro, *, name=None, context=None)\n--\n\nCreate a task in this group and return it."
};

/// Makes the base of `aioxide.TaskGroup`, and its function.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Entering<GroupData>>::make_kind(c"aioxide._EnterGroup")?;
    group_exit::make_kind()?;
    let builder = Group::constructed()
        .methods([
            method_none!(c"__aenter__", aenter::<GroupData>, c"__aenter__($self)\n--\n\nEnter it."),
            method_fast!(c"__aexit__", aexit, c"__aexit__($self, et, exc, tb)\n--\n\nWait for every task."),
            method_fast!(c"create_task", create_task, CREATE_TASK),
        ])
        .attributes([
            attribute!(c"_loop", get_loop, set_loop),
            attribute!(c"_parent_task", get_parent_task, set_parent_task),
            attribute!(c"_tasks", get_tasks, set_tasks),
            attribute!(c"_errors", get_errors, set_errors),
            attribute!(c"_base_error", get_base_error, set_base_error),
            attribute!(c"_on_completed_fut", get_on_completed, set_on_completed),
            attribute!(c"_entered", get_entered, set_entered),
            attribute!(c"_exiting", get_exiting, set_exiting),
            attribute!(c"_aborting", get_aborting, set_aborting),
            attribute!(c"_cancel_on_enter", get_cancel_on_enter, set_cancel_on_enter),
            attribute!(c"_parent_cancel_requested", get_parent_cancel, set_parent_cancel),
        ]);
    exports.add("_TaskGroupCore", Group::make_kind(builder, c"aioxide._TaskGroupCore")?)?;
    exports.function(method_fast!(c"_equip_groups", equip, c"Tell the class of task groups."))
}
