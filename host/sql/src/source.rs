//! One table of one statement: its declared columns and exactly the paths used.
//!
//! A [`KindSource`] knows no snapshot, so that a plan made of it can be cached.
//! Binding swaps it for a [`BoundSource`], which reads one snapshot.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column as ColumnName, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    Expr, Operator, TableProviderFilterPushDown, TableType, binary_expr, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use kybern_statement::{Element, Path as Steps, Unnested};
use kybern_table::{Column, Path, PathType, Segment, TableView};

use crate::access::RowScope;
use crate::catalog::Table;
use crate::lookup::Lookup;
use crate::names::segments;
use crate::scan::{Past, RowScan, SnapshotScan};

/// How a column is read from a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Fixed(Column),
    Path(Path, PathType),
    /// What is in the elements of a list of [`KindSource::lists`].
    Element {
        list: usize,
        steps: Vec<Segment>,
        of: PathType,
    },
    /// The number of the element, from 1.
    Ordinality {
        list: usize,
    },
}

/// A list whose elements stand beside the rows.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// As EXPLAIN shows it.
    pub name: String,
    /// The column with the list's text.
    pub from: usize,
    pub outer: bool,
    /// Columns that must be equal.
    pub on: Option<(usize, usize)>,
}

/// A column of a source.
#[derive(Clone, Debug)]
pub(crate) struct SourceColumn {
    pub name: String,
    pub read: Read,
    /// Whether the statement asked for it as a path.
    pub is_virtual: bool,
    /// Whether it may hold JSON: everything else that looks like it is text.
    pub json: bool,
}

impl SourceColumn {
    /// Whether its value is of an element, not of the object.
    pub(crate) fn is_of_element(&self) -> bool {
        matches!(self.read, Read::Element { .. } | Read::Ordinality { .. })
    }

    pub(crate) fn field(&self) -> Field {
        let field = Field::new(&self.name, self.data_type(), true);
        if self.json { as_json(field) } else { field }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match &self.read {
            Read::Fixed(column) => column.data_type(),
            Read::Path(_, of) | Read::Element { of, .. } => of.data_type(),
            Read::Ordinality { .. } => DataType::Int64,
        }
    }
}

/// What a field's metadata calls JSON.
const TYPE: (&str, &str) = ("kybern.type", "json");

/// The field as one whose text may be JSON.
pub(crate) fn as_json(field: Field) -> Field {
    field.with_metadata(HashMap::from([(TYPE.0.to_owned(), TYPE.1.to_owned())]))
}

/// Whether text of this field may be JSON.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(TYPE.0).is_some_and(|of| of == TYPE.1)
}

/// A table of a statement, without a snapshot.
#[derive(Clone)]
pub(crate) struct KindSource {
    pub table: Arc<Table>,
    pub columns: Vec<SourceColumn>,
    pub scope: RowScope,
    /// What is known of its rows beside their conditions: they have one of these keys.
    pub known: Option<Lookup>,
    /// In their order.
    pub lists: Vec<List>,
    schema: SchemaRef,
}

impl fmt::Debug for KindSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KindSource")
            .field(&self.table.full_name())
            .finish()
    }
}

impl KindSource {
    /// The declared columns of `table` and the virtual columns `paths`.
    pub(crate) fn new(table: Arc<Table>, paths: &BTreeMap<String, Steps>, scope: RowScope) -> Self {
        let mut columns: Vec<SourceColumn> = table
            .shape
            .columns
            .iter()
            .filter(|column| column.selectable)
            .map(|column| SourceColumn {
                name: column.name.clone(),
                read: declared(&table, &column.name),
                is_virtual: false,
                json: column.json,
            })
            .collect();
        for (name, steps) in paths {
            let steps = segments(steps);
            let (of, json) = type_at(&table, &steps);
            if let Some(path) = Path::from_segments(steps) {
                columns.push(SourceColumn {
                    name: name.clone(),
                    read: Read::Path(path, of),
                    is_virtual: true,
                    json,
                });
            }
        }
        if let RowScope::Labels { match_labels, .. } = &scope {
            for key in match_labels.keys() {
                let read = Read::Path(label_path(key), PathType::Text);
                if !columns.iter().any(|column| column.read == read) {
                    columns.push(SourceColumn {
                        name: format!("label of the grant: {key}"),
                        read,
                        is_virtual: false,
                        json: false,
                    });
                }
            }
        }
        Self {
            table,
            schema: schema_of(&columns),
            columns,
            scope,
            known: None,
            lists: Vec::new(),
        }
    }

