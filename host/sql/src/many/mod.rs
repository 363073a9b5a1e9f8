//! Lane 2: one statement for many askers, answered by one join.
//!
//! ```text
//! plan, sets of parameters --rewrite--> plan joined with the sets, each row with its set's number
//!                          --split--> one answer for each set
//! ```
//!
//! # Contract
//!
//! Each set has the answer that [`Engine::execute`] gives it alone, bit for bit. Whether a
//! statement can be joined, `rewrite` decides by what it knows, never by what it does not; all
//! others are answered one by one. So is whatever the join has no answer for.
//!
//! An expression that fails on rows which no set needs may fail alone and not in a join: SQL
//! leaves open whether it is looked at.
//!
//! # Limits
//!
//! A join has at most [`MOST`] sets, and is one statement to time, memory and cancel. The bound on
//! rows is each set's own. A join that is too large is tried again in halves.

mod carried;
mod groups;
mod rewrite;
mod sets;
mod sides;
mod split;
mod understood;

#[cfg(test)]
mod for_tests;

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, ScalarValue};
use kybern_table::Snapshot;
use tokio::time::Instant;

use crate::bind::own;
use crate::contain::contained;
use crate::execute::{ready, too_many_rows};
use crate::guard::End;
use crate::lane::Lane;
use crate::{Answer, Engine, Param, Prepared, SqlError, SqlLimits};

use rewrite::rewrite;
use sets::{Sets, parameters, values};
use split::split;
use understood::Refusal;

/// Sets of one join.
const MOST: usize = 1024;

/// Sets for which a join is worth to be planned.
const FEW: usize = 4;

/// The same where each is answered by a key look-up, which costs a hundredth of a plan.
const FEW_LOOKUPS: usize = 200;

/// Answers that are made before a join returns to the runtime.
const AT_ONCE: usize = 64;

/// Sets of parameters that are the same to the statement.
struct Alike {
    values: Vec<ScalarValue>,
    /// Which of the call's sets they are.
    places: Vec<usize>,
}

/// Why a join has no answers.
enum Trouble {
    /// Its sets have none either.
    Ended(SqlError),
    /// Fewer sets may have some.
    TooMuch,
    /// Each set may have one alone.
    Alone(String),
}

