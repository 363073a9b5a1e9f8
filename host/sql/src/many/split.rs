//! Gives each set its rows of a join.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Schema, UInt32Type};
use datafusion::common::{Result, internal_datafusion_err};

/// The rows of each of so many sets; none where there are none. The last column of the batches is
/// the number of the row's set, and is left out.
pub(super) fn split(batches: &[RecordBatch], sets: usize) -> Result<Vec<Option<RecordBatch>>> {
    let Some(first) = batches.first() else {
        return Ok(vec![None; sets]);
    };
    let rows = concat_batches(&first.schema(), batches)?;
    let Some((numbers, columns)) = rows.columns().split_last() else {
        return Err(internal_datafusion_err!("a join has no numbers"));
    };
    let fields: Vec<_> = rows
        .schema()
        .fields()
        .iter()
        .take(columns.len())
        .cloned()
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let places = places(numbers, sets)?.into_iter();
    places
        .map(|rows| match rows.is_empty() {
            true => Ok(None),
            false => of(&schema, columns, rows).map(Some),
        })
        .collect()
}

/// Which rows each set has.
fn places(numbers: &ArrayRef, sets: usize) -> Result<Vec<Vec<u32>>> {
    let numbers = numbers
        .as_primitive_opt::<UInt32Type>()
        .ok_or_else(|| internal_datafusion_err!("the number of a set is none"))?;
    let mut places = vec![Vec::new(); sets];
    for (row, number) in (0u32..).zip(numbers) {
        let number = number.and_then(|number| usize::try_from(number).ok());
        let set = number.and_then(|number| places.get_mut(number));
        set.ok_or_else(|| internal_datafusion_err!("a row is for no set"))?
            .push(row);
    }
    Ok(places)
}

fn of(schema: &Arc<Schema>, columns: &[ArrayRef], rows: Vec<u32>) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let rows = UInt32Array::from(rows);
    let columns = columns
        .iter()
        .map(|column| take(column, &rows, None))
        .collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
