//! System tables: `kybern.kinds`, `.watches`, `.memory`, those of the engine, and
//! `information_schema.tables` and `.columns`.
//!
//! They show what the asker may name, and nothing else. How many rows or bytes there are of a kind
//! is told only to those who may see all of its rows. What is of no kind is told to everybody. The
//! tables of the engine name objects of all kinds: only who may read everything has them.

mod engine;
mod kinds;
mod memory;
mod rows;
mod watches;

pub(crate) use kinds::NO_LIST;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use kybern_statement::{ColumnShape, TableShape};
use kybern_table::{KindKey, Snapshot};

use crate::access::Grants;
use crate::catalog::{Catalog, Table};
use crate::names::Granted;
use crate::param::type_name;
use crate::source::KindSource;
use crate::{HostFacts, RowScope, View};
use engine::EngineTable;

/// Which system table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemTable {
    Kinds,
    Watches,
    Memory,
    Engine(EngineTable),
    Tables,
    Columns,
}

const TEXT: DataType = DataType::Utf8View;

impl SystemTable {
    pub(crate) fn named(schema: &str, table: &str) -> Option<Self> {
        match (schema, table) {
            ("kybern", "kinds") => Some(Self::Kinds),
            ("kybern", "watches") => Some(Self::Watches),
            ("kybern", "memory") => Some(Self::Memory),
            ("kybern", of) => EngineTable::named(of).map(Self::Engine),
            ("information_schema", "tables") => Some(Self::Tables),
            ("information_schema", "columns") => Some(Self::Columns),
            _ => None,
        }
    }

    /// Whether it exists for an asker.
    pub(crate) fn exists_for(self, grants: &Grants) -> bool {
        match self {
            Self::Engine(_) => *grants == Grants::All,
            Self::Kinds | Self::Watches | Self::Memory | Self::Tables | Self::Columns => true,
        }
    }

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Kinds => ("kybern", "kinds"),
            Self::Watches => ("kybern", "watches"),
            Self::Memory => ("kybern", "memory"),
            Self::Engine(table) => ("kybern", table.name()),
            Self::Tables => ("information_schema", "tables"),
            Self::Columns => ("information_schema", "columns"),
        }
    }

    fn fields(self) -> Vec<(&'static str, DataType)> {
        match self {
            Self::Kinds => kinds::fields(),
            Self::Watches => watches::fields(),
            Self::Memory => memory::fields(),
            Self::Engine(table) => table.fields(),
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
            keyed_by_name: None,
        })
    }
}

/// A system table as one asker sees it; with a snapshot once it is bound.
pub(crate) struct SystemSource {
    table: SystemTable,
    catalog: Arc<Catalog>,
    grants: Grants,
    bound: Option<Bound>,
}

