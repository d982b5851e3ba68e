//! The Python names and objects that are used more than once: interned and imported when the module is.

use std::cell::OnceCell;

use crate::ffi::{Confined, Object, Outcome, Owned, call, raised};

macro_rules! names {
    (text { $($field:ident = $text:literal),* $(,)? } objects { $($object:ident = $module:literal / $name:literal),* $(,)? }) => {
        /// See the module.
        #[allow(dead_code, reason = "which of them are used depends on the version of Python")]
        pub(crate) struct Names {
            $(pub(crate) $field: Owned,)*
            $(pub(crate) $object: Owned,)*
            /// `("context",)`.
            pub(crate) context_names: Owned,
            /// `("msg",)`.
            pub(crate) msg_names: Owned,
            /// `("timeout",)`.
            pub(crate) timeout_names: Owned,
            /// `("timeout", "return_when")`.
            pub(crate) wait_names: Owned,
            /// `("loop",)`.
            pub(crate) loop_names: Owned,
            /// Up to some 3.13 None; then `asyncio.tasks._log_on_exception`: `shield` reports what its future raises.
            pub(crate) log_on_exception: Owned,
            /// `asyncio.tasks`.
            pub(crate) tasks_module: Owned,
            /// `asyncio.base_tasks`, `base_futures` and `format_helpers`: held, since what is reported while the
            /// interpreter ends can import nothing any more.
            pub(crate) base_tasks_module: Owned,
            pub(crate) base_futures_module: Owned,
            pub(crate) format_helpers_module: Owned,
            /// `asyncio` and `asyncio.locks`, where awaitables find the function whose code they show.
            pub(crate) asyncio_module: Owned,
            pub(crate) locks_module: Owned,
            /// Up to 3.13: the dict of current tasks.
            pub(crate) current_tasks: Owned,
            /// From 3.12 on `_asyncio._swap_current_task`, else None.
            pub(crate) swap_current_task: Owned,
            /// `asyncio.tasks._register_task`.
            pub(crate) register_task: Owned,
            /// `asyncio.tasks._unregister_task`.
            pub(crate) unregister_task: Owned,
            /// From 3.14 on `asyncio.future_add_to_awaited_by`, else None.
            pub(crate) add_awaited_by: Owned,
            /// From 3.14 on `asyncio.future_discard_from_awaited_by`, else None.
            pub(crate) discard_awaited_by: Owned,
            /// `asyncio.QueueShutDown`, before 3.13 a class of our own.
            pub(crate) queue_shut_down: Owned,
            /// Whether `set_exception(StopIteration)` wraps it into a RuntimeError (late 3.12, 3.13) or refuses it.
            pub(crate) wraps_stop_iteration: bool,
        }

        impl Names {
            fn new() -> Outcome<Self> {
                // asyncio first: `_asyncio` alone leaves asyncio half in C and half in Python.
                call::import(c"asyncio")?;
                let tasks = call::import(c"asyncio.tasks")?;
                let context = call::interned(c"context")?;
                let msg = call::interned(c"msg")?;
                Ok(Self {
                    $($field: call::interned($text)?,)*
                    $($object: call::get_attribute(&*call::import($module)?, &*call::interned($name)?)?,)*
                    context_names: call::tuple(&[&context])?,
                    timeout_names: call::tuple(&[&*call::interned(c"timeout")?])?,
                    wait_names: call::tuple(&[&*call::interned(c"timeout")?, &*call::interned(c"return_when")?])?,
                    loop_names: call::tuple(&[&*call::interned(c"loop")?])?,
                    log_on_exception: optional(&tasks, c"_log_on_exception")?,
                    msg_names: call::tuple(&[&msg])?,
                    current_tasks: optional(&tasks, c"_current_tasks")?,
                    swap_current_task: optional(&tasks, c"_swap_current_task")?,
                    queue_shut_down: queue_shut_down()?,
                    wraps_stop_iteration: wraps_stop_iteration()?,
                    register_task: optional(&tasks, c"_register_task")?,
                    unregister_task: optional(&tasks, c"_unregister_task")?,
                    add_awaited_by: optional(&*call::import(c"asyncio.futures")?, c"future_add_to_awaited_by")?,
                    discard_awaited_by: optional(&*call::import(c"asyncio.futures")?, c"future_discard_from_awaited_by")?,
                    tasks_module: tasks,
                    asyncio_module: call::import(c"asyncio")?,
                    locks_module: call::import(c"asyncio.locks")?,
                    base_tasks_module: call::import(c"asyncio.base_tasks")?,
                    base_futures_module: call::import(c"asyncio.base_futures")?,
                    format_helpers_module: call::import(c"asyncio.format_helpers")?,
                })
            }
        }
    };
}

