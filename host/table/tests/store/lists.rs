//! Lists, tombstones, epochs and failures, one rule at a time.

use kybern_table::{Change, Origin, Sequence, TableState, store};

use crate::object::{Object, apply, def, key, list_begin, list_end, scan, small};

#[test]
fn a_table_is_readable_after_its_first_complete_list_only() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let state = || reader.snapshot().table(&key()).unwrap().state();
    assert_eq!(state(), TableState::Loading);
    apply(&mut writer, vec![list_begin()]);
    apply(
        &mut writer,
        vec![Object::new("a", "1", 5).upsert(Origin::List)],
    );
    assert_eq!(state(), TableState::Loading);
    apply(&mut writer, vec![list_begin()]);
    assert_eq!(state(), TableState::Loading);
    apply(&mut writer, vec![list_end(7)]);
    let ready = TableState::Ready {
        resource_version: 7,
    };
    assert_eq!(state(), ready);
    let fail = Change::Fail {
        table: key(),
        reason: "403".to_owned(),
    };
    apply(&mut writer, vec![fail]);
    assert_eq!(state(), TableState::Failed("403".into()));
    apply(
        &mut writer,
        vec![Object::new("a", "1", 9).upsert(Origin::Watch)],
    );
    assert_eq!(state(), TableState::Failed("403".into()));
    apply(&mut writer, vec![list_begin(), list_end(10)]);
    assert_eq!(
        state(),
        TableState::Ready {
            resource_version: 10
        }
    );
}

#[test]
fn a_list_with_an_unreadable_object_is_not_complete() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let broken = Change::Upsert {
        table: key(),
        raw: "{".into(),
        origin: Origin::List,
    };
    let kept = Object::new("a", "1", 5);
    apply(&mut writer, vec![kept.upsert(Origin::Watch)]);
    let applied = apply(&mut writer, vec![list_begin(), broken, list_end(7)]);
    assert_eq!(applied.errors.len(), 1);
    assert!(applied.errors[0].reason.contains("JSON"), "{applied:?}");
    let view = reader.snapshot().table(&key()).unwrap();
    assert!(matches!(view.state(), TableState::Failed(_)));
    assert_eq!(scan(&view), [kept], "an incomplete list deletes nothing");
}

#[test]
fn equal_versions_make_no_commit() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let object = Object::new("a", "1", 5);
    let first = apply(&mut writer, vec![object.upsert(Origin::Watch)]);
    let again = apply(
        &mut writer,
        vec![
            object.upsert(Origin::Watch),
            object.upsert(Origin::OwnWrite),
            Object::new("a", "1", 4).upsert(Origin::Watch),
        ],
    );
    assert_eq!((again.sequence, again.changed), (first.sequence, 0));
    assert_eq!(reader.snapshot().sequence(), first.sequence);
}

#[test]
fn a_list_deletes_in_one_commit_and_spares_what_is_newer() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let names: Vec<String> = (0..50).map(|n| format!("o{n}")).collect();
    let objects: Vec<Object> = names
        .iter()
        .map(|name| Object::new(name, name, 5))
        .collect();
    apply(
        &mut writer,
        objects
            .iter()
            .map(|object| object.upsert(Origin::Watch))
            .collect(),
    );
    let newer = Object::new("newer", "newer", 20);
    apply(&mut writer, vec![newer.upsert(Origin::OwnWrite)]);
    apply(&mut writer, vec![list_begin()]);
    apply(&mut writer, vec![objects[0].upsert(Origin::List)]);
    let before = reader.snapshot();
    assert_eq!(before.table(&key()).unwrap().count(), 51);
    let ended = apply(&mut writer, vec![list_end(10)]);
    let after = reader.snapshot();
    let mut expected = vec![objects[0].clone(), newer];
    expected.sort();
    assert_eq!(scan(&after.table(&key()).unwrap()), expected);
    assert_eq!(ended.sequence, Sequence(before.sequence().0 + 1));
    let changes = after.changes_since(before.sequence()).unwrap();
    assert_eq!(changes.len(), 49);
    assert!(
        changes
            .iter()
            .all(|change| change.sequence == ended.sequence && change.new.is_none())
    );
}

