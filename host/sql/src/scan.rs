//! Reads rows of one table at one snapshot.
//!
//! # Contract
//!
//! The grant's condition is evaluated before anything that the statement says,
//! and the statement's conditions see only rows that passed it: an error that a
//! condition raises can never tell about a row that does not exist for the asker.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result, Statistics, internal_datafusion_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use kybern_table::{ChunkView, Column, Index, Row, SnapshotTooOld, TableView, gather};

use crate::access::RowScope;
use crate::elements::{Condition, Elements, Expanding, fields};
use crate::lookup::{Lookup, lookups};
use crate::source::{BoundSource, KindSource, Read, SourceColumn};

/// Rows that are read together when they come from a look-up.
const ROWS_AT_ONCE: usize = 2048;
/// Bytes of their objects, unless one alone has more.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Keys whose rows are counted before a plan is chosen.
const KEYS_COUNTED: usize = 32;

/// What is read from a table, and how.
#[derive(Debug)]
pub(crate) struct RowScan {
    source: Arc<KindSource>,
    view: TableView,
    pub lookup: Option<Lookup>,
    /// The namespaces that the asker may see.
    granted: Option<Lookup>,
    /// Columns that the conditions need, by position in the source.
    tested: Vec<usize>,
    tested_schema: SchemaRef,
    scope: Option<Arc<dyn PhysicalExpr>>,
    condition: Option<Arc<dyn PhysicalExpr>>,
    projection: Vec<usize>,
    schema: SchemaRef,
    /// What becomes of the rows that were read.
    elements: Option<Arc<Elements>>,
    limit: Option<usize>,
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
        let source = Arc::clone(&bound.source);
        let scope_filters = source.scope_filters(bound.namespace.as_deref());
        let (late, early): (Vec<Expr>, Vec<Expr>) = filters
            .iter()
            .cloned()
            .partition(|filter| is_of_elements(&source, filter));
        let all: Vec<Expr> = scope_filters.iter().chain(&early).cloned().collect();
        let lookup = lookups(&source, &all)
            .into_iter()
            .find(|lookup| bound.view.has_index(&lookup.index));
        let granted = lookups(&source, &scope_filters)
            .into_iter()
            .find(|lookup| lookup.index == Index::Namespace);
        let needed = named(&source, &all);
        let tested_schema = Arc::new(fields(&source, &needed));
        let scope = compile(scope_filters, &tested_schema, props)?;
        let condition = compile(early, &tested_schema, props)?;
        let mut projection = projection
            .map(<[usize]>::to_vec)
            .unwrap_or_else(|| (0..source.columns.len()).collect());
        let elements = match source.lists.is_empty() {
            true => None,
            false => {
                let columns = named(&source, &late);
                let schema = Arc::new(fields(&source, &columns));
                let late = compile(late, &schema, props)?.map(|expr| Condition {
                    expr,
                    columns,
                    schema,
                });
                let elements = Elements::new(&source, late, &projection);
                projection.clone_from(&elements.base);
                Some(Arc::new(elements))
            }
        };
        let schema = Arc::new(fields(&source, &projection));
        Ok(Self {
            elements,
            view: bound.view.clone(),
            source,
            lookup,
            granted,
            tested: needed,
            tested_schema,
            scope,
            condition,
            projection,
            schema,
            limit,
        })
    }

    /// Of the rows that come out.
    pub(crate) fn schema(&self) -> &SchemaRef {
        match &self.elements {
            Some(elements) => &elements.schema,
            None => &self.schema,
        }
    }

    /// How many rows there are, about, of what the asker may see: which side of a join is built
    /// first can be seen, and must not depend on other rows.
    fn rows(&self) -> Precision<usize> {
        let count = self.view.count();
        match (&self.source.scope, &self.lookup) {
            (RowScope::All, None) if self.condition.is_none() && self.elements.is_none() => {
                Precision::Exact(self.limit.map_or(count, |limit| limit.min(count)))
            }
            (RowScope::All, None) => Precision::Inexact(count.div_ceil(4)),
            (RowScope::All, Some(lookup)) => Precision::Inexact(self.found(lookup).min(count)),
            (RowScope::OwnNamespace | RowScope::Namespaces(_), _) => match &self.granted {
                Some(namespaces) => Precision::Inexact(self.found(namespaces)),
                None => Precision::Absent,
            },
            (RowScope::Labels { .. }, _) => Precision::Absent,
        }
    }

    /// How many rows a look-up finds, about where there are many keys.
    fn found(&self, lookup: &Lookup) -> usize {
        let counted = lookup.keys.iter().take(KEYS_COUNTED);
        let rows = counted.map(|key| self.view.lookup(&lookup.index, key));
        let rows: usize = rows.flatten().map(|rows| rows.len()).sum();
        let keys = lookup.keys.len();
        rows.saturating_mul(keys)
            .checked_div(keys.min(KEYS_COUNTED))
            .unwrap_or(0)
    }

    /// The rows, in batches that are made as they are asked for.
    pub(crate) fn batches(self: &Arc<Self>) -> Result<Batches> {
        let input = match &self.lookup {
            None => {
                let chunks = self.view.scan().map_err(too_old)?;
                chunks.into_iter().map(Input::Chunk).collect()
            }
            Some(lookup) => {
                let mut rows: Vec<Row> = Vec::new();
                for key in &lookup.keys {
                    rows.extend(self.view.lookup(&lookup.index, key).map_err(too_old)?);
                }
                parts(rows)
            }
        };
        Ok(Batches {
            scan: Arc::clone(self),
            input,
            expanding: None,
            left: self.limit,
        })
    }

    fn batch(&self, input: &Input) -> Result<RecordBatch> {
        let mut loaded = HashMap::new();
        input.load(&self.source, &self.tested, &mut loaded)?;
        let mut keep = input.live()?;
        if let Some(scope) = &self.scope {
            keep = self.test(scope, &loaded, keep)?;
        }
        if let Some(condition) = &self.condition {
            keep = self.test(condition, &loaded, keep)?;
        }
        let kept = keep.true_count();
        if kept == 0 {
            // Still a batch: whoever reads can stop between two.
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        // Few rows of a chunk are cheaper to read one by one than its whole columns.
        let sparse = kept.saturating_mul(8) < keep.len();
        let columns: Vec<ArrayRef> = match (sparse, input) {
            (true, Input::Chunk(chunk)) => self.sparse(chunk, loaded, &keep)?,
            _ => {
                input.load(&self.source, &self.projection, &mut loaded)?;
                let columns = pick(&self.projection, &loaded)?;
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
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// The projection of the few rows of a chunk that are kept. What was read
    /// for the conditions, or lies ready in the chunk, is not read again.
    fn sparse(
        &self,
        chunk: &ChunkView,
        mut loaded: HashMap<usize, ArrayRef>,
        keep: &BooleanArray,
    ) -> Result<Vec<ArrayRef>> {
        for (position, column) in self.source.columns.iter().enumerate() {
            if let Read::Fixed(column) = &column.read
                && lies_ready(column)
                && self.projection.contains(&position)
                && !loaded.contains_key(&position)
            {
                loaded.insert(position, chunk.fixed(column).map_err(too_old)?);
            }
        }
        let mut found = HashMap::new();
        for position in &self.projection {
            if let Some(column) = loaded.get(position) {
                found.insert(*position, few(column, keep)?);
            }
        }
        if self.projection.iter().any(|p| !found.contains_key(p)) {
            let rows = keep.values().set_indices().map(|row| {
                let row = chunk.row(row).map_err(too_old)?;
                row.ok_or_else(|| internal_datafusion_err!("a live row has no handle"))
            });
            let rows: Vec<Row> = rows.collect::<Result<_>>()?;
            Input::Rows(rows).load(&self.source, &self.projection, &mut found)?;
        }
        pick(&self.projection, &found)
    }

    /// The rows of `keep` for which the condition is true. It is evaluated on
    /// those rows only.
    fn test(
        &self,
        condition: &Arc<dyn PhysicalExpr>,
        loaded: &HashMap<usize, ArrayRef>,
        keep: BooleanArray,
    ) -> Result<BooleanArray> {
        let kept = keep.true_count();
        if kept == 0 {
            return Ok(keep);
        }
        let mut columns = pick(&self.tested, loaded)?;
        if kept != keep.len() {
            columns = columns
                .iter()
                .map(|column| filter(column, &keep))
                .collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kept));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.tested_schema), columns, &options)?;
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

/// The rows in parts that are read together.
fn parts(rows: Vec<Row>) -> VecDeque<Input> {
    let mut parts = VecDeque::new();
    let (mut part, mut bytes) = (Vec::new(), 0_usize);
    for row in rows {
        bytes = bytes.saturating_add(row.body_bytes());
        if part.len() == ROWS_AT_ONCE || (bytes > BYTES_AT_ONCE && !part.is_empty()) {
            bytes = row.body_bytes();
            parts.push_back(Input::Rows(std::mem::take(&mut part)));
        }
        part.push(row);
    }
    if !part.is_empty() {
        parts.push_back(Input::Rows(part));
    }
    parts
}

/// Whether the filter is about elements, and so about rows that are made after the read.
fn is_of_elements(source: &KindSource, filter: &Expr) -> bool {
    let columns = filter.column_refs();
    let mut columns = columns.iter().filter_map(|c| source.column(c.name()));
    columns.any(SourceColumn::is_of_element)
}

/// The columns that the filters name, by position in the source.
fn named(source: &KindSource, filters: &[Expr]) -> Vec<usize> {
    let names: HashSet<&str> = filters
        .iter()
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
    let schema = DFSchema::try_from(Arc::clone(schema))?;
    let context = PhysicalPlanningContext::default();
    conjunction(filters)
        .map(|filter| create_physical_expr(&filter, &schema, props, &context))
        .transpose()
}

fn pick(columns: &[usize], loaded: &HashMap<usize, ArrayRef>) -> Result<Vec<ArrayRef>> {
    columns
        .iter()
        .map(|position| {
            loaded
                .get(position)
                .cloned()
                .ok_or_else(|| internal_datafusion_err!("column {position} was not read"))
        })
        .collect()
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

/// Rows that are read together.
enum Input {
    Chunk(ChunkView),
    Rows(Vec<Row>),
}

impl Input {
    fn live(&self) -> Result<BooleanArray> {
        match self {
            Self::Chunk(chunk) => chunk.live().map_err(too_old),
            Self::Rows(rows) => {
                let all = BooleanBuffer::new_set(rows.len());
                Ok(BooleanArray::new(all, None))
            }
        }
    }

    /// Reads the columns that have not been read yet.
    fn load(
        &self,
        source: &KindSource,
        columns: &[usize],
        loaded: &mut HashMap<usize, ArrayRef>,
    ) -> Result<()> {
        let missing: Vec<(usize, &Read)> = columns
            .iter()
            .filter(|position| !loaded.contains_key(position))
            .filter_map(|position| source.columns.get(*position).map(|c| (*position, &c.read)))
            .collect();
        match self {
            Self::Chunk(chunk) => {
                for (position, read) in missing {
                    let array = match read {
                        Read::Fixed(column) => chunk.fixed(column),
                        Read::Path(path, of) => chunk.path(path, *of),
                        // Elements are made of what is read here.
                        Read::Element { .. } | Read::Ordinality { .. } => continue,
                    };
                    loaded.insert(position, array.map_err(too_old)?);
                }
            }
            Self::Rows(rows) => {
                let mut order = Vec::with_capacity(missing.len());
                let mut fixed = Vec::new();
                let mut paths = Vec::new();
                for (position, read) in &missing {
                    if let Read::Fixed(column) = read {
                        order.push(*position);
                        fixed.push(column.clone());
                    }
                }
                for (position, read) in &missing {
                    if let Read::Path(path, of) = read {
                        order.push(*position);
                        paths.push((path.clone(), *of));
                    }
                }
                loaded.extend(order.into_iter().zip(gather(rows, &fixed, &paths)));
            }
        }
        Ok(())
    }
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
            match (&self.scan.elements, batch) {
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

/// A [`RowScan`] as a leaf of a physical plan.
#[derive(Debug)]
pub(crate) struct SnapshotScan {
    scan: Arc<RowScan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SnapshotScan {
    pub(crate) fn new(scan: RowScan) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(scan.schema())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            scan: Arc::new(scan),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for SnapshotScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotScan: {}", self.scan.source.table.full_name())?;
        match &self.scan.lookup {
            Some(lookup) => write!(f, ", index {} ({} keys)", lookup.index, lookup.keys.len())?,
            None => write!(f, ", whole table")?,
        }
        if let Some(condition) = &self.scan.condition {
            write!(f, ", filter {condition}")?;
        }
        if let Some(elements) = &self.scan.elements {
            write!(f, "{elements}")?;
        }
        if let Some(limit) = self.scan.limit {
            write!(f, ", limit {limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for SnapshotScan {
    fn name(&self) -> &'static str {
        "SnapshotScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = self.scan.batches()?.inspect(move |batch| {
            if let Ok(batch) = batch {
                metrics.record_output(batch.num_rows());
            }
        });
        let stream = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(self.scan.schema()),
            stream,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let scan = &self.scan;
        let mut statistics = Statistics::new_unknown(scan.schema());
        statistics.num_rows = scan.rows();
        Ok(Arc::new(statistics))
    }
}
