//! Streams of arrow's own writer, whole and damaged.

use super::*;
use arrow_array::{Float64Array, Int32Array, Int64Array, TimestampMicrosecondArray, UInt64Array};
use arrow_ipc::writer::StreamWriter;

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn batch() -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1), Some(i64::MAX)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                None,
                None,
                Some(false),
            ])),
        ),
        ("int", Arc::new(Int64Array::from(vec![1, 2, 3, i64::MIN]))),
        (
            "uint",
            Arc::new(UInt64Array::from(vec![None, None, None, Some(u64::MAX)])),
        ),
        (
            "float",
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-0.0), None])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some("äöü"),
                Some(""),
            ])),
        ),
        ("time", Arc::new(times.with_timezone("UTC"))),
        (
            "binary",
            Arc::new(BinaryArray::from_opt_vec(vec![
                None,
                Some(b"\x00"),
                None,
                Some(b""),
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

#[test]
fn what_arrow_writes_is_read_as_it_was() {
    // Slices have offsets of their own, empty ones too.
    let batches: Vec<_> = [(0, 4), (1, 3), (2, 1), (3, 0)]
        .map(|(from, rows)| batch().slice(from, rows))
        .into();
    assert_eq!(read(&stream(&batches)).unwrap(), batches);
}

#[test]
fn a_type_that_is_none_of_the_interface_is_named() {
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("small", small)]).unwrap();
    let error = read(&stream(&[batch])).unwrap_err();
    assert_eq!(error, "column `small` is Int, no type of the interface");
}

#[test]
fn what_is_cut_off_is_an_error() {
    let stream = stream(&[batch()]);
    for length in 0..stream.len() {
        assert!(read(&stream[..length]).is_err(), "{length}");
    }
}

#[test]
fn whatever_is_damaged_nothing_panics() {
    let whole = stream(&[batch()]);
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= value;
            // Read or refused; both are fine.
            let _ = read(&damaged);
        }
    }
}
