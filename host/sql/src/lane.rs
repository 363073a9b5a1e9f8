//! Lanes: equal answers, different costs.
//!
//! 1. *Key look-up*: one table, reached by keys. The rows are gathered and the
//!    rest of the statement is evaluated on them by DataFusion's own compiled
//!    expressions, without a physical plan. They are compiled once if parameters
//!    can be columns in them ([`crate::slots`]), else for each execution.
//! 2. *Set-oriented*: many askers of one statement are answered by one join
//!    ([`crate::many`]), whichever lane would answer one of them.
//! 3. *General*: DataFusion plans and runs the statement.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, internal_datafusion_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use kybern_table::{Index, Row, Snapshot, TableView};

use crate::bind::{Values, external, view};
use crate::guard::End;
use crate::keys::Keys;
use crate::lookup::{conjuncts, lookups};
use crate::planner::kind_source;
use crate::scan::{Batches, Conditions, RowScan, Shape};
use crate::slots::{Slots, beside};
use crate::source::{BoundSource, KindSource, is_free_of, needs_other_rows};

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
    source: Arc<KindSource>,
    /// Steps above the scan, the lowest first.
    steps: Vec<(Step, DFSchemaRef)>,
    ready: Option<Ready>,
}

/// What can be compiled before the values are known.
#[derive(Debug)]
struct Ready {
    slots: Slots,
    keys: Keys,
    shape: Arc<Shape>,
    steps: Vec<Compiled>,
}

impl KeyLookup {
    /// Whether it reads a few objects that it names.
    pub(crate) fn is_point(&self) -> bool {
        self.ready
            .as_ref()
            .is_some_and(|ready| ready.keys.is_point())
    }
}

#[derive(Debug)]
enum Step {
    Filter(Expr),
    Project(Vec<Expr>),
}

/// Chooses the lane of an optimised plan.
pub(crate) fn lane(plan: &LogicalPlan, props: &ExecutionProps) -> Lane {
    key_lookup(plan, props).map_or(Lane::General, |found| Lane::KeyLookup(Box::new(found)))
}

fn key_lookup(plan: &LogicalPlan, props: &ExecutionProps) -> Option<KeyLookup> {
    let found = row_by_row(plan)?;
    let KeyLookup {
        scan,
        source,
        steps,
        ..
    } = &found;
    let mut filters = source.scope_filters(Some("any"));
    filters.extend(scan.filters.iter().map(with_any_values));
    // A namespace alone reads many rows: the general lane does that in chunks.
    let keyed = lookups(source, &filters)
        .iter()
        .any(|lookup| has_index(source, &lookup.index) && lookup.index != Index::Namespace);
    let ready = keyed.then(|| Ready::new(source, scan, steps, props));
    ready.map(|ready| KeyLookup { ready, ..found })
}

/// A plan in which each row of one table goes its own way, whether it is reached by keys or not.
pub(crate) fn row_by_row(plan: &LogicalPlan) -> Option<KeyLookup> {
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
                steps.reverse();
                return plain.then(|| KeyLookup {
                    scan: scan.clone(),
                    source,
                    steps,
                    ready: None,
                });
            }
            _ => return None,
        }
    }
}

