//! What is read of a table, without a snapshot.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::input::Together;
use crate::elements::{Condition, Elements, fields};
use crate::slots::Slots;
use crate::source::{KindSource, SourceColumn};

/// The columns and conditions of a scan, compiled.
#[derive(Debug)]
pub(crate) struct Shape {
    pub source: Arc<KindSource>,
    /// Columns that the conditions need, by position in the source.
    pub(super) tested: Vec<usize>,
    /// Theirs, then those of the slots.
    pub(super) tested_schema: SchemaRef,
    /// Whether there are slots.
    pub(super) slotted: bool,
    pub(super) scope: Option<Arc<dyn PhysicalExpr>>,
    pub(super) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(super) projection: Vec<usize>,
    pub(super) schema: SchemaRef,
    /// What becomes of the rows that were read.
    pub(super) elements: Option<Arc<Elements>>,
    /// What is read of rows before they are tested, and what after it.
    pub(super) first: Together,
    pub(super) rest: Together,
}

/// What a scan must hold.
pub(crate) struct Conditions {
    /// Of the grant.
    pub scope: Vec<Expr>,
    /// Of the statement.
    pub filters: Vec<Expr>,
    /// Columns of values that stand beside the rows.
    pub slots: Vec<Field>,
}

impl Conditions {
    /// With columns for the slots, if there is one in them.
    pub(crate) fn with_slots(mut self, slots: &Slots) -> Self {
        let mut all = self.scope.iter().chain(&self.filters);
        if all.any(Slots::are_in) {
            self.slots = slots.fields();
        }
        self
    }
}

impl Shape {
    pub(crate) fn new(
        source: &Arc<KindSource>,
        projection: Option<&[usize]>,
        conditions: Conditions,
        props: &ExecutionProps,
    ) -> Result<Self> {
        let Conditions {
            scope,
            filters,
            slots,
        } = conditions;
        let (late, early): (Vec<Expr>, Vec<Expr>) = filters
            .into_iter()
            .partition(|filter| is_of_elements(source, filter));
        let tested = named(source, scope.iter().chain(&early));
        let slotted = !slots.is_empty();
        let tested_schema = Arc::new(with_slots(&fields(source, &tested), slots));
        let scope = compile(scope, &tested_schema, props)?;
        let condition = compile(early, &tested_schema, props)?;
        let mut projection = projection
            .map(<[usize]>::to_vec)
            .unwrap_or_else(|| (0..source.columns.len()).collect());
        let mut elements = None;
        if !source.lists.is_empty() {
            let made = Elements::new(source, late_condition(source, late, props)?, &projection);
            projection.clone_from(&made.base);
            elements = Some(Arc::new(made));
        }
        let (first, rest) = together(source, &tested, &projection);
        Ok(Self {
            schema: Arc::new(fields(source, &projection)),
            source: Arc::clone(source),
            tested,
            tested_schema,
            slotted,
            scope,
            condition,
            projection,
            elements,
            first,
            rest,
        })
    }

    /// Of the rows that come out.
    pub(crate) fn schema(&self) -> &SchemaRef {
        match &self.elements {
            Some(elements) => &elements.schema,
            None => &self.schema,
        }
    }
}

/// What is read of rows for their conditions, and what of those that are kept. An object is read
/// once: if the conditions need it, everything comes with them.
fn together(source: &KindSource, tested: &[usize], projection: &[usize]) -> (Together, Together) {
    let rest = projection.iter().copied();
    let rest: Vec<usize> = rest.filter(|at| !tested.contains(at)).collect();
    let first = Together::new(source, tested.iter().copied());
    if first.reads_bodies() {
        let all = tested.iter().copied().chain(rest);
        return (Together::new(source, all), Together::default());
    }
    (first, Together::new(source, rest))
}

fn late_condition(
    source: &KindSource,
    late: Vec<Expr>,
    props: &ExecutionProps,
) -> Result<Option<Condition>> {
    let columns = named(source, &late);
    let schema = Arc::new(fields(source, &columns));
    Ok(compile(late, &schema, props)?.map(|expr| Condition {
        expr,
        columns,
        schema,
    }))
}

fn with_slots(schema: &Schema, slots: Vec<Field>) -> Schema {
    let fields = schema.fields().iter().cloned();
    Schema::new(
        fields
            .chain(slots.into_iter().map(Arc::new))
            .collect::<Vec<_>>(),
    )
}

/// Whether the filter is about elements, and so about rows that are made after the read.
pub(super) fn is_of_elements(source: &KindSource, filter: &Expr) -> bool {
    let columns = filter.column_refs();
    let mut columns = columns.iter().filter_map(|c| source.column(c.name()));
    columns.any(SourceColumn::is_of_element)
}

/// The columns that the filters name, by position in the source.
fn named<'a>(source: &KindSource, filters: impl IntoIterator<Item = &'a Expr>) -> Vec<usize> {
    let names: HashSet<&str> = filters
        .into_iter()
        .flat_map(Expr::column_refs)
        .map(|column| column.name.as_str())
        .collect();
    let columns = source.columns.iter().enumerate();
    columns
        .filter(|(_, column)| names.contains(&*column.name))
        .map(|(position, _)| position)
        .collect()
}

fn compile(
    filters: Vec<Expr>,
    schema: &SchemaRef,
    props: &ExecutionProps,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(filter) = conjunction(filters) else {
        return Ok(None);
    };
    let schema = DFSchema::try_from(Arc::clone(schema))?;
    let context = PhysicalPlanningContext::default();
    create_physical_expr(&filter, &schema, props, &context).map(Some)
}
