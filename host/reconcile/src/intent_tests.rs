//! What is sent for an action, and when its hash changes.

use super::*;
use crate::owner::part_of;

fn owner(namespace: &str) -> Owner {
    Owner {
        gvk: Gvk::new("app.example.com", "v1", "App"),
        plural: "apps".into(),
        namespace: namespace.into(),
        name: "a".into(),
        uid: "u1".into(),
        part_of: part_of("reg", "u1"),
    }
}

fn facts() -> KindFacts {
    KindFacts {
        plural: "deployments".into(),
        namespaced: true,
        has_status: true,
    }
}

fn action(object: Value) -> ApplyObject {
    serde_json::from_value(json!({ "object": object })).unwrap()
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "creationTimestamp": null, "labels": { "app": "x" } },
        "spec": { "replicas": 2, "paused": null },
        "status": { "replicas": 7 },
    })
}

#[test]
fn the_sent_object_carries_owner_label_and_hash_and_nothing_of_the_servers() {
    let intent = Intent::of(&action(deployment()), &owner("ns"), &facts());
    let hash = intent.hash.clone();
    assert_eq!(
        intent.object,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "ns",
                "labels": { "app": "x", (names::PART_OF): part_of("reg", "u1") },
                "annotations": { (names::INTENT): hash },
                "ownerReferences": [{
                    "apiVersion": "app.example.com/v1", "kind": "App", "name": "a", "uid": "u1",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": { "replicas": 2 },
        })
    );
    assert_eq!(intent.hash.len(), 32);
}

#[test]
fn the_hash_follows_the_content_and_not_its_spelling() {
    let hash = |object: Value| Intent::of(&action(object), &owner("ns"), &facts()).hash;
    let mut other = deployment();
    assert_eq!(hash(deployment()), hash(other.clone()));
    other["status"] = json!(null);
    other["metadata"]["namespace"] = json!("ns");
    assert_eq!(hash(deployment()), hash(other.clone()));
    other["spec"]["replicas"] = json!(3);
    assert_ne!(hash(deployment()), hash(other));
    let mut later = owner("ns");
    later.uid = "u2".into();
    assert_ne!(
        hash(deployment()),
        Intent::of(&action(deployment()), &later, &facts()).hash
    );
}

#[test]
fn values_of_handed_over_paths_are_sent_but_not_hashed() {
    let with = |replicas: i64| {
        let mut object = deployment();
        object["spec"]["replicas"] = json!(replicas);
        let mut action = action(object);
        action.ignore_paths = vec!["spec.replicas".into()];
        Intent::of(&action, &owner("ns"), &facts())
    };
    assert_eq!(with(1).hash, with(2).hash);
    assert_ne!(with(1).object, with(2).object);
    assert_eq!(with(1).owned(), with(2).owned());
    let plain = Intent::of(&action(deployment()), &owner("ns"), &facts());
    assert_ne!(with(2).hash, plain.hash);
}

#[test]
fn an_illegal_ownerreference_is_never_sent() {
    let mut cluster = facts();
    cluster.namespaced = false;
    let far = Intent::of(&action(deployment()), &owner("ns"), &cluster);
    assert!(!far.reachable);
    assert_eq!(far.object.pointer("/metadata/ownerReferences"), None);
    assert_eq!(far.object.pointer("/metadata/namespace"), None);
    let near = Intent::of(&action(deployment()), &owner(""), &cluster);
    assert!(near.reachable);
    let mut elsewhere = deployment();
    elsewhere["metadata"]["namespace"] = json!("other");
    assert!(!Intent::of(&action(elsewhere.clone()), &owner("ns"), &facts()).reachable);
    assert!(Intent::of(&action(elsewhere), &owner(""), &facts()).reachable);
}

#[test]
fn paths_are_set_read_and_taken_out() {
    let path: Vec<String> = ["spec", "replicas"].map(str::to_owned).to_vec();
    let mut object = json!({});
    set_path(&mut object, &path, json!(4));
    assert_eq!(get_path(&object, &path), Some(&json!(4)));
    remove_path(&mut object, &path);
    assert_eq!(object, json!({ "spec": {} }));
}

