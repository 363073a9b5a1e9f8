//! Many sets of parameters are answered together as one by one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::block_on;
use super::queries::{Tape, tape};
use super::world::{KINDS, NAMES, NAMESPACES, TEXTS, World, edit};
use crate::tests::fixture::text;
use crate::{AccessSet, Answer, Param, SqlError};

thread_local! {
    /// Statements that were joined, sets with rows, sets without, and why others were not joined.
    static JOINED: Cell<usize> = const { Cell::new(0) };
    static ROWS: Cell<usize> = const { Cell::new(0) };
    static EMPTY: Cell<usize> = const { Cell::new(0) };
    static REFUSED: RefCell<BTreeMap<String, usize>> = const { RefCell::new(BTreeMap::new()) };
}

fn param() -> impl Strategy<Value = Param> {
    let texts: Vec<&str> = [&NAMES[..], &NAMESPACES, &TEXTS].concat();
    prop_oneof![
        9 => select(vec!["shop", "a", "b", "p0", "n1"]).prop_map(Param::from),
        5 => select(texts).prop_map(Param::from),
        1 => Just(Param::Null),
        2 => (0..4i64).prop_map(Param::Int),
        1 => any::<bool>().prop_map(Param::Bool),
    ]
}

/// Sets of three parameters, some of them several times.
fn sets() -> impl Strategy<Value = Vec<Vec<Param>>> {
    let set = prop::collection::vec(param(), 3);
    (prop::collection::vec(set, 1..16), 0..4usize).prop_map(|(mut sets, again)| {
        sets.extend(sets.clone().into_iter().take(again));
        sets
    })
}

/// All that an answer is.
fn whole(answer: &Answer) -> (String, u128, usize, String) {
    let schema = format!("{:?}", answer.schema);
    (text(answer), answer.fingerprint, answer.rows, schema)
}

fn add(to: &'static std::thread::LocalKey<Cell<usize>>, count: usize) {
    to.set(to.get() + count);
}

async fn check(world: &World, tape: &Tape, sets: &[Vec<Param>]) -> Result<(), TestCaseError> {
    let (engine, snapshot) = (&world.cluster.engine, world.cluster.snapshot());
    let sql = tape.asking();
    let prepared = match engine.prepare(&sql, &AccessSet::all()).await {
        Ok(prepared) => prepared,
        Err(SqlError::Plan { .. }) => return Ok(()),
        Err(error) => panic!("{sql}\n{}", error.render(&sql)),
    };
    let mut alone = Vec::new();
    for set in sets {
        let answer = engine.execute(&prepared, set, &snapshot).await;
        alone.push(answer.as_ref().map(whole).map_err(Clone::clone));
    }
    let many = engine.execute_many(&prepared, sets, &snapshot).await;
    let many: Vec<_> = many
        .iter()
        .map(|a| a.as_ref().map(whole).map_err(Clone::clone))
        .collect();
    prop_assert_eq!(&many, &alone, "{}", &sql);

    let fits = |answer: &Result<_, SqlError>| !matches!(answer, Err(SqlError::Params { .. }));
    let fitting: Vec<usize> = (0..sets.len()).filter(|at| fits(&alone[*at])).collect();
    let chosen: Vec<Vec<Param>> = fitting.iter().map(|at| sets[*at].clone()).collect();
    match engine.execute_joined(&prepared, &chosen, &snapshot).await {
        Ok(joined) => {
            add(&JOINED, 1);
            for (at, answer) in fitting.iter().zip(&joined) {
                let answer = answer.as_ref().map(whole).map_err(Clone::clone);
                prop_assert_eq!(&answer, &alone[*at], "{}\n{:?}", &sql, &sets[*at]);
                if let Ok(answer) = answer {
                    add(if answer.2 > 0 { &ROWS } else { &EMPTY }, 1);
                }
            }
        }
        Err(why) => {
            prop_assert!(!why.contains("cannot be planned"), "{}\n{}", &sql, why);
            REFUSED.with_borrow_mut(|refused| *refused.entry(why).or_default() += 1);
        }
    }
    Ok(())
}

#[test]
fn many_sets_are_answered_as_each_of_them() {
    let edits = prop::collection::vec((0..KINDS.len()).prop_flat_map(edit), 60);
    let asked = prop::collection::vec((tape(), sets()), 6);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 40,
        max_shrink_iters: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&(edits, asked), |(edits, asked)| {
            let world = World::of(&edits);
            block_on(async {
                for (tape, sets) in &asked {
                    check(&world, tape, sets).await?;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let seen = (JOINED.get(), ROWS.get(), EMPTY.get());
    let refused = REFUSED.take();
    assert!(
        seen.0 > 30 && seen.1 > 30 && seen.2 > 30,
        "{seen:?}: joined, with rows, without; {refused:#?}"
    );
    println!("{seen:?}: joined, with rows, without; {refused:#?}");
}
