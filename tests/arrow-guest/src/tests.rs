//! Record batches in an author's tests, without wasm and without a host.

use crate::Reader;
use kybern_sdk::arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use kybern_sdk::testing::Situation;
use kybern_sdk::{HookError, Value, json};
use std::sync::Arc;

fn reader(spec: Value) -> Situation {
    Situation::new(json!({
        "apiVersion": "arrow.example.com/v1",
        "kind": "Reader",
        "metadata": { "name": "reader" },
        "spec": spec,
    }))
}

fn status(situation: &Situation) -> Value {
    situation
        .decide::<Reader>()
        .unwrap()
        .status()
        .unwrap()
        .clone()
}

/// Times and bytes, which JSON rows of a test cannot say.
fn batch() -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None, Some(0)]);
    let bytes = BinaryArray::from_opt_vec(vec![Some(b"a\xff"), None, Some(b"")]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("at", Arc::new(times.with_timezone("UTC"))),
        ("bytes", Arc::new(bytes)),
        ("number", Arc::new(Int64Array::from(vec![i64::MAX, -1, 0]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn rows_given_as_json_are_read_as_batches() {
    let rows = [
        json!({ "name": "a", "ready": true, "restarts": 3, "share": 0.5, "labels": { "a": "b" } }),
        json!({ "name": "b", "ready": null, "restarts": -4, "share": 2, "version": u64::MAX }),
        json!({ "name": "c" }),
    ];
    let status = status(&reader(json!({ "maxBytes": 1 << 20 })).rows("rows", rows));
    assert_eq!(status["count"], 3);
    assert_eq!(status["chunks"], json!([2, 1]), "tests meet ends of chunks");
    assert_eq!(
        status["columns"],
        json!([
            "labels: Utf8",
            "name: Utf8",
            "ready: Boolean",
            "restarts: Int64",
            "share: Float64",
            "version: UInt64"
        ])
    );
    assert_eq!(
        status["rows"],
        json!([
            ["{\"a\":\"b\"}", "a", true, 3, 0.5, null],
            [null, "b", null, -4, 2.0, u64::MAX],
            [null, "c", null, null, null, null],
        ])
    );
}

#[test]
fn rows_given_as_batches_are_read_in_both_forms_from_one_position() {
    let situation = reader(json!({ "jsonRows": 2, "maxBytes": 1 })).batches("rows", [batch()]);
    let status = status(&situation);
    assert_eq!(
        status["json"],
        json!([
            { "at": "1970-01-01T00:00:01.5Z", "bytes": "Yf8=", "number": "9223372036854775807" },
            { "at": null, "bytes": null, "number": "-1" },
        ])
    );
    assert_eq!(status["rows"], json!([[0, [], 0]]));
    assert_eq!(
        status["columns"],
        json!([
            "at: Timestamp(µs, \"UTC\")",
            "bytes: Binary",
            "number: Int64"
        ])
    );
}

#[test]
fn an_answer_without_rows_has_no_batches() {
    for spec in [json!({}), json!({ "maxBytes": 100 })] {
        let status = status(&reader(spec));
        assert_eq!(
            (&status["count"], &status["chunks"]),
            (&json!(0), &json!([]))
        );
    }
}

#[test]
fn what_no_host_hands_over_is_refused() {
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let small = RecordBatch::try_from_iter([("small", small)]).unwrap();
    let mixed = [json!({ "a": 1 }), json!({ "a": "b" })];
    for (situation, message) in [
        (
            reader(json!({})).batches("rows", [small]),
            "column `small` is Int32",
        ),
        (
            reader(json!({})).rows("rows", mixed),
            "column `a` mixes types",
        ),
    ] {
        match situation.decide::<Reader>() {
            Err(HookError::Internal(text)) => assert!(text.contains(message), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