names! {
    text {
        acquire = c"acquire",
        lock = c"lock",
        notify = c"notify",
        notify_some = c"_notify",
        parties = c"parties",
        predicate = c"predicate",
        release = c"release",
        add_done_callback = c"add_done_callback",
        blocking = c"_asyncio_future_blocking",
        call_exception_handler = c"call_exception_handler",
        call_later = c"call_later",
        call_soon = c"call_soon",
        cancel = c"cancel",
        cancel_message = c"_cancel_message",
        cancelled = c"cancelled",
        close = c"close",
        context = c"context",
        coro = c"coro",
        coro_or_future = c"coro_or_future",
        cr_await = c"cr_await",
        create_future = c"create_future",
        create_task = c"create_task",
        delay = c"delay",
        done = c"done",
        eager_start = c"eager_start",
        exception = c"exception",
        file = c"file",
        future = c"future",
        get_debug = c"get_debug",
        get_loop = c"get_loop",
        is_running = c"is_running",
        limit = c"limit",
        log_destroy_pending = c"_log_destroy_pending",
        loop_ = c"loop",
        loop_attribute = c"_loop",
        make_cancelled_error = c"_make_cancelled_error",
        message = c"message",
        msg = c"msg",
        name = c"name",
        result = c"result",
        return_exceptions = c"return_exceptions",
        set_result = c"set_result",
        source_traceback = c"source_traceback",
        task = c"task",
        task_class_name = c"Task",
        throw = c"throw",
        time = c"time",
        timeout = c"timeout",
        when = c"when",
        awaited = c"fut",
        futures = c"fs",
        return_when = c"return_when",
        all_completed = c"ALL_COMPLETED",
        first_completed = c"FIRST_COMPLETED",
        first_exception = c"FIRST_EXCEPTION",
        append = c"append",
        buffer_updated = c"buffer_updated",
        data_received = c"data_received",
        fileno = c"fileno",
        datagram_received = c"datagram_received",
        get_buffer = c"get_buffer",
        bound_loop = c"_get_loop",
        clear = c"clear",
        empty = c"empty",
        full = c"full",
        get_item = c"_get",
        format = c"_format",
        get_nowait = c"get_nowait",
        immediate = c"immediate",
        init_store = c"_init",
        item = c"item",
        locked_method = c"locked",
        maxsize = c"maxsize",
        pop = c"pop",
        popleft = c"popleft",
        put_item = c"_put",
        put_nowait = c"put_nowait",
        qsize = c"qsize",
        remove_done_callback = c"remove_done_callback",
        remove = c"remove",
        set = c"set",
        wakeup_next = c"_wakeup_next",
        value = c"value",
        wait = c"wait",
        buffer = c"_buffer",
        consumed = c"consumed",
        feed_data = c"feed_data",
        is_closing = c"is_closing",
        limit_attribute = c"_limit",
        n = c"n",
        partial = c"partial",
        pause_reading = c"pause_reading",
        protocol = c"protocol",
        reader = c"reader",
        resume_reading = c"resume_reading",
        separator = c"separator",
        transport = c"transport",
        write = c"write",
        app_protocol = c"_app_protocol",
        app_protocol_is_buffer = c"_app_protocol_is_buffer",
        app_reading_paused = c"_app_reading_paused",
        app_writing_paused = c"_app_writing_paused",
        call_eof_received = c"_call_eof_received",
        control_ssl_reading = c"_control_ssl_reading",
        do_write = c"_do_write",
        outgoing_high_water = c"_outgoing_high_water",
        pending = c"pending",
        process_outgoing = c"_process_outgoing",
        ssl_object = c"_sslobj",
        ssl_protocol = c"_ssl_protocol",
        ssl_reading_paused = c"_ssl_reading_paused",
        ssl_writing_paused = c"_ssl_writing_paused",
        start_shutdown = c"_start_shutdown",
        state = c"_state",
        transport_attribute = c"_transport",
        write_backlog = c"_write_backlog",
    }
    objects {
        cancelled_error = c"asyncio.exceptions" / c"CancelledError",
        asyncio_gather = c"asyncio.tasks" / c"gather",
        asyncio_create_task = c"asyncio.tasks" / c"create_task",
        asyncio_shield = c"asyncio.tasks" / c"shield",
        asyncio_wait = c"asyncio.tasks" / c"wait",
        asyncio_wait_for = c"asyncio.tasks" / c"wait_for",
        current_task = c"asyncio.tasks" / c"current_task",
        deque = c"collections" / c"deque",
        ensure_future = c"asyncio.tasks" / c"ensure_future",
        get_running_loop = c"asyncio.events" / c"get_running_loop",
        get_running_loop_or_none = c"asyncio.events" / c"_get_running_loop",
        get_event_loop = c"asyncio.events" / c"get_event_loop",
        stock_task = c"_asyncio" / c"Task",
        invalid_state_error = c"asyncio.exceptions" / c"InvalidStateError",
        incomplete_read_error = c"asyncio.exceptions" / c"IncompleteReadError",
        heappop = c"heapq" / c"heappop",
        heappush = c"heapq" / c"heappush",
        is_coroutine = c"asyncio.coroutines" / c"iscoroutine",
        limit_overrun_error = c"asyncio.exceptions" / c"LimitOverrunError",
        queue_empty = c"asyncio.queues" / c"QueueEmpty",
        queue_full = c"asyncio.queues" / c"QueueFull",
        is_awaitable = c"inspect" / c"isawaitable",
        is_future = c"asyncio.futures" / c"isfuture",
        timeout_error = c"asyncio.exceptions" / c"TimeoutError",
        base_event_loop = c"asyncio.base_events" / c"BaseEventLoop",
        context_manager_mixin = c"asyncio.locks" / c"_ContextManagerMixin",
        stock_handle = c"asyncio.events" / c"Handle",
        get_frame = c"sys" / c"_getframe",
        get_origin_depth = c"sys" / c"get_coroutine_origin_tracking_depth",
        warn_unawaited = c"warnings" / c"_warn_unawaited_coroutine",
    }
}

