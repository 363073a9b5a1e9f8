//! Subscriptions: a query's answer, and then what becomes of it.
//!
//! ```text
//! text --kybern_statement::subscribe--> options + query --prepare--> Subscription
//! Subscription + a newer snapshot --advance--> Telling: inserts, updates, deletes at one sequence
//! ```
//!
//! # Contract
//!
//! * Who has done everything that was told up to a sequence has the answer of that sequence, however
//!   many commits lie between two tellings: changes of one row between them are one.
//! * Nothing is told twice; what cannot be told any more is [`SqlError::TooOld`], never a gap.
//! * No snapshot is held between two tellings.
//! * Where an advance fails with [`SqlError::Expired`], the next may succeed; after another error
//!   nothing more is told.
//!
//! # Ways
//!
//! A query in which each row of one table goes its own way is told *by row*: the change log has both
//! states of each changed row, so that nothing else is read and nothing is kept. Any other query is
//! *answered again* when something changed that it reads, and compared with the answer that was
//! told, which is kept and counted as that of a statement that runs.

mod diff;
mod key;
mod mark;
mod order;
mod past;
mod telling;
mod touched;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use kybern_statement::{Kind, Position, StatementError, Subscribe};
use kybern_table::{KindKey, ReadSet, Row, RowChange, Sequence, Snapshot, SnapshotTooOld};

use self::diff::{Change, Form, Set, diff};
use self::past::Pasts;
use crate::bind::{Values, own};
use crate::contain::contained;
use crate::execute::{Total, ready};
use crate::lane::{KeyLookup, row_by_row};
use crate::memory::bytes_of;
use crate::{AccessSet, Answer, Engine, Kept, Prepared, SqlError};

pub use self::mark::Mark;
pub use self::telling::Telling;

/// Shortest time between two looks at changes, by row.
const BY_ROW: Duration = Duration::from_millis(20);
/// Shortest time between two answers of the same query.
const BY_ANSWER: Duration = Duration::from_millis(100);
/// What an answer took is waited so many times before the next.
const REST: u32 = 4;
/// Longest time that is waited for that reason.
const LONGEST: Duration = Duration::from_secs(10);

/// A query of which is told what becomes of its answer.
#[derive(Debug)]
pub struct Subscription {
    engine: Engine,
    prepared: Arc<Prepared>,
    way: Way,
    key: Option<Vec<usize>>,
    form: Form,
    /// Of what is told.
    schema: SchemaRef,
    begin: Begin,
    run: u64,
    /// Everything up to here was told; none before the beginning.
    at: Option<Sequence>,
    /// Its tables, and the commits that defined them.
    tables: Vec<(KindKey, Sequence)>,
    kept: Arc<Kept>,
    evaluated: Evaluated,
}

#[derive(Debug)]
enum Way {
    ByRow(Box<KeyLookup>),
    ByAnswer {
        /// The answer that was told.
        told: Option<Set>,
        /// What it depends on.
        reads: ReadSet,
    },
}

/// What is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// All rows.
    Snapshot,
    /// What changes from now on.
    Now,
    /// What has changed since.
    After(Sequence),
}

/// How much work a subscription was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evaluated {
    /// States of rows, before and after, that were evaluated.
    pub rows: usize,
    /// Answers of the whole query.
    pub answers: usize,
}

impl Engine {
    /// Begins to tell what becomes of a query's answer. Nothing is read yet. `run` is a number that
    /// no other host has, nor this one after its next start.
    pub async fn subscribe(
        &self,
        asked: &Subscribe,
        access: &AccessSet,
        run: u64,
    ) -> Result<Subscription, SqlError> {
        let prepared = self.prepare(&asked.query, access).await?;
        check(&prepared)?;
        let begin = match &asked.resume {
            Some(text) => Begin::After(resumed(text, run)?),
            None if asked.snapshot => Begin::Snapshot,
            None => Begin::Now,
        };
        let planned = &prepared.planned;
        if matches!(begin, Begin::After(_)) && order::matters(&planned.plan) {
            return Err(refused(
                "this query cannot be resumed: its answer depends on the order in which rows are read, as with array_agg, row_number(), a sum of floating-point numbers or rows that ORDER BY ... LIMIT finds equal".to_owned(),
                "subscribe again without RESUME, or end ORDER BY with uid",
            ));
        }
        let key = key::key(&planned.plan);
        let columns = planned.layout.schema();
        let form = Form::new(columns, key.as_deref());
        Ok(Subscription {
            engine: self.clone(),
            way: way(&planned.plan),
            form: form.map_err(|error| SqlError::execution(&error))?,
            schema: telling::schema(columns),
            key,
            begin,
            run,
            at: None,
            tables: Vec::new(),
            kept: Arc::new(self.keep_bytes(0)),
            evaluated: Evaluated::default(),
            prepared,
        })
    }

