//! Which rows a condition keeps: in every lane, pushed into the scan or not, as the model says.

use std::cell::Cell as Counter;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::logic::{Condition, Term, Written, condition, written};
use super::world::{Cell, Edit, KINDS, Kind, NAMES, NAMESPACES, World, edit};
use super::{block_on, sorted};
use crate::AccessSet;
use crate::tests::fixture::text;

thread_local! {
    /// Statements that were answered by a look-up, and rows that they found.
    static LOOKUPS: Counter<usize> = const { Counter::new(0) };
    static FOUND: Counter<usize> = const { Counter::new(0) };
}

/// A condition that an index answers, for the columns with one.
fn keyed(kind: &'static Kind) -> BoxedStrategy<Condition> {
    let indexed: &[&str] = match kind.name {
        "Pod" => &["uid", "owner_uid", "labels['app']", "spec.nodeName"],
        "Deployment" => &["uid", "owner_uid", "labels['app']"],
        "App" => &["uid"],
        _ => &["uid", "name", "labels['app']"],
    };
    let columns: Vec<usize> = (0..kind.columns.len())
        .filter(|column| indexed.contains(&kind.columns[*column].sql))
        .collect();
    let lists = prop::sample::select(columns).prop_flat_map(move |column| {
        let keys = prop::sample::select(keys(kind, kind.columns[column].sql));
        (
            Just(column),
            prop::collection::vec(keys, 1..6),
            any::<bool>(),
        )
    });
    lists
        .prop_map(|(column, keys, chain)| {
            let keys: Vec<Cell> = keys.into_iter().map(Cell::Text).collect();
            let of = Term::Column(column);
            if !chain {
                return Condition::In {
                    of,
                    list: keys,
                    not: false,
                };
            }
            let equal = |key| Condition::Compare(of.clone(), "=", Term::Value(key));
            let mut all = keys.into_iter().map(equal);
            let first = all.next().unwrap();
            all.fold(first, |one, other| {
                Condition::Or(Box::new(one), Box::new(other))
            })
        })
        .boxed()
}

/// Keys of which the tables have some.
fn keys(kind: &Kind, column: &str) -> Vec<String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    match column {
        "uid" if kind.name == "Node" => NAMES.map(|name| format!("Node--{name}")).to_vec(),
        "uid" => NAMESPACES
            .iter()
            .flat_map(|namespace| NAMES.map(|name| format!("{}-{namespace}-{name}", kind.name)))
            .collect(),
        "owner_uid" => owned(&[
            "Deployment-a-shop",
            "Deployment-b-shop",
            "App-a-p0",
            "",
            "x",
        ]),
        "name" => owned(&NAMES),
        _ => owned(&["", "shop", "it's", "n1", "3", "true"]),
    }
}

/// The uids for which the model says true.
fn wanted(world: &World, kind: &Kind, condition: &Condition) -> Vec<String> {
    let mut found: Vec<String> = of(world, kind)
        .filter(|(_, object)| condition.of(kind, object) == Some(true))
        .map(|(uid, _)| uid.clone())
        .collect();
    found.sort();
    found
}

fn of<'a>(world: &'a World, kind: &'a Kind) -> impl Iterator<Item = (&'a String, &'a Value)> {
    world
        .objects
        .iter()
        .filter(|(_, object)| object["kind"] == kind.name)
}

async fn rows(world: &World, sql: &str, params: &[crate::Param]) -> Vec<String> {
    let answer = world.cluster.ask(sql, params).await;
    sorted(&answer.unwrap_or_else(|error| panic!("{sql}\n{params:?}\n{}", error.render(sql))))
}

/// The rows behind a window, which no condition passes.
fn behind_a_window(kind: &Kind) -> String {
    let columns: Vec<String> = (0..kind.columns.len())
        .map(|at| format!("{} AS c{at}", kind.columns[at].sql))
        .collect();
    let columns = columns.join(", ");
    format!(
        "(SELECT {columns}, row_number() OVER (ORDER BY uid) AS n FROM {}) x",
        kind.table
    )
}

