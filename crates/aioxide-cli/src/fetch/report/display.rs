//! What a person sees while a fetch runs: a progress bar, marks, lines about failures, and the summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::Duration;

use aioxide_monitor::schema::clean;
use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::closing;
use super::meter::{Meter, spoken};
use super::progress::WHOLE;
use super::record::{Outcome, Record};
use super::secret;
use crate::clock::Stopwatch;
use crate::fetch::output::streams::{self, outputs_are_one};
use crate::page::tally::Tally;

/// Shows the run, and counts its outcomes.
#[derive(Debug)]
pub(crate) struct Display {
    /// How many URLs had ended before this run of their job, and how many of them had failed.
    pub(crate) before: (u64, u64),
    /// What the run is called, where there are several.
    pub(crate) label: Option<String>,
    mode: Mode,
    /// How many URLs ended with each outcome, in the order of [`Outcome::ALL`].
    tallies: [u64; Outcome::ALL.len()],
    /// Bytes of bodies, those of downloads under way included.
    bytes: u64,
    /// The shares of downloads under way, in parts of [`WHOLE`].
    under_way: u64,
    /// The length of the only body there is.
    length: Option<u64>,
    /// The file that the last URL went to.
    path: Option<String>,
    /// Why a mark could not be written.
    marks_failed: Option<io::Error>,
    started: Stopwatch,
    meter: Meter,
    /// For the last lines, where a person reads them.
    tally: Tally,
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
    /// With the number of URLs, where it is known.
    Bar(ProgressBar, Option<u64>),
}

/// The bar is drawn this often: more is wasted on eyes.
pub(crate) const REDRAW: Duration = Duration::from_millis(100);

impl Display {
    /// Chooses by the options and by what the standard error is. `plain`: no bar, because something else is on the
    /// terminal. `total` is asked for only when a bar is drawn.
    pub(crate) fn new(quiet: bool, marks: bool, plain: bool, total: impl FnOnce() -> Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        let mode = if quiet {
            Mode::Quiet
        } else if marks {
            Mode::Marks { words: !terminal && !outputs_are_one() }
        } else if terminal && !plain {
            let total = total();
            let bar = bar(total);
            // A terminal that cannot move its cursor (TERM=dumb, or none) shows no bar.
            let unnamed = std::env::var_os("TERM").is_none_or(|name| name.is_empty());
            if bar.is_hidden() || unnamed { Mode::Plain } else { Mode::Bar(bar, total) }
        } else {
            Mode::Plain
        };
        Display {
            before: (0, 0),
            label: None,
            mode,
            tallies: [0; Outcome::ALL.len()],
            bytes: 0,
            under_way: 0,
            length: None,
            path: None,
            marks_failed: None,
            started: Stopwatch::start(),
            meter: Meter::new(),
            tally: Tally::default(),
        }
    }

    /// Whether [`draw`](Self::draw) does anything.
    pub(crate) fn has_bar(&self) -> bool {
        matches!(self.mode, Mode::Bar(..))
    }

    /// A body of this length comes.
    pub(crate) fn announced(&mut self, length: u64) {
        if let Mode::Bar(_, Some(1)) = self.mode {
            self.length = Some(length);
        }
    }

    /// Bytes of a body came, by which its share of the whole has grown.
    pub(crate) fn received(&mut self, bytes: usize, share: u64) {
        self.bytes += bytes as u64;
        self.under_way += share;
    }

    /// What came of a body has to come again.
    pub(crate) fn forget(&mut self, share: u64) {
        self.under_way = self.under_way.saturating_sub(share);
    }

