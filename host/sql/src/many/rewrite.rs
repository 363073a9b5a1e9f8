//! From a statement's plan to one that answers it for many sets of parameters.
//!
//! # Why
//!
//! Joining each scan with the sets would be simple, and repeat a row for each set that wants it
//! before anything is filtered: where a thousand sets name one namespace, its pods a thousand
//! times. So conditions `column = $i` first become columns that are carried along ([`Carried`]);
//! the sets are joined where rows of different sets can no longer be told apart by them: below a
//! group, at the top, and where two sides of a join know different parameters.
//!
//! # Contract
//!
//! For each node: the rows that the node has for one set are the rows of the rewritten node that
//! are carried for the set, less the columns that carry.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, lit,
};
use kybern_table::Index;

use super::carried::{Carried, Key, Part, columns, inner, places, projected, with_values};
use super::sets::Sets;
use super::understood::{self, Refusal};
use crate::lookup::Lookup;
use crate::planner::kind_source;
use crate::source::KindSource;

/// What the names of columns that carry begin with.
const MADE: &str = "__set_";

/// Parameters and what must equal them, and other conditions.
type Conditions = (Vec<(usize, Expr)>, Vec<Expr>);

/// The plan joined with the sets: its columns, and behind them the number of the row's set.
pub(super) fn rewrite(plan: &LogicalPlan, sets: &Sets) -> Result<LogicalPlan, Refusal> {
    let mut rewriter = Rewriter { sets, made: 0 };
    let part = rewriter.part(plan)?;
    let (found, number) = rewriter.numbered(part)?;
    let mut columns = columns(plan);
    columns.push(Expr::Column(number));
    projected(found, columns)
}

pub(super) struct Rewriter<'s> {
    pub(super) sets: &'s Sets,
    /// How many columns it has named.
    made: usize,
}

