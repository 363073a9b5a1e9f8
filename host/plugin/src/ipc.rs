//! Rows as one complete Arrow IPC stream of a bounded size.
//!
//! # Contract
//! Uncompressed, buffers aligned to 8 bytes, one or more record batches, no
//! dictionaries. The size is estimated from above before anything is encoded,
//! so a stream is at most as long as the caller allows and nothing is encoded
//! twice, apart from a single row that may be too large.

use crate::answer::{Answer, Chunk, ChunkError, Position};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

const ALIGNMENT: usize = 8;
/// End-of-stream marker.
const END: usize = 8;
/// Frame, message and record batch tables of one batch, without its lists.
const BATCH: usize = 256;
/// Entries of one column in the lists of nodes (16) and buffers (3 x 16), and padding.
const COLUMN: usize = 16 + 3 * 16 + 3 * ALIGNMENT;

/// The rows from `at` on that fit into `max_bytes`; none = at the end.
pub(crate) fn chunk(
    answer: &Answer,
    at: Position,
    max_bytes: usize,
) -> Result<Option<Chunk<Vec<u8>>>, ChunkError> {
    let mut next = at;
    let mut rows = 0_usize;
    let mut writer = None;
    let mut left = max_bytes;
    while let Some(batch) = answer.batches.get(next.batch) {
        let remaining = batch.num_rows().saturating_sub(next.row);
        if remaining == 0 {
            next = Position {
                batch: next.batch.saturating_add(1),
                row: 0,
            };
            continue;
        }
        if writer.is_none() {
            // The schema is written at once, so its size is known exactly.
            let started = start(answer)?;
            left = left
                .saturating_sub(started.get_ref().len())
                .saturating_sub(END);
            writer = Some(started);
        }
        let Some(stream) = writer.as_mut() else { break };
        let fitting = fitting(batch, next.row, remaining, left);
        if fitting == 0 {
            if rows > 0 {
                break;
            }
            return single(answer, batch, next, max_bytes).map(Some);
        }
        left = left.saturating_sub(bound(batch, next.row, fitting));
        stream
            .write(&batch.slice(next.row, fitting))
            .map_err(failed)?;
        next.row = next.row.saturating_add(fitting);
        rows = rows.saturating_add(fitting);
    }
    match writer {
        Some(writer) if rows > 0 => Ok(Some(Chunk {
            data: finish(writer)?,
            rows: u64::try_from(rows).unwrap_or(u64::MAX),
            next,
        })),
        _ => Ok(None),
    }
}

/// One row that did not fit by the estimate; encoded to know its size exactly.
fn single(
    answer: &Answer,
    batch: &RecordBatch,
    at: Position,
    max_bytes: usize,
) -> Result<Chunk<Vec<u8>>, ChunkError> {
    let mut writer = start(answer)?;
    writer.write(&batch.slice(at.row, 1)).map_err(failed)?;
    let data = finish(writer)?;
    if data.len() > max_bytes {
        return Err(ChunkError::RowTooLarge(data.len()));
    }
    Ok(Chunk {
        data,
        rows: 1,
        next: Position {
            batch: at.batch,
            row: at.row.saturating_add(1),
        },
    })
}

fn start(answer: &Answer) -> Result<StreamWriter<Vec<u8>>, ChunkError> {
    let options =
        IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(failed)?;
    StreamWriter::try_new_with_options(Vec::new(), &answer.schema, options).map_err(failed)
}

fn finish(writer: StreamWriter<Vec<u8>>) -> Result<Vec<u8>, ChunkError> {
    // Writes the end-of-stream marker.
    writer.into_inner().map_err(failed)
}

fn failed(error: ArrowError) -> ChunkError {
    ChunkError::Failed(error.to_string())
}