#[test]
fn an_own_delete_is_not_undone_by_late_events() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let object = Object::new("a", "uid-a", 5);
    let rows = || reader.snapshot().table(&key()).unwrap().count();
    apply(
        &mut writer,
        vec![list_begin(), object.upsert(Origin::List), list_end(5)],
    );
    apply(&mut writer, vec![object.deleted()]);
    assert_eq!(rows(), 0);
    for origin in [Origin::Watch, Origin::OwnWrite] {
        apply(
            &mut writer,
            vec![Object::new("a", "uid-a", 6).upsert(origin)],
        );
        assert_eq!(rows(), 0);
    }
    // The watch confirms; still nothing older comes back.
    apply(&mut writer, vec![Object::new("a", "uid-a", 8).gone()]);
    apply(
        &mut writer,
        vec![Object::new("a", "uid-a", 7).upsert(Origin::OwnWrite)],
    );
    assert_eq!(rows(), 0);
    // A new object of the same name is another one.
    apply(
        &mut writer,
        vec![Object::new("a", "uid-b", 9).upsert(Origin::Watch)],
    );
    assert_eq!(rows(), 1);
    apply(&mut writer, vec![object.deleted()]);
    assert_eq!(
        rows(),
        1,
        "a delete of the old uid leaves the new object alone"
    );
}

#[test]
fn a_recreated_object_is_a_deletion_and_a_creation() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    apply(
        &mut writer,
        vec![Object::new("a", "old", 5).upsert(Origin::Watch)],
    );
    let before = reader.snapshot();
    apply(
        &mut writer,
        vec![Object::new("a", "new", 9).upsert(Origin::Watch)],
    );
    let changes = reader.snapshot().changes_since(before.sequence()).unwrap();
    let kinds: Vec<(&str, bool, bool)> = changes
        .iter()
        .map(|change| (&*change.uid, change.old.is_some(), change.new.is_some()))
        .collect();
    assert_eq!(kinds, [("old", true, false), ("new", false, true)]);
    // Late events of the old one change nothing.
    let late = vec![
        Object::new("a", "old", 8).gone(),
        Object::new("a", "old", 7).upsert(Origin::Watch),
    ];
    assert_eq!(apply(&mut writer, late).changed, 0);
}

#[test]
fn a_new_epoch_replaces_everything_whatever_the_versions() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let kept = Object::new("kept", "kept", 1_000);
    let lost = Object::new("lost", "lost", 1_001);
    apply(
        &mut writer,
        vec![
            list_begin(),
            kept.upsert(Origin::List),
            lost.upsert(Origin::List),
            list_end(1_001),
        ],
    );
    apply(&mut writer, vec![Object::new("own", "own", 900).deleted()]);
    apply(&mut writer, vec![Change::NewEpoch { table: key() }]);
    let state = reader.snapshot().table(&key()).unwrap().state();
    assert_eq!(state, TableState::Loading);
    let restored = Object {
        image: "older".to_owned(),
        ..Object::new("kept", "kept", 10)
    };
    let undeleted = Object::new("own", "own", 9);
    apply(
        &mut writer,
        vec![
            list_begin(),
            restored.upsert(Origin::List),
            undeleted.upsert(Origin::List),
        ],
    );
    // Within the new epoch the versions count again.
    let newer = Object::new("kept", "kept", 12);
    apply(&mut writer, vec![newer.upsert(Origin::Watch)]);
    apply(
        &mut writer,
        vec![restored.upsert(Origin::List), list_end(11)],
    );
    let view = reader.snapshot().table(&key()).unwrap();
    assert_eq!(scan(&view), [newer, undeleted]);
    assert_eq!(
        view.state(),
        TableState::Ready {
            resource_version: 11
        }
    );
}

