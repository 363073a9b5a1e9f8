//! Answers in memory, read as from the host.

use crate::cursor::{ReadAnswer, ReadRows};
use crate::{HookError, Value};
#[cfg(feature = "arrow")]
use arrow_array::RecordBatch;
use std::collections::BTreeMap;

/// Rows handed over at once, whatever is asked for: few, so that tests meet ends.
const PAGE: usize = 2;

/// The answer of a query: its rows, or why it failed.
pub(super) type Answer = Result<Rows, String>;

/// Rows of an answer in the forms that a plugin may read.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    json: Vec<Value>,
    /// One batch for each row, or why there is no such form.
    #[cfg(feature = "arrow")]
    typed: Result<Vec<RecordBatch>, String>,
}

impl Rows {
    /// From rows as their author wrote them.
    pub(super) fn of(rows: Vec<Value>) -> Self {
        Self {
            #[cfg(feature = "arrow")]
            typed: super::arrow::from_json(&rows),
            json: rows.into_iter().map(as_the_host_writes).collect(),
        }
    }

    /// From record batches.
    #[cfg(feature = "arrow")]
    pub(super) fn of_batches(batches: &[RecordBatch]) -> Result<Self, String> {
        let typed = super::arrow::rows(batches)?;
        Ok(Self {
            json: typed
                .iter()
                .map(super::arrow::to_json)
                .collect::<Result<_, _>>()?,
            typed: Ok(typed),
        })
    }
}

/// A row as it crosses the sandbox: 64-bit integers and nested JSON are text.
fn as_the_host_writes(row: Value) -> Value {
    let Value::Object(row) = row else { return row };
    let columns = row.into_iter().map(|(column, value)| {
        let value = match value {
            Value::Number(number) if !number.is_f64() => Value::String(number.to_string()),
            Value::Array(_) | Value::Object(_) => Value::String(value.to_string()),
            value => value,
        };
        (column, value)
    });
    Value::Object(columns.collect())
}

/// The answers of one situation.
#[derive(Debug)]
pub(super) struct Answers(pub(super) BTreeMap<String, Answer>);

impl ReadRows for Answers {
    fn open(&self, query: &str) -> Result<Box<dyn ReadAnswer>, HookError> {
        match self.0.get(query) {
            Some(Ok(rows)) => Ok(Box::new(Reader {
                #[cfg(feature = "arrow")]
                query: query.to_owned(),
                rows: rows.clone(),
                at: 0,
            })),
            Some(Err(reason)) => Err(HookError::retry(format!(
                "query `{query}` failed: {reason}"
            ))),
            None => Err(HookError::Internal(format!(
                "no query `{query}`: neither the manifest nor sense names it"
            ))),
        }
    }
}

/// One position for both forms.
struct Reader {
    #[cfg(feature = "arrow")]
    query: String,
    rows: Rows,
    at: usize,
}

impl ReadAnswer for Reader {
    fn row_count(&self) -> u64 {
        u64::try_from(self.rows.json.len()).unwrap_or(u64::MAX)
    }

    fn json(&mut self, max_rows: u32) -> Result<Option<String>, HookError> {
        let max = usize::try_from(max_rows.max(1)).unwrap_or(usize::MAX);
        let page = next(&self.rows.json, &mut self.at, max.min(PAGE));
        if page.is_empty() {
            return Ok(None);
        }
        super::text(&page).map(Some)
    }

    #[cfg(feature = "arrow")]
    fn ipc(&mut self, max_bytes: u32) -> Result<Option<Vec<u8>>, HookError> {
        let typed = self.rows.typed.as_deref().map_err(|reason| {
            super::refusal(format!(
                "rows of `{}` as record batches: {reason}",
                self.query
            ))
        })?;
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        for rows in [PAGE, 1] {
            let mut at = self.at;
            let page = next(typed, &mut at, rows);
            if page.is_empty() {
                return Ok(None);
            }
            let stream = super::arrow::stream(page).map_err(super::refusal)?;
            if stream.len() <= max || rows == 1 {
                self.at = at;
                return Ok(Some(stream));
            }
        }
        Ok(None)
    }
}

/// The next `max` of `all`, and moves the position past them.
fn next<'a, T>(all: &'a [T], at: &mut usize, max: usize) -> &'a [T] {
    let rest = all.get(*at..).unwrap_or_default();
    let page = rest.get(..max).unwrap_or(rest);
    *at = at.saturating_add(page.len());
    page
}
