//! Reads an answer page by page.

use crate::decode::read;
use crate::row::Row;
use crate::{HookError, Value};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Rows asked for at once: enough that a call is cheap, few enough for a guest's memory.
const PAGE: u32 = 256;

/// Where answers come from: the host, or a test.
pub(crate) trait ReadRows {
    /// A cursor at the first row of the answer of `query`.
    fn open(&self, query: &str) -> Result<Box<dyn Cursor>, HookError>;
}

/// A position in one answer.
pub(crate) trait Cursor {
    /// The next rows, at most `max`, as one JSON array of objects; none at the end.
    fn page(&mut self, max: u32) -> Result<Option<String>, HookError>;
}

/// Rows of one answer, each read as `T`.
pub struct Rows<T> {
    query: String,
    /// None after the end or an error.
    cursor: Option<Box<dyn Cursor>>,
    page: std::vec::IntoIter<Value>,
    /// Rows given so far, for messages.
    given: usize,
    row: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    pub(crate) fn new(query: &str, cursor: Box<dyn Cursor>) -> Self {
        Self {
            query: query.to_owned(),
            cursor: Some(cursor),
            page: Vec::new().into_iter(),
            given: 0,
            row: PhantomData,
        }
    }

    /// The next row as JSON, from the page or from a new one.
    fn next_value(&mut self) -> Result<Option<Value>, HookError> {
        loop {
            if let Some(value) = self.page.next() {
                return Ok(Some(value));
            }
            let Some(cursor) = self.cursor.as_mut() else {
                return Ok(None);
            };
            let Some(text) = cursor.page(PAGE)? else {
                self.cursor = None;
                return Ok(None);
            };
            let rows: Vec<Value> = serde_json::from_str(&text).map_err(|error| {
                HookError::Internal(format!("rows of query `{}`: {error}", self.query))
            })?;
            self.page = rows.into_iter();
        }
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, HookError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_value().and_then(|value| {
            let Some(value) = value else { return Ok(None) };
            let field = format!("{}[{}]", self.query, self.given);
            self.given = self.given.saturating_add(1);
            // The CR's author cannot mend this: the query and the row's type disagree.
            read(&field, Row(value)).map(Some).map_err(|misfit| {
                HookError::Internal(format!("row {}: {}", misfit.field, misfit.message))
            })
        });
        if row.is_err() {
            self.cursor = None;
            self.page = Vec::new().into_iter();
        }
        row.transpose()
    }
}
