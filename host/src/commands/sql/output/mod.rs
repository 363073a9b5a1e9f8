//! An answer as text: a table for people, expanded records, JSON, CSV or YAML.
//!
//! # Contract
//!
//! A cell shows on one line, and no byte of the cluster's data reaches the
//! terminal as a control sequence: both only for people (`table`, `wide`,
//! expanded). JSON, CSV and YAML give values as they are.

mod changes;
mod csv;
mod grid;
mod json;

pub(crate) use changes::Changes;
pub(crate) use grid::Grid;

use crate::args::Output;
use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kybern_sql::Answer;

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) output: Output,
    /// One line for each value instead of one for each row; of `table` and `wide`.
    pub(crate) expanded: bool,
    /// Columns of the terminal; none where there is none.
    pub(crate) width: Option<usize>,
}

impl Style {
    /// The width that tables are cut to.
    pub(crate) fn cut_to(&self) -> Option<usize> {
        match self.output {
            Output::Table => self.width,
            _ => None,
        }
    }

    /// Whether people read it: then counts and times are told beside it.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.output, Output::Table | Output::Wide)
    }

    /// What stands between two answers.
    pub(crate) fn separator(&self) -> &'static str {
        match self.output {
            Output::Table | Output::Wide => "\n",
            Output::Yaml => "---\n",
            Output::Json | Output::Csv => "",
        }
    }
}

/// The whole answer as text.
pub(crate) fn render(answer: &Answer, style: &Style) -> anyhow::Result<String> {
    Ok(match style.output {
        Output::Table | Output::Wide => grid(&Grid::of(answer)?, style),
        Output::Csv => csv::render(&names(answer), &cells(answer)?),
        Output::Json => json::pretty(answer)?,
        Output::Yaml => serde_saphyr::to_string(&json::objects(answer)?)?,
    })
}

/// Text in columns, as the style says.
pub(crate) fn grid(grid: &Grid, style: &Style) -> String {
    if style.expanded {
        grid.records(style.cut_to())
    } else {
        grid.table(style.cut_to())
    }
}

/// `(1 row)`, `(2 rows)`.
pub(crate) fn count(rows: usize) -> String {
    format!("({rows} row{})", if rows == 1 { "" } else { "s" })
}

/// Every cell as text, by row; `None` is NULL.
fn cells(answer: &Answer) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let mut rows = Vec::with_capacity(answer.rows);
    for batch in &answer.batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(batch.columns());
            rows.push(
                cells
                    .map(|(format, column)| {
                        column.is_valid(row).then(|| format.value(row).to_string())
                    })
                    .collect(),
            );
        }
    }
    Ok(rows)
}

fn names(answer: &Answer) -> Vec<String> {
    let fields = answer.schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

#[cfg(test)]
mod tests;
