//! Finds the keys that a filter allows: `=`, IN and OR chains of them on
//! indexed columns.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast};
use kybern_table::{Column, Index, Path, PathType, Segment, TableView};

use crate::source::{KindSource, Read};

/// More keys than this are no look-up: a scan is cheaper, and a read set smaller.
pub(crate) const MAX_KEYS: usize = 4096;

/// Keys whose rows are counted before a plan is chosen.
const KEYS_COUNTED: usize = 32;

/// The rows that a filter allows: those with one of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub index: Index,
    pub keys: Vec<String>,
}

impl Lookup {
    /// How many rows it finds, about where there are many keys.
    pub(crate) fn rows_about(&self, view: &TableView) -> usize {
        let counted = self.keys.iter().take(KEYS_COUNTED);
        let rows = counted.map(|key| view.lookup(&self.index, key));
        let rows: usize = rows.flatten().map(|rows| rows.len()).sum();
        let keys = self.keys.len();
        rows.saturating_mul(keys)
            .checked_div(keys.min(KEYS_COUNTED))
            .unwrap_or(0)
    }
}

/// Every look-up that covers the filters (which all must hold), best first.
/// Parameters have been replaced by values.
pub(crate) fn lookups(source: &KindSource, filters: &[Expr]) -> Vec<Lookup> {
    if filters.iter().flat_map(conjuncts).any(is_false) {
        let (index, keys) = (Index::Uid, Vec::new());
        return vec![Lookup { index, keys }];
    }
    let mut equal: HashMap<String, BTreeSet<String>> = HashMap::new();
    for filter in filters.iter().flat_map(conjuncts) {
        let Some((column, values)) = equalities(filter) else {
            continue;
        };
        // `a = 1 AND a IN (2, 3)`: either covers it, both together cover it better.
        match equal.get_mut(&column) {
            Some(known) => known.retain(|value| values.contains(value)),
            None => drop(equal.insert(column, values)),
        }
    }
    let of = |name: &str| {
        equal
            .get(name)
            .map(|keys| keys.iter().cloned().collect::<Vec<_>>())
    };
    let mut found = Vec::new();
    let mut push = |index: Index, keys: Option<Vec<String>>| {
        if let Some(keys) = keys.filter(|keys| keys.len() <= MAX_KEYS) {
            found.push(Lookup { index, keys });
        }
    };
    push(Index::Uid, of("uid"));
    if let Some(Lookup { index, keys }) = &source.known {
        push(index.clone(), Some(keys.clone()));
    }
    if source.table.info.def.namespaced {
        if let (Some(namespaces), Some(names)) = (of("namespace"), of("name"))
            && namespaces.len().saturating_mul(names.len()) <= MAX_KEYS
        {
            let keys = namespaces
                .iter()
                .flat_map(|namespace| names.iter().map(move |name| format!("{namespace}/{name}")))
                .collect();
            push(Index::Name, Some(keys));
        }
    } else {
        push(Index::Name, of("name"));
    }
    push(Index::Owner, of("owner_uid"));
    for column in &source.columns {
        if let Read::Path(path, PathType::Text) = &column.read
            && let Some(keys) = of(&column.name)
        {
            push(index_of(path), Some(keys));
        }
    }
    push(Index::Namespace, of("namespace"));
    found
}

/// The index, if the table has it, of what is at a path.
pub(crate) fn index_of(path: &Path) -> Index {
    match path.segments() {
        [
            Segment::Key(metadata),
            Segment::Key(labels),
            Segment::Key(label),
        ] if metadata == "metadata" && labels == "labels" => Index::Label(label.clone()),
        _ => Index::Path(path.clone()),
    }
}

pub(crate) fn conjuncts(filter: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut pending = vec![filter];
    while let Some(expr) = pending.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => {
                pending.push(right);
                pending.push(left);
            }
            other => found.push(other),
        }
    }
    found
}

/// Whether it keeps no row, as what is pushed into a branch of a union may be.
fn is_false(filter: &Expr) -> bool {
    matches!(
        filter,
        Expr::Literal(ScalarValue::Boolean(None | Some(false)), _)
    )
}

/// A column and the texts of which it must have one. NULL equals nothing.
fn equalities(expr: &Expr) -> Option<(String, BTreeSet<String>)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => {
            let (column, value) = match (column(left), column(right)) {
                (Some(name), None) => (name, right),
                (None, Some(name)) => (name, left),
                _ => return None,
            };
            Some((column, text(value)?.into_iter().collect()))
        }
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let column = column(expr)?;
            let mut values = BTreeSet::new();
            for item in list {
                values.extend(text(item)?);
            }
            Some((column, values))
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let (column, mut values) = equalities(left)?;
            let (other, more) = equalities(right)?;
            values.extend(more);
            (column == other).then_some((column, values))
        }
        _ => None,
    }
}

pub(crate) fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        // Between string types a cast changes nothing.
        Expr::Cast(Cast { expr, field }) if is_string(field.data_type()) => match &**expr {
            Expr::Column(column) if is_text_column(column.name()) => Some(column.name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Metadata columns that are text, whatever the statement casts them to.
fn is_text_column(name: &str) -> bool {
    matches!(
        Column::named(name),
        Column::Namespace | Column::Name | Column::Uid | Column::OwnerUid
    )
}

fn is_string(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The text of a constant; inner `None` for NULL, outer for what is no constant text.
fn text(expr: &Expr) -> Option<Option<String>> {
    match constant(expr)? {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            Some(text)
        }
        other if other.is_null() => Some(None),
        _ => None,
    }
}

fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => constant(&alias.expr),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            constant(expr)?.cast_to(field.data_type()).ok()
        }
        _ => None,
    }
}