    /// A URL has ended, of which that share had come.
    pub(crate) fn finished(&mut self, record: &Record, share: u64) {
        self.tallies[record.outcome as usize] += 1;
        self.under_way = self.under_way.saturating_sub(share);
        self.path.clone_from(&record.path);
        if self.has_bar() {
            self.tally.add_record(record);
        }
        if matches!(self.mode, Mode::Marks { .. }) {
            let mut mark = [0; 4];
            let mark = record.outcome.mark().encode_utf8(&mut mark);
            self.write_marks(mark.as_bytes());
        }
        // A run that was stopped has a report for what it did not do; a line for each would bury the rest.
        if !record.outcome.is_good() && record.outcome != Outcome::Cancelled {
            self.say(&failure_line(record));
        }
    }

    fn write_marks(&mut self, marks: &[u8]) {
        match streams::write_all(io::stdout(), marks) {
            // Whoever reads the marks may have gone; the downloads go on.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.marks_failed.get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Prints a line on the standard error, beside whatever is drawn there.
    pub(crate) fn say(&self, line: &str) {
        match &self.mode {
            Mode::Quiet | Mode::Marks { words: false } => {}
            Mode::Plain | Mode::Marks { words: true } => {
                print_line(line);
            }
            Mode::Bar(bar, _) => bar.println(line),
        }
    }

    /// Draws the bar as things are now.
    pub(crate) fn draw(&mut self) {
        let Mode::Bar(bar, total) = &self.mode else { return };
        let done = self.count() * WHOLE + self.under_way;
        let share = total.map_or(0.0, |total| done as f64 / (total * WHOLE).max(1) as f64);
        let elapsed = self.started.elapsed();
        self.meter.note(elapsed, self.bytes, share);
        bar.set_position(done);
        bar.set_message(self.line(*total, elapsed));
    }

    /// What stands beside the bar, the most wanted first: a narrow terminal cuts the end.
    fn line(&self, total: Option<u64>, elapsed: Duration) -> String {
        let mut line = HumanCount(self.count()).to_string();
        if let Some(total) = total {
            let _ = write!(line, "/{}", HumanCount(total));
        }
        if let (Some(total), Some(left)) = (total, self.meter.time_left())
            && self.count() < total
        {
            let _ = write!(line, "  eta {}", spoken(left));
        }
        let _ = write!(line, "  {}", DecimalBytes(self.bytes));
        if let Some(length) = self.length {
            let _ = write!(line, " of {}", DecimalBytes(length));
        }
        let _ = write!(line, ", {}/s", DecimalBytes(self.meter.rate()));
        let failed = self.count() - self.good();
        if failed > 0 {
            let _ = write!(line, ", {} failed", HumanCount(failed));
        }
        let _ = write!(line, "  {}", spoken(elapsed));
        line
    }

    /// How many URLs ended with `outcome`.
    pub(crate) fn tally(&self, outcome: Outcome) -> u64 {
        self.tallies[outcome as usize]
    }

    /// How many URLs ended as the user asked.
    pub(crate) fn good(&self) -> u64 {
        Outcome::ALL.into_iter().filter(|outcome| outcome.is_good()).map(|outcome| self.tally(outcome)).sum()
    }

    /// The bytes of bodies that came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many URLs ended.
    pub(crate) fn count(&self) -> u64 {
        self.tallies.iter().sum()
    }

    /// Whether all marks could be written.
    pub(crate) fn is_whole(&self) -> bool {
        self.marks_failed.is_none()
    }

    /// Takes the bar away and prints the summary.
    pub(crate) fn finish(&mut self) {
        self.draw();
        match &self.mode {
            Mode::Quiet => return,
            Mode::Bar(bar, _) => {
                bar.finish_and_clear();
                closing::lines(&self.tally).iter().for_each(|line| print_line(&clean(line)));
            }
            Mode::Marks { .. } if self.count() > 0 => {
                self.write_marks(b"\n");
            }
            _ => {}
        }
        if let Some(error) = &self.marks_failed {
            print_line(&format!("aioxide: the marks are not whole: {error}"));
        }
        print_line(&self.summary(self.started.elapsed()));
    }

    fn summary(&self, elapsed: Duration) -> String {
        let mut text = self.label.as_ref().map_or_else(String::new, |label| format!("{label}: "));
        let _ = write!(
            text,
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
        let (before, failed) = self.before;
        if before > 0 {
            let _ = write!(text, "; {} done before", HumanCount(before));
        }
        if failed > 0 {
            let _ = write!(text, ", {} of them failed", HumanCount(failed));
        }
        // Of one file it is worth saying: it may have got a number.
        if let (1, Some(path)) = (self.count(), &self.path) {
            let _ = write!(text, ": {}", clean(path));
        }
        text
    }
}

/// `line 17: timeout: http://host/path: no answer`
fn failure_line(record: &Record) -> String {
    // A URL of the list, or an answer, may hold what would move a terminal's cursor or turn its line around.
    let url = secret::hidden(&record.url);
    let url = clean(&url);
    let mut line = format!("line {}: {}: {url}", record.line, record.outcome.name());
    if let Some(error) = &record.error {
        let _ = write!(line, ": {}", clean(error));
    }
    if record.attempts > 1 {
        let _ = write!(line, " ({} attempts)", record.attempts);
    }
    line
}

/// Prints a line on the standard error, in one piece: other programs may write there too.
pub(crate) fn print_line(line: &str) {
    // Nobody is left to be told about a failure.
    let _ = streams::write_all(io::stderr(), format!("{line}\n").as_bytes());
}

fn bar(total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(total.map(|total| total * WHOLE), target);
    let template = if total.is_some() { "{bar:20} {wide_msg}" } else { "{spinner} {wide_msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
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
            ..Record::default()
        }
    }

    #[test]
    fn summary_names_only_what_happened() {
        let mut display = Display::new(true, false, false, || None);
        display.received(2_500_000, 0);
        for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Timeout, Outcome::HttpError, Outcome::Timeout] {
            display.finished(&record(outcome), 0);
        }
        assert_eq!(
            display.summary(Duration::from_millis(1234)),
            "2 of 5 ok, 2.50 MB in 1.23 s; 1 http_error, 2 timeout"
        );
    }

    #[test]
    fn summary_of_a_single_file_names_it() {
        let mut display = Display::new(true, false, false, || None);
        display.finished(&Record { path: Some("a-1.pdf".to_owned()), ..record(Outcome::Ok) }, 0);
        assert_eq!(display.summary(Duration::from_secs(1)), "1 of 1 ok, 0 B in 1.00 s: a-1.pdf");
        display.finished(&Record { path: Some("b.pdf".to_owned()), ..record(Outcome::Ok) }, 0);
        assert_eq!(display.summary(Duration::from_secs(1)), "2 of 2 ok, 0 B in 1.00 s");
    }

    #[test]
    fn tallies_stand_in_the_order_of_all() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }

    #[test]
    fn line_beside_the_bar_tells_of_the_only_body_and_how_long_it_takes() {
        let mut display = Display::new(true, false, false, || None);
        display.length = Some(4_000_000);
        display.received(1_000_000, WHOLE / 4);
        display.meter.note(Duration::from_secs(2), 1_000_000, 0.25);
        assert_eq!(
            display.line(Some(1), Duration::from_secs(2)),
            "0/1  eta 6s  1.00 MB of 4.00 MB, 500.00 kB/s  2s"
        );
        assert_eq!(display.line(None, Duration::from_secs(2)), "0  1.00 MB of 4.00 MB, 500.00 kB/s  2s");
    }

    #[test]
    fn failure_line_cannot_move_the_cursor_or_turn_around() {
        let mut record = record(Outcome::Timeout);
        assert_eq!(failure_line(&record), "line 17: timeout: http://host/\u{fffd}[2J: no answer");
        record.url = "http://host/\u{202e}gpj.exe".to_owned();
        record.error = Some("\u{2066}x".to_owned());
        assert_eq!(failure_line(&record), "line 17: timeout: http://host/\u{fffd}gpj.exe: \u{fffd}x");
    }
}
