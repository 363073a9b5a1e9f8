//! What statements that change objects mean, as the SELECT of their rows.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{ColumnShape, Found, Refused, Resolution, parse};

struct Tables(Vec<Arc<TableShape>>);

impl Tables {
    fn new() -> Self {
        let shape = |schema: &str, table: &str, of_objects: bool| {
            let column = |name: &str, root: &[&str], json: bool| ColumnShape {
                name: name.to_owned(),
                root: Some(Path::keys(root.iter().copied())),
                json,
                wildcard: true,
                selectable: name != "metadata",
            };
            Arc::new(TableShape {
                schema: schema.to_owned(),
                table: table.to_owned(),
                columns: vec![
                    column("uid", &["metadata", "uid"], false),
                    column("namespace", &["metadata", "namespace"], false),
                    column("name", &["metadata", "name"], false),
                    column("resource_version", &["metadata", "resourceVersion"], false),
                    ColumnShape {
                        root: None,
                        ..column("owner_uid", &[], false)
                    },
                    column("labels", &["metadata", "labels"], true),
                    column("spec", &["spec"], true),
                    column("status", &["status"], true),
                    column("data", &["data"], true),
                    column("object", &[], true),
                    column("metadata", &["metadata"], true),
                ],
                keyed_by_name: of_objects.then_some(true),
            })
        };
        Self(vec![
            shape("apps", "deployments", true),
            shape("core", "pods", true),
            shape("core", "configmaps", true),
            shape("kybern", "kinds", false),
        ])
    }
}

impl Names for Tables {
    fn resolve(&self, schema: Option<&str>, table: &str) -> Resolution {
        let found = self.0.iter().find(|shape| {
            shape.table == table && schema.is_none_or(|schema| shape.schema == schema)
        });
        match found {
            Some(shape) => Resolution::Table(Arc::clone(shape)),
            None => Resolution::Missing {
                nearest: Vec::new(),
            },
        }
    }

    fn is_text(&self, _: &TableShape, _: &Path) -> bool {
        true
    }

    fn inside(&self, _: Option<(&TableShape, &Path)>) -> &'static str {
        "path as text"
    }

    fn found(&self, _: &TableShape, _: &Path) -> Found {
        Found::Unknown
    }
}

fn lowered(sql: &str) -> Result<(Write, Lowered), StatementError> {
    let write = parse_write(sql)?;
    let lowered = write.lower(&Tables::new())?;
    Ok((write, lowered))
}

fn ok(sql: &str) -> (Write, Lowered) {
    lowered(sql).unwrap_or_else(|error| panic!("{sql}\n{}", error.render(sql)))
}

/// The SELECT, without what is the same for all.
fn rows(sql: &str) -> String {
    let keys = r#"SELECT "d"."uid" AS "uid", "d"."namespace" AS "namespace", "d"."name" AS "name", "d"."resource_version" AS "resource_version""#;
    ok(sql)
        .1
        .rows
        .query
        .to_string()
        .replace(keys, "SELECT KEYS")
}

fn fails(sql: &str) -> String {
    match lowered(sql) {
        Ok((_, lowered)) => panic!("{sql} became {}", lowered.rows.query),
        Err(error) => error.render(sql),
    }
}