/// What `etcdutl snapshot restore --bump-revision` makes: objects as they were, in a list newer
/// than all that was ever seen.
#[test]
fn a_list_counts_more_than_newer_rows_that_it_should_include() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let object = |name: &str, image: &str, version| Object {
        image: image.to_owned(),
        ..Object::new(name, name, version)
    };
    let lost = |name: &str| object(name, "lost", 900).upsert(Origin::Watch);
    apply(&mut writer, vec![list_begin(), list_end(1)]);
    apply(
        &mut writer,
        vec![
            lost("changed"),
            lost("created"),
            lost("changed-and-gone"),
            object("deleted", "lost", 800).upsert(Origin::Watch),
            object("deleted", "lost", 900).gone(),
            Object::new("recreated", "lost-uid", 900).upsert(Origin::Watch),
        ],
    );
    // An own write that the list cannot hold yet.
    let own = object("own", "written", 2_001);
    let restored = [
        object("changed", "restored", 400),
        object("deleted", "restored", 400),
        Object::new("recreated", "restored-uid", 400),
    ];
    apply(
        &mut writer,
        vec![list_begin(), own.upsert(Origin::OwnWrite)],
    );
    let items = restored.iter().map(|object| object.upsert(Origin::List));
    apply(&mut writer, items.collect());
    apply(
        &mut writer,
        vec![
            object("own", "earlier", 400).upsert(Origin::List),
            object("changed-and-gone", "restored", 400).upsert(Origin::List),
            object("changed-and-gone", "restored", 500).gone(),
            list_end(2_000),
        ],
    );
    let mut expected = restored.to_vec();
    expected.push(own);
    expected.sort();
    let view = reader.snapshot().table(&key()).unwrap();
    assert_eq!(scan(&view), expected);
}

/// A streaming list sends what happens meanwhile before it ends.
#[test]
fn what_a_list_repeats_newer_is_no_reason_to_go_back() {
    let (mut writer, reader) = store(small());
    apply(&mut writer, vec![Change::Define(def())]);
    let newer = Object {
        image: "newer".to_owned(),
        ..Object::new("a", "a", 15)
    };
    apply(
        &mut writer,
        vec![list_begin(), newer.upsert(Origin::OwnWrite)],
    );
    let older = Object::new("a", "a", 10).upsert(Origin::List);
    apply(
        &mut writer,
        vec![older, newer.upsert(Origin::List), list_end(15)],
    );
    let view = reader.snapshot().table(&key()).unwrap();
    assert_eq!(scan(&view), [newer]);
}

#[test]
fn what_is_not_defined_is_refused_and_the_rest_goes_on() {
    let (mut writer, reader) = store(small());
    let object = Object::new("a", "1", 5);
    let applied = apply(&mut writer, vec![object.upsert(Origin::Watch)]);
    assert_eq!(
        applied.errors[0].to_string(),
        "shop.example/v1/Basket: the table is not defined"
    );
    let applied = apply(
        &mut writer,
        vec![
            Change::Define(def()),
            list_end(3),
            object.upsert(Origin::Watch),
        ],
    );
    assert_eq!(applied.errors.len(), 1, "a list ended that had not begun");
    assert_eq!(applied.changed, 1);
    let held = reader.snapshot();
    assert!(
        apply(&mut writer, vec![Change::Drop(key())])
            .errors
            .is_empty()
    );
    assert!(reader.snapshot().table(&key()).is_none());
    assert_eq!(reader.snapshot().tables().count(), 0);
    assert_eq!(scan(&held.table(&key()).unwrap()), [object]);
    apply(&mut writer, vec![Change::Define(def())]);
    assert_eq!(reader.snapshot().table(&key()).unwrap().count(), 0);
}

#[test]
fn a_table_that_was_dropped_and_defined_again_is_another() {
    let (mut writer, reader) = store(small());
    let since = |reader: &kybern_table::Reader| reader.snapshot().table(&key()).unwrap().since();
    let applied = apply(&mut writer, vec![Change::Define(def())]);
    let first = since(&reader);
    assert_eq!(first, applied.sequence);
    // Neither a list, nor rows, nor another index make it another.
    let mut more = def();
    more.label_keys.push("other".to_owned());
    let object = Object::new("a", "1", 5);
    for change in [
        Change::ListBegin { table: key() },
        object.upsert(Origin::List),
        list_end(3),
        Change::Define(more),
    ] {
        apply(&mut writer, vec![change]);
    }
    assert_eq!(since(&reader), first);
    let again = vec![Change::Drop(key()), Change::Define(def())];
    let applied = apply(&mut writer, again);
    assert_eq!(since(&reader), applied.sequence);
    assert!(since(&reader) > first);
}
