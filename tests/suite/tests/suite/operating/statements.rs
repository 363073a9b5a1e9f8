//! What each statement does, and what does nothing.

use super::person::Person;
use anyhow::Result;
use kybern_testcluster::Object;
use rexpect::reader::Options;
use rexpect::session::spawn_with_options;
use serde_json::{Value, json};

#[test]
fn statements_change_what_their_rows_are() -> Result<()> {
    let person = Person::new("operate")?;
    let made = person.yes(
        "INSERT INTO configmaps (name, data['n'], labels['parity']) VALUES ('a0', 0, 'even'), ('a1', 1, 'odd'), ('a2', 2, 'even')",
    )?;
    assert_eq!(
        made.outcomes(),
        ["a0: created", "a1: created", "a2: created"]
    );
    assert_eq!(person.configmap("a1")?["data"], json!({"n": "1"}));
    // Rows that read other rows, and lists of several matches for one object.
    let set = person.yes(
        "UPDATE configmaps c SET data['n'] = c.data['n']::int + 10, labels['of'] = o.name, data['gone'] = NULL \
         FROM configmaps o WHERE o.name = 'a1' AND c.labels['parity'] = 'even' RETURNING name, data['n'] AS n, labels['of'] AS o",
    )?;
    assert_eq!(
        set.rows,
        json!([{"name": "a0", "n": "10", "o": "a1"}, {"name": "a2", "n": "12", "o": "a1"}])
    );
    let again =
        person.yes("UPDATE configmaps SET labels['of'] = 'a1' WHERE labels['parity'] = 'even'")?;
    assert_eq!(again.outcomes(), ["a0: unchanged", "a2: unchanged"]);
    let unset = person.yes("UPDATE configmaps SET labels['of'] = NULL WHERE name = 'a0'")?;
    assert_eq!(unset.outcomes(), ["a0: updated"]);
    assert_eq!(
        person.configmap("a0")?["metadata"]["labels"],
        json!({"parity": "even"})
    );
    let exists =
        person.yes("INSERT INTO configmaps (name) VALUES ('a0'), ('a3') ON CONFLICT DO NOTHING")?;
    assert_eq!(exists.outcomes(), ["a0: exists", "a3: created"]);
    let gone = person.yes("DELETE FROM configmaps WHERE name IN (SELECT name FROM configmaps WHERE data['n'] = '12') RETURNING name, data['n'] AS n")?;
    assert_eq!(gone.rows, json!([{"name": "a2", "n": "12"}]));
    let left = person.run(&["SELECT name FROM configmaps WHERE name LIKE 'a_' ORDER BY name"])?;
    assert_eq!(
        left.rows,
        json!([{"name": "a0"}, {"name": "a1"}, {"name": "a3"}])
    );
    // Our fields are known by our name.
    let managers = person.configmap("a1")?["metadata"]["managedFields"].to_string();
    assert!(managers.contains(r#""manager":"kybern/sql""#), "{managers}");
    Ok(())
}

#[test]
fn paths_of_lists_status_and_whole_objects_are_written() -> Result<()> {
    let person = Person::new("operate-paths")?;
    let applied = person.yes(
        r#"APPLY '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "one"}, {"name": "b", "image": "two"}]}}'"#,
    )?;
    assert_eq!(applied.outcomes(), ["p: applied"]);
    let set = person.yes("UPDATE pods SET spec.containers[1].image = 'three' WHERE name = 'p'")?;
    assert_eq!(set.outcomes(), ["p: updated"]);
    let set = person.yes(
        "UPDATE pods SET status.phase = 'Running', status.message = 'set by hand' WHERE name = 'p'",
    )?;
    assert_eq!(set.outcomes(), ["p: updated"]);
    let client = person.scene.client();
    let pod = client.get(&person.scene.object("v1", "Pod", "p"))?;
    assert_eq!(pod["spec"]["containers"][1]["image"], "three");
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["message"]),
        (&json!("Running"), &json!("set by hand"))
    );
    let both = person.run(&[
        "--yes",
        "UPDATE pods SET status.phase = 'Failed', labels['a'] = 'b' ALL ROWS",
    ])?;
    assert_eq!(both.code, Some(2));
    assert!(
        both.said
            .contains("status of core.pods is written apart from the rest"),
        "{}",
        both.said
    );
    // What the schema does not allow is known before anything is sent.
    let wrong = person.run(&[
        "--yes",
        "UPDATE pods SET spec.terminationGracePeriodSeconds = 'soon' ALL ROWS",
    ])?;
    assert!(
        wrong.said.contains("spec.terminationGracePeriodSeconds of"),
        "{}",
        wrong.said
    );
    assert!(
        wrong
            .said
            .contains("the schema wants an integer there, not text that is none"),
        "{}",
        wrong.said
    );
    // Fields that the kind does not have are not dropped in silence.
    let unknown = person.run(&["--yes", "UPDATE pods SET spec.bogus = 'x' ALL ROWS"])?;
    assert_eq!(
        (unknown.code, unknown.outcomes()),
        (Some(1), vec!["p: invalid".to_owned()]),
        "{}",
        unknown.rows
    );
    assert!(
        unknown.rows.to_string().contains("spec.bogus"),
        "{}",
        unknown.rows
    );
    let twice = person.run(&["--yes", r#"APPLY '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}}', '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}}'"#])?;
    assert!(
        twice
            .said
            .contains("ConfigMap t is in the statement twice: nothing was done"),
        "{}",
        twice.said
    );
    let status = person.run(&[
        "--yes",
        "INSERT INTO pods (name, status.phase) VALUES ('q', 'Running')",
    ])?;
    assert!(
        status.said.contains("a new Pod gets no status"),
        "{}",
        status.said
    );
    // An immutable field is the API server's to refuse.
    let immutable = person.run(&[
        "--yes",
        "UPDATE pods SET spec.nodeName = 'n', spec.hostname = 'h' ALL ROWS",
    ])?;
    assert_eq!(
        (immutable.code, immutable.outcomes()),
        (Some(1), vec!["p: invalid".to_owned()])
    );
    // A Pod without a node is deleted at once; its owner's other Pods are not asked about.
    let gone = person.yes("DELETE FROM pods ALL ROWS PROPAGATION FOREGROUND")?;
    assert!(
        ["p: deleted", "p: deleting"].contains(&gone.outcomes()[0].as_str()),
        "{:?}",
        gone.outcomes()
    );
    Ok(())
}

#[test]
fn nothing_is_written_but_by_a_statement_that_is_meant() -> Result<()> {
    let person = Person::new("operate-quiet")?;
    person.configmaps(5)?;
    let refused: [(&[&str], i32, &str); 9] = [
        (
            &["DELETE FROM configmaps ALL ROWS"],
            2,
            "give --yes if that is meant",
        ),
        (
            &["--yes", "DELETE FROM configmaps"],
            2,
            "DELETE without WHERE would be about every object",
        ),
        (
            &[
                "--yes",
                "--max-rows",
                "2",
                "DELETE FROM configmaps WHERE name LIKE 'a%'",
            ],
            2,
            "is about 5 objects; at most 2 may be changed: nothing was done",
        ),
        (
            &["--yes", "EXPLAIN ANALYZE DELETE FROM configmaps ALL ROWS"],
            2,
            "takes VERBOSE and nothing else",
        ),
        (
            &["--yes", "PREPARE x AS DELETE FROM configmaps ALL ROWS"],
            2,
            "there are no transactions",
        ),
        (
            &["--yes", "BEGIN; DELETE FROM configmaps ALL ROWS; ROLLBACK"],
            2,
            "there are no transactions",
        ),
        (
            &[
                "--yes",
                "DELETE FROM configmaps WHERE name LIKE 'a%' LIMIT 1",
            ],
            2,
            "DELETE has no LIMIT",
        ),
        (
            &[
                "--yes",
                "DELETE FROM configmaps WHERE data['n']::int / 0 > 1",
            ],
            2,
            "ivide by zero",
        ),
        (
            &["--yes", "TRUNCATE configmaps"],
            2,
            "write DELETE FROM ... ALL ROWS",
        ),
    ];
    let ((), writes) = person.writes(|| {
        for (arguments, code, words) in refused {
            let ran = person.run(arguments)?;
            assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.said);
            assert!(ran.said.contains(words), "{arguments:?}: {}", ran.said);
        }
        for quiet in [
            "EXPLAIN DELETE FROM configmaps ALL ROWS",
            "EXPLAIN VERBOSE UPDATE configmaps SET data['n'] = '9' ALL ROWS",
            "DELETE FROM configmaps WHERE false",
            "DELETE FROM configmaps WHERE name IN (SELECT name FROM configmaps WHERE false)",
        ] {
            person.yes(quiet)?;
        }
        Ok(())
    })?;
    assert_eq!(writes, 0);
    // A dry run is asked of the API server, which keeps nothing.
    let dry = person
        .run(&["DRY RUN UPDATE configmaps SET data['n'] = 'x' WHERE labels['parity'] = 'odd'"])?;
    assert_eq!(dry.outcomes(), ["a1: updated", "a3: updated"]);
    assert_eq!(dry.rows[0]["changes"], "data.n: \"1\" -> \"x\"");
    let dry = person.run(&["DRY RUN DELETE FROM configmaps WHERE name LIKE 'a%'"])?;
    assert_eq!(dry.rows.as_array().map(Vec::len), Some(5));
    let numbers = person
        .run(&["SELECT data['n'] AS n FROM configmaps WHERE name LIKE 'a_' ORDER BY name"])?;
    let wanted: Vec<Value> = (0..5).map(|n| json!({"n": n.to_string()})).collect();
    assert_eq!(numbers.rows, json!(wanted));
    Ok(())
}

#[test]
fn rows_that_ask_for_different_values_are_an_error_and_equal_ones_are_not() -> Result<()> {
    let person = Person::new("operate-join")?;
    person.configmaps(3)?;
    let differ = person.run(&["--yes", "UPDATE configmaps c SET data['of'] = o.name FROM configmaps o WHERE c.name = 'a0' AND o.name LIKE 'a_'"])?;
    assert_eq!(differ.code, Some(2), "{}", differ.said);
    assert!(
        differ
            .said
            .contains("/a0 stands beside several rows that give it different values"),
        "{}",
        differ.said
    );
    let equal = person.yes("UPDATE configmaps c SET data['of'] = 'x' FROM configmaps o WHERE c.name = 'a0' AND o.name LIKE 'a_'")?;
    assert_eq!(equal.outcomes(), ["a0: updated"]);
    let using = person.yes("DELETE FROM configmaps c USING configmaps o WHERE o.name LIKE 'a_' AND c.name = 'a' || ((o.data['n']::int + 1)::text) AND o.name = 'a1'")?;
    assert_eq!(using.outcomes(), ["a2: deleted"]);
    Ok(())
}

#[test]
fn a_person_at_a_terminal_is_shown_the_objects_and_asked() -> Result<()> {
    let person = Person::new("operate-ask")?;
    person.configmaps(2)?;
    let secret = Object::new("v1", "Secret", &person.scene.namespace, "s");
    person.scene.client().create(&json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": person.scene.namespace, "name": "s"}, "stringData": {"key": "old"}}))?;
    let ask = |statement: &str, shown: &[&str], answer: &str| -> Result<String> {
        let mut command = person.asked(&[statement])?;
        command.env("TERM", "xterm");
        let options = Options::new()
            .timeout_ms(Some(20_000))
            .strip_ansi_escape_codes(true);
        let mut session = spawn_with_options(command, options)?;
        for words in shown {
            session.exp_string(words)?;
        }
        session.exp_string("[y/N] ")?;
        session.send(answer)?;
        session.flush()?;
        Ok(session.exp_eof()?)
    };
    let namespace = &person.scene.namespace;
    let statement = "UPDATE configmaps SET data['n'] = '7' WHERE name LIKE 'a_'";
    let first = format!("{namespace}/a0");
    let shown = [
        "UPDATE core.configmaps: 2 objects",
        &first,
        "data.n: \"0\" -> \"7\"",
        "Change 2 objects?",
    ];
    let (said, writes) = person.writes(|| ask(statement, &shown, "n\r"))?;
    assert!(said.contains("cancelled") && writes == 0, "{said}");
    let (said, writes) = person.writes(|| ask(statement, &shown, "y\r"))?;
    assert!(said.contains("updated 2") && writes == 2, "{said}");
    let said = ask(
        "UPDATE secrets SET data['key'] = 'bmV3' WHERE name = 's'",
        &["data.key: *** -> ***"],
        "yes\r",
    )?;
    assert!(
        said.contains("updated 1") && !said.contains("bmV3"),
        "{said}"
    );
    assert_eq!(person.scene.client().get(&secret)?["data"]["key"], "bmV3");
    // The API server quotes the whole Secret.
    let wrong = person.run(&[
        "--yes",
        "UPDATE secrets SET data['other'] = '!' WHERE name = 's'",
    ])?;
    assert_eq!(wrong.outcomes(), ["s: invalid"]);
    assert!(
        !format!("{}{}", wrong.rows, wrong.said).contains("bmV3"),
        "{}",
        wrong.rows
    );
    Ok(())
}
