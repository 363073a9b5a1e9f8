//! Behaviour of the rewriter, as SQL in and SQL out.

use std::sync::Arc;

use crate::{
    ColumnShape, Found, Names, Path, Resolution, Segment, StatementError, TableShape, nearest,
    parse,
};

/// A catalog of four tables; `events` is in two schemas.
struct Tables(Vec<Arc<TableShape>>);

impl Tables {
    fn new() -> Self {
        let tables = [
            ("apps", "deployments"),
            ("core", "services"),
            ("core", "events"),
            ("events_k8s_io", "events"),
        ];
        Self(
            tables
                .iter()
                .map(|(schema, table)| Arc::new(shape(schema, table)))
                .collect(),
        )
    }
}

fn shape(schema: &str, table: &str) -> TableShape {
    let plain = |name: &str, root: &[&str]| ColumnShape {
        name: name.to_owned(),
        root: (!root.is_empty()).then(|| Path::keys(root.iter().copied())),
        json: false,
        wildcard: true,
        selectable: true,
    };
    let json = |name: &str, root: &[&str], wildcard: bool| ColumnShape {
        name: name.to_owned(),
        root: Some(Path::keys(root.iter().copied())),
        json: true,
        wildcard,
        selectable: true,
    };
    let mut metadata = json("metadata", &["metadata"], false);
    metadata.selectable = false;
    TableShape {
        schema: schema.to_owned(),
        table: table.to_owned(),
        columns: vec![
            plain("namespace", &["metadata", "namespace"]),
            plain("name", &["metadata", "name"]),
            plain("uid", &["metadata", "uid"]),
            plain("owner_uid", &[]),
            json("labels", &["metadata", "labels"], true),
            json("annotations", &["metadata", "annotations"], false),
            json("spec", &["spec"], true),
            json("status", &["status"], true),
            json("roleRef", &["roleRef"], false),
            json("object", &[], false),
            metadata,
        ],
        keyed_by_name: Some(table != "events"),
    }
}

impl Names for Tables {
    fn resolve(&self, schema: Option<&str>, table: &str) -> Resolution {
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|t| t.table == table && schema.is_none_or(|schema| t.schema == schema))
            .collect();
        match found.as_slice() {
            [one] => Resolution::Table(Arc::clone(one)),
            [] => Resolution::Missing {
                nearest: nearest(table, self.0.iter().map(|t| t.table.as_str())),
            },
            many => Resolution::Ambiguous(many.iter().map(|t| t.full_name()).collect()),
        }
    }

    fn is_text(&self, _: &TableShape, path: &Path) -> bool {
        *path != Path::keys(["spec", "replicas"])
    }

    fn inside(&self, at: Option<(&TableShape, &Path)>) -> &'static str {
        match at {
            Some((_, path)) if *path == Path::keys(["spec", "replicas"]) => "path as bigint",
            _ => "path as text",
        }
    }

    fn found(&self, _: &TableShape, path: &Path) -> Found {
        match path.to_string().as_str() {
            "spec.containers" => Found::List,
            "metadata.labels" => Found::Object,
            "spec.replicas" => Found::Scalar,
            _ => Found::Unknown,
        }
    }
}

fn rewrite(sql: &str) -> Result<String, StatementError> {
    let rewritten = parse(sql)?.rewrite(&Tables::new())?;
    Ok(rewritten.query.to_string())
}

fn ok(sql: &str) -> String {
    rewrite(sql).unwrap_or_else(|error| panic!("{sql}\n{}", error.render(sql)))
}

/// The part of the answer after the first occurrence of `after`.
fn part(sql: &str, after: &str) -> String {
    let text = ok(sql);
    text.split_once(after)
        .unwrap_or_else(|| panic!("no {after} in {text}"))
        .1
        .to_owned()
}

fn fails(sql: &str) -> String {
    match rewrite(sql) {
        Ok(text) => panic!("{sql} became {text}"),
        Err(error) => error.render(sql),
    }
}

