//! Columns say what the bodies say, from deltas, chunks, caches and look-ups alike.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use bytes::Bytes;
use kybern_table::{
    Change, Column, Gather, Index, Origin, Path, PathType, Reader, Row, StoreConfig, Writer, store,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::object::{apply, def, key, small};

fn upsert(value: &Value) -> Change {
    raw(value.to_string().into())
}

fn raw(raw: Bytes) -> Change {
    Change::Upsert {
        table: key(),
        raw,
        origin: Origin::Watch,
    }
}

fn filled(config: StoreConfig, values: &[Value]) -> (Writer, Reader) {
    let (mut writer, reader) = store(config);
    apply(&mut writer, vec![Change::Define(def())]);
    for value in values {
        let applied = apply(&mut writer, vec![upsert(value)]);
        assert!(applied.errors.is_empty(), "{applied:?}");
    }
    (writer, reader)
}

/// All live rows with one column of the scan, checked against `Gather`.
fn column(
    reader: &Reader,
    of: &str,
    scanned: impl Fn(&kybern_table::ChunkView) -> ArrayRef,
    gathered: impl Fn(&[Row]) -> ArrayRef,
) -> (Vec<Row>, ArrayRef) {
    let view = reader.snapshot().table(&key()).unwrap();
    let mut rows = Vec::new();
    let mut parts: Vec<ArrayRef> = Vec::new();
    for chunk in view.scan().unwrap() {
        let built = scanned(&chunk);
        assert_eq!(built.len(), chunk.len());
        assert_eq!(
            &built,
            &scanned(&chunk),
            "the same when it comes from the cache"
        );
        for at in 0..chunk.len() {
            if let Some(row) = chunk.row(at).unwrap() {
                rows.push(row);
                parts.push(built.slice(at, 1));
            }
        }
    }
    let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
    let scanned = concat(&parts).unwrap();
    assert_eq!(&scanned, &gathered(&rows), "{of}");
    (rows, scanned)
}

fn fixed(reader: &Reader, of: &Column) -> (Vec<Row>, ArrayRef) {
    column(
        reader,
        of.name(),
        |chunk| chunk.fixed(of).unwrap(),
        |rows| Gather::default().column(of.clone()).of(rows).remove(0),
    )
}

fn path(reader: &Reader, path: &str, of: PathType) -> (Vec<Row>, ArrayRef) {
    let path: Path = path.parse().unwrap();
    column(
        reader,
        &path.to_string(),
        |chunk| chunk.path(&path, of).unwrap(),
        |rows| Gather::default().path(&path, of).of(rows).remove(0),
    )
}

fn text(array: &ArrayRef, at: usize) -> Option<&str> {
    let array = array.as_string_view();
    array.is_valid(at).then(|| array.value(at))
}

/// What a path gives as text, said with a tree.
fn text_of(value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}

fn object(n: usize, spec: &Value) -> Value {
    let mut metadata = json!({
        "name": format!("o{n}"),
        "namespace": if n.is_multiple_of(3) { "shop" } else { "a-rather-long-namespace" },
        "resourceVersion": (n + 1).to_string(),
        "creationTimestamp": "2026-11-22T01:02:03Z",
    });
    if n.is_multiple_of(2) {
        metadata["uid"] = json!(format!("8d4c1a52-7f5e-4b0e-9d63-{n:012x}"));
        metadata["generation"] = json!(n);
        metadata["labels"] =
            json!({"app": "a label that is longer than a view", "n": n.to_string()});
    } else {
        metadata["uid"] = json!(format!("odd {n}"));
        metadata["deletionTimestamp"] = json!("2026-11-22T01:02:03.000004Z");
        metadata["annotations"] = json!({"note/é": "ü\n\"", "empty": ""});
        metadata["finalizers"] = json!(["a/b", "c"]);
        metadata["ownerReferences"] = json!([
            {"uid": "first", "kind": "A"},
            {"uid": "8d4c1a52-7f5e-4b0e-9d63-0a1b2c3d4e5f", "controller": true},
        ]);
    }
    json!({"apiVersion": "v1", "kind": "Thing", "metadata": metadata, "spec": spec, "data": {}})
}

#[test]
fn declared_columns() {
    let values: Vec<Value> = (0..40).map(|n| object(n, &json!({"n": n}))).collect();
    let (_writer, reader) = filled(small(), &values);
    let pointers = [
        (Column::Namespace, "/metadata/namespace"),
        (Column::Name, "/metadata/name"),
        (Column::Uid, "/metadata/uid"),
        (Column::Labels, "/metadata/labels"),
        (Column::Annotations, "/metadata/annotations"),
        (Column::Owners, "/metadata/ownerReferences"),
        (Column::OwnerUid, "/metadata/ownerReferences/1/uid"),
        (Column::Finalizers, "/metadata/finalizers"),
        (Column::Top("spec".into()), "/spec"),
        (Column::Top("data".into()), "/data"),
        (Column::Top("status".into()), "/status"),
        (Column::Object, ""),
    ];
    for (of, pointer) in pointers {
        let (rows, array) = fixed(&reader, &of);
        assert_eq!(array.data_type(), &of.data_type());
        assert_eq!(rows.len(), 40);
        for (at, row) in rows.iter().enumerate() {
            let expected = text_of(row.value().pointer(pointer));
            assert_eq!(text(&array, at), expected.as_deref(), "{of}");
        }
    }
    let (_, kinds) = fixed(&reader, &Column::Top("kind".into()));
    assert_eq!(
        text(&kinds, 0),
        Some("\"Thing\""),
        "JSON text, as all top-level fields"
    );
    let (rows, versions) = fixed(&reader, &Column::ResourceVersion);
    let (_, generations) = fixed(&reader, &Column::Generation);
    let (_, deleted) = fixed(&reader, &Column::DeletionTimestamp);
    let (_, created) = fixed(&reader, &Column::CreationTimestamp);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(
            versions.as_primitive::<UInt64Type>().value(at),
            row.resource_version()
        );
        assert_eq!(generations.is_valid(at), row.generation().is_some());
        if let Some(generation) = row.generation() {
            assert_eq!(
                generations.as_primitive::<Int64Type>().value(at),
                generation
            );
        }
        let created = created.as_primitive::<TimestampMicrosecondType>().value(at);
        assert_eq!(deleted.is_valid(at), row.deleting());
        if row.deleting() {
            let deleted = deleted.as_primitive::<TimestampMicrosecondType>().value(at);
            assert_eq!(deleted - created, 4);
            assert_eq!(row.annotation("note/é").as_deref(), Some("ü\n\""));
            assert_eq!(row.annotation("empty").as_deref(), Some(""));
            assert_eq!(row.finalizers(), ["a/b", "c"]);
        } else {
            assert_eq!(row.labels().len(), 2);
            assert_eq!(row.annotation("empty"), None);
            assert!(row.finalizers().is_empty());
        }
    }
    for of in [
        Column::Generation,
        Column::CreationTimestamp,
        Column::ResourceVersion,
    ] {
        assert_eq!(fixed(&reader, &of).1.data_type(), &of.data_type());
    }
}

