//! Rows as a guest sees them.

use crate::guest::{answer, evil, situation};
use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, StringViewArray, TimestampMillisecondArray,
    UInt64Array,
};
use kybern_plugin::{Call, CallLimits, NamedAnswer};
use serde_json::{Value, json};
use std::sync::Arc;

fn pods(range: std::ops::Range<u64>) -> RecordBatch {
    let names = range.clone().map(|n| format!("pod-{n}"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringViewArray::from_iter_values(names))),
        (
            "resource_version",
            Arc::new(UInt64Array::from_iter_values(
                range.clone().map(|n| n + (1 << 60)),
            )),
        ),
        (
            "ready",
            Arc::new(BooleanArray::from_iter(
                range.clone().map(|n| Some(n % 2 == 0)),
            )),
        ),
        (
            "created",
            Arc::new(
                TimestampMillisecondArray::from_iter_values(range.map(|_| 1_795_305_600_500))
                    .with_timezone("UTC"),
            ),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn read(answers: Vec<NamedAnswer>, spec: Value, limits: &CallLimits) -> (Value, Call<String>) {
    let mut whole = json!({ "mode": "read" });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let call = evil().decide(&situation(whole), answers, limits);
    let plan: Value = serde_json::from_str(call.result.as_ref().unwrap()).unwrap();
    (plan["actions"][1]["status"].clone(), call)
}

#[test]
fn a_guest_reads_both_forms_to_their_end() {
    let answers = vec![answer("children", vec![pods(0..150), pods(150..250)])];
    let spec = json!({ "maxRows": 100, "maxBytes": 4_000 });
    let (status, call) = read(answers, spec, &CallLimits::default());
    assert_eq!(status["count"], 250);
    let arrays = status["arrays"].as_array().unwrap();
    let lengths: Vec<_> = arrays
        .iter()
        .map(|rows| rows.as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [100, 100, 50]);
    assert_eq!(
        arrays[2][49],
        json!({
            "name": "pod-249",
            "resource_version": "1152921504606847225",
            "ready": false,
            "created": "2026-11-22T00:00:00.5Z",
        })
    );
    assert_eq!(status["afterEnd"], "Some(ReadError::Closed)");
    assert_eq!(status["unknown"], "Some(ReadError::UnknownQuery)");
    assert_eq!(status["mixed"], true);
    assert_eq!(status["ipcError"], Value::Null);
    let streams = status["streams"].as_array().unwrap();
    assert!(streams.len() > 1, "{streams:?}");
    for stream in streams {
        assert!(stream["bytes"].as_u64().unwrap() <= 4_000, "{stream}");
        assert!(stream["checksum"].as_u64().unwrap() > 0, "{stream}");
    }
    assert_eq!(call.usage.rows, 3 * 250);
    assert!(call.usage.bytes_in > 30_000, "{:?}", call.usage);
}

#[test]
fn a_row_that_is_too_large_is_told_with_its_size() {
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(5_000)]));
    let batch = RecordBatch::try_from_iter([("text", long)]).unwrap();
    let answers = || vec![answer("children", vec![batch.clone()])];
    let (status, _) = read(
        answers(),
        json!({ "maxBytes": 100 }),
        &CallLimits::default(),
    );
    let error = status["ipcError"].as_str().unwrap();
    let size: u32 = error
        .trim_start_matches("ReadError::RowTooLarge(")
        .trim_end_matches(')')
        .parse()
        .unwrap();
    assert!(size > 5_000);
    let (status, _) = read(
        answers(),
        json!({ "maxBytes": size }),
        &CallLimits::default(),
    );
    assert_eq!(status["ipcError"], Value::Null);
    assert_eq!(status["streams"][0]["bytes"], size);
}

#[test]
fn one_host_call_hands_out_no_more_than_the_limit() {
    let answers = vec![answer("children", vec![pods(0..500)])];
    let limits = CallLimits {
        host_call_bytes: 2_000,
        ..CallLimits::default()
    };
    let spec = json!({ "maxRows": u32::MAX, "maxBytes": u32::MAX });
    let (status, _) = read(answers, spec, &limits);
    let arrays = status["arrays"].as_array().unwrap();
    assert!(arrays.len() > 10);
    for rows in arrays {
        assert!(rows.to_string().len() <= 2_000);
    }
    for stream in status["streams"].as_array().unwrap() {
        assert!(stream["bytes"].as_u64().unwrap() <= 2_000);
    }
}

#[test]
fn an_empty_answer_is_at_its_end() {
    let (status, call) = read(
        vec![answer("children", vec![pods(0..0)])],
        json!({}),
        &CallLimits::default(),
    );
    assert_eq!(status["count"], 0);
    assert_eq!(status["arrays"], json!([]));
    assert_eq!(status["streams"], json!([]));
    assert_eq!(call.usage.rows, 0);
}
