//! What stands above the summary on a terminal: how long URLs took, and which hosts are worth a look.

use std::fmt::Write as _;

use indicatif::HumanCount;

use crate::page::tally::{Host, Tally};

/// Of fewer URLs the summary tells enough.
const LEAST: u64 = 20;
/// So many hosts are named.
const HOSTS: usize = 3;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The lines; none for a short list.
pub(super) fn lines(tally: &Tally) -> Vec<String> {
    let mut lines = Vec::new();
    let quantile = |share| tally.times.quantile(share).map(spoken);
    if tally.count < LEAST {
        return lines;
    }
    if let (Some(half), Some(most), Some(nearly)) = (quantile(0.5), quantile(0.9), quantile(0.99)) {
        let mut line = format!("time for each: half within {half}, 90 % {most}, 99 % {nearly}");
        let counts = tally.times.doublings();
        let highest = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        if let (true, Some((first, _)), Some((last, _))) = (counts.len() > 1, counts.first(), counts.last()) {
            let _ = write!(line, "  {} ", spoken(*first));
            // What is there is seen, however little it is.
            line.extend(counts.iter().map(|(_, count)| match count * 7 / highest {
                _ if *count == 0 => ' ',
                height => BARS[height as usize],
            }));
            let _ = write!(line, " {}", spoken(*last));
        }
        lines.push(line);
    }
    let hosts = tally.hosts();
    if hosts.len() > 1 {
        lines.extend(hosts.iter().take(HOSTS).map(|(name, host)| of_host(name, host)));
        let others = hosts.len().saturating_sub(HOSTS);
        if others > 0 {
            let more = if tally.of_other_hosts > 0 { "at least " } else { "" };
            let hosts = if others == 1 { "host" } else { "hosts" };
            let others = HumanCount(others as u64);
            lines.push(format!("  {more}{others} other {hosts} had fewer failures, or were faster"));
        }
    }
    lines
}

fn of_host(name: &str, host: &Host) -> String {
    let mut line = format!("  {name}: {} of {} ok", HumanCount(host.good), HumanCount(host.count));
    if let Some(half) = host.times.quantile(0.5) {
        let _ = write!(line, ", half within {}", spoken(half));
    }
    line
}

fn spoken(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}
