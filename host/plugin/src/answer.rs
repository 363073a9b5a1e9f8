//! The answer of one query, as the host gives it to a call.

use crate::row_json;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The answer of one query.
#[derive(Debug, Clone)]
pub struct NamedAnswer {
    /// The name under which the guest opens it.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows, all with that schema.
    pub batches: Vec<RecordBatch>,
}

impl NamedAnswer {
    /// Its rows as a guest gets them that reads JSON: 64-bit integers and times are text.
    ///
    /// # Errors
    /// A column has a type that cannot be passed on; the message says what to do.
    pub fn to_json(&self) -> Result<Vec<Map<String, Value>>, String> {
        let answer = Answer::new(self)?;
        let all = row_json::chunk(&answer, Position::default(), usize::MAX, usize::MAX);
        match all.map_err(|error| error.to_string())? {
            Some(rows) => serde_json::from_str(&rows.data).map_err(|error| error.to_string()),
            None => Ok(Vec::new()),
        }
    }
}

/// An answer in the types that guests know.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) rows: u64,
}

impl Answer {
    /// Casts views, dictionaries, small numbers and the like; the reason if a type cannot be passed on.
    fn new(named: &NamedAnswer) -> Result<Self, String> {
        let mut fields = Vec::with_capacity(named.schema.fields().len());
        for field in named.schema.fields() {
            let Some(target) = guest_type(field.data_type()) else {
                return Err(format!(
                    "column `{}` has type {}, which cannot be passed to a plugin: cast it in the query",
                    field.name(),
                    field.data_type()
                ));
            };
            // Casting may leave values out.
            fields.push(Field::new(field.name(), target, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut rows = 0_u64;
        let mut batches = Vec::with_capacity(named.batches.len());
        for batch in &named.batches {
            rows = rows.saturating_add(u64::try_from(batch.num_rows()).unwrap_or(u64::MAX));
            if batch.num_rows() == 0 {
                continue;
            }
            batches.push(convert(batch, &schema).map_err(|error| error.to_string())?);
        }
        Ok(Self {
            schema,
            batches,
            rows,
        })
    }
}

fn convert(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Guests know seven types, so that every language's Arrow library has them.
fn guest_type(host: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match host {
        T::Boolean => T::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 => T::Int64,
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => T::UInt64,
        T::Float16 | T::Float32 | T::Float64 => T::Float64,
        T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Decimal128(..) | T::Decimal256(..) => {
            T::Utf8
        }
        T::Timestamp(..) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Dictionary(_, values) => guest_type(values)?,
        _ => return None,
    })
}

/// The answers of one call; each is converted when it is first opened.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    given: BTreeMap<String, NamedAnswer>,
    converted: BTreeMap<String, Result<Arc<Answer>, String>>,
}

impl Answers {
    pub(crate) fn new(answers: Vec<NamedAnswer>) -> Self {
        Self {
            given: answers
                .into_iter()
                .map(|answer| (answer.name.clone(), answer))
                .collect(),
            converted: BTreeMap::new(),
        }
    }

    /// The answer with this name; none = there is none; an error = it cannot be passed on.
    pub(crate) fn open(&mut self, name: &str) -> Option<Result<Arc<Answer>, String>> {
        if let Some(done) = self.converted.get(name) {
            return Some(done.clone());
        }
        let given = self.given.remove(name)?;
        let converted = Answer::new(&given).map(Arc::new);
        self.converted.insert(name.to_owned(), converted.clone());
        Some(converted)
    }
}

/// The next row to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) batch: usize,
    pub(crate) row: usize,
}

/// Rows in a form for guests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk<T> {
    pub(crate) data: T,
    pub(crate) rows: u64,
    /// The row after the last one in `data`.
    pub(crate) next: Position,
}

/// Why rows cannot be handed out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    /// The first row alone has this many bytes.
    #[error("one row has {0} bytes")]
    RowTooLarge(usize),
    /// A value cannot be written.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::datatypes::Int32Type;

    #[test]
    fn converts_what_guests_do_not_know() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(StringViewArray::from(vec!["a", "b"]))),
            (
                "dictionary",
                Arc::new(DictionaryArray::<Int32Type>::from_iter(["x", "y"])),
            ),
            ("small", Arc::new(Int16Array::from(vec![1, -2]))),
            ("nothing", Arc::new(NullArray::new(2))),
            (
                "seconds",
                Arc::new(TimestampSecondArray::from(vec![1, 2]).with_timezone("+02:00")),
            ),
            (
                "bytes",
                Arc::new(BinaryViewArray::from(vec![b"a".as_slice(), b"b"])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let answer = Answer::new(&NamedAnswer {
            name: String::new(),
            schema: batch.schema(),
            batches: vec![batch],
        })
        .unwrap();
        let types: Vec<_> = answer
            .schema
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect();
        assert_eq!(
            types,
            [
                "Utf8",
                "Utf8",
                "Int64",
                "Utf8",
                "Timestamp(µs, \"UTC\")",
                "Binary"
            ]
        );
        let seconds = answer.batches[0]
            .column(4)
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(seconds.values(), &[1_000_000, 2_000_000]);
        assert_eq!(answer.rows, 2);
    }

    #[test]
    fn names_the_column_that_cannot_be_passed() {
        let schema = Arc::new(Schema::new(vec![Field::new_list(
            "labels",
            Field::new_list_field(DataType::Utf8, true),
            true,
        )]));
        let mut answers = Answers::new(vec![NamedAnswer {
            name: "a".to_owned(),
            schema,
            batches: Vec::new(),
        }]);
        let reason = answers.open("a").unwrap().unwrap_err();
        assert!(reason.contains("column `labels`"), "{reason}");
        assert_eq!(answers.open("a").unwrap().unwrap_err(), reason);
        assert!(answers.open("b").is_none());
    }
}