/// Whether the definition of the table has the index.
fn has_index(source: &KindSource, index: &Index) -> bool {
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
    #[cfg(test)]
    pub(crate) fn is_compiled_once(&self) -> bool {
        self.ready.is_some()
    }

    /// Answers the statement at one snapshot.
    pub(crate) fn run(
        &self,
        values: Values<'_>,
        snapshot: &Snapshot,
        namespace: Option<&Arc<str>>,
        props: &ExecutionProps,
        end: &End,
    ) -> Result<Vec<RecordBatch>> {
        let view = view(snapshot, &self.source)?;
        match &self.ready {
            Some(ready) if view.has_index(&ready.keys.index) => {
                let scan = Arc::new(ready.scan(view, values, namespace)?);
                answer(&scan, scan.batches()?, &ready.steps, end)
            }
            _ => {
                let (scan, steps) = self.compile(values, view, namespace, props)?;
                answer(&scan, scan.batches()?, &steps, end)
            }
        }
    }

    /// The table that it reads.
    pub(crate) fn source(&self) -> &KindSource {
        &self.source
    }

    /// What the statement makes of one set of rows and of another, whatever is in its table.
    pub(crate) fn of_rows(
        &self,
        [one, other]: [Vec<Row>; 2],
        snapshot: &Snapshot,
        (values, namespace): (Values<'_>, Option<&Arc<str>>),
        props: &ExecutionProps,
        end: &End,
    ) -> Result<[Vec<RecordBatch>; 2]> {
        let view = view(snapshot, &self.source)?;
        let (scan, steps) = self.compile(values, view, namespace, props)?;
        let of = |rows| answer(&scan, scan.batches_of(rows), &steps, end);
        Ok([of(one)?, of(other)?])
    }

    fn compile(
        &self,
        values: Values<'_>,
        view: TableView,
        namespace: Option<&Arc<str>>,
        props: &ExecutionProps,
    ) -> Result<(Arc<RowScan>, Vec<Compiled>)> {
        let bound = BoundSource {
            source: Arc::clone(&self.source),
            view,
            namespace: namespace.cloned(),
            past: None,
        };
        let with_values = |expr: &Expr| Ok(values.substitute(expr.clone())?.data);
        let filters = self.scan.filters.iter();
        let filters = filters
            .map(|filter| with_values(filter).map(unqualified))
            .collect::<Result<Vec<_>>>()?;
        let projection = self.scan.projection.as_deref();
        let scan = Arc::new(RowScan::new(&bound, projection, &filters, None, props)?);
        let steps = self
            .steps
            .iter()
            .map(|(step, schema)| Compiled::new(&step.map(with_values)?, schema, false, props))
            .collect::<Result<Vec<_>>>()?;
        Ok((scan, steps))
    }
}

/// What the steps make of the rows.
fn answer(
    scan: &RowScan,
    batches: Batches,
    steps: &[Compiled],
    end: &End,
) -> Result<Vec<RecordBatch>> {
    let mut answer = Vec::new();
    for batch in batches {
        end.check()?;
        let batch = batch?;
        if batch.num_rows() > 0 {
            let mut steps = steps.iter();
            answer.push(steps.try_fold(batch, |batch, step| step.apply(batch, scan.slots()))?);
        }
    }
    Ok(answer)
}

impl Ready {
    /// None if something of the statement must be compiled for each execution.
    fn new(
        source: &Arc<KindSource>,
        scan: &TableScan,
        steps: &[(Step, DFSchemaRef)],
        props: &ExecutionProps,
    ) -> Option<Self> {
        if source.known.is_some() || !source.lists.is_empty() {
            return None;
        }
        let mut slots = Slots::default();
        let own = source.scope.is_bound().then(|| slots.own_namespace());
        let scope = source.scope_filters_of(own);
        let granted = scope.len();
        let mut conditions = scope;
        for filter in &scan.filters {
            let filter = slots.take(&unqualified(filter.clone()))?;
            conditions.extend(conjuncts(&filter).into_iter().cloned());
        }
        let has = |index: &Index| has_index(source, index);
        let (keys, covered) = Keys::find(source, &conditions, has)?;
        let steps = steps.iter().map(|(step, schema)| {
            let taken = step.map(|expr| slots.take(expr).ok_or(()));
            taken.map(|step| (step, schema))
        });
        let steps: Vec<(Step, &DFSchemaRef)> = steps.collect::<Result<_, ()>>().ok()?;
        if !slots.are_few() {
            return None;
        }
        let (mut scope, mut filters) = (Vec::new(), Vec::new());
        for (position, condition) in conditions.into_iter().enumerate() {
            match (covered.contains(&position), position < granted) {
                (true, _) => {}
                (false, true) => scope.push(condition),
                (false, false) => filters.push(condition),
            }
        }
        let conditions = Conditions {
            scope,
            filters,
            slots: Vec::new(),
        };
        let conditions = conditions.with_slots(&slots);
        let shape = Shape::new(source, scan.projection.as_deref(), conditions, props);
        let steps = steps.iter().map(|(step, schema)| {
            let slots = DFSchema::from_unqualified_fields(slots.fields().into(), HashMap::new())?;
            let uses = step.uses_slots();
            Compiled::new(step, &Arc::new(schema.join(&slots)?), uses, props)
        });
        Some(Self {
            keys,
            steps: steps.collect::<Result<_>>().ok()?,
            shape: Arc::new(shape.ok()?),
            slots,
        })
    }

    fn scan(
        &self,
        view: TableView,
        values: Values<'_>,
        namespace: Option<&Arc<str>>,
    ) -> Result<RowScan> {
        let slots = self.slots.values(values, namespace).map_err(external)?;
        let lookup = self.keys.of(&slots);
        Ok(RowScan::of(&self.shape, view, lookup, slots))
    }
}

impl Step {
    /// The same step of other expressions.
    fn map<E>(&self, mut other: impl FnMut(&Expr) -> Result<Expr, E>) -> Result<Self, E> {
        Ok(match self {
            Self::Filter(expr) => Self::Filter(other(expr)?),
            Self::Project(exprs) => Self::Project(
                exprs
                    .iter()
                    .map(|expr| {
                        let name = expr.qualified_name();
                        Ok(other(expr)?.alias_qualified(name.0, name.1))
                    })
                    .collect::<Result<_, E>>()?,
            ),
        })
    }

    fn uses_slots(&self) -> bool {
        match self {
            Self::Filter(expr) => Slots::are_in(expr),
            Self::Project(exprs) => exprs.iter().any(Slots::are_in),
        }
    }
}

fn unqualified(expr: Expr) -> Expr {
    datafusion::logical_expr::expr_rewriter::unnormalize_col(expr)
}

/// A step that can be done.
#[derive(Debug)]
struct Compiled {
    work: Work,
    /// Whether the values of slots must stand beside the rows.
    slotted: Option<SchemaRef>,
}

#[derive(Debug)]
enum Work {
    Filter(Arc<dyn PhysicalExpr>),
    /// The columns, and what they are expected to be.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

impl Compiled {
    fn new(
        step: &Step,
        schema: &DFSchemaRef,
        slotted: bool,
        props: &ExecutionProps,
    ) -> Result<Self> {
        let context = PhysicalPlanningContext::default();
        let compile = |expr: &Expr| create_physical_expr(expr, schema, props, &context);
        let input = schema.as_arrow();
        let work = match step {
            Step::Filter(expr) => Work::Filter(compile(expr)?),
            Step::Project(exprs) => {
                let compiled = exprs.iter().map(compile).collect::<Result<Vec<_>>>()?;
                let fields = exprs.iter().zip(&compiled).map(|(expr, compiled)| {
                    let (_, name) = expr.qualified_name();
                    Ok(Field::new(name, compiled.data_type(input)?, true))
                });
                let fields = fields.collect::<Result<Vec<_>>>()?;
                Work::Project(compiled, Arc::new(Schema::new(fields)))
            }
        };
        let slotted = slotted.then(|| Arc::new(input.clone()));
        Ok(Self { work, slotted })
    }

    fn apply(&self, batch: RecordBatch, slots: &[ScalarValue]) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let seen = match &self.slotted {
            None => batch.clone(),
            Some(schema) => {
                let mut columns = batch.columns().to_vec();
                columns.extend(beside(slots, rows)?);
                RecordBatch::try_new(as_they_are(schema, &columns), columns)?
            }
        };
        match &self.work {
            Work::Filter(condition) => {
                let result = condition.evaluate(&seen)?.into_array(rows)?;
                let result = result
                    .as_any()
                    .downcast_ref::<BooleanArray>()
                    .ok_or_else(|| internal_datafusion_err!("a condition is no boolean"))?;
                Ok(filter_record_batch(&batch, result)?)
            }
            Work::Project(exprs, schema) => {
                let columns = exprs.iter();
                let columns = columns.map(|expr| expr.evaluate(&seen)?.into_array(rows));
                let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
                let schema = as_they_are(schema, &columns);
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(
                    schema, columns, &options,
                )?)
            }
        }
    }
}

/// The schema with the types that the columns have.
fn as_they_are(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let mut both = schema.fields().iter().zip(columns);
    if both.all(|(field, column)| field.data_type() == column.data_type()) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| {
        let field = field.as_ref().clone();
        field.with_data_type(column.data_type().clone())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
