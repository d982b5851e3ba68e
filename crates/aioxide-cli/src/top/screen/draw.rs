//! Draws the state: only the rows that are seen.

use aioxide_monitor::schema::{Deadlock, Id, LAG_BOUNDS_US, RUN_BOUNDS_US, TaskState};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::keys::HELP;
use super::series::spark;
use super::state::{Mode, Opened, State, Watched};
use super::table::{Column, Table};
use crate::args::{Sort, View};
use crate::top::sample::Sample;
use crate::top::words::{self, clean, count, counted, known, micros, millis};
use crate::top::{once, text, unix_ms};

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
const WARNING: Style = Style::new().fg(Color::Black).bg(Color::Yellow);
pub(super) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Alarms that are shown at a time.
const ALARMS: usize = 3;

/// Draws all of it.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    if area.width < 20 || area.height < 5 {
        return frame.render_widget(Paragraph::new("too small"), area);
    }
    let [body, foot] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(area);
    match &mut state.program {
        None => draw_programs(frame, body, state),
        Some(program) => draw_program(frame, body, program, &state.mode),
    }
    draw_foot(frame, foot, state);
    if state.mode == Mode::Help {
        draw_help(frame, area);
    }
}

fn draw_programs(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let [head, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new(Line::styled("aioxide top: programs of yours", BOLD)), head);
    match &state.programs.found {
        None => frame.render_widget(Paragraph::new("looking for programs…"), body),
        Some(Err(error)) => frame.render_widget(Paragraph::new(clean(error).into_owned()), body),
        Some(Ok(found)) if found.is_empty() => frame.render_widget(Paragraph::new(once::NONE), body),
        Some(Ok(found)) => {
            let columns = [
                Column::right("pid", 8),
                Column::left("program", 12).grows(3),
                Column::left("runtime", 14).from(50),
                Column::left("aioxide", 8).from(70),
                Column::right("watched", 8).from(60),
            ];
            let table = Table { columns: &columns, count: found.len() };
            table.draw(frame, body, &mut state.programs.cursor, |row| {
                (crate::top::program_row(&found[row].hello.program), Style::new())
            });
        }
    }
}

fn draw_program(frame: &mut Frame<'_>, area: Rect, program: &mut Watched, mode: &Mode) {
    let alarms = alarms(program);
    let shown = alarms.len().min(ALARMS).min(usize::from(area.height) / 4) as u16;
    let small = area.height < 10;
    let [head, figures, alarm_area, tabs, body] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(if small { 0 } else { 1 }),
        Constraint::Length(shown),
        Constraint::Length(1),
        Constraint::Min(1),
    ])
    .areas(area);
    let Some(sample) = program.sample.clone() else {
        frame.render_widget(Paragraph::new(Line::styled(program.name.clone(), BOLD)), head);
        draw_alarms(frame, alarm_area, &alarms);
        let told =
            program.trouble.as_deref().map_or("waiting for the first snapshot…".to_owned(), |trouble| {
                format!("no snapshot yet: {}", clean(trouble))
            });
        return frame.render_widget(Paragraph::new(told), body);
    };
    let title = words::fit(&text::title(&sample), area.width.into()).into_owned();
    frame.render_widget(Paragraph::new(Line::styled(title, BOLD)), head);
    draw_figures(frame, figures, program, &sample);
    draw_alarms(frame, alarm_area, &alarms);
    draw_tabs(frame, tabs, program, mode);
    if let Some(opened) = &mut program.detail {
        return draw_opened(frame, body, opened);
    }
    match program.view {
        View::Groups => draw_groups(frame, body, program, &sample),
        View::Tasks => draw_tasks(frame, body, program, &sample),
        View::Loops => draw_loops(frame, body, program, &sample),
        View::Ended => draw_ended(frame, body, program),
    }
}

/// What is wrong, the worst first.
fn alarms(program: &Watched) -> Vec<(String, Style)> {
    let mut alarms = Vec::new();
    let sample = program.sample.as_deref();
    let nothing = Sample::default();
    for one in &program.blocked {
        let told = text::blocked(one, sample.unwrap_or(&nothing));
        alarms.push((format!("BLOCKED: {told} (b)"), ALARM));
    }
    if let Some(sample) = sample {
        let told = sample.deadlocks.iter().map(|deadlock| told_deadlock(deadlock, sample));
        alarms.extend(told.map(|told| (format!("{told} (d)"), ALARM)));
    }
    if program.blocked.is_empty()
        && let Some(was) = &program.was_blocked
        && let Some(ago) = was.ago()
    {
        let told = text::was_blocked(&was.blocked, sample.unwrap_or(&nothing));
        alarms.push((format!("{} ago {told} (b)", micros(ago.as_micros() as u64)), WARNING));
    }
    if let Some(trouble) = &program.trouble
        && sample.is_some()
    {
        alarms.push((format!("no new snapshot: {}", clean(trouble)), WARNING));
    }
    let silent = program.heard.elapsed();
    if !program.paused && silent > program.interval * 2 + std::time::Duration::from_secs(2) {
        alarms.push((format!("no snapshot for {}", micros(silent.as_micros() as u64)), WARNING));
    }
    alarms
}

