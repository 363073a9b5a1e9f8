//! Where the keys of a look-up come from: found once, when a statement is planned.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use kybern_table::{Index, PathType};

use crate::lookup::{Lookup, MAX_KEYS, column, index_of};
use crate::slots::Slots;
use crate::source::{KindSource, Read};

/// The keys of one index.
#[derive(Debug)]
pub(crate) struct Keys {
    pub index: Index,
    /// The values that a key is made of: of one column, or namespaces and names.
    parts: Vec<Vec<Part>>,
}

/// One value.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Slot(usize),
}

/// What a condition allows a column to be.
struct Equality {
    condition: usize,
    parts: Vec<Part>,
}

/// Objects that a look-up may name to count as a few.
const FEW: usize = 16;

impl Keys {
    /// Whether it names a few objects, one by one.
    pub(crate) fn is_point(&self) -> bool {
        let named: usize = self.parts.iter().map(Vec::len).product();
        matches!(self.index, Index::Name | Index::Uid) && named <= FEW
    }

    /// The best look-up that the conditions (which all must hold) allow, with the positions of
    /// those that its rows fulfil for that alone. Values are constants or slots.
    pub(crate) fn find(
        source: &KindSource,
        conditions: &[Expr],
        has: impl Fn(&Index) -> bool,
    ) -> Option<(Self, Vec<usize>)> {
        let mut equal: HashMap<String, Equality> = HashMap::new();
        for (condition, expr) in conditions.iter().enumerate() {
            if let Some((column, parts)) = equality(expr) {
                // Of two for one column the first finds the rows, and the other one is tested.
                let entry = equal.entry(column);
                entry.or_insert(Equality { condition, parts });
            }
        }
        let mut choices: Vec<(Index, Vec<&str>)> = vec![(Index::Uid, vec!["uid"])];
        let names = match source.table.info.def.namespaced {
            true => vec!["namespace", "name"],
            false => vec!["name"],
        };
        choices.push((Index::Name, names));
        choices.push((Index::Owner, vec!["owner_uid"]));
        for column in &source.columns {
            if let Read::Path(path, PathType::Text) = &column.read {
                choices.push((index_of(path), vec![&*column.name]));
            }
        }
        let found = choices.into_iter().find_map(|(index, columns)| {
            let equalities = columns.iter().map(|column| equal.get(*column));
            let equalities: Vec<&Equality> = equalities.collect::<Option<_>>()?;
            has(&index).then_some((index, equalities))
        });
        let (index, equalities) = found?;
        // What is in the object may be no text, which the condition knows best.
        let covered = match is_of_metadata(&index) {
            true => equalities.iter().map(|e| e.condition).collect(),
            false => Vec::new(),
        };
        let parts: Vec<Vec<Part>> = equalities.iter().map(|e| e.parts.clone()).collect();
        let most = parts.iter().map(Vec::len);
        let most = most.fold(1, |most: usize, part| most.saturating_mul(part));
        (most <= MAX_KEYS).then_some((Self { index, parts }, covered))
    }

    /// The keys of one execution. NULL equals nothing, and no name and no uid is empty.
    pub(crate) fn of(&self, slots: &[ScalarValue]) -> Lookup {
        let texts = |parts: &Vec<Part>| -> Vec<String> {
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Slot(slot) => slots.get(*slot)?.try_as_str()?,
            });
            let texts = texts.filter(|text| !text.is_empty() || !is_of_metadata(&self.index));
            texts.map(str::to_owned).collect()
        };
        let mut keys: Vec<String> = match self.parts.as_slice() {
            [namespaces, names] => {
                let (namespaces, names) = (texts(namespaces), texts(names));
                let pairs = namespaces
                    .iter()
                    .flat_map(|namespace| names.iter().map(move |name| (namespace, name)));
                // The one between both would be another one.
                let pairs = pairs.filter(|(one, other)| !one.contains('/') && !other.contains('/'));
                pairs
                    .map(|(one, other)| [one, "/", other].concat())
                    .collect()
            }
            parts => parts.iter().flat_map(texts).collect(),
        };
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        Lookup {
            index: self.index.clone(),
            keys,
        }
    }
}

/// Whether its keys are names or uids, which are text in every object.
fn is_of_metadata(index: &Index) -> bool {
    matches!(index, Index::Uid | Index::Name | Index::Owner)
}

/// A column and the values of which it must have one.
fn equality(expr: &Expr) -> Option<(String, Vec<Part>)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => match (part(left), part(right)) {
            (None, Some(value)) => Some((column(left)?, vec![value])),
            (Some(value), None) => Some((column(right)?, vec![value])),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let (column, mut parts) = equality(left)?;
            let (other, more) = equality(right)?;
            parts.extend(more);
            (column == other).then_some((column, parts))
        }
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) if part(expr).is_none() => {
            let parts = list.iter().map(part);
            Some((column(expr)?, parts.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn part(expr: &Expr) -> Option<Part> {
    match expr {
        Expr::Literal(value, _) => {
            let text = value.try_as_str()??;
            Some(Part::Text(text.to_owned()))
        }
        other => Slots::number(other).map(Part::Slot),
    }
}
