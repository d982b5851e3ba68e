//! What becomes of a thread that is ended while frames of Rust are on its stack.
//!
//! glibc's `pthread_exit` is an exception that unwinds the stack and that nobody may stop. Rust stops it, in the first frame that
//! catches panics, and the process aborts; destructors of frames inside of that one have run by then, each under the assumption that
//! its thread is as it was. So a face whose interpreter ends threads in that way asks to be told before the first frame is left, and
//! lets the thread stand still.
//!
//! glibc calls the handlers in a thread's list when the unwinding comes to a frame whose address is above the handler's entry. An
//! entry that lies outside of the stack counts as below every frame (`FRAME_LEFT` in `nptl/unwind.c`), so its handler is the first
//! thing that happens. Other C libraries do not unwind.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The thread that registered last: another call in it costs a comparison. It is taken back when that thread ends, for the next
/// one may get the same address.
static LAST: AtomicUsize = AtomicUsize::new(0);

/// Has `handler` called when this thread is ended by `pthread_exit` or is cancelled, before any frame of its stack is left. If the
/// handler returns, the thread ends as it would have. Only the first call in a thread has an effect.
#[inline]
pub fn before_forced_exit(handler: fn()) {
    if LAST.load(Ordering::Relaxed) != this_thread() {
        imp::register(handler);
    }
}

/// The entry of the thread that registered last, and where glibc keeps the head of a thread's list: so many bytes behind its control
/// block's beginning, or 0 if that is not known.
static ENTRY: AtomicUsize = AtomicUsize::new(0);
static HEAD: AtomicUsize = AtomicUsize::new(0);

/// Does it again where the handler was lost: a `longjmp` in this thread empties glibc's list of them. For a thread that has called
/// [`before_forced_exit`] and goes on; costs a comparison, and is called before a wait, not for each callback.
#[inline]
pub fn renew_before_forced_exit(handler: fn()) {
    let (here, head) = (this_thread(), HEAD.load(Ordering::Relaxed));
    if head == 0 || LAST.load(Ordering::Relaxed) != here {
        return imp::renew(handler);
    }
    // SAFETY: a word of the thread's own control block, found by `imp::learn`.
    let first = unsafe { std::ptr::with_exposed_provenance::<usize>(here + head).read_volatile() };
    if first != ENTRY.load(Ordering::Relaxed) {
        imp::renew(handler);
    }
}

/// What [`this_thread`] returns where threads cannot be told apart for nothing: no thread's address.
pub(super) const UNKNOWN: usize = 1;

/// The address of this thread's control block.
#[inline(always)]
pub(super) fn this_thread() -> usize {
    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
    {
        let address: usize;
        // SAFETY: the first word of the block that `fs` points to is its own address, by the ABI of thread-local storage.
        unsafe {
            std::arch::asm!("mov {}, fs:[0]", out(reg) address, options(pure, readonly, nostack, preserves_flags));
        }
        address
    }
    #[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
    {
        let address: usize;
        // SAFETY: the register that the ABI of thread-local storage keeps the address in; it may be read by anybody.
        unsafe {
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) address, options(pure, nomem, nostack, preserves_flags));
        }
        address
    }
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    UNKNOWN
}

