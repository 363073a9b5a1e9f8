//! Answers as the lines of a script.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::array_value_to_string;
use kybern_sql::Answer;

/// A letter for each column: Text, Integer, Real, Boolean, Point in time, `X` for bytes.
pub(crate) fn letters(schema: &Schema) -> String {
    let letter = |of: &DataType| match of {
        DataType::Utf8 => 'T',
        DataType::Int64 | DataType::UInt64 => 'I',
        DataType::Float64 => 'R',
        DataType::Boolean => 'B',
        DataType::Timestamp(..) => 'P',
        DataType::Binary => 'X',
        _ => '?',
    };
    schema
        .fields()
        .iter()
        .map(|field| letter(field.data_type()))
        .collect()
}

/// A line for each row, with `header` one for the names before them.
pub(crate) fn lines(answer: &Answer, header: bool) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let alone = answer.schema.fields().len() == 1;
    if header {
        let names = answer
            .schema
            .fields()
            .iter()
            .map(|field| shown(field.name(), alone));
        lines.push(names.collect::<Vec<_>>().join(" "));
    }
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            lines.push(line(batch, row, alone)?);
        }
    }
    Ok(lines)
}

fn line(batch: &RecordBatch, row: usize, alone: bool) -> anyhow::Result<String> {
    let cell = |column: &ArrayRef| {
        anyhow::Ok(match column.is_valid(row) {
            true => shown(&array_value_to_string(column, row)?, alone),
            false => "NULL".to_owned(),
        })
    };
    let cells: anyhow::Result<Vec<String>> = batch.columns().iter().map(cell).collect();
    Ok(cells?.join(" "))
}

/// A value that could be taken for something else, or for two, is quoted.
fn shown(text: &str, alone: bool) -> String {
    let unclear = text.is_empty()
        || text == "NULL"
        || text.starts_with('\'')
        || text.ends_with(char::is_whitespace)
        || !alone && text.contains(char::is_whitespace);
    if unclear {
        format!("'{text}'")
    } else {
        text.to_owned()
    }
}
