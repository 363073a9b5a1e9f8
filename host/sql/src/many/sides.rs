//! Joins: when two rows beside each other are for the same set.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

use super::carried::{Carried, Key, Part, columns, inner, places, projected};
use super::rewrite::Rewriter;
use super::sets::Sets;
use super::understood::{self, Refusal};

/// Columns of the left and of the right side that must be equal.
type Equal = Vec<(Column, Column)>;

/// The sides of a join, which columns must be equal, and what is carried.
type Sides = (LogicalPlan, LogicalPlan, Equal, Carried);

impl Rewriter<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Part, Refusal> {
        let is_inner = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => false,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => {
                return self.join(&turned(join));
            }
            other => return Err(Refusal::new(format!("it has a {other} join"))),
        };
        if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
            return Err(Refusal::new(
                "it has a join in which NULL equals NULL, or a NOT IN",
            ));
        }
        understood::expressions(join.on.iter().flat_map(|(one, other)| [one, other]))?;
        understood::expressions(&join.filter)?;
        let (left, right) = (self.part(&join.left)?, self.part(&join.right)?);
        let (left, right, more, carried) = self.beside(left, right, is_inner)?;
        let mut on = join.on.clone();
        on.extend(
            more.into_iter()
                .map(|(l, r)| (Expr::Column(l), Expr::Column(r))),
        );
        let joined = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            join.filter.clone(),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        Ok(Part {
            plan: LogicalPlan::Join(joined),
            carried,
        })
    }

    /// The sides of a join, which columns of them must be equal for their rows to be for the same
    /// set, and what rows of both carry. What they carry is on the left unless the join is inner.
    fn beside(&mut self, left: Part, right: Part, is_inner: bool) -> Result<Sides, Refusal> {
        match (left.carried, right.carried) {
            (carried, Carried::Nothing) => Ok((left.plan, right.plan, Vec::new(), carried)),
            (Carried::Nothing, carried) if is_inner => {
                Ok((left.plan, right.plan, Vec::new(), carried))
            }
            (Carried::Nothing, _) => Err(Refusal::new(
                "a parameter stands only on the side of a join that need not match",
            )),
            (Carried::Keys(keys), Carried::Keys(others)) => {
                if let Some(on) = equal(&others, &keys) {
                    let on = on.into_iter().map(|(right, left)| (left, right)).collect();
                    return Ok((left.plan, right.plan, on, Carried::Keys(keys)));
                }
                if is_inner && let Some(on) = equal(&keys, &others) {
                    return Ok((left.plan, right.plan, on, Carried::Keys(others)));
                }
                let left = self.numbered(Part {
                    plan: left.plan,
                    carried: Carried::Keys(keys),
                })?;
                let (left, on, number) = self.meeting(left, &others)?;
                Ok((left, right.plan, on, Carried::Number(number)))
            }
            (Carried::Number(number), Carried::Keys(others)) => {
                let (left, on, number) = self.meeting((left.plan, number), &others)?;
                Ok((left, right.plan, on, Carried::Number(number)))
            }
            (carried, Carried::Number(other)) => {
                let (left, number) = self.numbered(Part {
                    plan: left.plan,
                    carried,
                })?;
                let on = vec![(number.clone(), other)];
                Ok((left, right.plan, on, Carried::Number(number)))
            }
        }
    }

    /// Rows with a number, with the values of its set that others must have as keys.
    fn meeting(
        &mut self,
        (plan, number): (LogicalPlan, Column),
        keys: &[Key],
    ) -> Result<(LogicalPlan, Equal, Column), Refusal> {
        let mut given = columns(&plan);
        let mut on = Vec::new();
        for key in keys {
            let value = self.made("value");
            given.push(Expr::Column(Sets::value(key.place)).alias(&value.name));
            on.push((value, key.column.clone()));
        }
        let table = self.sets.table(&places(keys))?;
        let same = vec![(Sets::number(), number.clone())];
        Ok((projected(inner(table, plan, same)?, given)?, on, number))
    }
}

/// The same join with its sides exchanged; its columns have another order.
fn turned(join: &Join) -> Join {
    let on = join.on.iter().cloned();
    Join {
        left: Arc::clone(&join.right),
        right: Arc::clone(&join.left),
        on: on.map(|(left, right)| (right, left)).collect(),
        join_type: join.join_type.swap(),
        ..join.clone()
    }
}

/// For each of `keys` one of `others` with the same parameter; none if there is not one for each.
fn equal(keys: &[Key], others: &[Key]) -> Option<Equal> {
    let each = keys.iter().map(|key| {
        let other = others.iter().find(|other| other.place == key.place)?;
        Some((key.column.clone(), other.column.clone()))
    });
    each.collect()
}
