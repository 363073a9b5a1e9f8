//! System tables: `kybern.kinds`, `information_schema.tables` and `.columns`.
//!
//! They show what the asker may name, and nothing else.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use kybern_statement::{ColumnShape, TableShape};
use kybern_table::{Snapshot, TableState};

use crate::RowScope;
use crate::access::Grants;
use crate::catalog::{Catalog, Table};
use crate::names::Granted;
use crate::param::type_name;
use crate::source::KindSource;

/// Which system table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemTable {
    Kinds,
    Tables,
    Columns,
}

const TEXT: DataType = DataType::Utf8View;

impl SystemTable {
    pub(crate) fn named(schema: &str, table: &str) -> Option<Self> {
        match (schema, table) {
            ("kybern", "kinds") => Some(Self::Kinds),
            ("information_schema", "tables") => Some(Self::Tables),
            ("information_schema", "columns") => Some(Self::Columns),
            _ => None,
        }
    }

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Kinds => ("kybern", "kinds"),
            Self::Tables => ("information_schema", "tables"),
            Self::Columns => ("information_schema", "columns"),
        }
    }

    fn fields(self) -> Vec<(&'static str, DataType)> {
        match self {
            Self::Kinds => vec![
                ("table_schema", TEXT),
                ("table_name", TEXT),
                ("api_group", TEXT),
                ("version", TEXT),
                ("kind", TEXT),
                ("namespaced", DataType::Boolean),
                ("preferred", DataType::Boolean),
                ("listable", DataType::Boolean),
                ("watchable", DataType::Boolean),
                ("state", TEXT),
                ("reason", TEXT),
                ("rows", DataType::Int64),
            ],
            Self::Tables => vec![
                ("table_catalog", TEXT),
                ("table_schema", TEXT),
                ("table_name", TEXT),
                ("table_type", TEXT),
            ],
            Self::Columns => vec![
                ("table_catalog", TEXT),
                ("table_schema", TEXT),
                ("table_name", TEXT),
                ("column_name", TEXT),
                ("ordinal_position", DataType::Int64),
                ("is_nullable", TEXT),
                ("data_type", TEXT),
            ],
        }
    }

    fn schema(self) -> SchemaRef {
        let fields = self
            .fields()
            .into_iter()
            .map(|(name, of)| Field::new(name, of, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The shape for the rewriter: plain columns, no paths.
    pub(crate) fn shape(self) -> Arc<TableShape> {
        let (schema, table) = self.name();
        let columns = self
            .fields()
            .into_iter()
            .map(|(name, _)| ColumnShape {
                name: name.to_owned(),
                root: None,
                json: false,
                wildcard: true,
                selectable: true,
            })
            .collect();
        Arc::new(TableShape {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
        })
    }
}

/// A system table as one asker sees it; with a snapshot once it is bound.
pub(crate) struct SystemSource {
    table: SystemTable,
    catalog: Arc<Catalog>,
    grants: Grants,
    snapshot: Option<Snapshot>,
}

impl fmt::Debug for SystemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemSource").field(&self.table).finish()
    }
}

impl SystemSource {
    pub(crate) fn new(table: SystemTable, catalog: Arc<Catalog>, grants: Grants) -> Self {
        Self {
            table,
            catalog,
            grants,
            snapshot: None,
        }
    }

    pub(crate) fn bind(&self, snapshot: &Snapshot) -> Self {
        Self {
            table: self.table,
            catalog: Arc::clone(&self.catalog),
            grants: self.grants.clone(),
            snapshot: Some(snapshot.clone()),
        }
    }

    fn batch(&self, snapshot: &Snapshot) -> Result<RecordBatch> {
        let granted = Granted {
            catalog: &self.catalog,
            grants: &self.grants,
        };
        let tables: Vec<&Arc<Table>> = granted.tables().collect();
        let columns = match self.table {
            SystemTable::Kinds => self.kinds(&tables, snapshot),
            SystemTable::Tables => vec![
                text(tables.iter().map(|_| Some("kybern".to_owned()))),
                text(tables.iter().map(|t| Some(t.schema.clone()))),
                text(tables.iter().map(|t| Some(t.info.def.plural.clone()))),
                text(tables.iter().map(|_| Some("BASE TABLE".to_owned()))),
            ],
            SystemTable::Columns => columns(&tables),
        };
        Ok(RecordBatch::try_new(self.table.schema(), columns)?)
    }

    fn kinds(&self, tables: &[&Arc<Table>], snapshot: &Snapshot) -> Vec<ArrayRef> {
        let views: Vec<_> = tables
            .iter()
            .map(|table| snapshot.table(table.key()))
            .collect();
        let flags = |flag: fn(&Table) -> bool| -> ArrayRef {
            Arc::new(
                tables
                    .iter()
                    .map(|table| Some(flag(table)))
                    .collect::<BooleanArray>(),
            )
        };
        let state = views
            .iter()
            .map(|view| view.as_ref().map(|view| view.state()));
        // How many rows there are is told only to those who may see all of them.
        let rows = tables.iter().zip(&views).map(|(table, view)| {
            let all = self.grants.scope(table.key()) == Some(&RowScope::All);
            let count = view.as_ref().filter(|_| all)?.count();
            i64::try_from(count).ok()
        });
        vec![
            text(tables.iter().map(|t| Some(t.schema.clone()))),
            text(tables.iter().map(|t| Some(t.info.def.plural.clone()))),
            text(tables.iter().map(|t| Some(t.key().group.to_string()))),
            text(tables.iter().map(|t| Some(t.key().version.to_string()))),
            text(tables.iter().map(|t| Some(t.key().kind.to_string()))),
            flags(|table| table.info.def.namespaced),
            flags(|table| table.info.preferred),
            flags(|table| table.info.listable),
            flags(|table| table.info.watchable),
            text(state.clone().map(|state| {
                Some(
                    match state {
                        None => "not watched",
                        Some(TableState::Loading) => "loading",
                        Some(TableState::Ready { .. }) => "ready",
                        Some(TableState::Failed(_)) => "failed",
                    }
                    .to_owned(),
                )
            })),
            text(state.map(|state| match state {
                Some(TableState::Failed(reason)) => Some(reason.to_string()),
                _ => None,
            })),
            Arc::new(rows.collect::<Int64Array>()),
        ]
    }
}

fn columns(tables: &[&Arc<Table>]) -> Vec<ArrayRef> {
    let mut rows = Vec::new();
    for table in tables {
        let source = KindSource::new(Arc::clone(table), &Default::default(), RowScope::All);
        for (position, column) in (1i64..).zip(source.columns) {
            rows.push((Arc::clone(table), position, column));
        }
    }
    vec![
        text(rows.iter().map(|_| Some("kybern".to_owned()))),
        text(rows.iter().map(|(table, ..)| Some(table.schema.clone()))),
        text(
            rows.iter()
                .map(|(table, ..)| Some(table.info.def.plural.clone())),
        ),
        text(rows.iter().map(|(.., column)| Some(column.name.clone()))),
        Arc::new(
            rows.iter()
                .map(|(_, position, _)| Some(*position))
                .collect::<Int64Array>(),
        ),
        text(rows.iter().map(|_| Some("YES".to_owned()))),
        text(
            rows.iter()
                .map(|(.., column)| Some(type_name(&column.data_type()).to_owned())),
        ),
    ]
}

fn text(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

#[async_trait]
impl TableProvider for SystemSource {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(snapshot) = &self.snapshot else {
            return internal_err!("{:?} was run without a snapshot", self.table);
        };
        let batch = self.batch(snapshot)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