#[test]
fn an_update_is_the_select_of_its_rows_and_their_values() {
    insta::assert_snapshot!(rows("UPDATE deployments d SET spec.replicas = 3, labels['a'] = d.name || 'x' WHERE d.spec.replicas > 1"), @r#"SELECT KEYS, (3) AS "value 1", ("d"."name" || 'x') AS "value 2" FROM "apps"."deployments" "d" WHERE ("d"."spec.replicas" > 1)"#);
    insta::assert_snapshot!(rows("UPDATE apps.deployments AS d SET spec.x = p.name FROM pods p, configmaps c WHERE p.spec.of = d.name AND c.name = p.name"), @r#"SELECT KEYS, "p"."name" AS "value 1" FROM "apps"."deployments" AS "d", "core"."pods" "p", "core"."configmaps" "c" WHERE ("p"."spec.of" = "d"."name" AND "c"."name" = "p"."name")"#);
    insta::assert_snapshot!(rows("WITH q AS (SELECT name FROM pods) UPDATE deployments d SET spec.x = (SELECT max(name) FROM q) ALL ROWS"), @r#"WITH "q" AS (SELECT "pods"."name" FROM "core"."pods" AS "pods") SELECT KEYS, ((SELECT max("q"."name") AS "max" FROM "q")) AS "value 1" FROM "apps"."deployments" "d""#);
    let (write, lowered) = ok(
        "UPDATE deployments SET spec.template.spec.containers[0].image = 'x', metadata.annotations['a/b'] = NULL WHERE name = 'a'",
    );
    let targets: Vec<String> = lowered.targets.iter().map(ToString::to_string).collect();
    assert_eq!(
        targets,
        [
            "spec.template.spec.containers[0].image",
            "metadata.annotations['a/b']"
        ]
    );
    assert_eq!(
        (write.verb(), write.mode(), write.keys()),
        (Verb::Update, Mode::Write, 4)
    );
}

#[test]
fn a_delete_is_the_select_of_its_rows() {
    insta::assert_snapshot!(rows("DELETE FROM deployments d WHERE d.name IN (SELECT name FROM pods)"), @r#"SELECT KEYS FROM "apps"."deployments" "d" WHERE ("d"."name" IN (SELECT "pods"."name" FROM "core"."pods" AS "pods"))"#);
    insta::assert_snapshot!(rows("DELETE FROM deployments AS d USING pods p JOIN configmaps c USING (name) WHERE p.name = d.name PROPAGATION ORPHAN RETURNING name"), @r#"SELECT KEYS FROM "apps"."deployments" AS "d", "core"."pods" "p" JOIN "core"."configmaps" "c" USING("name") WHERE ("p"."name" = "d"."name")"#);
    let (write, _) = ok("DELETE FROM deployments d ALL ROWS PROPAGATION foreground");
    assert_eq!(
        write.verb(),
        Verb::Delete {
            propagation: Propagation::Foreground
        }
    );
    assert!(write.returning().is_none());
}

#[test]
fn an_insert_is_its_own_query_and_an_apply_too() {
    insta::assert_snapshot!(ok("INSERT INTO configmaps (namespace, name, data['a']) VALUES ('x', 'y', '1'), ('x', 'z', '2') ON CONFLICT DO NOTHING RETURNING name").1.rows.query, @r#"VALUES ('x', 'y', '1'), ('x', 'z', '2')"#);
    insta::assert_snapshot!(ok("INSERT INTO configmaps (namespace, name) SELECT namespace, name || '-x' FROM pods ORDER BY name LIMIT 2").1.rows.query, @r#"SELECT "pods"."namespace", "pods"."name" || '-x' AS "column2" FROM "core"."pods" AS "pods" ORDER BY "pods"."name", 1, 2 LIMIT 2"#);
    insta::assert_snapshot!(ok("APPLY '{\"a\": 1}', '{}'").1.rows.query, @r#"VALUES ('{"a": 1}'), ('{}')"#);
    let (write, _) = ok("DRY RUN APPLY FORCE SELECT object FROM pods");
    assert_eq!(
        (write.verb(), write.mode()),
        (Verb::Apply { force: true }, Mode::DryRun)
    );
}

#[test]
fn traps_of_engines_that_plan_such_statements_themselves_are_none() {
    // A condition with a subquery is all there.
    assert!(
        rows("DELETE FROM deployments d WHERE d.name IN (SELECT name FROM pods WHERE name = 'a')")
            .contains("IN (SELECT")
    );
    // A mixed condition too.
    let mixed = rows(
        "DELETE FROM deployments d WHERE d.name = 'a' AND EXISTS (SELECT 1 FROM pods p WHERE p.name = d.name)",
    );
    assert!(mixed.contains("'a'") && mixed.contains("EXISTS"), "{mixed}");
    // The condition of a subquery on the same table stays inside of it.
    let same = rows(
        "DELETE FROM deployments d WHERE d.name NOT IN (SELECT x.name FROM deployments x WHERE x.spec.keep = 'yes')",
    );
    assert!(
        same.contains(r#"WHERE "x"."spec.keep" = 'yes'))"#),
        "{same}"
    );
    // Nothing is all rows but ALL ROWS.
    assert!(rows("DELETE FROM deployments d WHERE false").contains("WHERE (false)"));
    for sql in [
        "DELETE FROM deployments",
        "UPDATE deployments SET spec.a = 1",
        "UPDATE deployments d SET spec.a = p.name FROM pods p",
    ] {
        assert!(
            fails(sql).contains("without WHERE would be about every object"),
            "{sql}"
        );
    }
    // Clauses that would be ignored are refused.
    for clause in [
        "LIMIT 1",
        "ORDER BY name",
        "OFFSET 1",
        "GROUP BY name",
        "HAVING true",
        "UNION SELECT 1",
    ] {
        let message = fails(&format!(
            "DELETE FROM deployments WHERE name = 'a' {clause}"
        ));
        assert!(message.contains("DELETE has no"), "{clause}: {message}");
        let message = fails(&format!(
            "UPDATE deployments SET spec.a = 1 WHERE name = 'a' {clause}"
        ));
        assert!(message.contains("UPDATE has no"), "{clause}: {message}");
    }
}

#[test]
fn only_one_door_lets_such_statements_in() {
    let writes = [
        "UPDATE deployments SET spec.a = 1 ALL ROWS",
        "DELETE FROM deployments ALL ROWS",
        "INSERT INTO configmaps (name) VALUES ('a')",
        "APPLY '{}'",
        "DRY RUN DELETE FROM deployments ALL ROWS",
        "EXPLAIN DELETE FROM deployments ALL ROWS",
        "EXPLAIN (VERBOSE) UPDATE deployments SET spec.a = 1 ALL ROWS",
        "WITH q AS (SELECT 1) DELETE FROM deployments ALL ROWS",
        " ; /* x */ delete from deployments all rows ;",
    ];
    for sql in writes {
        assert!(is_write(sql), "{sql}");
        assert!(parse(sql).is_err(), "{sql}");
        ok(sql);
    }
    let reads = [
        "SELECT 1",
        "EXPLAIN SELECT 1",
        "WITH update AS (SELECT 1) SELECT * FROM update",
        "VALUES (1)",
        "SELECT 'UPDATE'",
        "",
    ];
    for sql in reads {
        assert!(!is_write(sql), "{sql}");
    }
    // A write inside of a query is no query.
    for sql in [
        "WITH q AS (DELETE FROM deployments RETURNING name) SELECT * FROM q",
        "SELECT * FROM (DELETE FROM pods RETURNING name) x",
        "UPDATE deployments SET spec.a = (DELETE FROM pods RETURNING name) ALL ROWS",
        "WITH q AS (DELETE FROM pods RETURNING name) DELETE FROM deployments ALL ROWS",
    ] {
        assert!(
            parse(sql).and_then(|s| s.rewrite(&Tables::new())).is_err(),
            "{sql}"
        );
        assert!(lowered(sql).is_err(), "{sql}");
    }
    let error = parse_write("BEGIN").expect_err("no write");
    assert_eq!(error.refused, Some(Refused::Other));
}

#[test]
fn explain_runs_nothing() {
    assert_eq!(
        ok("EXPLAIN VERBOSE DELETE FROM deployments ALL ROWS")
            .0
            .mode(),
        Mode::Explain { verbose: true }
    );
    for sql in [
        "EXPLAIN ANALYZE DELETE FROM deployments ALL ROWS",
        "EXPLAIN (ANALYZE) DELETE FROM deployments ALL ROWS",
        "EXPLAIN DRY RUN DELETE FROM deployments ALL ROWS",
    ] {
        assert!(
            fails(sql).contains("takes VERBOSE and nothing else"),
            "{sql}"
        );
    }
}

#[test]
fn what_cannot_be_set_is_named() {
    insta::assert_snapshot!(fails("UPDATE deployments SET metadata.name = 'x' ALL ROWS"), @r#"
        error: metadata.name of an object that is there cannot be changed
        1 | UPDATE deployments SET metadata.name = 'x' ALL ROWS
          |                        ^
        cure: INSERT another object and DELETE this one
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET uid = 'x' ALL ROWS"), @r#"
        error: metadata.uid is given by the API server
        1 | UPDATE deployments SET uid = 'x' ALL ROWS
          |                        ^
        cure: leave it out
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET object = '{}' ALL ROWS"), @r#"
        error: whole objects cannot be set
        1 | UPDATE deployments SET object = '{}' ALL ROWS
          |                        ^
        cure: set their fields, or write APPLY
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET metadata = '{}' ALL ROWS"), @r#"
        error: metadata cannot be set as a whole
        1 | UPDATE deployments SET metadata = '{}' ALL ROWS
          |                        ^
        cure: set labels, annotations, finalizers or owner references
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET owner_uid = 'x' ALL ROWS"), @r#"
        error: owner_uid is no field of the objects: it cannot be set
        1 | UPDATE deployments SET owner_uid = 'x' ALL ROWS
          |                        ^
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spce.replicas = 3 ALL ROWS"), @r#"
        error: apps.deployments has no column spce
        1 | UPDATE deployments SET spce.replicas = 3 ALL ROWS
          |                        ^
        cure: did you mean spec?
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spec.a = 1, spec.a.b = 2 ALL ROWS"), @r#"
        error: spec.a and spec.a.b are set, one inside of the other
        1 | UPDATE deployments SET spec.a = 1, spec.a.b = 2 ALL ROWS
          |                                    ^
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spec.a = 1, spec.a = 2 ALL ROWS"), @r#"
        error: spec.a is set twice
        1 | UPDATE deployments SET spec.a = 1, spec.a = 2 ALL ROWS
          |                                    ^
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spec.a + 1 = 2 ALL ROWS"), @r#"
        error: spec.a + 1 is no path
        1 | UPDATE deployments SET spec.a + 1 = 2 ALL ROWS
          |                        ^
        cure: write a path: spec.replicas, labels['app'], spec.containers[0].image
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spec.replicas 3 ALL ROWS"), @r#"
        error: SET takes path = value
        1 | UPDATE deployments SET spec.replicas 3 ALL ROWS
          |                        ^
        cure: write SET spec.replicas = 3
        "#);
    insta::assert_snapshot!(fails("UPDATE kinds SET labels['a'] = 3 ALL ROWS"), @r#"
        error: kybern.kinds is no table of objects: nothing of it can be changed
        1 | UPDATE kinds SET labels['a'] = 3 ALL ROWS
          |        ^
        cure: change the objects themselves; kybern.kinds lists their tables
        "#);
    insta::assert_snapshot!(fails("INSERT INTO configmaps (metadata.uid) VALUES ('x')"), @r#"
        error: metadata.uid is given by the API server
        1 | INSERT INTO configmaps (metadata.uid) VALUES ('x')
          |                         ^
        cure: leave it out
        "#);
    insta::assert_snapshot!(fails("INSERT INTO configmaps VALUES ('x')"), @r#"
        error: INSERT does not say which fields it sets
        1 | INSERT INTO configmaps VALUES ('x')
          |                        ^
        cure: name them: INSERT INTO configmaps (namespace, name, data['a']) VALUES ...
        "#);
    insta::assert_snapshot!(fails("INSERT INTO configmaps (namespace, name) VALUES ('x')"), @r#"error: there are 2 columns to set and 1 values in each row"#);
    insta::assert_snapshot!(fails("INSERT INTO configmaps (name) VALUES ('x') ON CONFLICT (name) DO UPDATE SET name = 'y'"), @r#"
        error: ON CONFLICT can only DO NOTHING
        1 | INSERT INTO configmaps (name) VALUES ('x') ON CONFLICT (name) DO UPDATE SET name = 'y'
          |                                            ^
        cure: write APPLY to create objects or change those that are there
        "#);
    insta::assert_snapshot!(fails("WITH pods AS (SELECT 1 AS a) DELETE FROM pods ALL ROWS"), @r#"
        error: pods is a query of WITH: its rows are no objects
        1 | WITH pods AS (SELECT 1 AS a) DELETE FROM pods ALL ROWS
          |                                          ^
        cure: name the table, with its schema
        "#);
    insta::assert_snapshot!(fails("UPDATE deployments SET spec.a = 1) FROM (SELECT 1 WHERE true"), @r#"
        error: ) closes nothing
        1 | UPDATE deployments SET spec.a = 1) FROM (SELECT 1 WHERE true
          |                                  ^
        "#);
    insta::assert_snapshot!(fails("DELETE FROM deployments WHERE name = 'a' ALL ROWS"), @r#"
        error: ALL ROWS and WHERE exclude each other
        1 | DELETE FROM deployments WHERE name = 'a' ALL ROWS
          |                                          ^
        "#);
    insta::assert_snapshot!(fails("DELETE FROM deployments WHERE nam = 'a'"), @r#"
        error: there is no column nam
        1 | DELETE FROM deployments WHERE nam = 'a'
          |                               ^
        cure: did you mean name?
        "#);
}

#[test]
fn words_beside_dots_are_fields_and_no_clauses() {
    let (_, lowered) = ok(
        "UPDATE deployments SET spec.from = 1, spec.set = spec.where, spec.limit = 2 WHERE spec.returning IS DISTINCT FROM 'x' AND spec.order = 'y'",
    );
    assert_eq!(lowered.targets.len(), 3);
    let query = lowered.rows.query.to_string();
    assert!(query.contains("IS DISTINCT FROM 'x'"), "{query}");
}

#[test]
fn whether_the_version_is_read_is_known() {
    for (sql, reads) in [
        ("UPDATE deployments SET spec.a = 1 WHERE name = 'x'", false),
        (
            "UPDATE deployments SET spec.a = 1 WHERE metadata.resourceVersion = '5'",
            true,
        ),
        (
            "UPDATE deployments SET spec.a = 1 WHERE resource_version > 5",
            true,
        ),
        (
            "UPDATE deployments SET spec.a = object->>'x' ALL ROWS",
            true,
        ),
    ] {
        assert_eq!(ok(sql).0.reads_version(), reads, "{sql}");
    }
}

proptest! {
    /// Whatever is written, reading it ends, and what comes in as a write is refused as a query.
    #[test]
    fn a_write_is_never_a_query(words in proptest::collection::vec(prop_oneof![
        Just("UPDATE"), Just("DELETE"), Just("INSERT"), Just("INTO"), Just("APPLY"), Just("DRY RUN"),
        Just("EXPLAIN"), Just("WITH q AS (SELECT 1)"), Just("FROM"), Just("deployments"), Just("d"),
        Just("SET"), Just("spec.a"), Just("="), Just("1"), Just("WHERE"), Just("true"), Just("ALL ROWS"),
        Just("RETURNING"), Just("name"), Just("("), Just(")"), Just(","), Just("VALUES"), Just("SELECT"),
        Just(";"), Just("'x'"), Just("USING"), Just("LIMIT"), Just("--\n"),
    ], 0..14)) {
        let sql = words.join(" ");
        let write = lowered(&sql);
        if write.is_ok() {
            prop_assert!(is_write(&sql), "{sql}");
            prop_assert!(parse(&sql).is_err(), "{sql}");
            let upper = sql.to_uppercase();
            let about_all = upper.contains("ALL ROWS") || upper.contains("WHERE") || upper.contains("APPLY") || upper.contains("INSERT");
            prop_assert!(about_all, "{sql}");
        }
    }
}
