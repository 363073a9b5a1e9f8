//! What statements with joins and subqueries answer, and what their answers depend on.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::queries::{Tables, Tape, tape};
use super::world::{Edit, KINDS, Touch, World, edit, touch};
use super::{block_on, sorted};
use crate::tests::read_sets::covers;
use crate::{AccessSet, Answer, Prepared, SqlError};

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
    static PLANNED: Cell<usize> = const { Cell::new(0) };
    static ROWS: Cell<usize> = const { Cell::new(0) };
    /// Changes outside of a read set, and those within one that changed the answer.
    static OUTSIDE: Cell<usize> = const { Cell::new(0) };
    static CHANGED: Cell<usize> = const { Cell::new(0) };
}

fn add(to: &'static std::thread::LocalKey<Cell<usize>>, count: usize) {
    to.set(to.get() + count);
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

fn edits(count: usize) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((0..KINDS.len()).prop_flat_map(edit), count)
}

/// The planned statement, and that it runs; none if it is one that DataFusion cannot plan, such
/// as a NOT IN whose subquery names a column from outside.
async fn planned(world: &World, sql: &str) -> Option<Arc<Prepared>> {
    add(&MADE, 1);
    let engine = &world.cluster.engine;
    let prepared = match engine.prepare(sql, &AccessSet::all()).await {
        Ok(prepared) => prepared,
        Err(SqlError::Plan { .. }) => return None,
        Err(error) => panic!("{sql}\n{}", error.render(sql)),
    };
    match engine
        .execute(&prepared, &[], &world.cluster.snapshot())
        .await
    {
        Ok(_) => {}
        Err(SqlError::Plan { .. }) => return None,
        Err(error) => panic!("{sql}\n{error}"),
    }
    add(&PLANNED, 1);
    Some(prepared)
}

fn nearly_all_were_planned() {
    let (made, planned) = (MADE.get(), PLANNED.get());
    assert!(
        planned * 10 > made * 8,
        "{planned} of {made} could be planned"
    );
}

async fn check_pushed(world: &World, tape: &Tape) -> Result<(), TestCaseError> {
    let statements =
        [Tables::Plain, Tables::Hidden, Tables::Below].map(|tables| tape.statement(tables));
    let snapshot = world.cluster.snapshot();
    let mut answers = Vec::new();
    for sql in &statements {
        let Some(prepared) = planned(world, sql).await else {
            return Ok(());
        };
        let answer = world
            .cluster
            .engine
            .execute(&prepared, &[], &snapshot)
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        add(&ROWS, answer.rows);
        answers.push(sorted(&answer));
    }
    prop_assert_eq!(&answers[0], &answers[1], "{:#?}", statements);
    prop_assert_eq!(&answers[0], &answers[2], "{:#?}", statements);
    Ok(())
}

#[test]
fn conditions_in_the_scan_are_conditions_above_it() {
    let cases = (edits(30), prop::collection::vec(tape(), 6));
    runner(16)
        .run(&cases, |(edits, tapes)| {
            let world = World::of(&edits);
            block_on(async {
                for tape in &tapes {
                    check_pushed(&world, tape).await?;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    nearly_all_were_planned();
    assert!(ROWS.get() > 20, "{} rows", ROWS.get());
}

/// A statement, and its answer if that is known.
struct Kept {
    sql: String,
    prepared: Arc<Prepared>,
    answer: Option<Answer>,
}

/// Makes one change; where it is outside of a read set, that answer must stay.
async fn check_change(
    world: &mut World,
    statements: &mut [Kept],
    change: &Change,
) -> Result<(), TestCaseError> {
    let before = world.cluster.snapshot();
    match change {
        Change::Edit(edit) => world.make(edit),
        Change::Touch(touch) => world.touch(touch),
    }
    let after = world.cluster.snapshot();
    let changes = after.changes_since(before.sequence()).unwrap();
    let engine = &world.cluster.engine;
    for kept in statements {
        let prepared = &kept.prepared;
        let set = prepared.read_set_at(&[], &before).unwrap();
        let covered = changes.iter().any(|change| covers(&set, change));
        let old = kept.answer.take();
        // Within the read set anything may happen; a few show that something does.
        if covered && CHANGED.get() > 30 {
            continue;
        }
        let old = match old {
            Some(old) => old,
            None => engine.execute(prepared, &[], &before).await.unwrap(),
        };
        let new = engine.execute(prepared, &[], &after).await.unwrap();
        if covered {
            add(&CHANGED, usize::from(old.fingerprint != new.fingerprint));
        } else {
            add(&OUTSIDE, 1);
            let sql = &kept.sql;
            prop_assert_eq!(
                sorted(&old),
                sorted(&new),
                "{}\n{:?}\n{:?}",
                sql,
                changes,
                set
            );
            prop_assert_eq!(old.fingerprint, new.fingerprint, "{}", sql);
        }
        kept.answer = Some(new);
    }
    Ok(())
}

#[test]
fn answers_stay_while_their_read_set_does() {
    let changes = prop_oneof![
        1 => (0..KINDS.len()).prop_flat_map(edit).prop_map(Change::Edit),
        5 => touch().prop_map(Change::Touch),
    ];
    let cases = (
        edits(24),
        prop::collection::vec(tape(), 6),
        prop::collection::vec(changes, 24),
    );
    runner(12)
        .run(&cases, |(edits, tapes, changes)| {
            let mut world = World::of(&edits);
            block_on(async {
                let mut statements = Vec::new();
                let ways = [Tables::Plain, Tables::Plain, Tables::Below];
                for (tape, tables) in tapes.iter().zip(ways.into_iter().cycle()) {
                    let sql = tape.statement(tables);
                    if let Some(prepared) = planned(&world, &sql).await {
                        statements.push(Kept {
                            sql,
                            prepared,
                            answer: None,
                        });
                    }
                }
                for change in &changes {
                    check_change(&mut world, &mut statements, change).await?;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    nearly_all_were_planned();
    let seen = (OUTSIDE.get(), CHANGED.get());
    assert!(seen.0 > 40 && seen.1 > 0, "{seen:?}: outside, and changed");
}

#[derive(Clone, Debug)]
enum Change {
    Edit(Edit),
    Touch(Touch),
}