fn told_deadlock(deadlock: &Deadlock, sample: &Sample) -> String {
    let name =
        |id: &Id| sample.node(*id).map_or_else(|| "?".to_owned(), |node| clean(&node.name).into_owned());
    let mut cycle = sample.cycle(deadlock);
    cycle.extend(cycle.first().copied());
    let chain = match cycle.is_empty() {
        false => cycle.iter().map(name).collect::<Vec<_>>().join(" → "),
        true => {
            let ends: Vec<String> = deadlock.ends.iter().take(3).map(name).collect();
            format!("nobody is left to finish {}", ends.join(", "))
        }
    };
    format!("DEADLOCK of {}: {chain}", counted(deadlock.tasks, "task"))
}

fn draw_alarms(frame: &mut Frame<'_>, area: Rect, alarms: &[(String, Style)]) {
    let lines: Vec<Line<'_>> = alarms
        .iter()
        .take(area.height.into())
        .map(|(told, style)| Line::styled(words::fit(told, area.width.into()).into_owned(), *style))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, program: &Watched, sample: &Sample) {
    let width = if area.width >= 110 { 16 } else { 8 };
    let charts = area.width >= 60;
    let mut spans = Vec::new();
    for (name, value, line) in [
        ("lag ", known(program.worst_lag_us, micros), &program.series.lag_us),
        ("ready ", known(sample.sum(|one| one.ready), count), &program.series.ready),
        ("tasks ", count(sample.count() as u64), &program.series.tasks),
    ] {
        spans.push(Span::styled(name, DIM));
        spans.push(Span::raw(value));
        if charts {
            spans.push(Span::styled(format!(" {}", spark(line, width)), Style::new().fg(Color::Cyan)));
        }
        spans.push(Span::raw("  "));
    }
    for (name, value) in [
        ("timers ", sample.sum(|one| one.timers)),
        ("descriptors ", sample.sum(|one| one.descriptors)),
        ("thread jobs ", sample.sum(|one| one.jobs)),
    ] {
        spans.push(Span::styled(name, DIM));
        spans.push(Span::raw(known(value, count)));
        spans.push(Span::raw("  "));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, program: &Watched, mode: &Mode) {
    let mut spans = Vec::new();
    let narrow = area.width < 60;
    for (number, view) in View::ALL.iter().enumerate() {
        let here = *view == program.view && program.detail.is_none();
        let name = if narrow && *view != program.view { "" } else { view.name() };
        let style = if here { BOLD.add_modifier(Modifier::UNDERLINED) } else { DIM };
        spans.push(Span::styled(format!("{} {name}", number + 1).trim_end().to_owned(), style));
        spans.push(Span::raw("  "));
    }
    if let Some(opened) = &program.detail {
        spans.push(Span::styled(format!("> {}  ", opened.name), BOLD));
    } else if let (Some((coroutine, waits)), View::Tasks) = (&program.group, program.view) {
        spans.push(Span::styled(format!("{}, {}  ", clean(coroutine), clean(waits)), BOLD));
    }
    if *mode == Mode::Filter || !program.filter.is_empty() {
        let cursor = if *mode == Mode::Filter { "▏" } else { "" };
        let style = Style::new().fg(Color::Yellow);
        spans.push(Span::styled(format!("filter: {}{cursor}  ", clean(&program.filter)), style));
    }
    if program.view == View::Tasks && program.detail.is_none() {
        let whole = program.sample.as_ref().map_or(0, |sample| sample.count());
        let shown = program.tasks.places.len();
        if shown != whole {
            spans.push(Span::raw(format!("{} of {}", count(shown as u64), count(whole as u64))));
        }
    }
    if program.paused {
        spans.push(Span::styled(" paused ", WARNING));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, program: &mut Watched, sample: &Sample) {
    let columns = [
        Column::right("tasks", 9),
        Column::left("coroutine", 10).grows(2),
        Column::left("waiting on", 10).grows(2),
        Column::right("longest", 8).from(50),
    ];
    let places = &program.groups.places;
    let table = Table { columns: &columns, count: places.len() };
    table.draw(frame, area, &mut program.groups.cursor, |row| {
        let group = &sample.groups[places[row]];
        let cells = vec![
            format!("{} x", count(group.tasks.len() as u64)),
            clean(&group.coroutine).into_owned(),
            clean(&group.waits).into_owned(),
            known(sample.longest[places[row]], millis),
        ];
        (cells, Style::new())
    });
}

fn draw_tasks(frame: &mut Frame<'_>, area: Rect, program: &mut Watched, sample: &Sample) {
    let sort = program.sort;
    let mark = |column: Column, by: Sort| if sort == by { column.marked(program.reverse) } else { column };
    let columns = [
        mark(Column::left("task", 10).grows(1), Sort::Name),
        mark(Column::left("coroutine", 10).grows(2).from(40), Sort::Coroutine),
        mark(Column::left("state", 7).from(90), Sort::State),
        mark(Column::left("waiting on", 10).grows(2), Sort::Waits),
        mark(Column::right("waiting", 8).from(60), Sort::Waiting),
        mark(Column::right("age", 8).from(100), Sort::Age),
        mark(Column::right("ran", 8).from(110), Sort::Ran),
        mark(Column::right("steps", 8).from(120), Sort::Steps),
        Column::left("at", 12).grows(1).from(80),
    ];
    let places = &program.tasks.places;
    let table = Table { columns: &columns, count: places.len() };
    table.draw(frame, area, &mut program.tasks.cursor, |row| {
        let Some((node, task)) = sample.task_at(places[row]) else { return (Vec::new(), Style::new()) };
        let cells = vec![
            clean(&node.name).into_owned(),
            clean(&task.coroutine).into_owned(),
            words::state(task.state).to_owned(),
            clean(sample.waits(node.id)).into_owned(),
            known(task.waiting_ms, millis),
            known(task.age_ms, |age| format!("{}{}", if task.age_is_least { ">" } else { "" }, millis(age))),
            known(task.ran_us, micros),
            known(task.steps, count),
            task.at.as_ref().map_or_else(String::new, words::place),
        ];
        let style = match task.state {
            TaskState::Running => Style::new().fg(Color::Green),
            TaskState::Ready => Style::new().fg(Color::Cyan),
            _ => Style::new(),
        };
        (cells, style)
    });
}

fn draw_loops(frame: &mut Frame<'_>, area: Rect, program: &mut Watched, sample: &Sample) {
    let loops = &sample.snapshot.loops;
    let height = (loops.len() as u16 + 1).min(area.height / 2).max(2);
    let [list, below] = Layout::vertical([Constraint::Length(height + 1), Constraint::Min(0)]).areas(area);
    let columns = [
        Column::left("loop", 12).grows(1),
        Column::left("state", 9).from(60),
        Column::right("tasks", 8),
        Column::right("ready", 6),
        Column::right("timers", 6).from(50),
        Column::right("descriptors", 11).from(70),
        Column::right("jobs", 5).from(80),
        Column::right("lag", 8),
        Column::right("longest", 8).from(90),
        Column::right("blocked", 7).from(100),
    ];
    let table = Table { columns: &columns, count: loops.len() };
    table.draw(frame, list, &mut program.loops, |row| {
        let one = &loops[row];
        let lag = text::lag_of(one, sample);
        let cells = vec![
            clean(&one.class).into_owned(),
            if one.running { "running" } else { "stopped" }.to_owned(),
            count(one.tasks),
            known(one.ready, count),
            known(one.timers, count),
            known(one.descriptors, count),
            known(one.jobs, count),
            known(lag, |lag| micros(lag.last_us.max(lag.waiting_us))),
            known(lag, |lag| micros(lag.longest_us)),
            known(lag, |lag| count(lag.blocked)),
        ];
        (cells, Style::new())
    });
    let Some(one) = loops.get(program.loops.at) else { return };
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(below);
    match text::lag_of(one, sample) {
        Some(lag) => {
            let collected = lag.collector.as_ref().map(|one| format!("{}; ", text::collected(one)));
            let answered = format!("{} answered within", counted(lag.beats, "heartbeat"));
            draw_bars(frame, left, collected.unwrap_or_default() + &answered, &lag.histogram, &LAG_BOUNDS_US);
        }
        None => {
            let told = "its lag is not measured: no watchdog runs (aioxide.monitor.watchdog() in Python, Runtime::builder().watchdog(..) in Rust)";
            frame.render_widget(Paragraph::new(told).wrap(Wrap { trim: true }), left);
        }
    }
    if let Some(durations) = &one.durations {
        draw_bars(frame, right, text::ran(durations), &durations.histogram, &RUN_BOUNDS_US);
    }
}

fn draw_bars(frame: &mut Frame<'_>, area: Rect, title: String, histogram: &[u64], bounds_us: &[u64]) {
    let width = usize::from(area.width.saturating_sub(22)).min(60);
    let bars = text::bars(histogram, bounds_us, width).into_iter().map(|(bound, number, length)| {
        Line::from(vec![
            Span::raw(format!("{bound:>8} {number:>10} ")),
            Span::styled("█".repeat(length), Style::new().fg(Color::Cyan)),
        ])
    });
    let lines: Vec<_> = std::iter::once(Line::styled(title, DIM)).chain(bars).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_ended(frame: &mut Frame<'_>, area: Rect, program: &mut Watched) {
    let told = match &program.history {
        None => "asking for the tasks that have ended…".to_owned(),
        Some(Err(error)) => clean(error).into_owned(),
        Some(Ok(history)) if history.is_empty() => {
            "no task has ended since the program is looked at".to_owned()
        }
        Some(Ok(_)) => String::new(),
    };
    if !told.is_empty() {
        return frame.render_widget(Paragraph::new(told), area);
    }
    let columns = [
        Column::right("ago", 8),
        Column::left("task", 10).grows(1),
        Column::left("coroutine", 10).grows(2).from(50),
        Column::left("why", 10).grows(1),
        Column::right("lived", 8).from(60),
    ];
    let mut cursor = program.ended;
    let (now, rows) = (unix_ms(), program.shown_history());
    let table = Table { columns: &columns, count: rows.len() };
    table.draw(frame, area, &mut cursor, |row| (text::ended_row(rows[row], now), Style::new()));
    program.ended = cursor;
}

fn draw_opened(frame: &mut Frame<'_>, area: Rect, opened: &mut Opened) {
    let [state, body] =
        Layout::vertical([Constraint::Length(u16::from(!opened.alive)), Constraint::Min(1)]).areas(area);
    frame.render_widget(
        Paragraph::new(Line::styled("It is no more; this is what was last seen.", WARNING)),
        state,
    );
    let seen = opened.cursor.seen(opened.lines.len(), body.height.into());
    let lines: Vec<Line<'_>> = seen
        .map(|place| {
            let line = &opened.lines[place];
            let shown = words::fit(&line.text, body.width.into()).into_owned();
            let style = if line.heading { BOLD } else { Style::new() };
            let style = if place == opened.cursor.at { style.patch(CHOSEN) } else { style };
            // A bare line is chosen visibly, too.
            Line::styled(if shown.is_empty() { " ".to_owned() } else { shown }, style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (told, style) = match (&state.mode, &state.message) {
        (Mode::Ask { name, coroutine, .. }, _) => {
            (format!("Cancel {} ({})? y / n", clean(name), clean(coroutine)), WARNING)
        }
        (Mode::Filter, _) => ("type words; Enter keeps the filter, Esc takes it away".to_owned(), DIM),
        (_, Some(message)) => (clean(message).into_owned(), BOLD),
        (_, None) if state.program.is_none() => ("q quit  ? help  Enter look into it".to_owned(), DIM),
        (_, None) => (keys(state), DIM),
    };
    let told = words::fit(&told, area.width.into()).into_owned();
    frame.render_widget(Paragraph::new(Line::styled(told, style)), area);
}

/// The keys that matter here.
fn keys(state: &State) -> String {
    let Some(program) = &state.program else { return String::new() };
    if program.detail.is_some() {
        return "q quit  ? help  Esc back  Enter open  c cancel".to_owned();
    }
    match program.view {
        View::Tasks => format!(
            "q quit  ? help  Enter open  / filter  s sort: {}  c cancel  Esc back",
            program.sort.name()
        ),
        View::Groups => "q quit  ? help  Enter open  / filter  Tab next view".to_owned(),
        View::Loops | View::Ended => "q quit  ? help  / filter  Tab next view".to_owned(),
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| Line::from(vec![Span::styled(format!("{keys:<14}"), BOLD), Span::raw(*what)]))
        .collect();
    let (width, height) = (76.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title("Keys").title_alignment(Alignment::Center);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}