    /// How a subscription would be told, and how its query is answered. Nothing is run.
    pub async fn explain_subscription(
        &self,
        asked: &Subscribe,
        access: &AccessSet,
    ) -> Result<Answer, SqlError> {
        let prepared = self.prepare(&asked.query, access).await?;
        check(&prepared)?;
        let plan = &prepared.planned.plan;
        let mut text = match way(plan) {
            Way::ByRow(_) => "told: by row, each changed row is evaluated before and after\n",
            Way::ByAnswer { .. } => {
                "told: by answer, the query is answered again when something that it reads changes\n"
            }
        }
        .to_owned();
        text.push_str(&match key::key(plan) {
            None => "key: none, rows are inserted and deleted only\n".to_owned(),
            Some(key) if key.is_empty() => "key: none is needed, there is one row\n".to_owned(),
            Some(key) => format!("key: {}\n", key::names(plan, &key).join(", ")),
        });
        text.push_str(&self.explain(&prepared, &[], &self.snapshot()).await?);
        Answer::lines("plan", &text).map_err(|error| SqlError::execution(&error))
    }
}

/// Whether what becomes of the answer can be told at all.
fn check(prepared: &Prepared) -> Result<(), SqlError> {
    let planned = &prepared.planned;
    let wrong = if planned.kind != Kind::Select {
        (
            "SUBSCRIBE takes a SELECT",
            "leave the EXPLAIN or the change out",
        )
    } else if planned.uses_now {
        (
            "now() is another with each look at it: what changes by it cannot be told",
            "select the timestamp, and compare it with the time where it is read",
        )
    } else if planned.reads_system_tables {
        (
            "tables about the host have no change log",
            "ask them again and again, with \\watch",
        )
    } else if planned.arbitrary_limit {
        (
            "LIMIT chooses among rows that nothing orders: any change may choose others",
            "write ORDER BY, with uid as its last column",
        )
    } else if planned.parameters > 0 {
        ("a subscription takes no parameters", "write their values")
    } else if planned.layout.schema().fields().is_empty() {
        ("a subscription needs a column", "write SELECT uid")
    } else {
        return Ok(());
    };
    Err(refused(wrong.0.to_owned(), wrong.1))
}

fn refused(message: String, cure: &str) -> SqlError {
    SqlError::Statement(StatementError {
        position: Position::default(),
        message,
        cure: Some(cure.to_owned()),
        refused: None,
    })
}

fn resumed(text: &str, run: u64) -> Result<Sequence, SqlError> {
    let mark: Mark = text.parse().map_err(|()| {
        refused(
            format!("RESUME '{text}' is no mark"),
            "write what the last progress mark said, as in RESUME '1234@5f3a9c'",
        )
    })?;
    if mark.run != run {
        let why = format!("{mark} is a mark of another host, or of this one before it was started");
        return Err(SqlError::TooOld { why });
    }
    Ok(mark.sequence)
}

fn way(plan: &LogicalPlan) -> Way {
    // An order is no matter of what rows there are.
    let unordered = plan.clone().transform_up(|node| {
        Ok(match node {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                Transformed::yes(Arc::unwrap_or_clone(sort.input))
            }
            other => Transformed::no(other),
        })
    });
    let by_row = unordered.ok().and_then(|plan| row_by_row(&plan.data));
    by_row.map_or_else(
        || Way::ByAnswer {
            told: None,
            reads: ReadSet::default(),
        },
        |found| Way::ByRow(Box::new(found)),
    )
}

impl Subscription {
    /// The columns of what is told: see [`Telling::rows`].
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns by which rows are told apart, by position in the query; none: they are inserted
    /// and deleted only.
    pub fn key(&self) -> Option<&[usize]> {
        self.key.as_deref()
    }

    /// The tables that it names.
    pub fn tables(&self) -> &[KindKey] {
        self.prepared.tables()
    }

    /// Up to where everything was told; none before the beginning.
    pub fn mark(&self) -> Option<Mark> {
        let run = self.run;
        self.at.map(|sequence| Mark { sequence, run })
    }

    /// How long to wait after an advance that took so long, so that a busy table keeps no thread
    /// busy.
    pub fn pause(&self, took: Duration) -> Duration {
        match &self.way {
            Way::ByRow(_) => BY_ROW,
            Way::ByAnswer { .. } => took.saturating_mul(REST).clamp(BY_ANSWER, LONGEST),
        }
    }

