//! The terminal: taken at the start, given back at every end.

use std::io::{self, IsTerminal, Stdout, Write};
use std::panic;
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::state::State;
use crate::Failure;

/// A terminal that is given back when this is dropped.
pub(crate) struct Taken {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Taken {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none, or it cannot move its cursor.
    pub(crate) fn take() -> Result<Self, Failure> {
        const INSTEAD: &str = "use --once or --json";
        if !io::stdout().is_terminal() {
            return Err(format!("the standard output is no terminal: {INSTEAD}").into());
        }
        let kind = std::env::var("TERM").unwrap_or_default();
        if kind.is_empty() || kind == "dumb" {
            return Err(format!("the terminal {kind:?} (TERM) cannot move its cursor: {INSTEAD}").into());
        }
        give_back_on_panic();
        enter().map_err(|error| format!("there is no terminal to read keys from: {error}: {INSTEAD}"))?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).inspect_err(|_| leave())?;
        Ok(Self { terminal })
    }

    /// Draws. The terminal shows a picture when it is complete, if it knows how.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame, state))?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// Gives the terminal back, stops as Ctrl-Z does, and takes it again when the shell says so.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        leave();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP)?;
        enter()?;
        self.terminal.clear()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen).inspect_err(|_| leave())
}

/// Gives the terminal back. What fails is a terminal that is gone.
fn leave() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
}

/// Has a panic give the terminal back before it is told; one of another thread ends the program, too.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (told, main) = (panic::take_hook(), std::thread::current().id());
        panic::set_hook(Box::new(move |info| {
            leave();
            told(info);
            if std::thread::current().id() != main {
                std::process::exit(101);
            }
        }));
    });
}

#[cfg(test)]
#[path = "../../../tests/support/screen.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the other tests")]
mod screen;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "run in a terminal by panic_gives_the_terminal_back"]
    fn takes_the_terminal_and_panics() {
        let _taken = Taken::take().expect("the terminal is one");
        panic!("on purpose");
    }

    #[test]
    #[ignore = "run in a terminal by panic_gives_the_terminal_back"]
    fn takes_the_terminal_and_panics_elsewhere() {
        let _taken = Taken::take().expect("the terminal is one");
        let _ = std::thread::spawn(|| panic!("on purpose")).join();
        unreachable!("the panic ends the program");
    }

    #[test]
    fn panic_gives_the_terminal_back() {
        for name in ["takes_the_terminal_and_panics", "takes_the_terminal_and_panics_elsewhere"] {
            let mut command = Command::new(std::env::current_exe().expect("this is a program"));
            let name = format!("top::screen::terminal::tests::{name}");
            command.args(["--ignored", "--exact", "--nocapture", &name]).env("TERM", "xterm");
            command.env("RUST_BACKTRACE", "0");
            let (told, status) = screen::Terminal::start(command, 40, 100).end();
            assert!(told.contains("on purpose") && !told.contains("the panic ends"), "{told}");
            assert_eq!(status.code(), Some(101), "{told}");
        }
    }
}
