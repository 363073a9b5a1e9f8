//! Rows as the SDK's Arrow feature reads them, in a guest.

use crate::guest::{answer, component, runtime};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int16Array, Int64Array, RecordBatch,
    StringArray, StringViewArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use kybern_plugin::{CallLimits, NamedAnswer, Plugin};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The guest that is built with the feature, loaded once.
fn reader() -> &'static Plugin {
    static READER: OnceLock<Plugin> = OnceLock::new();
    READER.get_or_init(|| runtime().load(&component("kybern-arrow-guest")).unwrap())
}

/// What the guest says that it read.
fn read(answer: NamedAnswer, spec: Value) -> Value {
    let situation = json!({
        "resource": { "group": "arrow.example.com", "version": "v1", "kind": "Reader" },
        "object": {
            "apiVersion": "arrow.example.com/v1",
            "kind": "Reader",
            "metadata": { "name": "reader", "namespace": "default", "uid": "1" },
            "spec": spec,
        },
        "queries": ["rows"],
        "now": "2026-11-22T00:00:00Z",
    });
    let call = reader().decide(&situation.to_string(), vec![answer], &CallLimits::default());
    let plan: Value = serde_json::from_str(call.result.as_ref().unwrap()).unwrap();
    plan["actions"][0]["status"].clone()
}

/// Each type of the interface, some from a host type that is converted, with a row of nulls.
fn typed() -> RecordBatch {
    let times = TimestampMillisecondArray::from(vec![Some(-1), None, Some(1_795_305_600_500)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "int",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        ),
        (
            "small",
            Arc::new(Int16Array::from(vec![Some(-7), None, Some(7)])),
        ),
        (
            "uint",
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
        ),
        (
            "float",
            Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1e300)])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("longer than twelve bytes"),
                None,
                Some("b"),
            ])),
        ),
        ("time", Arc::new(times.with_timezone("UTC"))),
        (
            "binary",
            Arc::new(BinaryArray::from_opt_vec(vec![
                Some(b"\x00\xff"),
                None,
                Some(b""),
            ])),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn each_type_and_null_arrives_as_it_was() {
    let status = read(answer("rows", vec![typed()]), json!({}));
    assert_eq!(
        status["columns"],
        json!([
            "boolean: Boolean",
            "int: Int64",
            "small: Int64",
            "uint: UInt64",
            "float: Float64",
            "text: Utf8",
            "view: Utf8",
            "time: Timestamp(µs, \"UTC\")",
            "binary: Binary"
        ])
    );
    let nulls = vec![Value::Null; 9];
    assert_eq!(
        status["rows"],
        json!([
            [
                true,
                i64::MIN,
                -7,
                u64::MAX,
                0.5,
                "ä",
                "longer than twelve bytes",
                -1_000,
                [0, 255]
            ],
            nulls,
            [
                false,
                i64::MAX,
                7,
                0,
                -1e300,
                "",
                "b",
                1_795_305_600_500_000_i64,
                []
            ],
        ])
    );
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let names = range.clone().map(|n| format!("row-{n}"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from_iter_values(names))),
        ("number", Arc::new(Int64Array::from_iter_values(range))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn rows(range: std::ops::Range<i64>) -> Value {
    range.map(|n| json!([format!("row-{n}"), n])).collect()
}

#[test]
fn chunks_go_on_where_the_json_rows_ended() {
    let whole = || answer("rows", vec![numbers(0..300), numbers(300..1_000)]);
    let status = read(whole(), json!({ "jsonRows": 310, "maxBytes": 4_000 }));
    assert_eq!(status["count"], 1_000);
    assert_eq!(status["json"].as_array().unwrap().len(), 310);
    assert_eq!(
        status["json"][309],
        json!({ "name": "row-309", "number": "309" })
    );
    assert!(status["chunks"].as_array().unwrap().len() > 3, "{status}");
    assert_eq!(status["rows"], rows(310..1_000));

    // Without a size all of it, in the SDK's own steps.
    let status = read(whole(), json!({}));
    assert_eq!(status["rows"], rows(0..1_000));
}

#[test]
fn a_guest_may_take_more_in_all_than_its_limit_if_it_gives_back() {
    // 300 MB in all, within 64 MiB; and what is read afterwards is read by both allocators.
    let whole = answer("rows", vec![numbers(0..1_000)]);
    let status = read(whole, json!({ "churn": 1_000 }));
    assert_eq!(status["rows"], rows(0..1_000));
}

#[test]
fn a_chunk_is_never_less_than_one_row() {
    let status = read(
        answer("rows", vec![numbers(0..3)]),
        json!({ "maxBytes": 1 }),
    );
    assert_eq!(status["chunks"], json!([1, 1, 1]));
    assert_eq!(status["rows"], rows(0..3));
}

#[test]
fn an_answer_without_rows_has_no_batches() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
    let empty = NamedAnswer {
        name: "rows".to_owned(),
        schema,
        batches: Vec::new(),
    };
    for spec in [json!({}), json!({ "maxBytes": 4_000, "jsonRows": 1 })] {
        let status = read(empty.clone(), spec);
        assert_eq!(status["count"], 0);
        assert_eq!(status["chunks"], json!([]));
        assert_eq!(status["json"], json!([]));
    }
}