#[test]
fn string_data_is_sent_as_data() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" },
        "data": { "a": "QQ==" }, "stringData": { "b": "foo" },
    });
    let intent = Intent::of(&action(secret), &owner("ns"), &facts());
    assert_eq!(intent.object["data"], json!({ "a": "QQ==", "b": "Zm9v" }));
    assert_eq!(intent.object.get("stringData"), None);
}

fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        ((1u64 << 53)..(1 << 53) + 4).prop_map(Value::from),
        prop_oneof![Just(-0.0), Just(0.0), Just(1.0), Just(1.5)].prop_map(|n: f64| json!(n)),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Any texts, keys and numbers.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-(1i64 << 53) - 2..(1i64 << 53) + 2).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-9i64..9).prop_map(Value::from),
        any::<f64>().prop_filter_map("not JSON", |n| n.is_finite().then(|| json!(n))),
        any::<String>().prop_map(Value::from),
        "[\u{0}-\u{1f}\"/\\\\\u{7f}\u{2028}\u{e000}\u{10000}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = "[a-c\"\u{7f}\u{e9}\u{e000}\u{10000}]{0,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn the_hash_of_an_intent_is_of_the_list_of_object_and_paths() {
    let object = json!({ "b": [1, { "c": "x" }], "a": { "n": 1.5, "gone": true } });
    let paths = [
        ["z"].map(str::to_owned).to_vec(),
        ["a", "gone"].map(str::to_owned).to_vec(),
    ];
    let list = json!([{ "b": [1, { "c": "x" }], "a": { "n": 1.5 } }, ["a.gone", "z"]]);
    let text = serde_json_canonicalizer::to_vec(&list).unwrap();
    let digest = Sha256::digest(&text);
    // It stands on objects: another one would be taken for another intent.
    assert_eq!(hash_of(&object, &paths), hex(&digest, 16));
}

#[test]
fn whole_numbers_that_a_double_does_not_hold_are_themselves() {
    const BEYOND: u64 = 1 << 53;
    let prints = |value: Value| (hash_of(&value, &[]), fingerprint(&value));
    let of = |n: Value| prints(json!({ "a": [n], "b": 1 }));
    let all = [BEYOND, BEYOND + 1, BEYOND + 2, u64::MAX - 1, u64::MAX].map(|n| of(n.into()));
    for (at, one) in all.iter().enumerate() {
        for other in all.iter().skip(at + 1) {
            assert!(one.0 != other.0 && one.1 != other.1, "{all:?}");
        }
    }
    assert_ne!(of(i64::MIN.into()).0, of((i64::MIN + 1).into()).0);
    // Which of two it is counts too.
    let pair = |a: u64, b: u64| prints(json!({ "b": b, "a": a }));
    let (one, other) = (pair(BEYOND, BEYOND + 1), pair(BEYOND + 1, BEYOND));
    assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
    // What a double holds stays what RFC 8785 says, also in records of before.
    assert_eq!(of(json!(1)), of(json!(1.0)));
    let list = json!([{ "a": [BEYOND] }, []]);
    let text = serde_json_canonicalizer::to_vec(&list).unwrap();
    let plain = hex(&Sha256::digest(&text), 16);
    assert_eq!(hash_of(&json!({ "a": [BEYOND] }), &[]), plain);
}

proptest::proptest! {
    #[test]
    fn fingerprints_are_equal_where_hashes_are(a in json_value(), b in json_value()) {
        let alike = hash_of(&a, &[]) == hash_of(&b, &[]);
        proptest::prop_assert_eq!(fingerprint(&a) == fingerprint(&b), alike);
        proptest::prop_assert_eq!(fingerprint(&a), fingerprint(&a.clone()));
    }

    #[test]
    fn what_is_written_the_short_way_is_canonical(value in any_json()) {
        let long = serde_json_canonicalizer::to_vec(&value).unwrap();
        proptest::prop_assert_eq!(
            String::from_utf8(canonical(&value)).unwrap(),
            String::from_utf8(long).unwrap()
        );
    }
}