#[test]
fn every_spelling_of_a_path_is_one_column() {
    for (written, column) in [
        ("spec.replicas", "spec.replicas"),
        ("d.spec.replicas", "spec.replicas"),
        ("D.SPEC.replicas", "spec.replicas"),
        ("apps.deployments.spec.x", ""),
        (
            "spec.template.spec.containers[0].image",
            "spec.template.spec.containers[0].image",
        ),
        (
            "spec['template'].spec['containers'][0]['image']",
            "spec.template.spec.containers[0].image",
        ),
        ("spec->'a'->>'b'", "spec.a.b"),
        ("(spec->'a')->>'b'", "spec.a.b"),
        (
            "spec->'containers'->0->>'image'",
            "spec.containers[0].image",
        ),
        ("d.spec.a->>'b'", "spec.a.b"),
        ("spec#>>'{a,0,\"b c\"}'", "spec.a[0]['b c']"),
        ("spec#>'{a,b}'", "spec.a.b"),
        ("labels['app']", "labels.app"),
        ("labels.app", "labels.app"),
        (
            "labels->>'app.kubernetes.io/name'",
            "labels['app.kubernetes.io/name']",
        ),
        ("metadata.labels['a.b/c']", "labels['a.b/c']"),
        (
            "metadata.managedFields[0].manager",
            "metadata.managedFields[0].manager",
        ),
        ("metadata.name", "name"),
        ("object->'metadata'->>'namespace'", "namespace"),
        ("object.spec.replicas", "spec.replicas"),
        ("object->>'kind'", "kind"),
        ("roleref.name", "roleRef.name"),
        ("\"roleRef\".name", "roleRef.name"),
        ("status.Phase", "status.Phase"),
        ("spec.\"Quoted\".x", "spec.Quoted.x"),
        ("metadata.labels", "labels"),
        ("NAME", "name"),
    ] {
        if column.is_empty() {
            continue;
        }
        let sql = format!("SELECT 1 FROM deployments d WHERE {written} IS NULL");
        let text = part(&sql, "WHERE ")
            .replace("CAST(", "")
            .replace(" AS TEXT)", "");
        assert_eq!(text, format!("\"d\".\"{column}\" IS NULL"), "{written}");
    }
}

#[test]
fn words_of_the_grammar_are_fields() {
    for word in [
        "user",
        "type",
        "from",
        "select",
        "where",
        "interval",
        "case",
        "end",
        "group",
        "order",
        "table",
        "values",
        "current_user",
        "session_user",
        "date",
        "timestamp",
        "time",
        "cast",
        "exists",
        "not",
        "null",
        "true",
        "array",
        "row",
        "limit",
        "default",
        "position",
        "extract",
        "trim",
        "left",
        "right",
        "in",
        "is",
        "and",
    ] {
        let text = ok(&format!(
            "SELECT d.spec.{word} FROM deployments d WHERE spec.{word} = 'x' ORDER BY spec.{word}.{word}"
        ));
        let column = format!("\"d\".\"spec.{word}\"");
        assert!(text.contains(&format!("SELECT {column} FROM")), "{text}");
        assert!(text.contains(&format!("WHERE {column} = 'x'")), "{text}");
        assert!(
            text.contains(&format!("\"d\".\"spec.{word}.{word}\"")),
            "{text}"
        );
    }
}

#[test]
fn what_is_read_is_reported() {
    let sql = "SELECT d.name, spec.replicas FROM apps.deployments d WHERE labels['app'] = 'x' AND metadata.uid = $2";
    let rewritten = parse(sql).unwrap().rewrite(&Tables::new()).unwrap();
    let [table] = rewritten.tables.as_slice() else {
        panic!("one table")
    };
    assert_eq!(table.alias, "d");
    assert_eq!(table.shape.full_name(), "apps.deployments");
    assert_eq!(table.columns.iter().collect::<Vec<_>>(), ["name", "uid"]);
    let paths: Vec<_> = table
        .paths
        .iter()
        .map(|(name, path)| format!("{name} = {path}"))
        .collect();
    assert_eq!(
        paths,
        [
            "labels.app = metadata.labels.app",
            "spec.replicas = spec.replicas"
        ]
    );
    assert_eq!(rewritten.output, ["name", "spec.replicas"]);
    assert_eq!(rewritten.parameters, 2);
    assert!(!rewritten.ordered);
}

