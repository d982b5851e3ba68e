//! A pseudo-terminal with the program in it, and what is on its screen.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal in which a program runs.
pub struct Terminal {
    child: Child,
    master: File,
    slave: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    parser: Mutex<vt100::Parser>,
    /// Told when a picture is complete: the program says where one begins and ends.
    changed: Condvar,
    drawing: AtomicBool,
}

impl Terminal {
    /// Starts a program in a terminal of that size.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        // It holds the terminal open, whose end the reader waits for.
        drop(command);
        let shared = Arc::new(Shared {
            parser: Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)),
            changed: Condvar::new(),
            drawing: AtomicBool::new(false),
        });
        let (output, told) = (File::from(master.try_clone().unwrap()), Arc::clone(&shared));
        let reader = Some(std::thread::spawn(move || read(output, &told)));
        Self { child, master: File::from(master), slave: Some(slave), reader, shared }
    }

    /// Waits until the screen is so, and gives its text.
    #[track_caller]
    pub fn wait(&self, what: &str, until: impl Fn(&str) -> bool) -> String {
        let parser = self.shared.parser.lock().unwrap();
        let (parser, result) = self
            .shared
            .changed
            .wait_timeout_while(parser, PATIENCE, |parser| {
                self.shared.drawing.load(Ordering::Relaxed) || !until(&parser.screen().contents())
            })
            .unwrap();
        let text = parser.screen().contents();
        assert!(!result.timed_out(), "waited for {what}, but the screen shows:\n{text}");
        text
    }

    /// Waits until this text is on the screen, and gives all of it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the terminal's size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.shared.parser.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
        // It is not the controlling terminal of the program, to which the system would tell it.
        self.signal(Signal::WINCH);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the program's end; the terminal has to be as it was before. Gives the screen and the exit status.
    #[track_caller]
    pub fn end(mut self) -> (String, ExitStatus) {
        let status = self.child.wait().unwrap();
        let slave = self.slave.take().unwrap();
        let modes = tcgetattr(&slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        // Now nobody holds it, and the reader comes to its end.
        drop(slave);
        self.reader.take().unwrap().join().unwrap();
        let parser = self.shared.parser.lock().unwrap();
        let text = parser.screen().contents();
        assert!(!parser.screen().alternate_screen() && !parser.screen().hide_cursor(), "{text}");
        (text, status)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn read(mut output: File, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    let mut tail = Vec::new();
    // The end is an error (EIO) once the last holder of the other side has gone.
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        let mut parser = shared.parser.lock().unwrap();
        parser.process(&buffer[..length]);
        tail.extend_from_slice(&buffer[..length]);
        let last = |mark: &[u8]| tail.windows(mark.len()).rposition(|part| part == mark);
        let (begun, ended) = (last(b"\x1b[?2026h"), last(b"\x1b[?2026l"));
        if begun != ended {
            shared.drawing.store(begun > ended, Ordering::Relaxed);
        }
        // A mark may come in two pieces.
        tail.drain(..tail.len().saturating_sub(8));
        drop(parser);
        shared.changed.notify_all();
    }
}
