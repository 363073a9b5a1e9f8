//! Reads rows of one table at one snapshot.
//!
//! # Contract
//!
//! The grant's condition is evaluated before anything that the statement says,
//! and the statement's conditions see only rows that passed it: an error that a
//! condition raises can never tell about a row that does not exist for the asker.

mod input;
mod leaf;
mod past;
mod shape;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use kybern_table::{ChunkView, Column, Index, Row, SnapshotTooOld, TableView};

use crate::access::RowScope;
use crate::elements::Expanding;
use crate::lookup::{Lookup, lookups};
use crate::slots::beside;
use crate::source::{BoundSource, Read};

use self::input::{Input, Loaded, Together, parts};
use self::shape::is_of_elements;

pub(crate) use self::leaf::SnapshotScan;
pub(crate) use self::past::Past;
pub(crate) use self::shape::{Conditions, Shape};

/// What is read from a table, and how.
#[derive(Debug)]
pub(crate) struct RowScan {
    shape: Arc<Shape>,
    view: TableView,
    pub lookup: Option<Lookup>,
    /// The namespaces that the asker may see.
    granted: Option<Lookup>,
    /// What stands beside the rows.
    slots: Vec<ScalarValue>,
    limit: Option<usize>,
    /// What of the table is to be read otherwise than the snapshot has it.
    past: Option<Arc<Past>>,
}

impl RowScan {
    /// Plans a read. The filters hold no parameters any more.
    pub(crate) fn new(
        bound: &BoundSource,
        projection: Option<&[usize]>,
        filters: &[Expr],
        limit: Option<usize>,
        props: &ExecutionProps,
    ) -> Result<Self> {
        let source = &bound.source;
        let scope = source.scope_filters(bound.namespace.as_deref());
        let early = filters.iter().filter(|f| !is_of_elements(source, f));
        let all: Vec<Expr> = scope.iter().chain(early).cloned().collect();
        // The indexes know the rows of now.
        let lookup = lookups(source, &all)
            .into_iter()
            .find(|lookup| bound.past.is_none() && bound.view.has_index(&lookup.index));
        let granted = lookups(source, &scope)
            .into_iter()
            .find(|lookup| lookup.index == Index::Namespace);
        let conditions = Conditions {
            scope,
            filters: filters.to_vec(),
            slots: Vec::new(),
        };
        Ok(Self {
            shape: Arc::new(Shape::new(source, projection, conditions, props)?),
            view: bound.view.clone(),
            lookup,
            granted,
            slots: Vec::new(),
            limit,
            past: bound.past.clone(),
        })
    }

    /// A read that was planned before: of rows with these keys, with these values in its slots.
    pub(crate) fn of(
        shape: &Arc<Shape>,
        view: TableView,
        lookup: Lookup,
        slots: Vec<ScalarValue>,
    ) -> Self {
        Self {
            shape: Arc::clone(shape),
            view,
            lookup: Some(lookup),
            granted: None,
            slots,
            limit: None,
            past: None,
        }
    }

