//! How it is done: see [`super`].

use std::io;
use std::panic::Location;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Polled, Sample};
use crate::sys::check;
use crate::sys::signal::errno_location;

/// Frames of one stack; the outer ones are left out.
const DEPTH: usize = 256;

/// How long a thread may take to answer: one that is in a system call that cannot be interrupted does not.
const PATIENCE: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_micros(200);

const IDLE: u64 = 0;
const ASKED: u64 = 1;
const TAKING: u64 = 2;
const DONE: u64 = 3;

/// The process that the rest speaks of (a fork may leave a question behind), the thread that is asked, and the state: one word, so
/// that no answer goes to another question.
static QUESTION: AtomicU64 = AtomicU64::new(IDLE);
static FRAMES: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Where the thread was when the signal came.
static INTERRUPTED: AtomicUsize = AtomicUsize::new(0);
static TASK: AtomicU64 = AtomicU64::new(0);
static PLACE: AtomicPtr<Location<'static>> = AtomicPtr::new(null_mut());
static LOOK_AT_TASK: OnceLock<fn() -> Polled> = OnceLock::new();

/// The lowest address of the stack of the thread that is asked; 0: not known.
static LOWEST: AtomicUsize = AtomicUsize::new(0);
/// A handler has begun and not ended: nobody is asked any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// A handler and the walk need some 8 KiB; a stack on which so much is not left is not walked.
const RESERVE: usize = 64 * 1024;

/// How long a handler may take that has begun.
const TAKEN: Duration = Duration::from_secs(2);

/// The number of the running thread, for [`sample`].
fn this_thread() -> i32 {
    // SAFETY: no arguments; the number fits.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Gets ready for [`sample`]; later calls change nothing. `look` tells what the thread that calls it polls.
///
/// # Errors
/// The program handles SIGURG itself, or the unwinder may not run in a signal's handler here (glibc before 2.35).
///
/// # Safety
/// `look` is called in a signal's handler, on any thread, between any two instructions: it may read what its own thread does not change
/// meanwhile, and nothing else. It must not allocate or lock.
pub unsafe fn prepare(look: fn() -> Polled) -> io::Result<()> {
    // SAFETY: a name, in whichever library has it.
    if unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) }.is_null() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "glibc before 2.35"));
    }
    LOOK_AT_TASK.get_or_init(|| look);
    // The first walk of a process may load libraries and tables.
    walk(|_| true);
    let found = action(None)?;
    if is_ours(&found) {
        return Ok(());
    }
    if found.sa_sigaction != libc::SIG_DFL && found.sa_sigaction != libc::SIG_IGN {
        return Err(io::Error::other("the program handles SIGURG itself"));
    }
    // SAFETY: all-zero is a valid sigaction; its fields are set below.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler as extern "C" fn(_, _, _) as usize;
    ours.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
    // SAFETY: the mask is ours and valid for writing.
    unsafe { libc::sigemptyset(&raw mut ours.sa_mask) };
    action(Some(&ours)).map(drop)
}

/// What a thread of this process does; `None` if it does not answer in time, or the program handles SIGURG itself by now.
/// `lowest`: the lowest address of its stack, as [`lowest`](crate::sys::stack::lowest) says there.
pub fn sample(thread: i32, lowest: usize) -> Option<Sample> {
    if BROKEN.load(Ordering::Relaxed) || !action(None).is_ok_and(|found| is_ours(&found)) {
        return None;
    }
    // Another watchdog may be asking.
    if !patiently(|| begin(thread)) {
        return None;
    }
    LOWEST.store(lowest, Ordering::SeqCst);
    // SAFETY: plain numbers; a thread that is gone is an error.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGURG) } == 0;
    let is_done = || QUESTION.load(Ordering::SeqCst) == question(thread, DONE);
    if (!sent || !patiently(is_done)) && turn(thread, ASKED, IDLE) {
        return None;
    }
    // It has been begun, and does not wait for anything; should it never end, it is the last one.
    let mut left = TAKEN;
    while QUESTION.load(Ordering::SeqCst) == question(thread, TAKING) {
        std::thread::park_timeout(LOOK);
        left = left.saturating_sub(LOOK);
        if left.is_zero() {
            BROKEN.store(true, Ordering::Relaxed);
            return None;
        }
    }
    if !is_done() {
        return None;
    }
    let frames: Vec<usize> =
        FRAMES[..LENGTH.load(Ordering::SeqCst)].iter().map(|frame| frame.load(Ordering::SeqCst)).collect();
    let interrupted = INTERRUPTED.load(Ordering::SeqCst);
    // The handler's own frames come first.
    let own = frames.iter().position(|frame| *frame == interrupted).unwrap_or(0);
    // SAFETY: null, or made from a reference that is always valid.
    let place = unsafe { PLACE.load(Ordering::SeqCst).as_ref() };
    let polled = Polled { id: TASK.load(Ordering::SeqCst), place };
    let _nobody_else_turns_it = turn(thread, DONE, IDLE);
    Some(Sample { frames: frames[own..].to_vec(), polled })
}

/// Whether `is_so` becomes true in time.
fn patiently(mut is_so: impl FnMut() -> bool) -> bool {
    let tries = (PATIENCE.as_micros() / LOOK.as_micros()) as u32;
    (0..tries).any(|_| {
        let so = is_so();
        if !so {
            std::thread::park_timeout(LOOK);
        }
        so
    })
}

