//! Many CRs that ask the same statements are answered by a join for each statement.

use crate::{failure, named, namespace, unfit};
use kybern_interface::Query;
use kybern_reconcile::{Answer, SenseError, SenseRequest, Sensed};
use kybern_sql::{AccessSet, Engine, Param};
use kybern_table::Snapshot;
use std::collections::BTreeMap;

/// What one CR asks.
pub(crate) struct Asked {
    namespace: String,
    queries: Vec<Query>,
}

impl Asked {
    pub(crate) fn of(request: &SenseRequest<'_>) -> Self {
        Self {
            namespace: namespace(request.object).to_owned(),
            queries: request.queries.to_vec(),
        }
    }
}

/// For each asker what it would be answered alone, in their order.
pub(crate) async fn answer(
    engine: &Engine,
    access: &AccessSet,
    asked: Vec<Asked>,
    snapshot: &Snapshot,
) -> Vec<Result<Sensed, SenseError>> {
    // A join has one asker's rights.
    let mut alike: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, asked) in asked.iter().enumerate() {
        let namespace = if access.is_bound() {
            &*asked.namespace
        } else {
            ""
        };
        alike.entry(namespace).or_default().push(place);
    }
    let mut all: Vec<Result<Sensed, SenseError>> = asked
        .iter()
        .map(|asked| {
            let answers = Vec::with_capacity(asked.queries.len());
            Ok(Sensed { answers })
        })
        .collect();
    for (namespace, places) in alike {
        let access = access.in_namespace(namespace);
        let statements = places.first().and_then(|place| asked.get(*place));
        for number in 0..statements.map_or(0, |first| first.queries.len()) {
            let queries: Vec<&Query> = places
                .iter()
                .filter_map(|place| asked.get(*place)?.queries.get(number))
                .collect();
            let answers = statement(engine, &access, &queries, snapshot).await;
            for (place, answer) in places.iter().zip(answers) {
                let Some(slot) = all.get_mut(*place) else {
                    continue;
                };
                match (slot, answer) {
                    (Ok(sensed), Ok(answer)) => sensed.answers.push(answer),
                    (slot @ Ok(_), Err(error)) => *slot = Err(error),
                    (Err(_), _) => {}
                }
            }
        }
    }
    all
}

/// One statement for many askers.
async fn statement(
    engine: &Engine,
    access: &AccessSet,
    queries: &[&Query],
    snapshot: &Snapshot,
) -> Vec<Result<Answer, SenseError>> {
    let Some(first) = queries.first() else {
        return Vec::new();
    };
    let failed = |error: SenseError| queries.iter().map(|_| Err(error.clone())).collect();
    let prepared = match engine.prepare(&first.sql, access).await {
        Ok(prepared) => prepared,
        Err(error) => return failed(failure(&first.name, &error)),
    };
    if let Some(fault) = unfit(&prepared) {
        return failed(SenseError::Query {
            query: first.name.clone(),
            message: fault.to_owned(),
        });
    }
    let sets: Vec<Vec<Param>> = queries
        .iter()
        .map(|query| query.params.iter().cloned().map(Param::from).collect())
        .collect();
    let answers = engine.execute_many(&prepared, &sets, snapshot).await;
    let mut named_answers = Vec::with_capacity(queries.len());
    for (answer, params) in answers.into_iter().zip(&sets) {
        let answer = answer.and_then(|answer| {
            let read_set = prepared.read_set_at(params, snapshot)?;
            Ok(named(&first.name, answer, read_set))
        });
        named_answers.push(answer.map_err(|error| failure(&first.name, &error)));
        // Read sets are made one by one: others have their turn in between.
        tokio::task::consume_budget().await;
    }
    named_answers
}