/// Lets this thread stand still for as long as the process lives.
pub fn stand_still() -> ! {
    loop {
        // SAFETY: no arguments; it returns after each signal.
        unsafe { libc::pause() };
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod imp {
    use std::cell::OnceCell;
    use std::collections::VecDeque;
    use std::ffi::{c_int, c_void};
    use std::sync::atomic::Ordering;
    use std::sync::{Mutex, OnceLock};

    use super::{HEAD, LAST, UNKNOWN};

    /// glibc's `struct _pthread_cleanup_buffer`.
    #[repr(C)]
    struct Entry {
        routine: Option<extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Entry,
    }

    type Push = unsafe extern "C" fn(*mut Entry, extern "C" fn(*mut c_void), *mut c_void);
    type Pop = unsafe extern "C" fn(*mut Entry, c_int);

    impl Entry {
        const fn empty() -> Self {
            let argument = std::ptr::null_mut();
            Self { routine: None, argument, cancel_type: 0, previous: std::ptr::null_mut() }
        }
    }

    /// On the heap: thread-local memory may lie beside the stack.
    struct Registered {
        entry: *mut Entry,
    }

    /// Entries of threads that were at their end: of each the thread's number, and its address. A destructor of another
    /// thread-local may still leave by `pthread_exit`, which reads the entry, so it is freed when the thread is gone.
    static LEFT: Mutex<VecDeque<(libc::pid_t, usize)>> = Mutex::new(VecDeque::new());

    /// Frees the oldest entries whose threads are gone; each thread that registers looks at two, so they do not pile up.
    fn free_left() {
        // After a fork, whoever held the lock is not here any more.
        let Ok(mut left) = LEFT.try_lock() else { return };
        for _ in 0..2 {
            let Some((thread, entry)) = left.pop_front() else { return };
            // SAFETY: no signal is sent.
            let is_gone = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) } != 0
                && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
            if is_gone {
                // SAFETY: made by `register` from a box, and no thread's list leads to it any more.
                drop(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Entry>(entry)) });
            } else {
                left.push_back((thread, entry));
            }
        }
    }

    impl Drop for Registered {
        fn drop(&mut self) {
            if let Ok(mut left) = LEFT.try_lock() {
                // SAFETY: no arguments.
                left.push_back((
                    unsafe { libc::syscall(libc::SYS_gettid) } as libc::pid_t,
                    self.entry.expose_provenance(),
                ));
            }
            let here = super::this_thread();
            let _another = LAST.compare_exchange(here, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    thread_local! {
        static MINE: OnceCell<Registered> = const { OnceCell::new() };
    }

    extern "C" fn call(handler: *mut c_void) {
        // SAFETY: `register` has put a `fn()` there.
        let handler = unsafe { std::mem::transmute::<*mut c_void, fn()>(handler) };
        handler();
    }

    /// The functions behind C's macros of these names.
    fn functions() -> Option<(Push, Pop)> {
        static FUNCTIONS: OnceLock<Option<(Push, Pop)>> = OnceLock::new();
        *FUNCTIONS.get_or_init(|| {
            // SAFETY: a name, in whichever library has it.
            let push = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_pthread_cleanup_push".as_ptr()) };
            // SAFETY: as above.
            let pop = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_pthread_cleanup_pop".as_ptr()) };
            // SAFETY: the function of that name; null becomes `None`.
            let push = unsafe { std::mem::transmute::<*mut c_void, Option<Push>>(push) }?;
            // SAFETY: as above.
            let pop = unsafe { std::mem::transmute::<*mut c_void, Option<Pop>>(pop) }?;
            Some((push, pop))
        })
    }

    /// How many entries of others are looked at.
    const OTHERS: usize = 64;

    /// Whether the thread's list leads to `entry`.
    fn is_listed(entry: *mut Entry, (push, pop): (Push, Pop)) -> bool {
        let mut probe = Entry::empty();
        // SAFETY: an entry of this frame, taken away below; nothing between the two ends the thread.
        unsafe { push(&raw mut probe, call, std::ptr::null_mut()) };
        let first = probe.previous;
        // SAFETY: the entry that was put first; its routine is not called.
        unsafe { pop(&raw mut probe, 0) };
        let mut next = first;
        for _ in 0..OTHERS {
            if next == entry || next.is_null() {
                return next == entry;
            }
            // SAFETY: glibc's list leads to entries of frames that have not been left.
            next = unsafe { (*next).previous };
        }
        // Not known: it is left as it is.
        true
    }

    /// Bytes of a control block that are looked through; glibc's is larger on each architecture.
    const BLOCK: usize = 1536;

    /// Finds where glibc keeps the head of the running thread's list, which is `entry`.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn learn(entry: *mut Entry, (push, pop): (Push, Pop)) {
        let word = |place: usize| {
            let address = super::this_thread() + place;
            // SAFETY: within the thread's own control block.
            unsafe { std::ptr::with_exposed_provenance::<usize>(address).read_volatile() }
        };
        let mut probe = Entry::empty();
        for place in (size_of::<usize>()..BLOCK).step_by(size_of::<usize>()) {
            if word(place) != entry.expose_provenance() {
                continue;
            }
            // SAFETY: an entry of this frame, taken away below; nothing between the two ends the thread.
            unsafe { push(&raw mut probe, call, std::ptr::null_mut()) };
            let follows = word(place) == (&raw mut probe).expose_provenance();
            // SAFETY: the entry that was put first; its routine is not called.
            unsafe { pop(&raw mut probe, 0) };
            if follows && word(place) == entry.expose_provenance() {
                HEAD.store(place, Ordering::Relaxed);
                return;
            }
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fn learn(_entry: *mut Entry, _functions: (Push, Pop)) {}

    #[cold]
    pub(super) fn renew(handler: fn()) {
        let Some(functions) = functions() else { return };
        let _ended = MINE.try_with(|place| {
            let Some(Registered { entry }) = place.get() else { return };
            if !is_listed(*entry, functions) {
                // SAFETY: as in `register`; the list does not lead to it.
                unsafe { functions.0(*entry, call, handler as *mut c_void) };
            }
        });
    }

    #[cold]
    pub(super) fn register(handler: fn()) {
        // Without a place to keep the entry in, the thread is at its end already.
        let _ended = MINE.try_with(|place| {
            place.get_or_init(|| {
                free_left();
                let entry = Box::into_raw(Box::new(Entry::empty()));
                if let Some((push, pop)) = functions() {
                    // SAFETY: an entry that stays where it is until the thread's frames are gone.
                    unsafe { push(entry, call, handler as *mut c_void) };
                    if HEAD.load(Ordering::Relaxed) == 0 {
                        learn(entry, (push, pop));
                    }
                }
                Registered { entry }
            });
            let here = super::this_thread();
            if here != UNKNOWN
                && let Some(Registered { entry }) = place.get()
            {
                super::ENTRY.store(entry.expose_provenance(), Ordering::Relaxed);
                LAST.store(here, Ordering::Relaxed);
            }
        });
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod imp {
    pub(super) fn register(_handler: fn()) {}
    pub(super) fn renew(_handler: fn()) {}
}
