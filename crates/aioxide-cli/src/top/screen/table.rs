//! A table of which only the rows that are seen are made, with columns that give way in a narrow terminal.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use super::cursor::Cursor;
use super::draw::CHOSEN;
use crate::top::words::fit;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    right: bool,
    least: u16,
    /// Its share of what is left over.
    grows: u16,
    /// The width of the table from which on it is shown.
    from: u16,
    /// It is sorted by; turned round.
    sorted: Option<bool>,
}

impl Column {
    const fn new(name: &'static str, least: u16, right: bool) -> Self {
        Self { name, right, least, grows: 0, from: 0, sorted: None }
    }

    pub(super) const fn left(name: &'static str, least: u16) -> Self {
        Self::new(name, least, false)
    }

    pub(super) const fn right(name: &'static str, least: u16) -> Self {
        Self::new(name, least, true)
    }

    pub(super) const fn grows(self, share: u16) -> Self {
        Self { grows: share, ..self }
    }

    pub(super) const fn from(self, width: u16) -> Self {
        Self { from: width, ..self }
    }

    pub(super) const fn marked(self, reverse: bool) -> Self {
        Self { sorted: Some(reverse), ..self }
    }
}

/// Columns and the number of rows.
pub(super) struct Table<'a> {
    pub(super) columns: &'a [Column],
    pub(super) count: usize,
}

impl Table<'_> {
    /// Draws the rows around the cursor; `row` gives the cells of one, for all columns, and its style.
    pub(super) fn draw(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        cursor: &mut Cursor,
        row: impl Fn(usize) -> (Vec<String>, Style),
    ) {
        let widths = widths(self.columns, area.width);
        let names = self.columns.iter().map(|column| match column.sorted {
            None => column.name.to_owned(),
            Some(reverse) => format!("{}{}", column.name, if reverse { '▲' } else { '▼' }),
        });
        let head = Style::new().add_modifier(Modifier::DIM | Modifier::UNDERLINED);
        let mut lines = vec![Line::styled(self.line(&widths, &names.collect::<Vec<_>>()), head)];
        if self.count == 0 {
            lines.push(Line::raw("nothing to show"));
        }
        for place in cursor.seen(self.count, usize::from(area.height).saturating_sub(1)) {
            let (cells, style) = row(place);
            let style = if place == cursor.at { style.patch(CHOSEN) } else { style };
            lines.push(Line::styled(self.line(&widths, &cells), style));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn line(&self, widths: &[u16], cells: &[String]) -> String {
        let mut line = String::new();
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let width = usize::from(*width);
            if width == 0 {
                continue;
            }
            if !line.is_empty() {
                line.push_str("  ");
            }
            let cell = fit(cell, width);
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            match column.right {
                true => line.extend([&pad, &*cell]),
                false => line.extend([&*cell, &pad]),
            }
        }
        line
    }
}

/// The columns' widths; 0 for one that is not shown.
fn widths(columns: &[Column], width: u16) -> Vec<u16> {
    let shown = |column: &Column| width >= column.from;
    let least: u16 = columns.iter().filter(|column| shown(column)).map(|column| column.least + 2).sum();
    let shares: u16 = columns.iter().filter(|column| shown(column)).map(|column| column.grows).sum();
    let spare = (width + 2).saturating_sub(least);
    let of = |column: &Column| match shown(column) {
        true => column.least + (spare * column.grows).checked_div(shares).unwrap_or(0),
        false => 0,
    };
    columns.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_share_the_width_and_give_way() {
        let columns =
            [Column::left("a", 10).grows(1), Column::right("b", 8), Column::left("c", 10).grows(3).from(50)];
        assert_eq!(widths(&columns, 30), [20, 8, 0]);
        assert_eq!(widths(&columns, 52), [15, 8, 25]);
        assert_eq!(widths(&columns, 10), [10, 8, 0]);
    }
}