fn question(thread: i32, state: u64) -> u64 {
    u64::from(std::process::id()) << 32 | u64::from(thread as u32) << 2 | state
}

/// Puts a question to a thread, unless one is under way.
fn begin(thread: i32) -> bool {
    let before = QUESTION.load(Ordering::SeqCst);
    let is_free = before & 3 == IDLE || before >> 32 != u64::from(std::process::id());
    let asked = question(thread, ASKED);
    is_free && QUESTION.compare_exchange(before, asked, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

fn turn(thread: i32, from: u64, to: u64) -> bool {
    let (from, to) = (question(thread, from), question(thread, to));
    QUESTION.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// What is done at the signal; sets it first.
fn action(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: all-zero is a valid sigaction.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a structure that lives for the call, or null, and a place for the one before.
    check(unsafe { libc::sigaction(libc::SIGURG, new, &raw mut before) })?;
    Ok(before)
}

fn is_ours(found: &libc::sigaction) -> bool {
    found.sa_sigaction == handler as extern "C" fn(_, _, _) as usize
}

extern "C" fn handler(_signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `errno` of this thread; a handler must leave it as it was.
    let errno = unsafe { *errno_location() };
    let thread = this_thread();
    if turn(thread, ASKED, TAKING) {
        // SAFETY: the kernel gives a handler that asks for it (SA_SIGINFO) its thread's registers.
        let interrupted = unsafe { program_counter(context) };
        INTERRUPTED.store(interrupted, Ordering::SeqCst);
        FRAMES[0].store(interrupted, Ordering::SeqCst);
        let mut length = 0;
        let left = (&raw const length as usize).wrapping_sub(LOWEST.load(Ordering::SeqCst));
        if left >= RESERVE {
            walk(|frame| {
                FRAMES[length].store(frame, Ordering::SeqCst);
                length += 1;
                length < DEPTH
            });
        }
        LENGTH.store(length.max(1), Ordering::SeqCst);
        let polled = LOOK_AT_TASK.get().map(|look| look()).unwrap_or_default();
        TASK.store(polled.id, Ordering::SeqCst);
        let place = polled.place.map_or(null_mut(), |place| std::ptr::from_ref(place).cast_mut());
        PLACE.store(place, Ordering::SeqCst);
        QUESTION.store(question(thread, DONE), Ordering::SeqCst);
    }
    // SAFETY: as above.
    unsafe { *errno_location() = errno };
}

/// Calls `each` with the address of each frame of this thread, the innermost first, while it returns true.
fn walk(mut each: impl FnMut(usize) -> bool) {
    // SAFETY: what must not happen at the same time is the resolving of names, which is not done here.
    unsafe { backtrace::trace_unsynchronized(|frame| each(frame.ip() as usize)) };
}

/// # Safety
/// `context` is what a handler with SA_SIGINFO was given.
unsafe fn program_counter(context: *mut libc::c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's contract.
    return unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] } as usize;
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's contract.
    return unsafe { (*context).uc_mcontext.pc } as usize;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _unknown = context;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    static ENDING: AtomicBool = AtomicBool::new(false);

    #[inline(never)]
    fn spin_for_the_sample() {
        while !ENDING.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn stack_of_a_thread_that_runs_is_taken_and_of_one_that_is_gone_is_not() {
        // SAFETY: numbers, and places that the compiler has made.
        unsafe { prepare(|| Polled { id: 7, place: Some(Location::caller()) }) }.unwrap();
        // SAFETY: as above.
        unsafe { prepare(Polled::default) }.unwrap();
        let (say, said) = std::sync::mpsc::channel();
        let runner = std::thread::spawn(move || {
            say.send((this_thread(), crate::sys::stack::lowest())).unwrap();
            spin_for_the_sample();
        });
        let (thread, lowest) = said.recv().unwrap();
        let named = |sample: &Sample| {
            sample.frames.iter().any(|frame| {
                let mut found = false;
                backtrace::resolve(*frame as *mut _, |symbol| {
                    found |=
                        symbol.name().is_some_and(|name| name.to_string().contains("spin_for_the_sample"));
                });
                found
            })
        };
        // Between saying its number and spinning it may be elsewhere.
        let samples: Vec<Sample> = (0..50).filter_map(|_| sample(thread, lowest)).collect();
        assert!(samples.iter().any(|sample| named(sample) && sample.polled.id == 7));
        assert!(samples.iter().all(|sample| sample.polled.place.is_some()));
        // Where its stack were about to end, only where it is.
        let end = lowest + 2 * 1024 * 1024 - 64 * 1024;
        let short = sample(thread, end).or_else(|| sample(thread, end)).unwrap();
        assert_eq!((short.frames.len(), short.polled.id), (1, 7));
        ENDING.store(true, Ordering::Relaxed);
        runner.join().unwrap();
        assert!(sample(thread, lowest).is_none());
        assert_eq!(QUESTION.load(Ordering::SeqCst) & 3, IDLE);
        // As a fork would leave it: the parent's question is not in the way of its child.
        QUESTION.store(7 << 32 | 7 << 2 | TAKING, Ordering::SeqCst);
        assert!(begin(8) && !begin(9) && turn(8, ASKED, IDLE));
    }
}