#[test]
fn text_of_a_typed_path_is_a_cast_and_keeps_its_name() {
    assert_eq!(
        ok("SELECT spec->>'replicas', spec->'replicas' FROM deployments"),
        "SELECT CAST(\"deployments\".\"spec.replicas\" AS TEXT) AS \"spec.replicas\", \
         \"deployments\".\"spec.replicas\" AS \"spec.replicas_2\" FROM \"apps\".\"deployments\" AS \"deployments\""
    );
}

#[test]
fn a_cast_of_an_unknown_path_gives_null_on_mismatch() {
    let text = ok("SELECT spec.size::int, name::int, (spec->>'replicas')::int FROM deployments");
    assert!(
        text.contains("TRY_CAST(\"deployments\".\"spec.size\" AS INT) AS \"spec.size\""),
        "{text}"
    );
    assert!(
        text.contains("\"deployments\".\"name\"::INT AS \"name\""),
        "{text}"
    );
    assert!(
        text.contains("CAST(\"deployments\".\"spec.replicas\" AS TEXT)::INT"),
        "{text}"
    );
}

#[test]
fn wildcards_are_spelled_out() {
    assert_eq!(
        ok("SELECT * FROM deployments"),
        "SELECT \"deployments\".\"namespace\", \"deployments\".\"name\", \"deployments\".\"uid\", \
         \"deployments\".\"owner_uid\", \"deployments\".\"labels\", \"deployments\".\"spec\", \
         \"deployments\".\"status\" FROM \"apps\".\"deployments\" AS \"deployments\""
    );
    assert_eq!(
        ok(
            "SELECT x.*, s.name FROM (SELECT name AS n, count(*) FROM deployments GROUP BY 1) x, services s"
        ),
        "SELECT \"x\".\"n\", \"x\".\"count\", \"s\".\"name\" FROM (SELECT \"deployments\".\"name\" AS \"n\", \
         count(*) AS \"count\" FROM \"apps\".\"deployments\" AS \"deployments\" GROUP BY 1) \"x\", \
         \"core\".\"services\" \"s\""
    );
    assert!(fails("SELECT * EXCEPT (name) FROM deployments").contains("error"));
    assert!(fails("SELECT nope.* FROM deployments").contains("no table nope"));
    assert!(fails("SELECT *").contains("needs a FROM"));
}

#[test]
fn subqueries_see_outward() {
    let text = ok(
        "SELECT name FROM deployments d WHERE EXISTS (SELECT 1 FROM services s WHERE s.spec.selector.app = d.labels['app'] AND spec.type = 'x' AND d.spec.replicas > 1)",
    );
    assert!(
        text.contains("\"s\".\"spec.selector.app\" = \"d\".\"labels.app\""),
        "{text}"
    );
    assert!(text.contains("\"s\".\"spec.type\" = 'x'"), "{text}");
    assert!(text.contains("\"d\".\"spec.replicas\" > 1"), "{text}");
    let text = ok("SELECT name FROM deployments WHERE name IN (SELECT name FROM services)");
    assert!(text.contains("IN (SELECT \"services\".\"name\""), "{text}");
    // The inner table hides the outer one of the same name.
    let text =
        ok("SELECT (SELECT max(x.name) FROM services x WHERE x.uid = 'a') FROM deployments x");
    assert!(text.contains("\"x\".\"uid\" = 'a'"), "{text}");
}

