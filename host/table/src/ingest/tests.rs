//! Of reading objects.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(raw: &str) -> Record {
    Object::decode(raw.as_bytes()).unwrap().into_record()
}

fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record
        .fields
        .iter()
        .find(|field| field.key.of(&record.body) == name)
        .map(|field| field.value.of(&record.body))
}

#[test]
fn metadata_is_decoded_and_fields_are_slices() {
    let record = record(
        r#" {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u",
        "resourceVersion":"17","generation":3,"creationTimestamp":"2026-11-22T00:00:00Z",
        "deletionTimestamp":"2026-11-22T00:00:01.5Z","labels":{"x":"y"},
        "ownerReferences":[{"uid":"o1"},{"uid":"o2","controller":true}],"finalizers":["f"]},
        "spec":{"n":123456789012345678901234567890},"status":null}
        "#,
    );
    assert_eq!((&*record.namespace, &*record.name), ("n", "a"));
    assert_eq!((&*record.uid, record.resource_version), ("u", 17));
    assert_eq!(record.generation, Some(3));
    assert_eq!(record.deleted.unwrap() - record.created.unwrap(), 1_500_000);
    assert_eq!(record.owner.as_deref(), Some("o2"));
    assert_eq!(record.labels.unwrap().of(&record.body), r#"{"x":"y"}"#);
    assert_eq!(
        field(&record, "spec"),
        Some(r#"{"n":123456789012345678901234567890}"#)
    );
    assert_eq!(field(&record, "status"), Some("null"));
    assert_eq!(field(&record, "kind"), None);
}

/// A top-level field as text: its key, perhaps escaped, and its value.
fn top_field() -> impl Strategy<Value = (&'static str, String)> {
    let metadata = prop::collection::vec(
        prop::sample::select(vec![
            r#""labels" : {"a":"}\"{"}"#,
            r#""managedFields":[{"manager":"kubectl","f":"kybern"}]"#,
            r#""managedFields" : [ {"manager":"kybern/x"} ]"#,
            r#""generation":7"#,
            r#""annotations":{"managedFields":"no"}"#,
        ]),
        0..4,
    );
    let metadata = (metadata, " {0,2}", 0usize..3).prop_map(|(mut parts, space, at)| {
        parts.dedup_by_key(|part| part.split('"').nth(1));
        parts.sort_unstable();
        parts.dedup_by_key(|part| part.split('"').nth(1));
        parts.insert(at.min(parts.len()), r#""name":"x""#);
        format!(
            "{{{space}{}{space}}}",
            parts.join(&format!("{space},{space}"))
        )
    });
    let other = prop::sample::select(vec!["{}", "[{\"metadata\":{}}]", "null", "\"}\"", "-1.5e3"]);
    prop_oneof![
        2 => (Just("metadata"), metadata),
        3 => (
            prop::sample::select(vec!["spec", "status", "kind", "d\\u0061ta", "meta\\\"data"]),
            other.prop_map(str::to_owned),
        ),
    ]
}

proptest! {
    /// Whatever the order, the spaces, duplicates and escapes: the body is the
    /// object without managedFields, and fields are where they are said to be.
    #[test]
    fn objects_come_back(
        parts in prop::collection::vec(top_field(), 1..6),
        spaces in prop::collection::vec(" {0,2}\n?", 8),
    ) {
        let fields: Vec<String> = parts
            .iter()
            .zip(&spaces)
            .map(|((key, value), s)| format!("{s}\"{key}\"{s}:{s}{value}{s}"))
            .collect();
        let raw = format!("{{{}}}", fields.join(","));
        let mut expected: Value = serde_json::from_str(&raw).unwrap();
        let object = Object::decode(raw.as_bytes());
        let Some(metadata) = expected["metadata"].as_object_mut() else {
            prop_assert!(matches!(object, Err(DecodeError::NoMetadata)));
            return Ok(());
        };
        let ours = |managed: &Value| managed[0]["manager"] == "kybern/x";
        if metadata.get("managedFields").is_some_and(|managed| !ours(managed)) {
            metadata.remove("managedFields");
        }
        let record = object.ok().unwrap().into_record();
        // An earlier duplicate is in the text still, and hidden by the last.
        let body: Value = serde_json::from_str(&record.body).unwrap();
        prop_assert_eq!(&body, &expected);
        for found in &record.fields {
            let text = found.value.of(&record.body);
            let value: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(&value, &expected[found.key.of(&record.body)]);
        }
        let names = expected.as_object().unwrap().keys();
        let wanted = names.filter(|name| *name != "kind").count();
        prop_assert_eq!(record.listed, record.fields.len() == wanted);
        let labels = record.labels.map(|span| span.of(&record.body));
        let labels = labels.map(|text| serde_json::from_str::<Value>(text).unwrap());
        prop_assert_eq!(labels.as_ref(), expected["metadata"].get("labels"));
    }
}

#[test]
fn an_object_with_thousands_of_fields_is_kept_whole_and_not_listed() {
    let fields: Vec<String> = (0..5_000).map(|n| format!("\"f{n}\":{n}")).collect();
    let raw = format!("{{{},\"metadata\":{{\"name\":\"a\"}}}}", fields.join(","));
    let record = record(&raw);
    assert_eq!(&*record.body, raw);
    assert!(!record.listed && record.fields.len() <= LISTED);
    let row = crate::refer::RowRef::Record(&record);
    assert_eq!(row.field(&raw, "f4999"), Some("4999"));
}

#[test]
fn managed_fields_are_cut_wherever_they_stand() {
    let managed = r#""managedFields":[{"manager":"kubectl","fieldsV1":{"f:a":{}}}]"#;
    for metadata in [
        format!(r#"{{{managed},"name":"a","labels":{{"é":"1"}}}}"#),
        format!(r#"{{"name":"a",{managed},"labels":{{"é":"1"}}}}"#),
        format!(r#"{{"name":"a","labels":{{"é":"1"}} , {managed} }}"#),
        format!(r#"{{ {managed} , "name":"a","labels":{{"é":"1"}}}}"#),
    ] {
        let raw = format!(r#"{{"before":[1],"metadata":{metadata},"spec":{{"é":"ü"}}}}"#);
        let record = record(&raw);
        let mut expected: Value = serde_json::from_str(&raw).unwrap();
        let map = expected["metadata"].as_object_mut().unwrap();
        map.remove("managedFields");
        assert_eq!(
            serde_json::from_str::<Value>(&record.body).unwrap(),
            expected
        );
        assert_eq!(field(&record, "before"), Some("[1]"));
        assert_eq!(field(&record, "spec"), Some(r#"{"é":"ü"}"#));
        assert_eq!(record.labels.unwrap().of(&record.body), r#"{"é":"1"}"#);
    }
}

#[test]
fn managed_fields_stay_when_a_manager_is_ours() {
    let raw = json!({"metadata": {"name": "a", "managedFields": [
        {"manager": "kubectl"}, {"manager": "kybern/shop"}]}})
    .to_string();
    assert_eq!(&*record(&raw).body, raw);
}

#[test]
fn an_object_with_only_managed_fields_left_out_is_valid() {
    let raw = r#"{"metadata":{"name":"a","managedFields":[]}}"#;
    assert_eq!(&*record(raw).body, r#"{"metadata":{"name":"a"}}"#);
}

#[test]
fn faults_say_what_is_wrong() {
    for (raw, message) in [
        (&b"\xff"[..], "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (br#"{"spec":{}}"#, "no metadata"),
        (br#"{"metadata":{}}"#, "no metadata.name"),
        (br#"{"metadata":{"name":3}}"#, "cannot be read"),
        (
            br#"{"metadata":{"name":"a","resourceVersion":"x"}}"#,
            "is no number",
        ),
        (br#"{"metadata":{"name":"a"},"spec":{]}"#, "not a JSON"),
    ] {
        let error = Object::decode(raw).err().unwrap().to_string();
        assert!(error.contains(message), "{error}");
    }
}