async fn check(
    world: &World,
    kind: &'static Kind,
    condition: &Condition,
) -> Result<(), TestCaseError> {
    let named = |at: usize| kind.columns[at].sql.to_owned();
    let plain = written(condition, &named);
    let wanted = wanted(world, kind, condition);
    let table = kind.table;
    let sql = format!("SELECT uid FROM {table} WHERE {plain}");
    prop_assert_eq!(&rows(world, &sql, &[]).await, &wanted, "{}", &sql);

    let behind = behind_a_window(kind);
    let late = written(condition, &|at| format!("x.c{at}"));
    let sql = format!("SELECT x.c0 FROM {behind} WHERE x.n > 0 AND ({late})");
    prop_assert_eq!(&rows(world, &sql, &[]).await, &wanted, "{}", &sql);

    let mut with_params = Written {
        name: &named,
        params: Some(Vec::new()),
    };
    let sql = format!(
        "SELECT uid FROM {table} WHERE {}",
        with_params.condition(condition)
    );
    let params = with_params.params.unwrap();
    prop_assert_eq!(
        &rows(world, &sql, &params).await,
        &wanted,
        "{} {:?}",
        &sql,
        &params
    );

    // Each row has one truth value; where conditions are computed, not tested.
    let sql = format!("SELECT uid, ({plain}) AS truth FROM {table}");
    let mut truths: Vec<String> = of(world, kind)
        .map(|(uid, object)| match condition.of(kind, object) {
            Some(truth) => format!("{uid} | {truth}"),
            None => format!("{uid} | NULL"),
        })
        .collect();
    truths.sort();
    prop_assert_eq!(rows(world, &sql, &[]).await, truths, "{}", &sql);
    Ok(())
}

async fn check_lanes(
    world: &World,
    kind: &'static Kind,
    keyed: &Condition,
    rest: &Condition,
) -> Result<(), TestCaseError> {
    let both = Condition::And(Box::new(keyed.clone()), Box::new(rest.clone()));
    let named = |at: usize| kind.columns[at].sql.to_owned();
    let mut with_params = Written {
        name: &named,
        params: Some(Vec::new()),
    };
    let sql = format!(
        "SELECT uid FROM {} WHERE {}",
        kind.table,
        with_params.condition(&both)
    );
    let params = with_params.params.unwrap();
    let (engine, snapshot) = (&world.cluster.engine, world.cluster.snapshot());
    let wanted = wanted(world, kind, &both);
    for (sql, params) in [
        (sql, params),
        (
            format!(
                "SELECT uid FROM {} WHERE {}",
                kind.table,
                written(&both, &named)
            ),
            Vec::new(),
        ),
    ] {
        let prepared = engine
            .prepare(&sql, &AccessSet::all())
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        LOOKUPS.set(LOOKUPS.get() + usize::from(prepared.is_key_lookup()));
        let answer = engine.execute(&prepared, &params, &snapshot).await.unwrap();
        let general = engine
            .execute_generally(&prepared, &params, &snapshot)
            .await
            .unwrap();
        prop_assert_eq!(text(&answer), text(&general), "{} {:?}", &sql, &params);
        prop_assert_eq!(
            answer.fingerprint,
            general.fingerprint,
            "{} {:?}",
            &sql,
            &params
        );
        prop_assert_eq!(&sorted(&answer), &wanted, "{} {:?}", &sql, &params);
        FOUND.set(FOUND.get() + answer.rows);
    }
    Ok(())
}

/// Rows of one kind, conditions on them, and conditions with a key.
#[derive(Clone, Debug)]
struct Case {
    kind: usize,
    edits: Vec<Edit>,
    conditions: Vec<Condition>,
    keyed: Vec<(Condition, Condition)>,
}

fn case() -> impl Strategy<Value = Case> {
    (0..KINDS.len()).prop_flat_map(|kind| {
        let of = &KINDS[kind];
        let rest = prop_oneof![condition(of), Just(Condition::Constant(Some(true)))];
        (
            prop::collection::vec(edit(kind), 0..24),
            prop::collection::vec(condition(of), 3),
            prop::collection::vec((keyed(of), rest), 3),
        )
            .prop_map(move |(edits, conditions, keyed)| Case {
                kind,
                edits,
                conditions,
                keyed,
            })
    })
}

#[test]
fn conditions_keep_what_they_mean_in_every_lane() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&case(), |case| {
            let world = World::of(&case.edits);
            let kind = &KINDS[case.kind];
            block_on(async {
                for condition in &case.conditions {
                    check(&world, kind, condition).await?;
                }
                for (keyed, rest) in &case.keyed {
                    check_lanes(&world, kind, keyed, rest).await?;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let seen = (LOOKUPS.get(), FOUND.get());
    assert!(
        seen.0 > 40 && seen.1 > 3,
        "{seen:?}: look-ups, and rows found"
    );
}

/// What the test above takes for granted.
#[tokio::test]
async fn no_condition_passes_a_window() {
    let world = World::of(&[]);
    for kind in &KINDS {
        let explained = async |sql: &str| {
            let sql = format!("EXPLAIN ANALYZE {sql}");
            world.cluster.text(&sql, &[], &AccessSet::all()).await
        };
        let behind = behind_a_window(kind);
        let late = explained(&format!(
            "SELECT x.c0 FROM {behind} WHERE x.n > 0 AND x.c1 = 'p0'"
        ))
        .await;
        let scan = late.contains("whole table") && !late.contains("whole table, filter");
        assert!(scan, "{late}");
        let early = explained(&format!(
            "SELECT count(*) FROM {} WHERE name || '' = 'p0'",
            kind.table
        ))
        .await;
        assert!(early.contains("whole table, filter"), "{early}");
    }
}