fn optional(module: &Object, name: &std::ffi::CStr) -> Outcome {
    Ok(call::find_attribute(module, &*call::interned(name)?)?.unwrap_or_else(Owned::none))
}

/// What CPython's own Future does with StopIteration changed within the 3.12 series: it is tried.
fn wraps_stop_iteration() -> Outcome<bool> {
    let event_loop = call::call(&*get(c"types", c"SimpleNamespace")?, &[])?;
    call::set_attribute(&event_loop, &*call::interned(c"get_debug")?, &*get(c"builtins", c"bool")?)?;
    let name = call::tuple(&[&*call::interned(c"loop")?])?;
    let future = call::call_with_names(&*get(c"_asyncio", c"Future")?, &[&event_loop], Some(&name))?;
    match call::call_method(&*call::interned(c"set_exception")?, &[&future, raised::stop_iteration()], None) {
        Ok(_) => {
            call::set_attribute(&future, &*call::interned(c"_log_traceback")?, &Owned::boolean(false))?;
            Ok(true)
        }
        Err(raised) => {
            raised::clear(raised);
            Ok(false)
        }
    }
}

fn queue_shut_down() -> Outcome {
    let theirs = optional(&*call::import(c"asyncio.queues")?, c"QueueShutDown")?;
    if !theirs.is_none() {
        return Ok(theirs);
    }
    raised::new_kind(c"aioxide.queues.QueueShutDown", c"Raised by a queue that was shut down.")
}

fn get(module: &'static std::ffi::CStr, name: &std::ffi::CStr) -> Outcome {
    call::get_attribute(&*call::import(module)?, &*call::interned(name)?)
}

static NAMES: Confined<OnceCell<Names>> = Confined::new(OnceCell::new());

/// Fills the table; once, when the module is imported.
pub(crate) fn load() -> Outcome<()> {
    if NAMES.get().is_none() {
        let names = Names::new()?;
        let _ = NAMES.set(names);
    }
    Ok(())
}

/// The table.
#[inline]
pub(crate) fn names() -> &'static Names {
    NAMES.get().expect("the module's initialisation loads the names before anything else")
}
