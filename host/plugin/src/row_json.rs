//! Rows as a JSON array of objects.
//!
//! # Contract
//! 64-bit integers are strings, because many languages read JSON numbers as
//! floats; timestamps are RFC 3339 in UTC; binary is base64; a float that is
//! no number is null; an absent value is null.

use crate::answer::{Answer, Chunk, ChunkError, Position};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type,
};

/// The next rows from `at` on, at most `max_rows` and `max_bytes`; none = at the end.
pub(crate) fn chunk(
    answer: &Answer,
    at: Position,
    max_rows: usize,
    max_bytes: usize,
) -> Result<Option<Chunk<String>>, ChunkError> {
    let keys = keys(answer)?;
    let mut out = b"[".to_vec();
    let mut rows = 0_usize;
    let mut next = at;
    while let Some(batch) = answer.batches.get(next.batch) {
        if next.row >= batch.num_rows() {
            next = Position {
                batch: next.batch.saturating_add(1),
                row: 0,
            };
            continue;
        }
        if rows >= max_rows {
            break;
        }
        let before = out.len();
        if rows > 0 {
            out.push(b',');
        }
        write_row(&mut out, &keys, batch, next.row)?;
        let size = out.len().saturating_add(1);
        if size > max_bytes {
            if rows == 0 {
                return Err(ChunkError::RowTooLarge(size));
            }
            out.truncate(before);
            break;
        }
        rows = rows.saturating_add(1);
        next.row = next.row.saturating_add(1);
    }
    if rows == 0 {
        return Ok(None);
    }
    out.push(b']');
    Ok(Some(Chunk {
        data: String::from_utf8(out).map_err(failed)?,
        rows: u64::try_from(rows).unwrap_or(u64::MAX),
        next,
    }))
}

/// `"name":` of each column, written once.
fn keys(answer: &Answer) -> Result<Vec<Vec<u8>>, ChunkError> {
    let fields = answer.schema.fields().iter();
    fields
        .map(|field| {
            let mut key = serde_json::to_vec(field.name()).map_err(failed)?;
            key.push(b':');
            Ok(key)
        })
        .collect()
}

fn write_row(
    out: &mut Vec<u8>,
    keys: &[Vec<u8>],
    batch: &RecordBatch,
    row: usize,
) -> Result<(), ChunkError> {
    out.push(b'{');
    let mut first = true;
    for (key, column) in keys.iter().zip(batch.columns()) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(key);
        write_value(out, column, row)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_value(out: &mut Vec<u8>, column: &ArrayRef, row: usize) -> Result<(), ChunkError> {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match column.data_type() {
        DataType::Boolean => write(out, &column.as_boolean().value(row)),
        DataType::Int64 => quoted(out, column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => quoted(out, column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float64 => write(out, &column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => write(out, column.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = jiff::Timestamp::from_microsecond(micros).map_err(failed)?;
            quoted(out, time)
        }
        DataType::Binary => {
            base64(out, column.as_binary::<i32>().value(row));
            Ok(())
        }
        other => Err(ChunkError::Failed(format!("{other} is no type for JSON"))),
    }
}

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), ChunkError> {
    serde_json::to_writer(out, value).map_err(failed)
}

fn quoted(out: &mut Vec<u8>, value: impl std::fmt::Display) -> Result<(), ChunkError> {
    use std::io::Write as _;
    write!(out, "\"{value}\"").map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> ChunkError {
    ChunkError::Failed(error.to_string())
}

/// Standard base64 with padding, as Kubernetes writes binary data; quoted.
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = usize::try_from((bits >> shift) & 63)
                .ok()
                .filter(|_| place <= group.len())
                .and_then(|index| ALPHABET.get(index));
            out.push(letter.copied().unwrap_or(b'='));
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answers, NamedAnswer};
    use arrow::array::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn answer(batches: Vec<RecordBatch>) -> Arc<Answer> {
        Answers::new(vec![NamedAnswer {
            name: "a".to_owned(),
            schema: batches[0].schema(),
            batches,
        }])
        .open("a")
        .unwrap()
        .unwrap()
    }

    fn names(names: &[String]) -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter([("name", names)]).unwrap()
    }

    #[test]
    fn writes_every_type() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("yes", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            (
                "resource_version",
                Arc::new(UInt64Array::from(vec![u64::MAX, 1])),
            ),
            ("number", Arc::new(Int64Array::from(vec![i64::MIN, 0]))),
            ("float", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            (
                "text \"q\"",
                Arc::new(StringArray::from(vec!["a\n\"ü", ""])),
            ),
            (
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![1_795_305_600_000_000, 1])
                        .with_timezone("UTC"),
                ),
            ),
            (
                "bytes",
                Arc::new(BinaryArray::from(vec![b"\xff\xfe".as_slice(), b""])),
            ),
        ];
        let answer = answer(vec![
            RecordBatch::try_from_iter_with_nullable(
                columns
                    .into_iter()
                    .map(|(name, column)| (name, column, true)),
            )
            .unwrap(),
        ]);
        let chunk = chunk(&answer, Position::default(), 10, 10_000)
            .unwrap()
            .unwrap();
        assert_eq!(chunk.rows, 2);
        assert_eq!(
            serde_json::from_str::<Value>(&chunk.data).unwrap(),
            json!([
                {
                    "yes": true, "resource_version": "18446744073709551615",
                    "number": "-9223372036854775808", "float": 0.5, "text \"q\"": "a\n\"ü",
                    "at": "2026-11-22T00:00:00Z", "bytes": "//4=",
                },
                {
                    "yes": null, "resource_version": "1", "number": "0", "float": null,
                    "text \"q\"": "", "at": "1970-01-01T00:00:00.000001Z", "bytes": "",
                },
            ])
        );
    }

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn a_row_that_is_too_large_tells_its_size() {
        let answer = answer(vec![names(&["a".repeat(100)])]);
        let error = chunk(&answer, Position::default(), 1, 50).unwrap_err();
        let ChunkError::RowTooLarge(size) = error else {
            panic!("{error:?}");
        };
        assert!(chunk(&answer, Position::default(), 1, size - 1).is_err());
        let fitting = chunk(&answer, Position::default(), 1, size)
            .unwrap()
            .unwrap();
        assert_eq!(fitting.data.len(), size);
    }

    proptest! {
        #[test]
        fn arrays_fit_and_together_are_the_answer(
            texts in proptest::collection::vec(proptest::collection::vec(".{0,8}", 0..12), 1..4),
            max_rows in 1_usize..8,
            max_bytes in 100_usize..400,
        ) {
            let answer = answer(texts.iter().map(|texts| names(texts)).collect());
            let mut at = Position::default();
            let mut read = Vec::new();
            while let Some(chunk) = chunk(&answer, at, max_rows, max_bytes).unwrap() {
                prop_assert!(chunk.data.len() <= max_bytes);
                let rows: Vec<Value> = serde_json::from_str(&chunk.data).unwrap();
                prop_assert!(!rows.is_empty() && rows.len() <= max_rows);
                prop_assert_eq!(u64::try_from(rows.len()).unwrap(), chunk.rows);
                read.extend(rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
                at = chunk.next;
            }
            prop_assert_eq!(read, texts.concat());
        }
    }
}