#[test]
fn columns_are_found_by_name() {
    for column in Column::METADATA {
        assert_eq!(Column::named(column.name()), column);
    }
    assert_eq!(Column::named("object"), Column::Object);
    assert_eq!(Column::named("spec"), Column::Top("spec".into()));
}

#[test]
fn paths_have_types_and_mismatches_are_null_and_counted() {
    let values = [
        json!({"v": 3, "b": true, "t": "2026-11-22T00:00:00Z", "l": [{"x": "é"}]}),
        json!({"v": 3.5, "b": "true", "t": "yesterday", "l": [{}]}),
        json!({"v": "3", "b": null, "t": 3, "l": "no"}),
        json!({"v": -9_223_372_036_854_775_808i64, "b": false, "l": []}),
        json!({}),
        json!(null),
        json!(7),
    ];
    let values: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(n, spec)| object(n, spec))
        .collect();
    let (_writer, reader) = filled(small(), &values);
    let before = reader.stats().type_mismatches;
    let order = |rows: &[Row]| -> Vec<usize> {
        rows.iter()
            .map(|row| row.name()[1..].parse().unwrap())
            .collect()
    };
    let (rows, ints) = path(&reader, "spec.v", PathType::Int);
    let (_, floats) = path(&reader, "spec.v", PathType::Float);
    let (_, bools) = path(&reader, "spec.b", PathType::Bool);
    let (_, times) = path(&reader, "spec.t", PathType::Timestamp);
    let (_, texts) = path(&reader, "spec.v", PathType::Text);
    let (_, jsons) = path(&reader, "spec.v", PathType::Json);
    let (_, nested) = path(&reader, "spec.l[0].x", PathType::Text);
    let at = |n: usize| order(&rows).iter().position(|row| *row == n).unwrap();
    let int = |n| {
        Some(ints.as_primitive::<Int64Type>())
            .filter(|a| a.is_valid(at(n)))
            .map(|a| a.value(at(n)))
    };
    assert_eq!(
        [int(0), int(1), int(2), int(3), int(4)],
        [Some(3), None, None, Some(i64::MIN), None]
    );
    let float = |n| {
        Some(floats.as_primitive::<Float64Type>())
            .filter(|a| a.is_valid(at(n)))
            .map(|a| a.value(at(n)))
    };
    assert_eq!([float(0), float(1), float(2)], [Some(3.0), Some(3.5), None]);
    let bool = |n| {
        Some(bools.as_boolean())
            .filter(|a| a.is_valid(at(n)))
            .map(|a| a.value(at(n)))
    };
    assert_eq!(
        [bool(0), bool(1), bool(2), bool(3)],
        [Some(true), None, None, Some(false)]
    );
    assert_eq!(
        [0, 1, 2].map(|n| times.is_valid(at(n))),
        [true, false, false]
    );
    assert_eq!(
        [0, 1, 2, 4, 5].map(|n| text(&texts, at(n))),
        [Some("3"), Some("3.5"), Some("3"), None, None]
    );
    assert_eq!(
        [1, 2].map(|n| text(&jsons, at(n))),
        [Some("3.5"), Some("\"3\"")]
    );
    assert_eq!(
        [0, 1, 2, 3].map(|n| text(&nested, at(n))),
        [Some("é"), None, None, None]
    );
    assert!(reader.stats().type_mismatches > before);
    // A path that starts at a column means the same place.
    assert_eq!(
        path(&reader, "labels['n']", PathType::Text).1.as_ref(),
        path(&reader, "metadata.labels.n", PathType::Text)
            .1
            .as_ref()
    );
    let whole = path(&reader, "spec", PathType::Json).1;
    assert_eq!(&whole, &fixed(&reader, &Column::Top("spec".into())).1);
}

