//! Who does what subscriptions tell has the answer, whenever they are told and whoever tells.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::block_on;
use super::logic::{Condition, condition, written};
use super::queries::{Tables, Tape, tape};
use super::world::{Edit, KINDS, Touch, World, edit, touch};
use crate::tests::folding::{Folded, subscribe};
use crate::{AccessSet, SqlError, Subscription};

thread_local! {
    /// Tellings that told something, by how their queries are told; and of those that were resumed.
    static BY_ROW: Cell<usize> = const { Cell::new(0) };
    static BY_ANSWER: Cell<usize> = const { Cell::new(0) };
    static RESUMED: Cell<usize> = const { Cell::new(0) };
    /// Rows that were updated.
    static UPDATED: Cell<usize> = const { Cell::new(0) };
}

fn count(what: &'static std::thread::LocalKey<Cell<usize>>, by: usize) {
    what.set(what.get() + by);
}

/// What happens to the tables, or that somebody is told of it.
#[derive(Clone, Debug)]
enum Step {
    Edit(Edit),
    Touch(Touch),
    /// One of the subscriptions is told, or goes and comes back first.
    Tell {
        which: usize,
        anew: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..KINDS.len()).prop_flat_map(edit).prop_map(Step::Edit),
        4 => touch().prop_map(Step::Touch),
        4 => (0..64usize, any::<bool>()).prop_map(|(which, anew)| Step::Tell { which, anew }),
    ]
}

/// A statement over one table.
#[derive(Clone, Debug)]
struct Single {
    kind: usize,
    condition: Condition,
    form: usize,
}

fn single() -> impl Strategy<Value = Single> {
    let of = |kind: usize| (Just(kind), condition(&KINDS[kind]), 0..8usize);
    let made = (0..KINDS.len()).prop_flat_map(of);
    made.prop_map(|(kind, condition, form)| Single {
        kind,
        condition,
        form,
    })
}

impl Single {
    fn statement(&self) -> String {
        let kind = &KINDS[self.kind];
        let name = |at: usize| kind.columns[at].sql.to_owned();
        let condition = written(&self.condition, &name);
        let last = kind.columns.last().unwrap().sql;
        let (select, rest) = match self.form {
            0 => (format!("uid, {last} AS v"), ""),
            1 => (format!("namespace, name, {last} AS v"), " ORDER BY v, name"),
            2 => (format!("{last} AS v"), ""),
            3 => (format!("name || '!' AS n, {last} AS v"), " ORDER BY 1"),
            4 => (format!("{last} AS v, count(*) AS n"), " GROUP BY 1"),
            5 => (format!("DISTINCT {last} AS v"), ""),
            6 => (format!("count(*) AS n, count({last}) AS m"), ""),
            _ => (format!("uid, {last} AS v"), " ORDER BY v, uid LIMIT 3"),
        };
        format!(
            "SELECT {select} FROM {} WHERE {condition}{rest}",
            kind.table
        )
    }
}

/// A subscription, and what somebody has who was told of it.
struct Reader {
    sql: String,
    subscription: Subscription,
    folded: Folded,
}

