//! Groups: each set has its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, and, lit};

use super::carried::{Carried, Part, columns, joined, places, projected, with_values};
use super::rewrite::Rewriter;
use super::sets::Sets;
use super::understood::{self, Refusal};

impl Rewriter<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Part, Refusal> {
        let schema = aggregate.input.schema();
        for expr in &aggregate.group_expr {
            understood::group(expr, schema)?;
        }
        for expr in &aggregate.aggr_expr {
            understood::aggregate(expr, schema)?;
        }
        let part = self.part(&aggregate.input)?;
        if let Carried::Nothing = part.carried {
            let calls = aggregate.aggr_expr.clone();
            let plan = grouped(part.plan, aggregate.group_expr.clone(), calls)?;
            return Ok(Part {
                plan,
                carried: Carried::Nothing,
            });
        }
        if aggregate.group_expr.is_empty() {
            return self.total(aggregate, part);
        }
        let (plan, number) = self.numbered(part)?;
        let mut groups = aggregate.group_expr.clone();
        groups.push(Expr::Column(number.clone()));
        Ok(Part {
            plan: grouped(plan, groups, aggregate.aggr_expr.clone())?,
            carried: Carried::Number(number),
        })
    }

    /// Aggregates without groups have a row for each set, also for one without rows: each set
    /// gives one that no aggregate looks at.
    fn total(&mut self, aggregate: &Aggregate, part: Part) -> Result<Part, Refusal> {
        let given = columns(&part.plan);
        let (there, number) = (self.made("there"), self.made("number"));
        let mut marked = given.clone();
        marked.push(lit(true).alias(&there.name));
        let (on, table) = match &part.carried {
            Carried::Number(number) => {
                let on = vec![(Sets::number(), number.clone())];
                (on, self.sets.table(&BTreeSet::new())?)
            }
            Carried::Keys(keys) => (with_values(keys).collect(), self.sets.table(&places(keys))?),
            Carried::Nothing => return Err(Refusal::new("nothing is known of its rows")),
        };
        let joined = joined(table, projected(part.plan, marked)?, on, JoinType::Left)?;
        let mut columns = given;
        columns.push(Expr::Column(there.clone()));
        columns.push(Expr::Column(Sets::number()).alias(&number.name));
        let names = aggregate.schema.fields().iter();
        let calls = aggregate.aggr_expr.iter().zip(names);
        let calls = calls.map(|(call, field)| of_rows(call, &there, field.name()));
        let plan = grouped(
            projected(joined, columns)?,
            vec![Expr::Column(number.clone())],
            calls.collect::<Result<_, _>>()?,
        )?;
        Ok(Part {
            plan,
            carried: Carried::Number(number),
        })
    }
}

fn grouped(plan: LogicalPlan, groups: Vec<Expr>, calls: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    let aggregate = Aggregate::try_new(Arc::new(plan), groups, calls)?;
    Ok(LogicalPlan::Aggregate(aggregate))
}

/// The aggregate of the rows that are there, under the name that it had.
fn of_rows(call: &Expr, there: &Column, name: &str) -> Result<Expr, Refusal> {
    let mut call = match call {
        Expr::Alias(alias) => return of_rows(&alias.expr, there, name),
        Expr::AggregateFunction(call) => call.clone(),
        _ => return Err(Refusal::new("it aggregates something else")),
    };
    let there = Expr::Column(there.clone());
    call.params.filter = Some(Box::new(match call.params.filter.take() {
        Some(filter) => and(there, *filter),
        None => there,
    }));
    Ok(Expr::AggregateFunction(call).alias(name))
}