/// How many of the next `remaining` rows take at most `bytes`.
fn fitting(batch: &RecordBatch, row: usize, remaining: usize, bytes: usize) -> usize {
    // `bound` only grows with the number of rows: search for the last that fits.
    let (mut fits, mut fails) = (0, remaining.saturating_add(1));
    while fails.saturating_sub(fits) > 1 {
        let middle = fits.midpoint(fails);
        if bound(batch, row, middle) <= bytes {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    fits
}

/// At least as many bytes as these rows take as one record batch message.
fn bound(batch: &RecordBatch, row: usize, rows: usize) -> usize {
    batch.columns().iter().fold(BATCH, |total, column| {
        total
            .saturating_add(COLUMN)
            .saturating_add(column_bound(column.as_ref(), row, rows))
    })
}

fn column_bound(column: &dyn Array, row: usize, rows: usize) -> usize {
    let bits = rows.div_ceil(8);
    let end = row.saturating_add(rows);
    let values = match column.data_type() {
        DataType::Boolean => bits,
        DataType::Utf8 => {
            let offsets = column.as_string::<i32>().value_offsets();
            variable(offsets, row, end, rows)
        }
        DataType::Binary => {
            let offsets = column.as_binary::<i32>().value_offsets();
            variable(offsets, row, end, rows)
        }
        // Int64, UInt64, Float64, Timestamp.
        _ => rows.saturating_mul(8),
    };
    bits.saturating_add(values)
}

fn variable(offsets: &[i32], row: usize, end: usize, rows: usize) -> usize {
    let at = |index: usize| {
        let offset = offsets.get(index).copied().unwrap_or_default();
        usize::try_from(offset).unwrap_or_default()
    };
    let text = at(end).saturating_sub(at(row));
    text.saturating_add(rows.saturating_add(1).saturating_mul(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answers, NamedAnswer};
    use arrow::array::*;
    use arrow::compute::concat_batches;
    use arrow::ipc::reader::StreamReader;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batch(names: &[Option<String>], from: i64) -> RecordBatch {
        let numbers: Vec<Option<i64>> = (from..)
            .take(names.len())
            .map(|n| (n % 3 != 0).then_some(n))
            .collect();
        let texts: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter_with_nullable([
            ("name", texts, true),
            ("number", Arc::new(Int64Array::from(numbers.clone())), true),
            (
                "odd",
                Arc::new(BooleanArray::from_iter(
                    numbers.iter().map(|n| n.map(|n| n % 2 == 1)),
                )),
                true,
            ),
            (
                "bytes",
                Arc::new(BinaryArray::from_iter(
                    names.iter().map(|name| name.as_ref().map(String::as_bytes)),
                )),
                true,
            ),
        ])
        .unwrap()
    }

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

    fn decode(bytes: &[u8]) -> Vec<RecordBatch> {
        StreamReader::try_new(bytes, None)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    proptest! {
        #[test]
        fn streams_fit_and_together_are_the_answer(
            lengths in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of("[a-zä]{0,40}"), 0..40),
                1..4,
            ),
            max_bytes in 1_200_usize..6_000,
        ) {
            let batches: Vec<_> = lengths.iter().map(|names| batch(names, 7)).collect();
            let schema = batches[0].schema();
            let whole = concat_batches(&schema, &batches).unwrap();
            let answer = answer(batches);
            let mut at = Position::default();
            let mut read = Vec::new();
            while let Some(chunk) = chunk(&answer, at, max_bytes).unwrap() {
                prop_assert!(chunk.data.len() <= max_bytes);
                prop_assert!(chunk.rows > 0);
                let decoded = decode(&chunk.data);
                let rows: usize = decoded.iter().map(RecordBatch::num_rows).sum();
                prop_assert_eq!(u64::try_from(rows).unwrap(), chunk.rows);
                read.extend(decoded);
                at = chunk.next;
            }
            let schema = whole.schema();
            prop_assert_eq!(concat_batches(&schema, &read).unwrap(), whole);
        }

        #[test]
        fn the_estimate_is_from_above_and_not_far_off(
            names in proptest::collection::vec(proptest::option::of("[a-z]{0,60}"), 1..200),
        ) {
            let batch = batch(&names, 1);
            let answer = answer(vec![batch.clone()]);
            let head = start(&answer).unwrap().get_ref().len() + END;
            let whole = chunk(&answer, Position::default(), usize::MAX).unwrap().unwrap();
            let estimate = head + bound(&batch, 0, batch.num_rows());
            prop_assert!(whole.data.len() <= estimate);
            prop_assert!(estimate - whole.data.len() < 700, "{} {}", estimate, whole.data.len());
        }
    }

    #[test]
    fn a_row_that_is_too_large_tells_its_size_and_stays() {
        let rows = [Some("a".repeat(10_000)), Some("b".to_owned())];
        let answer = answer(vec![batch(&rows, 1)]);
        let at = Position::default();
        let Err(ChunkError::RowTooLarge(size)) = chunk(&answer, at, 1_000) else {
            panic!("must not fit");
        };
        assert!(size > 20_000);
        assert_eq!(
            chunk(&answer, at, size - 1),
            Err(ChunkError::RowTooLarge(size))
        );
        let fitting = chunk(&answer, at, size).unwrap().unwrap();
        assert_eq!((fitting.rows, fitting.data.len()), (1, size));
        let last = chunk(&answer, fitting.next, 2_000).unwrap().unwrap();
        assert_eq!(last.rows, 1);
        assert_eq!(chunk(&answer, last.next, 2_000), Ok(None));
    }

    #[test]
    fn an_empty_answer_is_at_its_end() {
        let answer = answer(vec![batch(&[], 1)]);
        assert_eq!(chunk(&answer, Position::default(), 0), Ok(None));
    }
}