    /// The same table, of which only rows with these keys matter.
    pub(crate) fn with_known(&self, known: Option<Lookup>) -> Self {
        Self {
            known,
            ..self.clone()
        }
    }

    /// The same source with a row for each combination of the lists' elements.
    pub(crate) fn with_lists(
        mut self,
        lists: &[Unnested],
        elements: &BTreeMap<String, Element>,
    ) -> Self {
        for list in lists {
            let from = self.columns.len();
            let steps = segments(&list.list);
            let read = match list.of {
                Some(list) => Some(Read::Element {
                    list,
                    steps,
                    of: PathType::Json,
                }),
                None => Path::from_segments(steps).map(|path| Read::Path(path, PathType::Json)),
            };
            self.columns.extend(read.map(|read| SourceColumn {
                name: format!("list {}", list.name),
                read,
                is_virtual: false,
                json: true,
            }));
            self.lists.push(List {
                name: list.name.clone(),
                from,
                outer: list.outer,
                on: None,
            });
        }
        for (name, element) in elements {
            let read = self.read_of(lists, element);
            self.columns.extend(read.map(|(read, json)| SourceColumn {
                name: name.clone(),
                read,
                is_virtual: true,
                json,
            }));
        }
        let at = |name: &String| self.columns.iter().position(|column| column.name == *name);
        for (own, list) in self.lists.iter_mut().zip(lists) {
            let on = list.on.as_ref();
            own.on = on.and_then(|(one, other)| Some((at(one)?, at(other)?)));
        }
        self.schema = schema_of(&self.columns);
        self
    }

    /// How it is read, and whether it may be JSON.
    fn read_of(&self, lists: &[Unnested], element: &Element) -> Option<(Read, bool)> {
        Some(match element {
            Element::Ordinality { list } => (Read::Ordinality { list: *list }, false),
            Element::At { list, path } => {
                let whole = lists.get(*list)?.element.join(path.segments());
                let (of, json) = type_at(&self.table, &segments(&whole));
                let (list, steps) = (*list, segments(path));
                (Read::Element { list, steps, of }, json)
            }
        })
    }

    /// The name that read sets know a column by. One of an element is as good as its list.
    pub(crate) fn canonical(&self, column: &SourceColumn) -> Option<String> {
        match &column.read {
            Read::Fixed(column) => Some(column.name().to_owned()),
            Read::Path(path, _) => Some(path.to_string()),
            Read::Element { list, .. } | Read::Ordinality { list } => {
                // Lists are in earlier ones only, so that this ends.
                let list = self.lists.get(*list)?;
                self.canonical(self.columns.get(list.from)?)
            }
        }
    }

