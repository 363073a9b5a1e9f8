//! A query as it was at an earlier sequence.
//!
//! # Why
//!
//! Who goes on behind a mark has the answer of then, and the host has it no more. The change log has
//! the states of then of all rows that changed since, so that the tables of then can be read: the
//! rows of now, without those, and these.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use kybern_table::{KindKey, Row, RowChange, Snapshot};

use crate::bind::{Values, bind, own};
use crate::contain::contained;
use crate::scan::Past;
use crate::source::BoundSource;
use crate::{Answer, Engine, Prepared, SqlError};

/// The tables of then that differ from now.
#[derive(Debug, Default)]
pub(super) struct Pasts(HashMap<KindKey, Arc<Past>>);

impl Pasts {
    /// From all changes since then, in order.
    pub(super) fn of(changes: &[RowChange]) -> Self {
        let mut tables: HashMap<&KindKey, (HashSet<Arc<str>>, Vec<Row>)> = HashMap::new();
        for change in changes {
            let (seen, rows) = tables.entry(&change.table).or_default();
            // The first change of a row has its state of then.
            if seen.insert(Arc::clone(&change.uid)) {
                rows.extend(change.old.clone());
            }
        }
        let tables = tables.into_iter().map(|(key, (changed, rows))| {
            let past = Past { changed, rows };
            (key.clone(), Arc::new(past))
        });
        Self(tables.collect())
    }

    /// The same plan over the tables of then; a snapshot is behind every scan of it.
    fn put_into(&self, plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else {
                return Ok(Transformed::no(node));
            };
            if let Ok(provider) = source_as_provider(&scan.source)
                && let Some(bound) = provider.downcast_ref::<BoundSource>()
                && let Some(past) = self.0.get(bound.source.table.key())
            {
                scan.source = provider_as_source(Arc::new(BoundSource {
                    source: Arc::clone(&bound.source),
                    view: bound.view.clone(),
                    namespace: bound.namespace.clone(),
                    past: Some(Arc::clone(past)),
                }));
            }
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        Ok(plan.data)
    }
}

impl Engine {
    /// Answers a statement as it would have been answered then.
    pub(super) async fn execute_then(
        &self,
        prepared: &Prepared,
        snapshot: &Snapshot,
        then: &Pasts,
    ) -> Result<Answer, SqlError> {
        let (ticket, end) = self.begin();
        let room = self.room(&ticket.statement);
        let values = Values {
            params: &[],
            now: None,
            room: Some(&room),
        };
        let (planned, namespace) = (&prepared.planned, prepared.namespace.as_ref());
        let run = async {
            // What joined rows say of each other is known of now only.
            let plan = bind(&planned.plan, values, snapshot, namespace, None, Vec::new())?;
            let plan = then.put_into(plan);
            let plan = plan.map_err(|error| own(&error, SqlError::planning))?;
            let plan = self.physical_of(plan, &end).await?;
            self.collect(plan, &end, self.limits()).await
        };
        let batches = contained(run).await?;
        Answer::new(&planned.layout, &batches).map_err(|error| SqlError::execution(&error))
    }
}