impl Reader {
    /// None for a query that cannot be planned, or of which nothing can be told.
    async fn new(world: &World, sql: String) -> Option<Self> {
        let subscribing = subscribe(&world.cluster, &format!("SUBSCRIBE {sql}")).await;
        let mut reader = match subscribing {
            Ok(subscription) => Self {
                sql,
                subscription,
                folded: Folded::default(),
            },
            Err(SqlError::Plan { .. } | SqlError::Statement(_)) => return None,
            Err(error) => panic!("{sql}\n{error}"),
        };
        match reader.tell(world).await {
            Ok(()) => Some(reader),
            Err(error) if error.contains("cannot be planned") => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn tell(&mut self, world: &World) -> Result<(), String> {
        let sql = &self.sql;
        let snapshot = world.cluster.snapshot();
        let told = self.subscription.advance(&snapshot).await;
        let told = told.map_err(|error| format!("{sql}\n{error}"))?;
        self.subscription.passed_on();
        if let Some(rows) = told.rows {
            let by = match self.subscription.evaluated().rows {
                0 => &BY_ANSWER,
                _ => &BY_ROW,
            };
            count(by, 1);
            let updated = crate::tests::folding::lines(&rows);
            count(
                &UPDATED,
                updated
                    .iter()
                    .filter(|line| line.starts_with("update"))
                    .count(),
            );
            let folded = self.folded.fold(&rows, self.subscription.key());
            folded.map_err(|error| format!("{sql}\n{error}"))?;
        }
        let engine = &world.cluster.engine;
        let prepared = engine.prepare(sql, &AccessSet::all()).await;
        let prepared = prepared.map_err(|error| error.to_string())?;
        let answer = engine.execute(&prepared, &[], &snapshot).await;
        let answer = answer.map_err(|error| format!("{sql}\n{error}"))?;
        let wanted = Folded::of(&answer);
        if self.folded != wanted {
            return Err(format!("{sql}\ntold: {:?}\nis:   {wanted:?}", self.folded));
        }
        Ok(())
    }

    /// Another one goes on behind the mark of this.
    async fn come_back(&mut self, world: &World) -> Result<(), String> {
        let mark = self.subscription.mark().ok_or("no mark")?;
        let sql = format!("SUBSCRIBE WITH (RESUME '{mark}') {}", self.sql);
        self.subscription = match subscribe(&world.cluster, &sql).await {
            Ok(subscription) => subscription,
            // What depends on the order of rows is not resumed.
            Err(SqlError::Statement(_)) => return self.tell(world).await,
            Err(error) => return Err(format!("{sql}\n{error}")),
        };
        let before = self.folded.clone();
        self.tell(world).await?;
        count(&RESUMED, usize::from(self.folded != before));
        Ok(())
    }
}

async fn check(
    edits: &[Edit],
    singles: &[Single],
    tapes: &[Tape],
    steps: &[Step],
) -> Result<(), String> {
    let mut world = World::of(edits);
    let ways = [Tables::Plain, Tables::Below];
    let tapes = tapes.iter().zip(ways.into_iter().cycle());
    let statements = singles.iter().map(Single::statement);
    let statements = statements.chain(tapes.map(|(tape, tables)| tape.statement(tables)));
    let mut readers = Vec::new();
    for sql in statements {
        readers.extend(Reader::new(&world, sql).await);
    }
    for step in steps {
        match step {
            Step::Edit(edit) => world.make(edit),
            Step::Touch(touch) => world.touch(touch),
            Step::Tell { which, anew } => {
                let all = readers.len().max(1);
                // About a third of them, each time others: the rest is told later.
                for (at, reader) in readers.iter_mut().enumerate() {
                    if (at + which) % 3 != 0 {
                        continue;
                    }
                    match *anew && (at + which) % all.max(2) < all.div_ceil(2) {
                        true => reader.come_back(&world).await?,
                        false => reader.tell(&world).await?,
                    }
                }
            }
        }
    }
    for reader in &mut readers {
        reader.come_back(&world).await?;
    }
    Ok(())
}

#[test]
fn what_is_told_makes_the_answer() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 16,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let edits = prop::collection::vec((0..KINDS.len()).prop_flat_map(edit), 24);
    let steps = prop::collection::vec(step(), 30);
    let cases = (
        edits,
        prop::collection::vec(single(), 8),
        prop::collection::vec(tape(), 5),
        steps,
    );
    runner
        .run(&cases, |(edits, singles, tapes, steps)| {
            block_on(check(&edits, &singles, &tapes, &steps)).map_err(TestCaseError::fail)
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let seen = [&BY_ROW, &BY_ANSWER, &RESUMED, &UPDATED].map(|of| of.get());
    assert!(
        seen.iter().all(|count| *count > 2),
        "{seen:?}: by row, by answer, resumed, updated"
    );
}