impl Rewriter<'_> {
    pub(super) fn part(&mut self, plan: &LogicalPlan) -> Result<Part, Refusal> {
        let mut fields = plan.schema().fields().iter();
        if fields.any(|field| field.name().starts_with(MADE)) {
            return Err(Refusal::new(format!("it names a column {MADE}...")));
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::EmptyRelation(_) => Ok(Part {
                plan: plan.clone(),
                carried: Carried::Nothing,
            }),
            other => Err(understood::unknown(other)),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Part, Refusal> {
        let Some(source) = kind_source(&scan.source) else {
            return Err(Refusal::new("it reads a table about the host"));
        };
        if scan.fetch.is_some() {
            return Err(Refusal::new("it has a LIMIT"));
        }
        if !source.lists.is_empty() {
            return Err(Refusal::new("it reads the elements of a list"));
        }
        // Of all columns, for conditions may be on some that the scan does not give.
        let all =
            TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source)).build()?;
        let conditions = scan.filters.iter().flat_map(split_conjunction);
        let (keys, mut filters) = self.sorted_out(conditions, &all.projected_schema)?;
        if keys.is_empty() {
            return Ok(Part {
                plan: LogicalPlan::TableScan(scan.clone()),
                carried: Carried::Nothing,
            });
        }
        filters.extend(keys.iter().map(|(place, of)| self.one_of(*place, of)));
        let mut wanted: BTreeSet<usize> = match &scan.projection {
            Some(projection) => projection.iter().copied().collect(),
            None => (0..source.columns.len()).collect(),
        };
        for column in keys.iter().flat_map(|(_, of)| of.column_refs()) {
            wanted.extend(all.projected_schema.maybe_index_of_column(column));
        }
        let known = self.known(&source, &keys);
        let source = provider_as_source(Arc::new(source.with_known(known)));
        let read = TableScanBuilder::new(scan.table_name.clone(), source)
            .with_projection(Some(wanted.into_iter().collect()))
            .with_filters(filters)
            .build()?;
        let given = scan
            .projected_schema
            .columns()
            .into_iter()
            .map(Expr::Column);
        let given = given.collect();
        let (plan, keys) = self.keyed(LogicalPlan::TableScan(read), given, keys)?;
        Ok(Part {
            plan,
            carried: Carried::Keys(keys),
        })
    }

    /// Conditions that are keys, and the others.
    fn sorted_out<'e>(
        &self,
        conditions: impl IntoIterator<Item = &'e Expr>,
        schema: &DFSchema,
    ) -> Result<Conditions, Refusal> {
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for condition in conditions {
            let key = understood::key(condition, schema)
                .and_then(|(parameter, of)| Some((self.sets.place(parameter)?, of.clone())));
            match key {
                Some(key) => keys.push(key),
                None => {
                    understood::expressions([condition])?;
                    others.push(condition.clone());
                }
            }
        }
        Ok((keys, others))
    }

    /// That an expression has a value that some set has.
    fn one_of(&self, place: usize, of: &Expr) -> Expr {
        let values: Vec<Expr> = self.sets.distinct(place).into_iter().map(lit).collect();
        match values.is_empty() {
            true => lit(false),
            false => of.clone().in_list(values, false),
        }
    }

    /// The objects by name, where the keys are their namespaces and names: lists of both would
    /// name each object of the one with each name of the other.
    fn known(&self, source: &KindSource, keys: &[(usize, Expr)]) -> Option<Lookup> {
        let place = |name: &str| {
            let is_it = |of: &Expr| matches!(of, Expr::Column(column) if column.name == name);
            keys.iter()
                .find(|(_, of)| is_it(of))
                .map(|(place, _)| *place)
        };
        if !source.table.info.def.namespaced {
            return None;
        }
        Some(Lookup {
            index: Index::Name,
            keys: self.sets.pairs(place("namespace")?, place("name")?),
        })
    }

    /// The plan's columns `given`, and one for each key.
    fn keyed(
        &mut self,
        plan: LogicalPlan,
        mut given: Vec<Expr>,
        keys: Vec<(usize, Expr)>,
    ) -> Result<(LogicalPlan, Vec<Key>), Refusal> {
        let mut made = Vec::new();
        for (place, of) in keys {
            let column = self.made("key");
            given.push(of.alias(&column.name));
            made.push(Key { place, column });
        }
        Ok((projected(plan, given)?, made))
    }

    pub(super) fn made(&mut self, what: &str) -> Column {
        self.made += 1;
        Column::new_unqualified(format!("{MADE}{what}_{}", self.made))
    }

    fn alias(&mut self, alias: &SubqueryAlias) -> Result<Part, Refusal> {
        let part = self.part(&alias.input)?;
        let plan = SubqueryAlias::try_new(Arc::new(part.plan), alias.alias.clone())?;
        Ok(Part {
            plan: LogicalPlan::SubqueryAlias(plan),
            carried: part.carried.under(&alias.alias),
        })
    }

    fn projection(&mut self, projection: &Projection) -> Result<Part, Refusal> {
        understood::expressions(&projection.expr)?;
        let part = self.part(&projection.input)?;
        let mut columns = projection.expr.clone();
        columns.extend(part.carried.columns().map(Expr::Column));
        Ok(Part {
            plan: projected(part.plan, columns)?,
            carried: part.carried,
        })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Part, Refusal> {
        let conditions = split_conjunction(&filter.predicate);
        let (keys, others) = self.sorted_out(conditions, filter.input.schema())?;
        let mut part = self.part(&filter.input)?;
        if let Some(others) = conjunction(others) {
            part.plan = LogicalPlan::Filter(Filter::try_new(others, Arc::new(part.plan))?);
        }
        if keys.is_empty() {
            return Ok(part);
        }
        let given = columns(&part.plan);
        let (plan, keys) = self.keyed(part.plan, given, keys)?;
        match part.carried {
            Carried::Nothing => Ok(Part {
                plan,
                carried: Carried::Keys(keys),
            }),
            Carried::Keys(mut known) => {
                known.extend(keys);
                Ok(Part {
                    plan,
                    carried: Carried::Keys(known),
                })
            }
            Carried::Number(number) => {
                let on = std::iter::once((Sets::number(), number.clone()));
                let on = on.chain(with_values(&keys)).collect();
                let table = self.sets.table(&places(&keys))?;
                let given = columns(&plan);
                let plan = projected(inner(table, plan, on)?, given)?;
                Ok(Part {
                    plan,
                    carried: Carried::Number(number),
                })
            }
        }
    }

    /// The rows joined with the sets that they are for.
    pub(super) fn numbered(&mut self, part: Part) -> Result<(LogicalPlan, Column), Refusal> {
        let keys = match part.carried {
            Carried::Number(number) => return Ok((part.plan, number)),
            Carried::Keys(keys) => keys,
            Carried::Nothing => Vec::new(),
        };
        let mut given = columns(&part.plan);
        let table = self.sets.table(&places(&keys))?;
        let on = with_values(&keys).collect();
        let number = self.made("number");
        given.push(Expr::Column(Sets::number()).alias(&number.name));
        Ok((projected(inner(table, part.plan, on)?, given)?, number))
    }
}