#[test]
fn derived_relations_give_their_columns_only() {
    let text = ok(
        "WITH w AS (SELECT name, spec.replicas AS r, spec.paused FROM deployments) SELECT r, w.name, W.R, w.spec.paused FROM w",
    );
    assert!(
        text.ends_with(
            "SELECT \"w\".\"r\", \"w\".\"name\", \"w\".\"r\" AS \"r_2\", \"w\".\"spec.paused\" FROM \"w\""
        ),
        "{text}"
    );
    insta::assert_snapshot!(fails("SELECT x.spec.size FROM (SELECT max(spec) AS spec FROM deployments) x"), @r"
    error: a path cannot enter a column of the subquery x
    1 | SELECT x.spec.size FROM (SELECT max(spec) AS spec FROM deployments) x
      |        ^
    cure: select the path inside the subquery and name it
    ");
    assert!(
        fails("WITH w AS (SELECT spec.replicas AS r FROM deployments) SELECT r->>'a' FROM w")
            .contains("select the path inside")
    );
    assert!(
        fails("WITH w AS (SELECT name FROM deployments) SELECT nane FROM w")
            .contains("did you mean name?")
    );
    assert!(
        fails("SELECT x.b FROM (SELECT name AS a FROM deployments) x").contains("no column x.b")
    );
    let text = ok("SELECT b FROM (VALUES (1, 2)) v (a, b)");
    assert!(text.contains("SELECT \"v\".\"b\""), "{text}");
    // LATERAL sees what stands beside it, others do not.
    ok(
        "SELECT l.n FROM deployments d, LATERAL (SELECT count(*) AS n FROM services s WHERE s.name = d.name) l",
    );
    assert!(fails("SELECT l.n FROM deployments d, (SELECT count(*) AS n FROM services s WHERE s.name = d.name) l").contains("no column d.name"));
}

#[test]
fn ambiguity_is_an_error_with_the_ways_out() {
    insta::assert_snapshot!(fails("SELECT d.name\nFROM deployments d JOIN services s ON spec.replicas = 1"), @r"
    error: column spec.replicas is ambiguous
    2 | FROM deployments d JOIN services s ON spec.replicas = 1
      |                                       ^
    cure: write d.spec.replicas or s.spec.replicas
    ");
    insta::assert_snapshot!(fails("SELECT * FROM events"), @r"
    error: table events is ambiguous
    1 | SELECT * FROM events
      |               ^
    cure: write core.events or events_k8s_io.events
    ");
    insta::assert_snapshot!(fails("SELECT * FROM deployment"), @r"
    error: there is no table deployment
    1 | SELECT * FROM deployment
      |               ^
    cure: did you mean deployments?
    ");
    insta::assert_snapshot!(fails("SELECT nmae FROM deployments"), @r"
    error: there is no column nmae
    1 | SELECT nmae FROM deployments
      |        ^
    cure: did you mean name?
    ");
    assert!(fails("SELECT 1 FROM deployments, deployments").contains("in FROM twice"));
    assert!(fails("SELECT replicas FROM deployments").contains("a path begins with a column"));
    assert!(fails("SELECT name.x FROM deployments").contains("has no fields"));
}

#[test]
fn joins() {
    let text = ok("SELECT namespace, d.name FROM deployments d JOIN services s USING (namespace)");
    assert!(
        text.contains("SELECT \"d\".\"namespace\", \"d\".\"name\""),
        "{text}"
    );
    assert!(text.contains("USING(\"namespace\")"), "{text}");
    let all = ok("SELECT * FROM deployments d JOIN services s USING (namespace)");
    assert_eq!(all.matches("\"namespace\"").count(), 2, "{all}");
    assert!(
        fails("SELECT 1 FROM deployments d NATURAL JOIN services s")
            .contains("NATURAL JOIN is refused")
    );
    assert!(
        fails("SELECT 1 FROM deployments d FULL JOIN services s USING (name)").contains("write ON")
    );
    assert!(
        fails("SELECT 1 FROM deployments d JOIN services s USING (nope)").contains("both sides")
    );
    ok(
        "SELECT d.name FROM (deployments d LEFT JOIN services s ON s.name = d.spec.a) CROSS JOIN core.events e",
    );
}

#[test]
fn order_group_and_limit() {
    assert_eq!(
        part(
            "SELECT name AS n, uid FROM deployments ORDER BY n DESC, spec.a",
            "ORDER BY "
        ),
        "1 DESC, \"deployments\".\"spec.a\", 2"
    );
    assert_eq!(
        part("SELECT name, 1 FROM deployments ORDER BY 1", "ORDER BY "),
        "1, 2"
    );
    assert_eq!(
        part(
            "SELECT name FROM deployments ORDER BY name LIMIT 2",
            "ORDER BY "
        ),
        "1 LIMIT 2"
    );
    assert_eq!(
        part(
            "SELECT labels['app'] AS a, count(*) FROM deployments GROUP BY a HAVING count(*) > 1",
            "GROUP BY "
        ),
        "1 HAVING count(*) > 1"
    );
    assert_eq!(
        part(
            "SELECT labels['app'] AS name, count(*) FROM deployments GROUP BY name",
            "GROUP BY "
        ),
        "\"deployments\".\"name\""
    );
    // Only where it chooses rows is the order of a subquery made total.
    assert!(
        ok("SELECT 1 FROM (SELECT name FROM deployments ORDER BY uid) x").contains("\"uid\") ")
    );
    assert!(
        ok("SELECT 1 FROM (SELECT name FROM deployments ORDER BY uid LIMIT 1) x")
            .contains("\"uid\", 1 LIMIT 1")
    );
    assert_eq!(
        part(
            "SELECT name FROM deployments UNION SELECT name FROM services ORDER BY name",
            "ORDER BY "
        ),
        "1"
    );
    assert!(
        fails("SELECT name FROM deployments UNION SELECT name FROM services ORDER BY spec.a")
            .contains("output column")
    );
    let limit = |sql: &str| {
        parse(sql)
            .unwrap()
            .rewrite(&Tables::new())
            .unwrap()
            .arbitrary_limit
    };
    assert!(limit("SELECT name FROM deployments LIMIT 1"));
    assert!(limit(
        "SELECT 1 FROM (SELECT name FROM deployments OFFSET 1) x"
    ));
    assert!(!limit("SELECT name FROM deployments ORDER BY 1 LIMIT $1"));
}

#[test]
fn names_of_output_columns_are_unique() {
    let output = |sql: &str| parse(sql).unwrap().rewrite(&Tables::new()).unwrap().output;
    assert_eq!(
        output(
            "SELECT count(*), COUNT(name), 1 + 1, spec.a::int, CASE WHEN true THEN 1 END FROM deployments"
        ),
        ["count", "count_2", "column3", "spec.a", "case"]
    );
    assert_eq!(
        output("SELECT *, name, d.name, spec.a, spec->>'a' FROM deployments d")[6..],
        ["status", "name_2", "name_3", "spec.a", "spec.a_2"]
    );
    assert_eq!(
        output("SELECT d.name, s.name FROM deployments d, services s"),
        ["name", "name_2"]
    );
    assert!(fails("SELECT name, uid AS name FROM deployments").contains("called name"));
}

/// The parser takes all that follows IS DISTINCT FROM as its right side.
#[test]
fn distinct_from_binds_like_a_comparison() {
    let condition = |written: &str| {
        part(
            &format!("SELECT 1 FROM deployments d WHERE {written}"),
            "WHERE ",
        )
        .replace("\"d\".", "")
        .replace('"', "")
    };
    for (written, read) in [
        (
            "name IS DISTINCT FROM uid AND true",
            "name IS DISTINCT FROM uid AND true",
        ),
        (
            "true AND name IS DISTINCT FROM uid OR false",
            "true AND name IS DISTINCT FROM uid OR false",
        ),
        (
            "NOT name IS NOT DISTINCT FROM uid AND true",
            "NOT name IS NOT DISTINCT FROM uid AND true",
        ),
        (
            "name /* */ is\nnot distinct from uid || 'x'",
            "name IS NOT DISTINCT FROM uid || 'x'",
        ),
        (
            "(spec.is IS DISTINCT FROM spec.distinct)",
            "(spec.is IS DISTINCT FROM spec.distinct)",
        ),
    ] {
        assert_eq!(condition(written), read);
        // How the engine's copy of the parser groups it must not matter.
        let sql = format!("SELECT 1 FROM deployments d WHERE {written}");
        let query = parse(&sql).unwrap().rewrite(&Tables::new()).unwrap().query;
        let grouped = format!("{:?}", query.body);
        assert!(
            !grouped.contains("Overlaps") && !grouped.contains("Spaceship"),
            "{grouped}"
        );
    }
    let sql = "SELECT 1 FROM deployments d WHERE name IS DISTINCT FROM uid AND true";
    let query = parse(sql).unwrap().rewrite(&Tables::new()).unwrap().query;
    let sqlparser::ast::SetExpr::Select(select) = *query.body else {
        panic!("a SELECT");
    };
    assert!(
        matches!(
            select.selection,
            Some(sqlparser::ast::Expr::BinaryOp {
                op: sqlparser::ast::BinaryOperator::And,
                ..
            })
        ),
        "AND is outermost"
    );
    assert!(fails("SELECT name <=> uid FROM deployments").contains("IS DISTINCT FROM"));
    assert!(fails("SELECT name OVERLAPS uid FROM deployments").contains("not supported"));
}

/// One row at most by a key: the engine is told so by an aggregate.
#[test]
fn scalar_subqueries_on_a_key_are_single() {
    let is_max = |from_where: &str| {
        let sql = format!("SELECT (SELECT x.spec.a FROM {from_where}) FROM deployments d");
        ok(&sql).contains("max(\"x\".\"spec.a\")")
    };
    for yes in [
        "services x WHERE x.uid = d.owner_uid",
        "services x WHERE d.owner_uid = x.uid AND x.spec.b = 'c'",
        "services x WHERE (x.name = d.spec.a) AND d.namespace = x.namespace",
        "core.events x WHERE x.name = d.spec.node",
        "services x WHERE x.namespace = 'a' AND x.name = d.name",
    ] {
        assert!(is_max(yes), "{yes}");
    }
    for no in [
        "services x WHERE x.name = d.name",
        "services x WHERE x.name = d.name AND EXISTS (SELECT 1 FROM core.events x WHERE x.uid = 'a')",
        "services x WHERE x.uid = d.owner_uid OR x.name = d.name",
        "services x WHERE NOT (x.uid = d.owner_uid)",
        "services x WHERE x.uid = x.owner_uid",
        "services x WHERE x.owner_uid = d.uid",
        "services x, events_k8s_io.events e WHERE x.uid = d.owner_uid",
        "services x WHERE x.uid = d.owner_uid ORDER BY 1",
        "services x WHERE x.uid = d.owner_uid GROUP BY x.spec.a",
        // Equal as numbers are texts that differ.
        "core.events x WHERE x.name = d.spec.replicas",
        "core.events x WHERE x.name = 1",
    ] {
        assert!(!is_max(no), "{no}");
    }
    let text =
        ok("SELECT (SELECT max(x.name) FROM services x WHERE x.uid = d.uid) FROM deployments d");
    assert!(!text.contains("max(max("), "{text}");
    let text = ok(
        "SELECT 1 FROM deployments d WHERE name > ANY (SELECT x.name FROM services x WHERE x.uid = d.uid)",
    );
    assert!(!text.contains("max("), "{text}");
}

/// The subquery of ANY and ALL gets a name of its own only where both sides share one.
#[test]
fn the_subquery_of_any_is_set_apart() {
    let text = ok("SELECT 1 FROM deployments WHERE name > ALL (SELECT name FROM deployments)");
    assert!(text.contains("AS \"any 1\""), "{text}");
    let text = ok("SELECT 1 FROM deployments d WHERE d.name > ALL (SELECT name FROM deployments)");
    assert!(!text.contains("any 1"), "{text}");
}

#[test]
fn functions_and_windows() {
    let text = ok(
        "SELECT row_number() OVER (PARTITION BY namespace ORDER BY spec.a), sum(spec.b::int) FILTER (WHERE spec.c = 'x') OVER w FROM deployments WINDOW w AS (ORDER BY spec.d)",
    );
    for column in ["namespace", "spec.a", "spec.b", "spec.c", "spec.d"] {
        assert!(
            text.contains(&format!("\"deployments\".\"{column}\"")),
            "{text}"
        );
    }
    assert!(fails("SELECT pg_catalog.version() FROM deployments").contains("no schema"));
    assert!(fails("SELECT count(deployments.*) FROM deployments").contains("argument"));
    assert!(fails("SELECT * FROM generate_series(1, 10)").contains("no table function"));
}

#[test]
fn what_nobody_read_is_refused() {
    for sql in [
        "SELECT name INTO x FROM deployments",
        "SELECT name FROM deployments FOR UPDATE",
        "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT * FROM r",
        "SELECT spec[1:2] FROM deployments",
        "SELECT spec->name FROM deployments",
        "SELECT spec->>$1 FROM deployments",
        "SELECT spec[name] FROM deployments",
        "SELECT spec->>-1 FROM deployments",
        "SELECT $1001",
        "SELECT * FROM deployments TABLESAMPLE SYSTEM (1)",
        "SELECT * FROM a.b.c",
        "WITH x AS (DELETE FROM deployments RETURNING name) SELECT * FROM x",
        "SELECT name FROM deployments d (a, b)",
        "SELECT FROM deployments",
        "SELECT lower(name => 'x')",
        "SELECT ('{}'::json)->>'a'",
        "SELECT spec#>>'{a,' FROM deployments",
    ] {
        fails(sql);
    }
}

#[test]
fn long_chains_are_walked_without_recursion() {
    let chain = vec!["name = 'x'"; 120].join(" OR ");
    ok(&format!("SELECT name FROM deployments WHERE {chain}"));
    let chain = vec!["1"; 30_000].join("+");
    assert!(fails(&format!("SELECT {chain}")).contains("more than"));
    let postfix = format!("SELECT name{} FROM deployments", "::text".repeat(9_000));
    assert!(fails(&postfix).contains("more than"));
    let sets = vec!["SELECT 1"; 3_000].join("\nUNION ");
    assert!(fails(&sets).contains("set operations"));
    let nested = format!("SELECT {}1{}", "(1+".repeat(400), ")".repeat(400));
    fails(&nested);
}

#[test]
fn virtual_names_of_different_paths_differ() {
    let mut table = shape("x", "y");
    table.columns.retain(|column| column.name != "spec");
    let mut seen = std::collections::BTreeMap::new();
    let keys = [
        "metadata",
        "labels",
        "name",
        "spec",
        "object",
        "ownerReferences",
        "a.b",
    ];
    let steps: Vec<Segment> = keys
        .iter()
        .map(|k| Segment::Key((*k).to_owned()))
        .chain([Segment::Index(0)])
        .collect();
    for a in &steps {
        for b in &steps {
            for c in &steps {
                let path = Path(vec![a.clone(), b.clone(), c.clone()]);
                let name = table.virtual_name(&path);
                if let Some(other) = seen.insert(name.clone(), path.clone()) {
                    panic!("{path} and {other} are both {name}");
                }
            }
        }
    }
}

#[test]
fn a_path_below_json_of_a_subquery_is_a_function_of_it() {
    let below = |sql: &str| part(sql, ") SELECT ");
    assert_eq!(
        below(
            "WITH w AS (SELECT spec AS s FROM deployments) SELECT w.s.replicas, s->'a'->>'b c' FROM w"
        ),
        "\"path as bigint\"(\"w\".\"s\", 'replicas') AS \"s.replicas\", \
         \"path as text\"(\"w\".\"s\", 'a[''b c'']') AS \"s.a['b c']\" FROM \"w\""
    );
    // Of other places it is text; where one of them is no JSON there is no path.
    let union =
        "WITH w AS (SELECT spec AS s FROM deployments UNION SELECT status FROM deployments)";
    assert_eq!(
        below(&format!("{union} SELECT w.s.replicas FROM w")),
        "\"path as text\"(\"w\".\"s\", 'replicas') AS \"s.replicas\" FROM \"w\""
    );
    let scalar = union.replace("status", "spec.replicas");
    assert!(fails(&format!("{scalar} SELECT w.s.a FROM w")).contains("select the path inside"));
    assert!(fails("SELECT \"path as text\"(name, 'x') FROM deployments").contains("no function"));
}

#[test]
fn the_elements_of_a_list_are_columns_of_its_table() {
    assert_eq!(
        ok(
            "SELECT d.name, c.image, n FROM deployments d CROSS JOIN UNNEST(d.spec.containers) \
            WITH ORDINALITY AS u(c, n), UNNEST(c.ports) AS p WHERE p.x = 1"
        ),
        "SELECT \"d\".\"name\", \"d\".\"spec.containers[*].image\" AS \"c.image\", \
         \"d\".\"spec.containers[*] ordinality\" AS \"n\" \
         FROM \"apps\".\"deployments, spec.containers[*], spec.containers[*].ports[*]\" \"d\" \
         WHERE \"d\".\"spec.containers[*].ports[*].x\" = 1"
    );
    let rewritten = parse(
        "SELECT c.image FROM deployments d JOIN UNNEST(d.spec.containers) AS c ON c.name = 'a' \
         LEFT JOIN UNNEST(d.status.all) AS s ON s.name = c.name WHERE true OR false",
    );
    let rewritten = rewritten.unwrap().rewrite(&Tables::new()).unwrap();
    let text = rewritten.query.to_string();
    assert!(
        text.ends_with("WHERE (true OR false) AND (\"d\".\"spec.containers[*].name\" = 'a')"),
        "{text}"
    );
    let [table] = rewritten.tables.as_slice() else {
        panic!("{:?}", rewritten.tables);
    };
    assert_eq!(
        table.name(),
        "deployments, spec.containers[*], left status.all[*] on status.all[*].name = spec.containers[*].name"
    );
    let elements: Vec<&str> = table.elements.keys().map(String::as_str).collect();
    assert_eq!(
        elements,
        [
            "spec.containers[*].image",
            "spec.containers[*].name",
            "status.all[*].name"
        ]
    );
}

#[test]
fn elements_of_a_table_around_are_tied_by_the_objects_key() {
    assert_eq!(
        part(
            "SELECT 1 FROM deployments d WHERE EXISTS (SELECT 1 FROM UNNEST(d.spec.containers) c WHERE c.image = 'x' OR true)",
            "EXISTS "
        ),
        "(SELECT 1 AS \"column1\" FROM \"apps\".\"deployments, spec.containers[*]\" AS \"c of d\" \
         WHERE ((\"c of d\".\"spec.containers[*].image\" = 'x' OR true) \
         AND (\"c of d\".\"namespace\" = \"d\".\"namespace\")) AND (\"c of d\".\"name\" = \"d\".\"name\"))"
    );
}

#[test]
fn tables_are_found_without_their_columns() {
    let tables = |sql: &str| -> Vec<String> {
        let found = parse(sql).unwrap().tables(&Tables::new()).unwrap();
        found.iter().map(|table| table.full_name()).collect()
    };
    assert_eq!(
        tables(
            "WITH services AS (SELECT nope FROM deployments) SELECT unknown.x FROM services, core.events \
             WHERE a IN (SELECT b FROM core.services) AND EXISTS (SELECT 1 FROM deployments)"
        ),
        ["apps.deployments", "core.events", "core.services"]
    );
    let error = parse("SELECT 1 FROM events")
        .unwrap()
        .tables(&Tables::new())
        .unwrap_err();
    assert!(error.message.contains("ambiguous"));
}
