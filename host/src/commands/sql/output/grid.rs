//! Text in columns, for people.

use super::{cells, names};
use arrow::datatypes::DataType;
use kybern_sql::Answer;
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How NULL is shown: an empty text is shown as nothing.
pub(super) const NULL: &str = "<null>";
/// Blanks between two columns, as kubectl has them.
const GAP: usize = 3;
/// A column is not cut below this.
const NARROWEST: usize = 8;

/// A header and rows of one-line texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    header: Vec<String>,
    /// Whether a column holds numbers: they are aligned to the right.
    numbers: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Texts in columns.
    pub(crate) fn new(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self {
            header: header.iter().map(|name| (*name).to_owned()).collect(),
            numbers: vec![false; header.len()],
            rows: rows
                .into_iter()
                .map(|row| row.iter().map(|cell| one_line(cell).into_owned()).collect())
                .collect(),
        }
    }

    /// The rows of an answer.
    pub(crate) fn of(answer: &Answer) -> anyhow::Result<Self> {
        let number = |of: &DataType| of.is_numeric();
        let cell = |cell: Option<String>| match cell {
            None => NULL.to_owned(),
            Some(text) => one_line(&text).into_owned(),
        };
        let row = |row: Vec<Option<String>>| row.into_iter().map(cell).collect();
        let fields = answer.schema.fields().iter();
        Ok(Self {
            header: names(answer)
                .iter()
                .map(|name| one_line(name).into_owned())
                .collect(),
            numbers: fields.map(|field| number(field.data_type())).collect(),
            rows: cells(answer)?.into_iter().map(row).collect(),
        })
    }

    /// One line for each row; cells are cut so that a line has at most `width` columns.
    pub(crate) fn table(&self, width: Option<usize>) -> String {
        let header: Vec<String> = self.header.iter().map(|name| name.to_uppercase()).collect();
        let natural: Vec<usize> = (0..header.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let cells = cells.chain(header.get(at));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let widths = match width {
            Some(width) => narrowed(&natural, width),
            None => natural,
        };
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            self.line(&mut text, row, &widths);
        }
        text
    }

    fn line(&self, text: &mut String, row: &[String], widths: &[usize]) {
        let mut line = String::new();
        for ((cell, width), number) in row.iter().zip(widths).zip(&self.numbers) {
            let cell = cut(cell, *width);
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if *number { (&*pad, "") } else { ("", &*pad) };
            line.push_str(before);
            line.push_str(&cell);
            line.push_str(after);
            line.push_str(&" ".repeat(GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    /// One line for each value, as psql's `\x` has it; values are cut to the width.
    pub(crate) fn records(&self, width: Option<usize>) -> String {
        let names = self.header.iter().map(|name| name.width()).max();
        let names = names.unwrap_or(0);
        let room = width.map(|width| width.saturating_sub(names + 3).max(NARROWEST));
        let mut text = String::new();
        for (number, row) in (1..).zip(&self.rows) {
            let title = format!("-[ RECORD {number} ]");
            text.push_str(&format!("{title:-<26}\n"));
            for (name, cell) in self.header.iter().zip(row) {
                let pad = " ".repeat(names.saturating_sub(name.width()));
                let cell = room.map_or(Cow::Borrowed(&**cell), |room| cut(cell, room));
                text.push_str(format!("{name}{pad} | {cell}").trim_end());
                text.push('\n');
            }
        }
        text
    }
}

/// The widest columns are narrowed, all to the same width, until a line fits.
fn narrowed(natural: &[usize], line: usize) -> Vec<usize> {
    let gaps = GAP.saturating_mul(natural.len().saturating_sub(1));
    let room = line.saturating_sub(gaps);
    let total = |most: usize| {
        natural
            .iter()
            .map(|width| (*width).min(most))
            .sum::<usize>()
    };
    let mut most = natural.iter().copied().max().unwrap_or(0);
    if total(most) <= room {
        return natural.to_vec();
    }
    while most > NARROWEST && total(most) > room {
        most -= 1;
    }
    let mut spare = room.saturating_sub(total(most));
    let mut widths = Vec::with_capacity(natural.len());
    for width in natural {
        let extra = usize::from(*width > most && spare > 0);
        spare -= extra;
        widths.push((*width).min(most + extra));
    }
    widths
}

/// At most `width` columns of the text; `…` says that there is more.
pub(super) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut short = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        short.push(c);
    }
    short.push('…');
    Cow::Owned(short)
}

/// The text with its control characters escaped.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| {
        if is_unsafe(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    });
    Cow::Owned(escaped.collect())
}

/// Control characters, and those that change the direction of the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}