#[test]
fn a_delta_longer_than_a_group_is_whole() {
    let config = StoreConfig {
        chunk_rows: 4096,
        ..StoreConfig::default()
    };
    for count in [1, 255, 256, 257, 700] {
        let values: Vec<Value> = (0..count).map(|n| object(n, &json!({"n": n}))).collect();
        let (mut writer, reader) = filled(config.clone(), &values);
        let held = reader
            .snapshot()
            .table(&key())
            .unwrap()
            .scan()
            .unwrap()
            .remove(0);
        let numbers = |chunk: &kybern_table::ChunkView| {
            let array = chunk
                .path(&"spec.n".parse().unwrap(), PathType::Int)
                .unwrap();
            let numbers = array.as_primitive::<Int64Type>();
            numbers
                .values()
                .iter()
                .map(|n| usize::try_from(*n).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&held), (0..count).collect::<Vec<_>>());
        apply(
            &mut writer,
            vec![upsert(&object(count, &json!({"n": count})))],
        );
        let grown = reader
            .snapshot()
            .table(&key())
            .unwrap()
            .scan()
            .unwrap()
            .remove(0);
        assert_eq!(numbers(&grown), (0..=count).collect::<Vec<_>>());
        assert_eq!(numbers(&held), (0..count).collect::<Vec<_>>());
        let (_, names) = fixed(&reader, &Column::Name);
        assert_eq!(names.len(), count + 1);
    }
}

