//! The fingerprint of an answer.
//!
//! # Contract
//!
//! It depends on the names and types of the columns and on the values, row by
//! row: not on buffers, offsets, or what lies where a value is null.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use xxhash_rust::xxh3::Xxh3;

use crate::json::json_text;

/// The length that a null has.
const NULL: u32 = u32::MAX;

/// Of rows that have the types of an answer, behind a header that says what the columns are.
pub(crate) fn fingerprint(header: &[u8], rows: &RecordBatch) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(header);
    let count = u64::try_from(rows.num_rows()).unwrap_or(u64::MAX);
    hash.update(&count.to_le_bytes());
    let mut scratch = Vec::new();
    for column in rows.columns() {
        scratch.clear();
        match column.data_type() {
            DataType::Boolean => booleans(column, &mut scratch),
            DataType::Int64 => numbers::<Int64Type>(column, &mut scratch),
            DataType::UInt64 => numbers::<UInt64Type>(column, &mut scratch),
            DataType::Float64 => numbers::<Float64Type>(column, &mut scratch),
            DataType::Timestamp(..) => {
                numbers::<TimestampMicrosecondType>(column, &mut scratch);
            }
            DataType::Utf8 => {
                let texts = column.as_string::<i32>().iter();
                pieces(texts.map(|text| text.map(str::as_bytes)), &mut scratch);
            }
            DataType::Binary => pieces(column.as_binary::<i32>().iter(), &mut scratch),
            // An answer has no other types.
            _ => {
                let texts: Vec<_> = (0..column.len())
                    .map(|row| json_text(column, row))
                    .collect();
                let texts = texts.iter().map(|text| text.as_deref());
                pieces(texts.map(|text| text.map(str::as_bytes)), &mut scratch);
            }
        }
        hash.update(&scratch);
    }
    hash.digest128()
}

fn booleans(column: &ArrayRef, to: &mut Vec<u8>) {
    let values = column.as_boolean().iter();
    to.extend(values.map(|value| value.map_or(2, u8::from)));
}

fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef, to: &mut Vec<u8>)
where
    T::Native: Bits,
{
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    to.push(u8::from(nulls.is_some()));
    if let Some(nulls) = nulls {
        to.extend(nulls.iter().map(u8::from));
    }
    for value in column.as_primitive::<T>().iter() {
        to.extend(value.map_or([0; 8], Bits::bits));
    }
}

/// Lengths, then the values.
fn pieces<'a>(values: impl Iterator<Item = Option<&'a [u8]>> + Clone, to: &mut Vec<u8>) {
    for value in values.clone() {
        let length = value.map_or(NULL, |value| u32::try_from(value.len()).unwrap_or(NULL - 1));
        to.extend(length.to_le_bytes());
    }
    for value in values.flatten() {
        to.extend(value);
    }
}

/// The eight bytes of a number.
trait Bits {
    fn bits(self) -> [u8; 8];
}

impl Bits for i64 {
    fn bits(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Bits for u64 {
    fn bits(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Bits for f64 {
    fn bits(self) -> [u8; 8] {
        self.to_bits().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow::buffer::NullBuffer;

    use super::*;

    fn of(column: ArrayRef) -> u128 {
        fingerprint(b"", &RecordBatch::try_from_iter([("a", column)]).unwrap())
    }

    #[test]
    fn only_values_count() {
        let nulls = || Some(NullBuffer::from(vec![true, false]));
        let one: ArrayRef = Arc::new(Int64Array::new(vec![1, 2].into(), nulls()));
        let other: ArrayRef = Arc::new(Int64Array::new(vec![1, 3].into(), nulls()));
        assert_eq!(of(one), of(other));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "a", "bc"]));
        let same: ArrayRef = Arc::new(StringArray::from(vec!["a", "bc"]));
        assert_eq!(of(texts.slice(1, 2)), of(same));
    }

    #[test]
    fn every_value_counts() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a", "bc"])),
            Arc::new(StringArray::from(vec!["ab", "c"])),
            Arc::new(StringArray::from(vec![Some("abc"), None])),
            Arc::new(StringArray::from(vec![None, Some("abc")])),
            Arc::new(StringArray::from(vec!["abc", ""])),
            Arc::new(StringArray::from(vec!["abc"])),
            Arc::new(Int64Array::from(vec![Some(0), None])),
            Arc::new(Int64Array::from(vec![None, Some(0)])),
            Arc::new(Int64Array::from(vec![0, 0])),
            Arc::new(Float64Array::from(vec![0.0, -0.0])),
            Arc::new(BooleanArray::from(vec![Some(false), None])),
            Arc::new(BooleanArray::from(vec![None, Some(false)])),
            Arc::new(BooleanArray::from(vec![true, false])),
        ];
        let mut found: Vec<u128> = columns.into_iter().map(of).collect();
        let all = found.len();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), all);
    }
}
