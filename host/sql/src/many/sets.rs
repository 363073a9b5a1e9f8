//! The sets of parameters of one join, as a table: a number for each, and its values.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::understood::Refusal;
use crate::Param;
use crate::bind::Values;
use crate::now::NOW;

/// The name of the table in plans. Its columns get others before anything else is done with them.
const TABLE: &str = "__sets";

/// Sets of parameters.
pub(super) struct Sets {
    parameters: Vec<Placeholder>,
    values: Vec<Vec<ScalarValue>>,
    source: Arc<dyn TableSource>,
}

/// The parameters of a plan, each once for each type that it has.
pub(super) fn parameters(plan: &LogicalPlan) -> Vec<Placeholder> {
    let mut found: Vec<Placeholder> = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Placeholder(placeholder) = part
                    && placeholder.id != NOW
                    && !found.iter().any(|known| same(known, placeholder))
                {
                    found.push(placeholder.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(walked.is_ok(), "the walk itself cannot fail");
    found
}

/// The values of the parameters; none if one does not fit.
pub(super) fn values(parameters: &[Placeholder], params: &[Param]) -> Option<Vec<ScalarValue>> {
    let values = Values {
        params,
        now: None,
        room: None,
    };
    let each = parameters.iter().map(|parameter| values.of(parameter).ok());
    each.collect()
}

fn same(one: &Placeholder, other: &Placeholder) -> bool {
    one.id == other.id && type_of(one) == type_of(other)
}

/// The type that the plan gives a parameter.
pub(super) fn type_of(parameter: &Placeholder) -> DataType {
    let field = parameter.field.as_ref();
    field.map_or(DataType::Null, |field| field.data_type().clone())
}

fn value_name(place: usize) -> String {
    format!("value {place}")
}

impl Sets {
    /// From values for these parameters, set by set.
    pub(super) fn new(
        parameters: Vec<Placeholder>,
        values: Vec<Vec<ScalarValue>>,
    ) -> Result<Self, Refusal> {
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let mut fields = vec![Field::new("number", DataType::UInt32, false)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from_iter_values(0..count))];
        for (place, parameter) in parameters.iter().enumerate() {
            let of = type_of(parameter);
            let column: Vec<ScalarValue> = values
                .iter()
                .filter_map(|set| set.get(place).cloned())
                .collect();
            columns.push(match column.is_empty() {
                true => new_empty_array(&of),
                false => ScalarValue::iter_to_array(column)?,
            });
            fields.push(Field::new(value_name(place), of, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, columns)?;
        Ok(Self {
            parameters,
            values,
            source: provider_as_source(Arc::new(Table(batch))),
        })
    }

    /// Which of the parameters it is.
    pub(super) fn place(&self, parameter: &Placeholder) -> Option<usize> {
        let mut all = self.parameters.iter();
        all.position(|known| same(known, parameter))
    }

    /// The numbers, and the values of some parameters.
    pub(super) fn table(&self, places: &BTreeSet<usize>) -> Result<LogicalPlan, Refusal> {
        let columns = std::iter::once(0).chain(places.iter().map(|place| place + 1));
        let scan = TableScanBuilder::new(TABLE, Arc::clone(&self.source))
            .with_projection(Some(columns.collect()))
            .build()?;
        Ok(LogicalPlan::TableScan(scan))
    }

    /// The column of [`Self::table`] with the numbers.
    pub(super) fn number() -> Column {
        Column::new(Some(TABLE), "number")
    }

    /// The column of [`Self::table`] with the values of a parameter.
    pub(super) fn value(place: usize) -> Column {
        Column::new(Some(TABLE), value_name(place))
    }

    /// The values of a parameter in all sets, each once.
    pub(super) fn distinct(&self, place: usize) -> Vec<ScalarValue> {
        let mut known = std::collections::HashSet::new();
        let values = self.values.iter().filter_map(|set| set.get(place));
        values
            .filter(|value| !value.is_null() && known.insert((*value).clone()))
            .cloned()
            .collect()
    }

    /// The texts of two parameters in each set, joined by a slash; without sets where one is NULL.
    pub(super) fn pairs(&self, one: usize, other: usize) -> Vec<String> {
        let text = |set: &[ScalarValue], place: usize| {
            let value = set.get(place)?;
            value.try_as_str().flatten().map(str::to_owned)
        };
        let pairs = self.values.iter().filter_map(|set| {
            let (one, other) = (text(set, one)?, text(set, other)?);
            Some(format!("{one}/{other}"))
        });
        pairs.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The sets as a source of rows.
#[derive(Debug)]
struct Table(RecordBatch);

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![self.0.clone()]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