    /// Of the rows that come out.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.shape.schema()
    }

    /// The values in its slots.
    pub(crate) fn slots(&self) -> &[ScalarValue] {
        &self.slots
    }

    /// How many rows there are, about, of what the asker may see: which side of a join is built
    /// first can be seen, and must not depend on other rows.
    fn rows(&self) -> Precision<usize> {
        let count = self.view.count();
        match (&self.shape.source.scope, &self.lookup) {
            (RowScope::All, None)
                if self.shape.condition.is_none()
                    && self.shape.elements.is_none()
                    && self.past.is_none() =>
            {
                Precision::Exact(self.limit.map_or(count, |limit| limit.min(count)))
            }
            (RowScope::All, None) => Precision::Inexact(count.div_ceil(4)),
            (RowScope::All, Some(lookup)) => {
                Precision::Inexact(lookup.rows_about(&self.view).min(count))
            }
            (RowScope::OwnNamespace | RowScope::Namespaces(_), _) => match &self.granted {
                Some(namespaces) => Precision::Inexact(namespaces.rows_about(&self.view)),
                None => Precision::Absent,
            },
            (RowScope::Labels { .. }, _) => Precision::Absent,
        }
    }

    /// The rows, in batches that are made as they are asked for.
    pub(crate) fn batches(self: &Arc<Self>) -> Result<Batches> {
        let input = match (&self.lookup, &self.past) {
            (_, Some(past)) => parts(past.rows(&self.view)?),
            (None, None) => {
                let chunks = self.view.scan().map_err(too_old)?;
                chunks.into_iter().map(Input::Chunk).collect()
            }
            (Some(lookup), None) => {
                let mut rows: Vec<Row> = Vec::new();
                for key in &lookup.keys {
                    rows.extend(self.view.lookup(&lookup.index, key).map_err(too_old)?);
                }
                parts(rows)
            }
        };
        Ok(self.batches_from(input))
    }

    /// The same of these rows, whatever is in the table.
    pub(crate) fn batches_of(self: &Arc<Self>, rows: Vec<Row>) -> Batches {
        self.batches_from(parts(rows))
    }

    fn batches_from(self: &Arc<Self>, input: VecDeque<Input>) -> Batches {
        Batches {
            scan: Arc::clone(self),
            input,
            expanding: None,
            left: self.limit,
        }
    }

    fn batch(&self, input: &Input) -> Result<RecordBatch> {
        let shape = &*self.shape;
        let mut loaded = Loaded::none(&shape.source);
        match input {
            Input::Chunk(chunk) => loaded.read_chunk(chunk, &shape.source, &shape.tested)?,
            Input::Rows(rows) => loaded.read(rows, &shape.first),
        }
        let mut keep = input.live()?;
        for condition in shape.scope.iter().chain(&shape.condition) {
            keep = self.test(condition, &loaded, keep)?;
        }
        let kept = keep.true_count();
        if kept == 0 {
            // Still a batch: whoever reads can stop between two.
            return Ok(RecordBatch::new_empty(Arc::clone(&shape.schema)));
        }
        // Few rows of a chunk are cheaper to read one by one than its whole columns.
        let sparse = kept.saturating_mul(8) < keep.len();
        let columns: Vec<ArrayRef> = match input {
            Input::Chunk(chunk) if sparse => self.sparse(chunk, loaded, &keep)?,
            _ => {
                match input {
                    Input::Chunk(chunk) => {
                        loaded.read_chunk(chunk, &shape.source, &shape.projection)?;
                    }
                    Input::Rows(rows) => loaded.read(rows, &shape.rest),
                }
                let columns = loaded.pick(&shape.projection)?;
                if kept == keep.len() {
                    columns
                } else {
                    columns
                        .iter()
                        .map(|column| filter(column, &keep))
                        .collect::<Result<_, _>>()?
                }
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(kept));
        let schema = Arc::clone(&shape.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// The projection of the few rows of a chunk that are kept. What was read
    /// for the conditions, or lies ready in the chunk, is not read again.
    fn sparse(
        &self,
        chunk: &ChunkView,
        mut loaded: Loaded,
        keep: &BooleanArray,
    ) -> Result<Vec<ArrayRef>> {
        let source = &*self.shape.source;
        let mut found = Loaded::none(source);
        let mut missing = Vec::new();
        for position in &self.shape.projection {
            let ready = match source.columns.get(*position).map(|column| &column.read) {
                Some(Read::Fixed(column)) => lies_ready(column),
                _ => false,
            };
            if ready {
                loaded.read_chunk(chunk, source, &[*position])?;
            }
            match loaded.get(*position) {
                Some(column) => found.put(*position, few(column, keep)?),
                None => missing.push(*position),
            }
        }
        if !missing.is_empty() {
            let rows = keep.values().set_indices().map(|row| {
                let row = chunk.row(row).map_err(too_old)?;
                row.ok_or_else(|| internal_datafusion_err!("a live row has no handle"))
            });
            let rows: Vec<Row> = rows.collect::<Result<_>>()?;
            found.read(&rows, &Together::new(source, missing));
        }
        found.pick(&self.shape.projection)
    }

    /// The rows of `keep` for which the condition is true. It is evaluated on
    /// those rows only.
    fn test(
        &self,
        condition: &Arc<dyn PhysicalExpr>,
        loaded: &Loaded,
        keep: BooleanArray,
    ) -> Result<BooleanArray> {
        let kept = keep.true_count();
        if kept == 0 {
            return Ok(keep);
        }
        let mut columns = loaded.pick(&self.shape.tested)?;
        if kept != keep.len() {
            columns = columns
                .iter()
                .map(|column| filter(column, &keep))
                .collect::<Result<_, _>>()?;
        }
        if self.shape.slotted {
            columns.extend(beside(&self.slots, kept)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kept));
        let schema = Arc::clone(&self.shape.tested_schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let result = condition.evaluate(&batch)?.into_array(kept)?;
        let result = result
            .as_any()
            .downcast_ref::<BooleanArray>()
            .ok_or_else(|| internal_datafusion_err!("a condition is no boolean"))?;
        let result = if result.null_count() > 0 {
            prep_null_mask_filter(result)
        } else {
            result.clone()
        };
        if kept == keep.len() {
            return Ok(result);
        }
        let mut results = result.values().iter();
        let expanded = keep
            .values()
            .iter()
            .map(|kept| kept && results.next().unwrap_or(false));
        Ok(BooleanArray::new(BooleanBuffer::from_iter(expanded), None))
    }
}

/// Whether a chunk has the column as it is asked for.
fn lies_ready(column: &Column) -> bool {
    matches!(
        column,
        Column::Namespace
            | Column::Name
            | Column::Labels
            | Column::Generation
            | Column::CreationTimestamp
            | Column::DeletionTimestamp
    )
}

/// The kept values alone: a view of a few texts would hold those of the whole chunk.
fn few(column: &ArrayRef, keep: &BooleanArray) -> Result<ArrayRef> {
    let kept = filter(column, keep)?;
    Ok(match kept.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()),
        None => kept,
    })
}

/// A read of an expired snapshot, for [`crate::SqlError::Expired`].
fn too_old(error: SnapshotTooOld) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}

/// The batches of a scan, one for each part that is read together; some are empty.
pub(crate) struct Batches {
    scan: Arc<RowScan>,
    input: VecDeque<Input>,
    expanding: Option<Expanding>,
    left: Option<usize>,
}

impl Batches {
    fn batch(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.expanding.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            let batch = self.scan.batch(&self.input.pop_front()?);
            match (&self.scan.shape.elements, batch) {
                (Some(elements), Ok(batch)) => self.expanding = Some(elements.of(&batch)),
                (_, batch) => return Some(batch),
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == Some(0) {
            return None;
        }
        let batch = self.batch()?;
        Some(batch.map(|batch| match &mut self.left {
            None => batch,
            Some(left) => {
                let rows = batch.num_rows().min(*left);
                *left -= rows;
                batch.slice(0, rows)
            }
        }))
    }
}
