//! `aioxide report`: a report as a page for people, in one file that needs no other and no script.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use aioxide_monitor::schema::is_unsafe_to_show;
use indicatif::{DecimalBytes, HumanCount};

use crate::Failure;
use crate::args::ReportArgs;
use crate::fetch::Outcome;

pub(crate) mod tally;

use tally::{Tally, Times};

/// Runs the command.
///
/// # Errors
/// The report cannot be read, has no record, or the page cannot be written.
pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let shown = args.report.display();
    if args.output.as_deref().is_some_and(|output| are_one(&args.report, output)) {
        return Err(format!("{shown}: the page would be written over the report").into());
    }
    let tally = match args.report == Path::new("-") {
        true => read(io::stdin()),
        false => File::open(&args.report).and_then(read),
    };
    let tally = tally.map_err(|error| format!("{shown}: {error}"))?;
    if tally.count == 0 {
        return Err(format!("{shown}: no report of aioxide fetch").into());
    }
    let page = page(&tally, &shown.to_string());
    match &args.output {
        Some(path) => fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?,
        None => io::stdout().write_all(page.as_bytes()).and_then(|()| io::stdout().flush())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether two paths lead to one file.
fn are_one(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// The longest line that is read.
const LINE_BYTES: u64 = 1 << 20;

fn read(report: impl Read) -> io::Result<Tally> {
    let (mut reader, mut tally, mut line) = (BufReader::new(report), Tally::default(), Vec::new());
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(tally);
        }
        tally.add(&line);
    }
}

/// How many rows a table has.
const ROWS: usize = 50;

fn page(tally: &Tally, name: &str) -> String {
    let mut page = String::from(HEAD);
    let failed = tally.count - tally.good;
    let share = 100.0 * tally.good as f64 / tally.count as f64;
    let _ = write!(page, "<h1>{}</h1><dl class=facts>", escaped(name));
    let mut fact = |term: &str, text: String| {
        let _ = write!(page, "<div><dt>{term}</dt><dd>{text}</dd></div>");
    };
    fact("URLs", HumanCount(tally.count).to_string());
    fact("went well", format!("{share:.1} %"));
    fact("failed", HumanCount(failed).to_string());
    fact("received", DecimalBytes(tally.bytes).to_string());
    fact("needed retries", HumanCount(tally.retried).to_string());
    fact("did not come again", DecimalBytes(tally.resumed).to_string());
    fact("stalls", HumanCount(tally.stalls).to_string());
    fact("time, median", quantile(&tally.times, 0.5));
    fact("time, 95 %", quantile(&tally.times, 0.95));
    fact("time, 99 %", quantile(&tally.times, 0.99));
    page.push_str("</dl><h2>Outcomes</h2><table class=bars>");
    for outcome in Outcome::ALL {
        if let Some(count) = tally.outcomes.get(&outcome) {
            bar(&mut page, outcome.name(), *count, tally.count, outcome.is_good());
        }
    }
    page.push_str("</table><h2>Time for a URL</h2><table class=bars>");
    let doublings = tally.times.doublings();
    let most = doublings.iter().map(|(_, count)| *count).max().unwrap_or(1);
    for (end, count) in doublings {
        bar(&mut page, &format!("up to {}", seconds(end)), count, most, true);
    }
    page.push_str("</table><h2>Hosts</h2><p>Those with the most failures first, then the slowest.</p>");
    page.push_str("<div class=wide><table><tr><th>host<th>URLs<th>failed<th>received<th>median<th>95 %</tr>");
    let hosts = tally.hosts();
    for (name, host) in hosts.iter().take(ROWS) {
        let failed = host.count - host.good;
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td{}>{}<td>{}<td>{}<td>{}</tr>",
            escaped(name),
            HumanCount(host.count),
            if failed > 0 { " class=bad" } else { "" },
            HumanCount(failed),
            DecimalBytes(host.bytes),
            quantile(&host.times, 0.5),
            quantile(&host.times, 0.95),
        );
    }
    page.push_str("</table></div>");
    let more = hosts.len().saturating_sub(ROWS);
    if more > 0 || tally.of_other_hosts > 0 {
        let _ = write!(page, "<p>{} more hosts are not shown.</p>", HumanCount(more as u64));
    }
    let errors = tally.errors();
    if !errors.is_empty() {
        page.push_str("<h2>Errors</h2><div class=wide><table><tr><th>error<th>URLs</tr>");
        for (error, count) in errors.iter().take(ROWS) {
            let _ = write!(page, "<tr><td>{}<td>{}</tr>", escaped(error), HumanCount(*count));
        }
        page.push_str("</table></div>");
    }
    if tally.unreadable > 0 {
        let _ = write!(page, "<p>Lines that are no records: {}</p>", HumanCount(tally.unreadable));
    }
    page.push_str("</main></html>\n");
    page
}

/// One bar of a chart.
fn bar(page: &mut String, label: &str, count: u64, whole: u64, good: bool) {
    let width = if count == 0 { 0.0 } else { (100.0 * count as f64 / whole.max(1) as f64).max(0.5) };
    let class = if good { "good" } else { "bad" };
    let _ = write!(
        page,
        "<tr><th>{label}<td><i class={class} style=\"width:{width:.2}%\"></i><td>{}</tr>",
        HumanCount(count)
    );
}

fn quantile(times: &Times, share: f64) -> String {
    times.quantile(share).map_or("–".to_owned(), seconds)
}

fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.0995 => format!("{:.0} ms", seconds * 1000.0),
        ..9.95 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// Text that a report quotes from servers and lists: nothing in it is markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other if is_unsafe_to_show(other) => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
<title>aioxide fetch: report</title><style>\
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5c6675;--paper:#fff;--line:#dde2ea;--good:#2f7d4f;--bad:#b3382c}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b5;--paper:#14181f;--line:#2c3440;--good:#4fb37a;--bad:#e0705f}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:1rem}h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}\
p,dt{color:var(--soft)}.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.75rem;margin:0}\
.facts div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .75rem}dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums}\
dt{font-size:.8rem}table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:500;color:var(--soft)}\
td,th{padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
.wide{overflow-x:auto}.wide td:first-child{overflow-wrap:anywhere;min-width:10rem}.wide td{font-variant-numeric:tabular-nums}\
.bars th{width:9.5rem;white-space:nowrap}.bars td:last-child{width:6rem;text-align:right;font-variant-numeric:tabular-nums}\
.bars td{vertical-align:middle}i{display:block;height:.9rem;border-radius:2px}i.good{background:var(--good)}\
i.bad{background:var(--bad)}td.bad{color:var(--bad)}</style><main>";