/// What a system table is made of when it is read.
#[derive(Clone)]
struct Bound {
    snapshot: Snapshot,
    host: Option<Arc<dyn HostFacts>>,
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
            bound: None,
        }
    }

    pub(crate) fn bind(&self, snapshot: &Snapshot, host: Option<&Arc<dyn HostFacts>>) -> Self {
        Self {
            table: self.table,
            catalog: Arc::clone(&self.catalog),
            grants: self.grants.clone(),
            bound: Some(Bound {
                snapshot: snapshot.clone(),
                host: host.cloned(),
            }),
        }
    }

    /// Whether the asker may see all rows of a table.
    fn sees_all(&self, table: &KindKey) -> bool {
        self.grants.scope(table) == Some(&RowScope::All)
    }

    /// Schema and name of each table that the asker may name. Those that the host itself needs
    /// may be there before it is known what is served.
    fn names(&self, tables: &[&Arc<Table>], snapshot: &Snapshot) -> BTreeMap<KindKey, [String; 2]> {
        let name = |key: &KindKey, schema: &str, plural: &str| {
            (key.clone(), [schema.to_owned(), plural.to_owned()])
        };
        let stored = snapshot
            .tables()
            .filter(|view| self.grants.scope(&view.def().key).is_some())
            .map(|view| name(&view.def().key, &view.def().schema, &view.def().plural));
        let served = tables
            .iter()
            .map(|table| name(table.key(), &table.schema, &table.info.def.plural));
        // The catalog's word wins.
        stored.chain(served).collect()
    }

    /// All of it, of a table that is small.
    fn batch(&self, bound: &Bound) -> Result<RecordBatch> {
        let snapshot = &bound.snapshot;
        let host = bound.host.as_deref();
        let granted = Granted {
            catalog: &self.catalog,
            grants: &self.grants,
        };
        let tables: Vec<&Arc<Table>> = granted.tables().collect();
        let columns = match self.table {
            SystemTable::Kinds => kinds::columns(self, &tables, snapshot),
            SystemTable::Watches => watches::columns(self, &tables, snapshot, host),
            SystemTable::Memory => memory::columns(self, &tables, snapshot, host),
            SystemTable::Engine(_) => return internal_err!("{:?} has no batch", self.table),
            SystemTable::Tables => {
                let kinds = tables
                    .iter()
                    .map(|t| [&*t.schema, &*t.info.def.plural, "BASE TABLE"]);
                let views = granted.views().map(|v| [v.schema(), v.name(), "VIEW"]);
                let rows: Vec<[&str; 3]> = kinds.chain(views).collect();
                let owned = |text: &str| Some(text.to_owned());
                vec![
                    text(rows.iter().map(|_| owned("kybern"))),
                    text(rows.iter().map(|[schema, ..]| owned(schema))),
                    text(rows.iter().map(|[_, name, _]| owned(name))),
                    text(rows.iter().map(|[.., of]| owned(of))),
                ]
            }
            SystemTable::Columns => columns(&tables, granted.views()),
        };
        Ok(RecordBatch::try_new(self.table.schema(), columns)?)
    }
}

/// A row of `information_schema.columns`: the table, the position, the column and its type.
type ColumnRow<'a> = ([&'a str; 2], i64, String, &'static str);

fn columns<'a>(tables: &[&'a Arc<Table>], views: impl Iterator<Item = &'a View>) -> Vec<ArrayRef> {
    let mut rows: Vec<ColumnRow<'a>> = Vec::new();
    for table in tables {
        let source = KindSource::new(Arc::clone(table), &Default::default(), RowScope::All);
        let name = [&*table.schema, &*table.info.def.plural];
        for (position, column) in (1i64..).zip(source.columns) {
            let of = type_name(&column.data_type());
            rows.push((name, position, column.name, of));
        }
    }
    for view in views {
        for (position, (column, of)) in (1i64..).zip(view.columns()) {
            let of = type_name(&of.data_type());
            let name = [view.schema(), view.name()];
            rows.push((name, position, (*column).to_owned(), of));
        }
    }
    let of = |what: fn(&ColumnRow<'a>) -> String| text(rows.iter().map(|row| Some(what(row))));
    let positions = rows.iter().map(|(_, position, ..)| Some(*position));
    vec![
        of(|_| "kybern".to_owned()),
        of(|([schema, _], ..)| (*schema).to_owned()),
        of(|([_, name], ..)| (*name).to_owned()),
        of(|(_, _, column, _)| column.clone()),
        Arc::new(positions.collect::<Int64Array>()),
        of(|_| "YES".to_owned()),
        of(|(.., of)| (*of).to_owned()),
    ]
}

fn text(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

fn counts(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let values = values.map(|value| i64::try_from(value?).ok());
    Arc::new(values.collect::<Int64Array>())
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
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
        let Some(bound) = &self.bound else {
            return internal_err!("{:?} was run without a snapshot", self.table);
        };
        if let SystemTable::Engine(table) = self.table {
            return table.scan(bound.host.as_deref(), self.schema(), projection);
        }
        let batch = self.batch(bound)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
