//! Reads an answer row by row.

use crate::cursor::Cursor;
use crate::{HookError, Value};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Rows asked for at once: enough that a call is cheap, few enough for a guest's memory.
const PAGE: u32 = 256;

/// Rows of one answer, each read as `T`.
pub struct Rows<T> {
    cursor: Cursor,
    page: std::vec::IntoIter<Value>,
    row: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            page: Vec::new().into_iter(),
            row: PhantomData,
        }
    }

    /// The next row as JSON, from the page or from a new one.
    fn next_value(&mut self) -> Result<Option<Value>, HookError> {
        loop {
            if let Some(value) = self.page.next() {
                return Ok(Some(value));
            }
            let Some(page) = self.cursor.page(PAGE)? else {
                return Ok(None);
            };
            self.page = page.into_iter();
        }
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, HookError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self
            .next_value()
            .and_then(|value| value.map(|value| self.cursor.typed(value)).transpose());
        if row.is_err() {
            self.page = Vec::new().into_iter();
        }
        row.transpose()
    }
}
