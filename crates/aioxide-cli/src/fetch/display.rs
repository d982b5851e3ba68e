//! What a person sees while a fetch runs: a progress bar, marks, lines about failures, and the summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{Outcome, Record};
use crate::clock::Stopwatch;

/// Shows the run, and counts its outcomes.
#[derive(Debug)]
pub(crate) struct Display {
    mode: Mode,
    /// How many URLs ended with each outcome, in the order of [`Outcome::ALL`].
    tallies: [u64; Outcome::ALL.len()],
    /// Bytes of bodies, those of downloads under way included.
    bytes: u64,
    started: Stopwatch,
    drawn: Stopwatch,
}

#[derive(Debug)]
enum Mode {
    Quiet,
    /// Nothing but failures and the summary.
    Plain,
    /// One mark per URL; failures in words too, unless they would stand between the marks.
    Marks {
        words: bool,
    },
    Bar(ProgressBar),
}

/// The bar is set this often: more is wasted on eyes.
const REDRAW: Duration = Duration::from_millis(100);

impl Display {
    /// Chooses by the options and by what the standard error is. `total` is asked for only when a bar is drawn.
    pub(crate) fn new(quiet: bool, marks: bool, total: impl FnOnce() -> Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        let mode = if quiet {
            Mode::Quiet
        } else if marks {
            Mode::Marks { words: !terminal }
        } else if terminal {
            Mode::Bar(bar(total()))
        } else {
            Mode::Plain
        };
        let now = Stopwatch::start();
        Display { mode, tallies: [0; Outcome::ALL.len()], bytes: 0, started: now, drawn: now }
    }

    /// Bytes of a body came.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Mode::Bar(_) = self.mode {
            self.redraw();
        }
    }

    /// A URL has ended.
    pub(crate) fn finished(&mut self, record: &Record) {
        self.tallies[record.outcome as usize] += 1;
        if matches!(self.mode, Mode::Marks { .. }) {
            let mut mark = [0; 4];
            // Whoever reads the marks may have gone; the downloads go on.
            let mut out = io::stdout();
            let _ = out
                .write_all(record.outcome.mark().encode_utf8(&mut mark).as_bytes())
                .and_then(|()| out.flush());
        }
        // A run that was stopped has a report for what it did not do; a line for each would bury the rest.
        if record.outcome != Outcome::Ok && record.outcome != Outcome::Cancelled {
            self.say(&failure_line(record));
        }
        if let Mode::Bar(_) = self.mode {
            self.redraw();
        }
    }

    /// Prints a line on the standard error, beside whatever is drawn there.
    pub(crate) fn say(&self, line: &str) {
        match &self.mode {
            Mode::Quiet | Mode::Marks { words: false } => {}
            Mode::Plain | Mode::Marks { words: true } => {
                let _ = writeln!(io::stderr(), "{line}");
            }
            Mode::Bar(bar) => bar.println(line),
        }
    }

    fn redraw(&mut self) {
        if self.drawn.elapsed() >= REDRAW {
            self.drawn = Stopwatch::start();
            self.draw();
        }
    }

    fn draw(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.set_position(self.count());
            let failed = self.count() - self.tally(Outcome::Ok);
            let mut message = format!("{}, {}/s", DecimalBytes(self.bytes), DecimalBytes(self.rate()));
            if failed > 0 {
                let _ = write!(message, ", {} failed", HumanCount(failed));
            }
            bar.set_message(message);
        }
    }

    fn rate(&self) -> u64 {
        (self.bytes as f64 / self.started.elapsed().as_secs_f64().max(1e-3)) as u64
    }

    /// How many URLs ended with `outcome`.
    pub(crate) fn tally(&self, outcome: Outcome) -> u64 {
        self.tallies[outcome as usize]
    }

    /// How many URLs ended.
    pub(crate) fn count(&self) -> u64 {
        self.tallies.iter().sum()
    }

    /// Takes the bar away and prints the summary.
    pub(crate) fn finish(&self) {
        self.draw();
        match &self.mode {
            Mode::Quiet => return,
            Mode::Bar(bar) => bar.finish_and_clear(),
            Mode::Marks { .. } if self.count() > 0 => {
                let _ = writeln!(io::stdout());
            }
            _ => {}
        }
        let _ = writeln!(io::stderr(), "{}", self.summary(self.started.elapsed()));
    }

    fn summary(&self, elapsed: Duration) -> String {
        let mut text = format!(
            "{} of {} ok, {} in {:.2} s",
            HumanCount(self.tally(Outcome::Ok)),
            HumanCount(self.count()),
            DecimalBytes(self.bytes),
            elapsed.as_secs_f64()
        );
        let failed = Outcome::ALL[1..].iter().filter(|outcome| self.tally(**outcome) > 0);
        for (place, outcome) in failed.enumerate() {
            let before = if place == 0 { ";" } else { "," };
            let _ = write!(text, "{before} {} {}", HumanCount(self.tally(*outcome)), outcome.name());
        }
        text
    }
}

/// `line 17: timeout: http://host/path: no answer`
fn failure_line(record: &Record) -> String {
    let mut line = format!("line {}: {}: {}", record.line, record.outcome.name(), printable(&record.url));
    if let Some(error) = &record.error {
        let _ = write!(line, ": {}", printable(error));
    }
    line
}

/// A URL of the list may hold what would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn bar(total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match total {
        Some(_) => "{bar:30} {human_pos}/{human_len}  {msg}  {elapsed_precise}, eta {eta}",
        None => "{spinner} {human_pos}  {msg}  {elapsed_precise}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.enable_steady_tick(REDRAW);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome) -> Record {
        Record {
            line: 17,
            url: "http://host/\u{1b}[2J".to_owned(),
            outcome,
            status: None,
            bytes: 0,
            path: None,
            seconds: 0.0,
            attempts: 1,
            error: Some("no answer".to_owned()),
        }
    }

    #[test]
    fn summary_names_only_what_happened() {
        let mut display = Display::new(true, false, || None);
        display.received(2_500_000);
        for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Timeout, Outcome::HttpError, Outcome::Timeout] {
            display.finished(&record(outcome));
        }
        assert_eq!(
            display.summary(Duration::from_millis(1234)),
            "2 of 5 ok, 2.50 MB in 1.23 s; 1 http_error, 2 timeout"
        );
    }

    #[test]
    fn tallies_stand_in_the_order_of_all() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }

    #[test]
    fn failure_line_cannot_move_the_cursor() {
        let line = failure_line(&record(Outcome::Timeout));
        assert_eq!(line, "line 17: timeout: http://host/\u{fffd}[2J: no answer");
    }
}
