//! Columns of rows that were found by look-up.

use arrow::array::ArrayRef;

use crate::column::{Column, PathType};
use crate::extract::{Want, extract};
use crate::path::Path;
use crate::row::Row;

/// The columns, then the paths, of these rows in this order. Each body is read
/// once, and only if something of it is asked for.
pub fn gather(rows: &[Row], columns: &[Column], paths: &[(Path, PathType)]) -> Vec<ArrayRef> {
    let columns = columns.iter().cloned().map(Want::Column);
    let paths = paths.iter().map(|(path, of)| Want::path(path, *of));
    let wants: Vec<Want> = columns.chain(paths).collect();
    extract(rows.iter().map(Row::refer), &wants)
}
