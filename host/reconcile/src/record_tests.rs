//! What a record takes and refuses.

use super::*;
use crate::owner::part_of;

fn owner(uid: &str) -> Owner {
    Owner {
        gvk: Gvk::new("app.example.com", "v1", "App"),
        plural: "apps".into(),
        namespace: "ns".into(),
        name: "a".into(),
        uid: uid.into(),
        part_of: part_of("reg", uid),
    }
}

fn patched() -> Patched {
    let target = target("reg", &owner("u1"), "home");
    Patched::new(&target, "u7".into(), crate::patched::Part::Status)
}

fn record() -> Record {
    Record {
        state: json!({ "password": "hidden", "n": 3 }),
        patches: vec![patched()],
        ..Record::default()
    }
}

fn secret() -> Value {
    let owner = owner("u1");
    let target = target("reg", &owner, "home");
    record().secret(&target, "reg", &owner).unwrap()
}

/// The Secret with another text and its right digest.
fn with_text(text: &str) -> Value {
    let mut secret = secret();
    secret["data"]["record"] = json!(STANDARD.encode(text));
    secret["data"]["digest"] = json!(STANDARD.encode(digest(text.as_bytes())));
    secret
}

fn read(secret: &Value) -> Result<Record, RecordError> {
    Record::read(secret, "reg", &owner("u1"))
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(read(&secret()), Ok(record()));
    let reference = &secret()["metadata"]["ownerReferences"][0];
    assert_eq!(reference["uid"], "u1");
    assert_eq!(reference.get("controller"), None, "it is no child");
}

#[test]
fn each_way_to_be_wrong_has_its_word_and_none_quotes_the_state() {
    let mut edited = secret();
    edited["data"]["record"] = json!(STANDARD.encode(r#"{"state":"hidden"}"#));
    let mut bare = secret();
    bare.as_object_mut().unwrap().remove("data");
    let mut garbled = secret();
    garbled["data"]["record"] = json!("hidden!");
    let wrong = [
        edited,
        bare,
        garbled,
        with_text(r#"{"version":2,"state":"hidden"}"#),
        with_text(r#"{"version":"hidden"}"#),
        with_text(r#"{"version":1,"plugin":"reg","uid":"u1","hidden":1}"#),
        with_text(r#"{"version":1,"plugin":"reg","uid":"u2","state":"hidden"}"#),
        with_text(&"hidden".repeat(100_000)),
    ];
    let told: Vec<String> = wrong
        .iter()
        .map(|secret| read(secret).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    somebody else than the host has changed it
    its record cannot be read
    its record cannot be read
    it has version 2, which this host does not know: a newer host has written it
    its version cannot be read
    its record cannot be read
    it was written for another object
    it has 600000 bytes, more than 524288
    ");
    assert_eq!(format!("{:?}", record()), "Record");
}

#[test]
fn a_record_is_beside_its_cr_and_named_by_its_uid() {
    let beside = target("reg", &owner("u1"), "home");
    assert_eq!(beside.namespace, "ns");
    let mut far = owner("u1");
    far.namespace.clear();
    assert_eq!(target("reg", &far, "home").namespace, "home");
    assert_ne!(beside.name, target("reg", &owner("u2"), "home").name);
    assert_ne!(beside.name, target("other", &owner("u1"), "home").name);
    assert!(is_record(&beside));
    assert!(beside.name.len() <= 63);
}

#[test]
fn a_record_that_would_be_too_large_is_not_written() {
    let record = Record {
        state: json!("x".repeat(MAX_BYTES)),
        ..Record::default()
    };
    let owner = owner("u1");
    assert!(matches!(
        record.patch("7", "reg", &owner),
        Err(RecordError::TooLarge(_))
    ));
}