impl Engine {
    /// Answers a statement for many sets of parameters at one snapshot: for each set what
    /// [`Engine::execute`] answers, in their order. It costs much less than to ask one by one
    /// where EXPLAIN says that the statement is set-oriented.
    pub async fn execute_many(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        snapshot: &Snapshot,
    ) -> Vec<Result<Answer, SqlError>> {
        let (alike, alone) = sorted_out(prepared, sets);
        let mut answers: Vec<Option<Result<Answer, SqlError>>> = vec![None; sets.len()];
        let mut give = |places: &[usize], answer: Result<Answer, SqlError>| {
            for place in places {
                if let Some(slot) = answers.get_mut(*place) {
                    *slot = Some(answer.clone());
                }
            }
        };
        for place in alone {
            let answer = self.single(prepared, sets, place, snapshot).await;
            give(&[place], answer);
        }
        let few = match prepared.planned.lane {
            Lane::KeyLookup(_) => FEW_LOOKUPS,
            Lane::General => FEW,
        };
        for batch in alike.chunks(MOST) {
            let found = match batch.len() < few {
                true => self.singles(prepared, sets, batch, snapshot).await,
                false => self.joined(prepared, sets, batch, snapshot).await,
            };
            for (alike, answer) in batch.iter().zip(found) {
                give(&alike.places, answer);
            }
        }
        let missing = || SqlError::Internal {
            message: "a set of parameters was forgotten".to_owned(),
        };
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(|| Err(missing())))
            .collect()
    }

    /// The answers of a batch, in its order.
    async fn joined(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        batch: &[Alike],
        snapshot: &Snapshot,
    ) -> Vec<Result<Answer, SqlError>> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut due = vec![batch];
        while let Some(part) = due.pop() {
            match self.join(prepared, part, snapshot).await {
                Ok(found) => answers.extend(found),
                Err(Trouble::Ended(error)) => {
                    self.count_limits(std::slice::from_ref(&Err(error.clone())));
                    answers.extend(part.iter().map(|_| Err(error.clone())));
                }
                Err(Trouble::TooMuch) if part.len() > 1 => {
                    let (one, other) = part.split_at(part.len() / 2);
                    due.extend([other, one]);
                }
                Err(trouble) => {
                    if let Trouble::Alone(why) = trouble {
                        tracing::debug!(sets = part.len(), why, "answered one by one");
                    }
                    answers.extend(self.singles(prepared, sets, part, snapshot).await);
                }
            }
        }
        answers
    }

    /// The answers of a batch by one statement.
    async fn join(
        &self,
        prepared: &Prepared,
        batch: &[Alike],
        snapshot: &Snapshot,
    ) -> Result<Vec<Result<Answer, SqlError>>, Trouble> {
        let alone = |error: SqlError| Trouble::Alone(error.to_string());
        let planned = &prepared.planned;
        let values = batch.iter().map(|alike| alike.values.clone()).collect();
        let plan = refused(prepared)
            .and_then(|()| Sets::new(parameters(&planned.plan), values))
            .and_then(|sets| rewrite(&planned.plan, &sets));
        let plan = plan.map_err(|refusal| Trouble::Alone(refusal.to_string()))?;
        ready(prepared, snapshot).map_err(alone)?;
        // Rows are counted for each set, below.
        let limits = SqlLimits {
            rows: usize::MAX,
            ..self.limits().clone()
        };
        let (ticket, end) = self.begin();
        let run = async {
            let namespace = prepared.namespace.as_ref();
            let rows = self
                .run_plan(&plan, namespace, snapshot, &end, &limits)
                .await?;
            let answers = self.answers(prepared, &rows, batch.len(), &end);
            let failed = |error: DataFusionError| own(&error, SqlError::execution);
            answers.await.map_err(failed)
        };
        let answers = contained(run).await.map_err(|error| match error {
            SqlError::Cancelled { .. } => Trouble::Ended(error),
            SqlError::Limit { .. } if Instant::now() >= end.deadline.at => Trouble::Ended(error),
            SqlError::Limit { .. } => Trouble::TooMuch,
            other => alone(other),
        })?;
        drop(ticket);
        self.count_limits(&answers);
        Ok(answers)
    }

    /// The answers in the rows of a join.
    async fn answers(
        &self,
        prepared: &Prepared,
        rows: &[RecordBatch],
        sets: usize,
        end: &End,
    ) -> Result<Vec<Result<Answer, SqlError>>, DataFusionError> {
        let (layout, limits) = (&prepared.planned.layout, self.limits());
        let mut answers = Vec::with_capacity(sets);
        for rows in split(rows, sets)? {
            if answers.len() % AT_ONCE == 0 {
                tokio::task::yield_now().await;
                end.check()?;
            }
            answers.push(match rows {
                Some(rows) if rows.num_rows() > limits.rows => Err(too_many_rows(limits)),
                rows => Ok(Answer::new(layout, rows.as_slice())?),
            });
        }
        Ok(answers)
    }

    /// The answers of a batch, asked for one by one.
    async fn singles(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        batch: &[Alike],
        snapshot: &Snapshot,
    ) -> Vec<Result<Answer, SqlError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for alike in batch {
            let place = alike.places.first().copied().unwrap_or_default();
            answers.push(self.single(prepared, sets, place, snapshot).await);
        }
        answers
    }

    async fn single(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        place: usize,
        snapshot: &Snapshot,
    ) -> Result<Answer, SqlError> {
        // A look-up alone never returns to the runtime, where dropping the call ends it.
        tokio::task::yield_now().await;
        let params = sets.get(place).map(Vec::as_slice).unwrap_or_default();
        self.execute(prepared, params, snapshot).await
    }
}

/// The sets by what they are to the statement, and those that are to be asked for alone: their
/// values do not fit it.
fn sorted_out(prepared: &Prepared, sets: &[Vec<Param>]) -> (Vec<Alike>, Vec<usize>) {
    let mut alike: Vec<Alike> = Vec::new();
    let mut alone = Vec::new();
    let mut known = std::collections::HashMap::new();
    let parameters = parameters(&prepared.planned.plan);
    for (place, params) in sets.iter().enumerate() {
        let fits = !prepared.is_explain() && params.len() >= prepared.param_count();
        let Some(values) = fits.then(|| values(&parameters, params)).flatten() else {
            alone.push(place);
            continue;
        };
        let at = *known.entry(values.clone()).or_insert(alike.len());
        match alike.get_mut(at) {
            Some(alike) => alike.places.push(place),
            None => alike.push(Alike {
                values,
                places: vec![place],
            }),
        }
    }
    (alike, alone)
}

/// What its plan does not tell.
fn refused(prepared: &Prepared) -> Result<(), Refusal> {
    if prepared.planned.layout.is_ordered() {
        return Err(Refusal::new("it has an ORDER BY"));
    }
    if prepared.planned.arbitrary_limit {
        return Err(Refusal::new("it has a LIMIT"));
    }
    Ok(())
}

/// What EXPLAIN says of a statement with parameters.
pub(crate) fn explained(prepared: &Prepared) -> String {
    let plan = &prepared.planned.plan;
    let joined = refused(prepared)
        .and_then(|()| Sets::new(parameters(plan), Vec::new()))
        .and_then(|sets| rewrite(plan, &sets));
    match joined {
        Ok(_) => "set-oriented: yes, many askers are answered by one join".to_owned(),
        Err(refusal) => format!("set-oriented: no, {refusal}"),
    }
}
