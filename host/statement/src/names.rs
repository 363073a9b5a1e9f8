//! What the rewriter asks about tables.

use std::sync::Arc;

use crate::{Path, Segment};

/// A column that a table declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Its name. Unquoted names match whatever their case.
    pub name: String,
    /// Where its value is in the object; `None` for columns that no path reaches.
    pub root: Option<Path>,
    /// Whether its value is JSON that paths may enter.
    pub json: bool,
    /// Whether `*` includes it.
    pub wildcard: bool,
    /// Whether it may be selected as it is; a column that may not (like
    /// `metadata`) is only the head of paths.
    pub selectable: bool,
}

/// A table as the rewriter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// The schema: the API group.
    pub schema: String,
    /// The table: the plural.
    pub table: String,
    /// Its declared columns, in the order of `*`.
    pub columns: Vec<ColumnShape>,
    /// Whether a row's name is unique in its namespace (true) or in the whole
    /// table (false), and its uid anywhere; `None` for tables without objects.
    pub keyed_by_name: Option<bool>,
}

impl TableShape {
    /// `schema.table`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The column of that name. A name that was not quoted matches any case.
    pub(crate) fn column(&self, name: &str, quoted: bool) -> Option<&ColumnShape> {
        let exact = self.columns.iter().find(|column| column.name == name);
        if quoted {
            return exact;
        }
        exact.or_else(|| {
            self.columns
                .iter()
                .find(|c| c.name.eq_ignore_ascii_case(name))
        })
    }

    /// The column that holds exactly the value at `path`.
    pub(crate) fn column_at(&self, path: &Path) -> Option<&ColumnShape> {
        self.columns
            .iter()
            .find(|column| column.selectable && column.root.as_ref() == Some(path))
    }

    /// The name of the virtual column for `path`: the nearest declared column
    /// and the rest, as a person would write it.
    pub(crate) fn virtual_name(&self, path: &Path) -> String {
        let nearest = self
            .columns
            .iter()
            .filter(|column| column.json && column.selectable)
            .filter_map(|column| {
                let root = column.root.as_ref()?.segments();
                let rest = path.segments().strip_prefix(root)?;
                (!root.is_empty()).then_some((root.len(), column, rest))
            })
            .max_by_key(|(length, _, _)| *length);
        if let Some((_, column, rest)) = nearest {
            let mut name = column.name.clone();
            let _ = crate::path::write_segments(&mut name, rest, false);
            return name;
        }
        // A top-level field that is named like one of our columns keeps its root.
        let taken = match path.segments().first() {
            Some(Segment::Key(key)) => self.column(key, false).is_some_and(|c| c.selectable),
            _ => true,
        };
        let mut name = if taken {
            "object".to_owned()
        } else {
            String::new()
        };
        let _ = crate::path::write_segments(&mut name, path.segments(), !taken);
        name
    }
}

/// A query under a name: what stands in FROM in place of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewShape {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The table whose rows it shows.
    pub parent: Arc<TableShape>,
    /// A SELECT that names tables with their schema.
    pub query: String,
}

/// What a table name means.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// This table.
    Table(Arc<TableShape>),
    /// This query.
    View(Arc<ViewShape>),
    /// More than one; their full names.
    Ambiguous(Vec<String>),
    /// None; full names that are near it.
    Missing {
        /// Near names, nearest first. Only names that the asker may know.
        nearest: Vec<String>,
    },
    /// It exists but cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What a schema says of the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An array.
    List,
    /// An object or a map.
    Object,
    /// Text, a number, a boolean or a time.
    Scalar,
    /// Nothing, or that it may be anything.
    Unknown,
}

/// Who knows the tables. What the asker may not see is [`Resolution::Missing`].
pub trait Names {
    /// What `schema.table` or `table` means. Names that were not quoted come in lower case.
    fn resolve(&self, schema: Option<&str>, table: &str) -> Resolution;

    /// Whether the value at `path` of that table is read as text. Others are
    /// cast when a statement asks for text with `->>`.
    fn is_text(&self, table: &TableShape, path: &Path) -> bool;

    /// The function that reads a path of JSON text as the value at `path` of that table is read,
    /// or as text where it is not known where the JSON is from.
    fn inside(&self, at: Option<(&TableShape, &Path)>) -> &'static str;

    /// What the value at `path` of that table is.
    fn found(&self, table: &TableShape, path: &Path) -> Found;
}
