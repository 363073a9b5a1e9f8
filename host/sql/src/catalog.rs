//! The tables that there are, as discovery and OpenAPI describe them.

use std::collections::HashMap;
use std::sync::Arc;

use kybern_statement::{ColumnShape, Path as Steps, TableShape};
use kybern_table::{Column, KindKey, TableDef};

use crate::{PathTypes, View};

/// One kind as a table.
#[derive(Clone, Debug)]
pub struct CatalogTable {
    /// Its name and indexes.
    pub def: TableDef,
    /// Whether this is the version that a name without version means.
    pub preferred: bool,
    /// The singular name; only suggested.
    pub singular: String,
    /// The short names; only suggested.
    pub short_names: Vec<String>,
    /// Top-level fields beside `apiVersion`, `kind` and `metadata`.
    pub top_level: Vec<String>,
    /// Types of scalars. Empty: everything is text.
    pub types: PathTypes,
    /// Whether the API server lists this kind. Tables that it does not list cannot be read.
    pub listable: bool,
    /// Whether the API server lets this kind be watched.
    pub watchable: bool,
}

/// A table and the shape that statements are resolved against.
#[derive(Debug)]
pub(crate) struct Table {
    pub info: CatalogTable,
    /// SQL schema: that of the definition, with the version for versions that are not preferred.
    pub schema: String,
    pub shape: Arc<TableShape>,
}

impl Table {
    pub(crate) fn key(&self) -> &KindKey {
        &self.info.def.key
    }

    pub(crate) fn full_name(&self) -> String {
        self.shape.full_name()
    }
}

/// All tables of the cluster.
#[derive(Debug, Default)]
pub struct Catalog {
    tables: Vec<Arc<Table>>,
    by_name: HashMap<(String, String), Arc<Table>>,
    by_plural: HashMap<String, Vec<Arc<Table>>>,
    views: Vec<Arc<View>>,
}

impl Catalog {
    /// A catalog of these tables. A version that is not preferred is in the
    /// schema `<group>_<version>`.
    pub fn new(tables: Vec<CatalogTable>) -> Self {
        let mut catalog = Self::default();
        for info in tables {
            let schema = if info.preferred {
                info.def.schema.clone()
            } else {
                format!("{}_{}", info.def.schema, info.def.key.version)
            };
            let shape = Arc::new(shape(&schema, &info));
            let table = Arc::new(Table {
                info,
                schema,
                shape,
            });
            let name = (table.schema.clone(), table.info.def.plural.clone());
            catalog
                .by_name
                .entry(name)
                .or_insert_with(|| Arc::clone(&table));
            let plural = table.info.def.plural.clone();
            catalog
                .by_plural
                .entry(plural)
                .or_default()
                .push(Arc::clone(&table));
            catalog.tables.push(table);
        }
        catalog
            .tables
            .sort_by(|a, b| (&a.schema, &a.info.def.plural).cmp(&(&b.schema, &b.info.def.plural)));
        let views = catalog.tables.iter().flat_map(View::of).map(Arc::new);
        catalog.views = views
            .filter(|view| catalog.named(view.schema(), view.name()).is_none())
            .collect();
        catalog
    }

    /// The views of the described tables.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        let views = self.views.iter().map(|view| &**view);
        views.filter(|view| view.is_certain())
    }

    /// Also those of kinds whose schema is not known.
    pub(crate) fn possible_views(&self) -> &[Arc<View>] {
        &self.views
    }

    /// The described tables.
    pub fn tables(&self) -> impl Iterator<Item = &CatalogTable> {
        self.tables.iter().map(|table| &table.info)
    }

    pub(crate) fn all(&self) -> &[Arc<Table>] {
        &self.tables
    }

    pub(crate) fn named(&self, schema: &str, table: &str) -> Option<&Arc<Table>> {
        self.by_name.get(&(schema.to_owned(), table.to_owned()))
    }

    pub(crate) fn plural(&self, table: &str) -> &[Arc<Table>] {
        self.by_plural
            .get(table)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// Where a metadata column is in the object.
fn root(column: &Column) -> Option<Steps> {
    let field = match column {
        Column::Namespace => "namespace",
        Column::Name => "name",
        Column::Uid => "uid",
        Column::ResourceVersion => "resourceVersion",
        Column::Generation => "generation",
        Column::CreationTimestamp => "creationTimestamp",
        Column::DeletionTimestamp => "deletionTimestamp",
        Column::Labels => "labels",
        Column::Annotations => "annotations",
        Column::Owners => "ownerReferences",
        Column::Finalizers => "finalizers",
        Column::OwnerUid | Column::Top(_) | Column::Object => return None,
    };
    Some(Steps::keys(["metadata", field]))
}

fn shape(schema: &str, info: &CatalogTable) -> TableShape {
    let mut columns: Vec<ColumnShape> = Column::METADATA
        .iter()
        .map(|column| ColumnShape {
            name: column.name().to_owned(),
            root: root(column),
            json: matches!(
                column,
                Column::Labels | Column::Annotations | Column::Owners | Column::Finalizers
            ),
            wildcard: !matches!(column, Column::Annotations),
            selectable: true,
        })
        .collect();
    let json = |name: &str, root: Steps, wildcard: bool, selectable: bool| ColumnShape {
        name: name.to_owned(),
        root: Some(root),
        json: true,
        wildcard,
        selectable,
    };
    for field in &info.top_level {
        let taken = columns
            .iter()
            .any(|column| column.name.eq_ignore_ascii_case(field));
        if !taken
            && !matches!(
                field.as_str(),
                "metadata" | "object" | "apiVersion" | "kind"
            )
        {
            columns.push(json(field, Steps::keys([field.as_str()]), true, true));
        }
    }
    columns.push(json("object", Steps::default(), false, true));
    columns.push(json("metadata", Steps::keys(["metadata"]), false, false));
    TableShape {
        schema: schema.to_owned(),
        table: info.def.plural.clone(),
        columns,
        keyed_by_name: Some(info.def.namespaced),
    }
}
