//! The comparison of the varieties as a small bar chart.

use std::fmt::Write as _;

/// The longest bar, in characters.
const WIDTH: usize = 40;

/// One line per variety: its name, a bar as long as its time, the time, and how many times faster than the first it is.
pub(crate) fn render(rows: &[(&str, f64)]) -> String {
    let longest = rows.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let names = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut chart = String::new();
    for (place, (name, seconds)) in rows.iter().enumerate() {
        let _ = write!(chart, "{name:names$}  {:WIDTH$}  {seconds:6.2} s", bar(*seconds, longest));
        if place > 0 && *seconds > 0.0 {
            let _ = write!(chart, "  {:5.1} x", rows[0].1 / seconds);
        }
        chart.push('\n');
    }
    chart
}

/// A bar in eighths of a character, never quite empty.
fn bar(seconds: f64, longest: f64) -> String {
    let share = if longest > 0.0 { seconds / longest } else { 0.0 };
    let eighths = ((share * (WIDTH * 8) as f64).round() as usize).clamp(1, WIDTH * 8);
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_times() {
        let chart = render(&[("sync", 8.0), ("threaded", 2.0), ("asyncio", 0.1)]);
        let lines: Vec<&str> = chart.lines().collect();
        assert_eq!(lines[0], format!("sync      {}    8.00 s", "█".repeat(40)));
        assert_eq!(lines[1], format!("threaded  {}{}    2.00 s    4.0 x", "█".repeat(10), " ".repeat(30)));
        assert_eq!(lines[2], format!("asyncio   ▌{}    0.10 s   80.0 x", " ".repeat(39)));
    }

    #[test]
    fn nothing_to_compare_is_no_fault() {
        assert_eq!(render(&[]), "");
        assert!(render(&[("asyncio", 0.0)]).contains('▏'));
    }
}
