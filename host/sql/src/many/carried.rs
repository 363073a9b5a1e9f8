//! What rows of a rewritten plan carry, and the nodes that are made for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, JoinType, NullEquality, TableReference};
use datafusion::logical_expr::{Expr, Join, JoinConstraint, LogicalPlan, Projection};

use super::sets::Sets;
use super::understood::Refusal;

/// A part of a plan, rewritten.
pub(super) struct Part {
    pub plan: LogicalPlan,
    pub carried: Carried,
}

/// Which sets a row is for.
pub(super) enum Carried {
    /// All of them.
    Nothing,
    /// Those whose values all these columns have.
    Keys(Vec<Key>),
    /// The one with the number in this column.
    Number(Column),
}

/// A column that must have the value of a parameter.
#[derive(Clone)]
pub(super) struct Key {
    pub place: usize,
    pub column: Column,
}

impl Carried {
    pub(super) fn columns(&self) -> impl Iterator<Item = Column> {
        let columns: Vec<Column> = match self {
            Self::Nothing => Vec::new(),
            Self::Keys(keys) => keys.iter().map(|key| key.column.clone()).collect(),
            Self::Number(number) => vec![number.clone()],
        };
        columns.into_iter()
    }

    /// The same where the relation has another name.
    pub(super) fn under(self, relation: &TableReference) -> Self {
        let named = |column: Column| Column::new(Some(relation.clone()), column.name);
        match self {
            Self::Nothing => Self::Nothing,
            Self::Keys(keys) => Self::Keys(
                keys.into_iter()
                    .map(|key| Key {
                        place: key.place,
                        column: named(key.column),
                    })
                    .collect(),
            ),
            Self::Number(number) => Self::Number(named(number)),
        }
    }
}

pub(super) fn places(keys: &[Key]) -> BTreeSet<usize> {
    keys.iter().map(|key| key.place).collect()
}

/// The columns of the sets' table that must equal the keys.
pub(super) fn with_values(keys: &[Key]) -> impl Iterator<Item = (Column, Column)> {
    keys.iter()
        .map(|key| (Sets::value(key.place), key.column.clone()))
}

pub(super) fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(Expr::Column).collect()
}

pub(super) fn projected(plan: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    let projection = Projection::try_new(columns, Arc::new(plan))?;
    Ok(LogicalPlan::Projection(projection))
}

pub(super) fn inner(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Column, Column)>,
) -> Result<LogicalPlan, Refusal> {
    joined(left, right, on, JoinType::Inner)
}

pub(super) fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Column, Column)>,
    join_type: JoinType,
) -> Result<LogicalPlan, Refusal> {
    let on = on.into_iter();
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on.map(|(l, r)| (Expr::Column(l), Expr::Column(r)))
            .collect(),
        None,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}