    /// What it holds; it ends when that is wanted back.
    pub fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }

    /// How much work it was.
    #[cfg(test)]
    pub(crate) fn evaluated(&self) -> Evaluated {
        self.evaluated
    }

    /// A mark as a row, for who reads [`Telling::rows`].
    pub fn progress(&self) -> Result<RecordBatch, SqlError> {
        let mark = self.mark();
        let text = mark.map(|mark| mark.to_string()).unwrap_or_default();
        let row = telling::progress(&self.schema, self.at.unwrap_or_default(), &text);
        row.map_err(|error| SqlError::execution(&error))
    }

    /// Why nothing more is told, as a row.
    pub fn failure(schema: &SchemaRef, at: Sequence, why: &str) -> Result<RecordBatch, SqlError> {
        telling::error(schema, at, why).map_err(|error| SqlError::execution(&error))
    }

    /// What was told last has been passed on.
    pub fn passed_on(&self) {
        self.kept.set(self.bytes());
    }

    /// Bytes that are kept between two tellings.
    fn bytes(&self) -> usize {
        match &self.way {
            Way::ByRow(_) | Way::ByAnswer { told: None, .. } => 0,
            Way::ByAnswer {
                told: Some(told), ..
            } => told.bytes(),
        }
    }

    /// What the answer at this snapshot has that was not told yet. The rows count until
    /// [`Self::passed_on`].
    pub async fn advance(&mut self, snapshot: &Snapshot) -> Result<Telling, SqlError> {
        if let Some(error) = self.kept.wanted_back() {
            return Err(error);
        }
        ready(&self.prepared, snapshot)?;
        let tables = lives(&self.prepared, snapshot);
        let rows = match self.at {
            None => self.begin(snapshot, &tables).await?,
            Some(at) if at == snapshot.sequence() => None,
            Some(_) if tables != self.tables => {
                return Err(gone("a table was dropped and defined again".to_owned()));
            }
            Some(at) => {
                let changes = changes(snapshot, at)?;
                self.go_on(snapshot, &changes).await?
            }
        };
        self.tables = tables;
        self.at = Some(snapshot.sequence());
        let rows = rows.filter(|rows| rows.num_rows() > 0);
        self.kept
            .set(self.bytes() + rows.as_ref().map_or(0, bytes_of));
        Ok(Telling {
            sequence: snapshot.sequence(),
            rows,
        })
    }

    async fn begin(
        &mut self,
        snapshot: &Snapshot,
        tables: &[(KindKey, Sequence)],
    ) -> Result<Option<RecordBatch>, SqlError> {
        let newest = snapshot.sequence();
        let since = match self.begin {
            Begin::After(since) if since > newest => {
                return Err(refused(
                    format!("sequence {since} has not come yet: the newest is {newest}"),
                    "write the mark as it was told",
                ));
            }
            Begin::After(since) => since,
            Begin::Snapshot | Begin::Now => return self.begin_now(snapshot).await,
        };
        if tables.iter().any(|(_, defined)| *defined > since) {
            return Err(gone(format!(
                "sequence {since} is of before a table was defined again"
            )));
        }
        let changes = changes(snapshot, since)?;
        if let Way::ByAnswer { .. } = &self.way {
            let then = Pasts::of(&changes);
            let answer = self.engine.execute_then(&self.prepared, snapshot, &then);
            let answer = answer.await?;
            self.evaluated.answers += 1;
            self.keep(&answer)?;
            return self.answer_again(snapshot).await;
        }
        self.go_on(snapshot, &changes).await
    }

    async fn begin_now(&mut self, snapshot: &Snapshot) -> Result<Option<RecordBatch>, SqlError> {
        let tells = self.begin == Begin::Snapshot;
        if !tells && matches!(self.way, Way::ByRow(_)) {
            return Ok(None);
        }
        let answer = self.engine.execute(&self.prepared, &[], snapshot).await?;
        self.evaluated.answers += 1;
        self.keep(&answer)?;
        self.note_reads(snapshot)?;
        let Some(rows) = answer.batches.first().filter(|_| tells) else {
            return Ok(None);
        };
        let told = telling::inserts(&self.schema, snapshot.sequence(), rows);
        told.map(Some).map_err(|error| SqlError::execution(&error))
    }

    /// What these changes, which are all since the last telling, made of the answer.
    async fn go_on(
        &mut self,
        snapshot: &Snapshot,
        changes: &[RowChange],
    ) -> Result<Option<RecordBatch>, SqlError> {
        match &self.way {
            Way::ByRow(lookup) => {
                let states = states(changes, lookup.source().table.key());
                if states.iter().all(Vec::is_empty) {
                    return Ok(None);
                }
                let rows: usize = states.iter().map(Vec::len).sum();
                let [old, new] = self.evaluate(lookup, snapshot, states).await?;
                self.evaluated.rows += rows;
                self.compare(snapshot, &old, &new)
            }
            Way::ByAnswer { reads, .. } => {
                if !changes.iter().any(|change| touched::touches(change, reads)) {
                    return Ok(None);
                }
                self.answer_again(snapshot).await
            }
        }
    }

    /// What the query makes of rows in their former and in their new states.
    async fn evaluate(
        &self,
        lookup: &KeyLookup,
        snapshot: &Snapshot,
        states: [Vec<Row>; 2],
    ) -> Result<[Set; 2], SqlError> {
        let engine = &self.engine;
        let (ticket, end) = engine.begin();
        let room = engine.room(&ticket.statement);
        let values = Values {
            params: &[],
            now: None,
            room: Some(&room),
        };
        let run = async {
            let props = engine.inner.state.execution_props();
            let of = (values, self.prepared.namespace.as_ref());
            lookup
                .of_rows(states, snapshot, of, props, &end)
                .map_err(|error| own(&error, SqlError::execution))
        };
        let [old, new] = contained(run).await?;
        let mut total = Total::of(&ticket.statement);
        let set = |batches: &[RecordBatch]| {
            let answer = Answer::new(&self.prepared.planned.layout, batches)?;
            self.form.set(&answer.batches)
        };
        for batch in old.iter().chain(&new) {
            total.add(batch, engine.limits())?;
        }
        let sets = set(&old).and_then(|old| Ok([old, set(&new)?]));
        sets.map_err(|error| SqlError::execution(&error))
    }

    /// Answers the query, and compares that with the answer that was told.
    async fn answer_again(&mut self, snapshot: &Snapshot) -> Result<Option<RecordBatch>, SqlError> {
        let answer = self.engine.execute(&self.prepared, &[], snapshot).await?;
        self.evaluated.answers += 1;
        let new = self.form.set(&answer.batches);
        let new = new.map_err(|error| SqlError::execution(&error))?;
        let rows = match &self.way {
            Way::ByAnswer {
                told: Some(old), ..
            } => self.compare(snapshot, old, &new)?,
            Way::ByAnswer { told: None, .. } | Way::ByRow(_) => None,
        };
        self.note_reads(snapshot)?;
        if let Way::ByAnswer { told, .. } = &mut self.way {
            *told = Some(new);
        }
        Ok(rows)
    }

    fn compare(
        &self,
        snapshot: &Snapshot,
        old: &Set,
        new: &Set,
    ) -> Result<Option<RecordBatch>, SqlError> {
        let changes = diff(old, new);
        if changes.is_empty() {
            return Ok(None);
        }
        let columns = self.prepared.planned.layout.schema();
        let before = changes.iter().filter_map(|change| match change {
            Change::Update { old, .. } | Change::Delete { old } => Some(*old),
            Change::Insert { .. } => None,
        });
        let after = changes.iter().filter_map(|change| match change {
            Change::Update { new, .. } | Change::Insert { new } => Some(*new),
            Change::Delete { .. } => None,
        });
        let told = self.form.batch(columns, old, before).and_then(|old| {
            let new = self.form.batch(columns, new, after)?;
            telling::changes(&self.schema, snapshot.sequence(), &changes, &old, &new)
        });
        told.map(Some).map_err(|error| SqlError::execution(&error))
    }

    /// This is the answer that was told.
    fn keep(&mut self, answer: &Answer) -> Result<(), SqlError> {
        if let Way::ByAnswer { told, .. } = &mut self.way {
            let set = self.form.set(&answer.batches);
            *told = Some(set.map_err(|error| SqlError::execution(&error))?);
        }
        Ok(())
    }

    fn note_reads(&mut self, snapshot: &Snapshot) -> Result<(), SqlError> {
        if let Way::ByAnswer { reads, .. } = &mut self.way {
            *reads = self.prepared.read_set_at(&[], snapshot)?;
        }
        Ok(())
    }
}

/// The tables that a statement names, with the commits that defined them.
fn lives(prepared: &Prepared, snapshot: &Snapshot) -> Vec<(KindKey, Sequence)> {
    let tables = prepared.tables().iter();
    tables
        .filter_map(|key| Some((key.clone(), snapshot.table(key)?.since())))
        .collect()
}

fn changes(snapshot: &Snapshot, since: Sequence) -> Result<Vec<RowChange>, SqlError> {
    snapshot
        .changes_since(since)
        .map_err(|too_old: SnapshotTooOld| gone(too_old.to_string()))
}

fn gone(why: String) -> SqlError {
    SqlError::TooOld { why }
}

/// The states of the table's rows that changed, before all changes and after them.
fn states(changes: &[RowChange], table: &KindKey) -> [Vec<Row>; 2] {
    let mut rows: HashMap<&str, (&Option<Row>, &Option<Row>)> = HashMap::new();
    for change in changes.iter().filter(|change| change.table == *table) {
        let row = rows.entry(&change.uid).or_insert((&change.old, &None));
        row.1 = &change.new;
    }
    let old = rows.values().filter_map(|row| row.0.clone()).collect();
    let new = rows.values().filter_map(|row| row.1.clone()).collect();
    [old, new]
}
