//! Lanes: equal answers, different costs.
//!
//! 1. *Key look-up*: one table, reached by keys. The rows are gathered and the
//!    rest of the statement is evaluated on them by DataFusion's own compiled
//!    expressions, without a physical plan.
//! 2. *Set-oriented*: many askers of one statement are answered by one join
//!    ([`crate::many`]), whichever lane would answer one of them.
//! 3. *General*: DataFusion plans and runs the statement.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, Result, ScalarValue, internal_datafusion_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use kybern_table::Snapshot;

use crate::bind::{Values, view};
use crate::guard::End;
use crate::lookup::lookups;
use crate::planner::kind_source;
use crate::scan::RowScan;
use crate::source::{BoundSource, is_free_of, needs_other_rows};

/// How a statement is answered.
#[derive(Debug)]
pub(crate) enum Lane {
    /// Lane 1.
    KeyLookup(Box<KeyLookup>),
    /// Lane 3.
    General,
}

/// A statement of the shape projection?(filter?(scan by keys)).
#[derive(Debug)]
pub(crate) struct KeyLookup {
    scan: TableScan,
    /// Steps above the scan, the lowest first.
    steps: Vec<(Step, DFSchemaRef)>,
}

#[derive(Debug)]
enum Step {
    Filter(Expr),
    Project(Vec<Expr>),
}

/// Chooses the lane of an optimised plan.
pub(crate) fn lane(plan: &LogicalPlan) -> Lane {
    key_lookup(plan).map_or(Lane::General, |found| Lane::KeyLookup(Box::new(found)))
}

fn key_lookup(plan: &LogicalPlan) -> Option<KeyLookup> {
    let mut steps = Vec::new();
    let mut node = plan;
    loop {
        node = match node {
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Filter(filter) if steps.len() < 4 => {
                let step = Step::Filter(filter.predicate.clone());
                steps.push((step, Arc::clone(filter.input.schema())));
                &filter.input
            }
            LogicalPlan::Projection(projection) if steps.len() < 4 => {
                let step = Step::Project(projection.expr.clone());
                steps.push((step, Arc::clone(projection.input.schema())));
                &projection.input
            }
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let plain = steps.iter().all(|(step, _)| match step {
                    Step::Filter(expr) => is_plain(expr),
                    Step::Project(exprs) => exprs.iter().all(is_plain),
                });
                let source = kind_source(&scan.source)?;
                let mut filters = source.scope_filters(Some("any"));
                filters.extend(scan.filters.iter().map(with_any_values));
                // A namespace alone reads many rows: the general lane does that in chunks.
                let keyed = lookups(&source, &filters).iter().any(|lookup| {
                    has_index(&source, &lookup.index)
                        && lookup.index != kybern_table::Index::Namespace
                });
                steps.reverse();
                return (plain && keyed).then(|| KeyLookup {
                    scan: scan.clone(),
                    steps,
                });
            }
            _ => return None,
        }
    }
}

/// Whether the definition of the table has the index.
fn has_index(source: &crate::source::KindSource, index: &kybern_table::Index) -> bool {
    use kybern_table::Index;
    let def = &source.table.info.def;
    match index {
        Index::Uid | Index::Name | Index::Owner | Index::Namespace => true,
        Index::Label(key) => def.label_keys.contains(key),
        Index::Path(path) => def.path_indexes.contains(path),
    }
}

fn is_plain(expr: &Expr) -> bool {
    is_free_of(expr, |part| {
        needs_other_rows(part)
            || matches!(
                part,
                Expr::WindowFunction(_) | Expr::AggregateFunction(_) | Expr::Unnest(_)
            )
    })
}

/// The filter with some value for each parameter: enough to see its shape.
fn with_any_values(filter: &Expr) -> Expr {
    let replaced = filter.clone().transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(Placeholder { .. }) => Transformed::yes(Expr::Literal(
                ScalarValue::Utf8View(Some(String::new())),
                None,
            )),
            other => Transformed::no(other),
        })
    });
    replaced.map_or_else(|_| filter.clone(), |replaced| replaced.data)
}

impl KeyLookup {
    /// Answers the statement at one snapshot.
    pub(crate) fn run(
        &self,
        values: Values<'_>,
        snapshot: &Snapshot,
        namespace: Option<&Arc<str>>,
        props: &ExecutionProps,
        end: &End,
    ) -> Result<Vec<RecordBatch>> {
        let source = kind_source(&self.scan.source)
            .ok_or_else(|| internal_datafusion_err!("a look-up of something that is no table"))?;
        let view = view(snapshot, &source)?;
        let bound = BoundSource {
            source,
            view,
            namespace: namespace.cloned(),
        };
        let filters = self
            .scan
            .filters
            .iter()
            .map(|filter| Ok(unqualified(values.substitute(filter.clone())?.data)))
            .collect::<Result<Vec<_>>>()?;
        let projection = self.scan.projection.as_deref();
        let scan = Arc::new(RowScan::new(&bound, projection, &filters, None, props)?);
        let steps = self
            .steps
            .iter()
            .map(|(step, schema)| Compiled::new(step, schema, values, props))
            .collect::<Result<Vec<_>>>()?;
        let mut answer = Vec::new();
        for batch in scan.batches()? {
            end.check()?;
            let batch = batch?;
            if batch.num_rows() > 0 {
                let done = steps
                    .iter()
                    .try_fold(batch, |batch, step| step.apply(batch))?;
                answer.push(done);
            }
        }
        Ok(answer)
    }
}

fn unqualified(expr: Expr) -> Expr {
    datafusion::logical_expr::expr_rewriter::unnormalize_col(expr)
}

enum Compiled {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<(String, Arc<dyn PhysicalExpr>)>),
}

impl Compiled {
    fn new(
        step: &Step,
        schema: &DFSchemaRef,
        values: Values<'_>,
        props: &ExecutionProps,
    ) -> Result<Self> {
        let compile = |expr: &Expr| {
            let expr = values.substitute(expr.clone())?.data;
            create_physical_expr(&expr, schema, props, &PhysicalPlanningContext::default())
        };
        Ok(match step {
            Step::Filter(expr) => Self::Filter(compile(expr)?),
            Step::Project(exprs) => Self::Project(
                exprs
                    .iter()
                    .map(|expr| Ok((expr.qualified_name().1, compile(expr)?)))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        match self {
            Self::Filter(condition) => {
                let result = condition.evaluate(&batch)?.into_array(rows)?;
                let result = result
                    .as_any()
                    .downcast_ref::<BooleanArray>()
                    .ok_or_else(|| internal_datafusion_err!("a condition is no boolean"))?;
                Ok(filter_record_batch(&batch, result)?)
            }
            Self::Project(exprs) => {
                let columns = exprs
                    .iter()
                    .map(|(_, expr)| expr.evaluate(&batch)?.into_array(rows))
                    .collect::<Result<Vec<ArrayRef>>>()?;
                let fields: Vec<Field> = exprs
                    .iter()
                    .zip(&columns)
                    .map(|((name, _), column)| Field::new(name, column.data_type().clone(), true))
                    .collect();
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let schema = Arc::new(Schema::new(fields));
                Ok(RecordBatch::try_new_with_options(
                    schema, columns, &options,
                )?)
            }
        }
    }
}
