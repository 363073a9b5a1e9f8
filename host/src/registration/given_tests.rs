use super::*;
use crate::values::Hidden;
use serde_json::json;

fn spec(settings: Value, from: Value) -> PluginSpec {
    let spec = json!({ "source": { "file": "x" }, "settings": settings, "settingsFrom": from });
    serde_json::from_value(spec).unwrap()
}

fn secret(name: &str) -> Value {
    json!({ "secretRef": { "namespace": "n", "name": name, "key": "k" } })
}

fn there(text: &str) -> Seen {
    let got = Got::Value(Hidden::new(text.as_bytes()));
    Seen::There(BTreeMap::from([("k".to_owned(), got)]))
}

/// The settings where every object holds what its name stands for.
fn merged_of(settings: Value, objects: &[(&str, Seen)]) -> Result<Given, Problem> {
    let from = objects.iter().map(|(name, _)| secret(name));
    let spec = spec(settings, from.collect());
    check(&spec)?;
    let seen = |at: &ObjectAt, _: &str| {
        let mut all = objects.iter();
        all.find(|(name, _)| *name == at.name)
            .map(|(_, seen)| seen.clone())
    };
    merged(&spec, seen)
}

#[test]
fn later_objects_win_at_every_depth_and_lists_are_replaced() {
    let base = json!({ "a": { "x": 1, "y": [1, 2] }, "b": 1, "c": { "z": 1 } });
    let one = there("a:\n  y: [3]\n  w: {deep: 1}\nc: 7\n");
    let two = there(r#"{ "a": { "w": { "deep": 2, "more": 3 } }, "b": null }"#);
    let given = merged_of(base, &[("one", one), ("two", two), ("none", there(""))]).unwrap();
    assert_eq!(
        Value::Object(given.values),
        json!({ "a": { "x": 1, "y": [3], "w": { "deep": 2, "more": 3 } }, "b": null, "c": 7 })
    );
    assert!(given.hidden);
    assert!(!merged_of(json!({}), &[]).unwrap().hidden);
}

#[test]
fn what_is_missing_is_named_and_what_it_holds_is_not() {
    let problem = |seen: Seen| {
        let problem = merged_of(json!({}), &[("creds", seen)]).unwrap_err();
        format!("{}: {}", problem.reason, problem.message)
    };
    let mut told = vec![
        problem(Seen::Absent),
        problem(Seen::There(BTreeMap::new())),
        problem(Seen::Failed("forbidden".into())),
        problem(Seen::Pending),
        problem(Seen::There([("k".to_owned(), Got::TooLarge(9))].into())),
    ];
    let deep = format!("a: {}hunter2{}", "[".repeat(40), "]".repeat(40));
    for text in [
        "hunter2",
        "[hunter2]",
        "a: [hunter2",
        "hunter2: hunter2: x",
        "\u{0}hunter2",
        &deep,
    ] {
        told.push(problem(there(text)));
    }
    let bomb = "a: &a [hunter2,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    told.push(problem(there(bomb)));
    let told = told.join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn each_entry_names_one_key_of_one_object() {
    let fault = |from: Value| check(&spec(json!({}), json!([from]))).unwrap_err().message;
    assert!(fault(json!({})).contains("settingsFrom[0] must have exactly one of"));
    let at = json!({ "namespace": "n", "name": "a", "key": "k" });
    assert!(fault(json!({ "secretRef": at, "configMapRef": at })).contains("exactly one"));
    for bad in [
        ("", "a", "k"),
        ("n", "", "k"),
        ("n", "a", ""),
        ("n/x", "a", "k"),
        ("n", "a,b", "k"),
    ] {
        let (namespace, name, key) = bad;
        let at = json!({ "namespace": namespace, "name": name, "key": key });
        assert!(
            fault(json!({ "secretRef": at })).contains("needs a namespace"),
            "{bad:?}"
        );
    }
    let many: Vec<Value> = (0..17).map(|_| secret("a")).collect();
    assert!(check(&spec(json!({}), json!(many))).is_err());
}

#[test]
fn manifest_files_hold_objects_too() {
    let of = |kind: &str, field: &str, text: &str| {
        json!({ "apiVersion": "v1", "kind": kind,
            "metadata": { "namespace": "n", "name": "a" }, field: { "k": text } })
    };
    let of_map = json!({ "configMapRef": { "namespace": "n", "name": "a", "key": "k" } });
    let spec = spec(json!({}), json!([secret("a"), of_map]));
    let objects = [
        of("ConfigMap", "data", "b: 2"),
        of("Secret", "stringData", "a: 1"),
    ];
    let given = among(&spec, objects.iter()).unwrap();
    assert_eq!(Value::Object(given.values), json!({ "a": 1, "b": 2 }));
    let encoded = [
        of("Secret", "data", "YTogMw=="),
        of("ConfigMap", "data", ""),
    ];
    let given = among(&spec, encoded.iter()).unwrap();
    assert_eq!(Value::Object(given.values), json!({ "a": 3 }));
    let missing = among(&spec, objects[..1].iter()).unwrap_err();
    assert_eq!(missing.reason, "SettingsUnavailable");
}

#[test]
fn the_same_object_is_followed_once() {
    let mut other = secret("a");
    other["secretRef"]["key"] = json!("l");
    let spec = spec(json!({}), json!([secret("a"), other, secret("b")]));
    let named = named(&spec);
    assert_eq!(named.len(), 2);
    let keys = named.values().next().unwrap();
    assert_eq!(*keys, BTreeSet::from(["k".to_owned(), "l".to_owned()]));
}