    /// The names of the columns that decide how many rows an object gives.
    pub(crate) fn list_columns(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.lists.iter().flat_map(|list| {
            let on = list.on.into_iter().flat_map(|(one, other)| [one, other]);
            on.chain([list.from])
        });
        columns.filter_map(|at| Some(self.columns.get(at)?.name.clone()))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&SourceColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The rows that exist for the asker, as conditions that all must hold.
    pub(crate) fn scope_filters(&self, namespace: Option<&str>) -> Vec<Expr> {
        self.scope_filters_of(namespace.map(text))
    }

    /// The same, where the asker's namespace is whatever the expression says.
    pub(crate) fn scope_filters_of(&self, namespace: Option<Expr>) -> Vec<Expr> {
        let column = |name: &str| Expr::Column(ColumnName::new_unqualified(name));
        let equals = |name: &str, value: Expr| binary_expr(column(name), Operator::Eq, value);
        let own = || match namespace {
            Some(namespace) => equals("namespace", namespace),
            None => lit(false),
        };
        match &self.scope {
            RowScope::All => Vec::new(),
            RowScope::OwnNamespace => vec![own()],
            RowScope::Namespaces(names) => {
                vec![
                    column("namespace")
                        .in_list(names.iter().map(|name| text(name)).collect(), false),
                ]
            }
            RowScope::Labels {
                own_namespace,
                match_labels,
            } => {
                let mut filters: Vec<Expr> = Vec::new();
                if *own_namespace {
                    filters.push(own());
                }
                for (key, value) in match_labels {
                    let read = Read::Path(label_path(key), PathType::Text);
                    match self.columns.iter().find(|column| column.read == read) {
                        Some(found) => filters.push(equals(&found.name, text(value))),
                        None => filters.push(lit(false)),
                    }
                }
                filters
            }
        }
    }

    /// The names of the columns that decide which rows exist.
    pub(crate) fn scope_columns(&self) -> Vec<String> {
        let mut names = Vec::new();
        for filter in self.scope_filters(Some("x")) {
            names.extend(
                filter
                    .column_refs()
                    .into_iter()
                    .map(|column| column.name.clone()),
            );
        }
        names
    }
}

fn text(value: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(value.to_owned())))
}

fn schema_of(columns: &[SourceColumn]) -> SchemaRef {
    let fields = columns.iter();
    let fields = fields.map(SourceColumn::field);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What a path is read as, and whether it may be JSON. JSON leaves are read as their text: only
/// objects and arrays look like JSON.
fn type_at(table: &Table, steps: &[Segment]) -> (PathType, bool) {
    match table.info.types.get(steps) {
        None | Some(PathType::Json) => (PathType::Text, true),
        Some(of) => (of, false),
    }
}

fn label_path(key: &str) -> Path {
    Path::key("metadata").child("labels").child(key)
}

/// How a declared column is read. A top-level field is read whole when the
/// schema says that it is an object, else as what is found there.
fn declared(table: &Table, name: &str) -> Read {
    let column = Column::named(name);
    let Column::Top(field) = &column else {
        return Read::Fixed(column);
    };
    let path = Path::key(&**field);
    if table.info.types.is_composite(path.segments()) {
        return Read::Fixed(column);
    }
    let (of, _) = type_at(table, path.segments());
    Read::Path(path, of)
}

/// Whether the scan can evaluate the filter by itself.
fn is_local(filter: &Expr) -> bool {
    is_free_of(filter, needs_other_rows)
}

/// Whether the expression takes its value from elsewhere than its own row.
pub(crate) fn needs_other_rows(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
    )
}

/// Whether no part of the expression is one of these.
pub(crate) fn is_free_of(expr: &Expr, is_one: impl Fn(&Expr) -> bool) -> bool {
    matches!(expr.exists(|part| Ok(is_one(part))), Ok(false))
}

#[async_trait]
impl TableProvider for KindSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if is_local(filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("{} was run without a snapshot", self.table.full_name())
    }
}

/// A table of a statement at one snapshot.
#[derive(Debug)]
pub(crate) struct BoundSource {
    pub source: Arc<KindSource>,
    pub view: TableView,
    pub namespace: Option<Arc<str>>,
    /// What was otherwise, where an earlier sequence is read.
    pub past: Option<Arc<Past>>,
}

#[async_trait]
impl TableProvider for BoundSource {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.source.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.map(Vec::as_slice);
        let scan = RowScan::new(self, projection, filters, limit, state.execution_props())?;
        Ok(Arc::new(SnapshotScan::new(scan)))
    }
}