#[test]
fn huge_numbers_and_odd_texts_come_back_as_they_were() {
    let bodies = [
        r#"{"metadata":{"name":"a"},"spec":{"n":123456789012345678901234567890.12345678901234567890e5}}"#,
        r#"{"metadata":{"name":"b"},"spec":{"s":"\u0000\ud83d\ude00 \/ é \\"}}"#,
        r#"{"metadata":{"name":"c"},"spec":{},"status":[],"data":""}"#,
        r#"{"metadata":{"name":"d"}}"#,
        "{\n  \"metadata\": {\n    \"name\": \"e\"\n  },\n  \"spec\": [ 1 , 2 ]\n}",
    ];
    let (mut writer, reader) = store(StoreConfig {
        chunk_rows: 2,
        ..small()
    });
    apply(&mut writer, vec![Change::Define(def())]);
    for body in bodies {
        apply(&mut writer, vec![raw(body.into())]);
    }
    let view = reader.snapshot().table(&key()).unwrap();
    for (body, name) in bodies.iter().zip(["a", "b", "c", "d", "e"]) {
        let rows = view.lookup(&Index::Name, name).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].body(), body.as_bytes());
    }
    let numbers = path(&reader, "spec.n", PathType::Text).1;
    let kept = (0..numbers.len()).find_map(|at| text(&numbers, at));
    assert_eq!(
        kept,
        Some("123456789012345678901234567890.12345678901234567890e5")
    );
}

#[test]
fn nesting_too_deep_for_a_tree_keeps_its_text() {
    let body = format!(
        r#"{{"metadata":{{"name":"deep"}},"spec":{}1{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    assert!(
        apply(&mut writer, vec![raw(body.clone().into())])
            .errors
            .is_empty()
    );
    let rows = reader
        .snapshot()
        .table(&key())
        .unwrap()
        .lookup(&Index::Name, "deep")
        .unwrap();
    assert_eq!(rows[0].body(), body.as_bytes());
    assert_eq!(rows[0].value(), Value::Null);
}

fn spec() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bodies_and_paths_are_what_was_sent(
        specs in prop::collection::vec(spec(), 1..30),
        again in prop::collection::vec(spec(), 0..10),
        cache in prop_oneof![Just(0usize), Just(3_000), Just(1_000_000)],
    ) {
        let mut values: Vec<Value> =
            specs.iter().enumerate().map(|(n, spec)| object(n, spec)).collect();
        let config = StoreConfig { cache_bytes: cache, ..small() };
        let (mut writer, reader) = filled(config, &values);
        for (n, spec) in again.iter().enumerate().take(values.len()) {
            values[n] = object(n, spec);
            values[n]["metadata"]["resourceVersion"] = json!("1000");
            apply(&mut writer, vec![upsert(&values[n])]);
        }
        for (place, pointer) in
            [("spec", "/spec"), ("spec.a", "/spec/a"), ("spec.a.b", "/spec/a/b"), ("spec[0].c", "/spec/0/c")]
        {
            let (rows, texts) = path(&reader, place, PathType::Text);
            let (_, jsons) = path(&reader, place, PathType::Json);
            prop_assert_eq!(rows.len(), values.len());
            for (at, row) in rows.iter().enumerate() {
                let value = row.value();
                let n: usize = row.name()[1..].parse().unwrap();
                prop_assert_eq!(&value, &values[n]);
                // A digit steps into arrays only.
                let found = value.pointer(pointer).filter(|_| {
                    !place.contains('[') || value["spec"].is_array()
                });
                let expected = text_of(found);
                prop_assert_eq!(text(&texts, at), expected.as_deref());
                let expected = found.filter(|value| !value.is_null()).map(Value::to_string);
                prop_assert_eq!(text(&jsons, at), expected.as_deref());
            }
        }
        let held: Arc<_> = Arc::new(reader.snapshot());
        prop_assert!(reader.stats().cache_bytes <= cache.max(1));
        drop((writer, held));
    }
}
