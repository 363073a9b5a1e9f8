//! Queries: WITH, set operations, ORDER BY and LIMIT.

use sqlparser::ast::{
    Expr, LimitClause, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, SetExpr,
    SetOperator, SetQuantifier, Spanned, Value, With,
};
use sqlparser::tokenizer::Span;

use super::access::access;
use super::from::renamed;
use super::output::{Column, find};
use super::scope::{Derived, Scope};
use super::select::Projected;
use super::{Output, Rewriter, quoted, settle, unsupported};
use crate::{MAX_DEPTH, StatementError};

/// What ORDER BY may name beside the output columns.
enum Below {
    /// The relations of the one SELECT and what it selects.
    Select(Scope, Projected),
    /// Nothing: the rows come from several SELECTs.
    Set,
}

impl Rewriter<'_> {
    /// Rewrites a query in the scopes that are open; `outermost` makes its order total.
    pub(super) fn query(
        &mut self,
        query: &mut Query,
        outermost: bool,
    ) -> Result<Output, StatementError> {
        self.depth += 1;
        let ctes = self.ctes.len();
        let scopes = self.scopes.len();
        let rewritten = if self.depth > 4 * MAX_DEPTH {
            Err(StatementError::new(
                Span::empty(),
                "subqueries nest too deep",
            ))
        } else {
            self.query_inner(query, outermost)
        };
        self.ctes.truncate(ctes);
        self.scopes.truncate(scopes);
        self.depth -= 1;
        rewritten
    }

    fn query_inner(
        &mut self,
        query: &mut Query,
        outermost: bool,
    ) -> Result<Output, StatementError> {
        refuse_clauses(query)?;
        if let Some(with) = &mut query.with {
            self.with(with)?;
        }
        let (output, below) = self.body(&mut query.body)?;
        if let Some(order_by) = &mut query.order_by {
            self.order_by(order_by, &output, below)?;
        }
        let limited = self.limit(query)?;
        match &mut query.order_by {
            Some(OrderBy {
                kind: OrderByKind::Expressions(keys),
                ..
            }) if outermost || limited => {
                // A key that is there already is not repeated: engines take keys as a set.
                let known: Vec<usize> = keys.iter().filter_map(|key| position(&key.expr)).collect();
                let missing = (1..=output.len()).filter(|position| !known.contains(position));
                keys.extend(missing.map(ordinal));
            }
            None if limited => self.arbitrary_limit = true,
            _ => {}
        }
        Ok(output)
    }

    fn with(&mut self, with: &mut With) -> Result<(), StatementError> {
        if with.recursive {
            return unsupported(with.with_token.0.span, "WITH RECURSIVE")
                .map_err(|error: StatementError| error.cure("join the table once for each level"));
        }
        let outer = self.ctes.len();
        for cte in &mut with.cte_tables {
            if cte.from.is_some() {
                return unsupported(cte.alias.name.span, "FROM behind a WITH query");
            }
            let columns = self.query(&mut cte.query, false)?;
            let columns = renamed(&mut cte.alias, columns)?;
            settle(&mut cte.alias.name);
            let name = cte.alias.name.value.clone();
            if self.ctes.iter().skip(outer).any(|cte| cte.name == name) {
                let message = format!("{name} is in WITH twice");
                return Err(
                    StatementError::new(cte.alias.name.span, message).cure("give one another name")
                );
            }
            // To the engine a name may be given once only, however deep.
            if self.ctes.iter().any(|cte| cte.name == name) {
                cte.alias.name.value = format!("{name} {}", self.ctes.len());
            }
            self.ctes.push(Derived {
                name,
                given: cte.alias.name.value.clone(),
                columns,
            });
        }
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr) -> Result<(Output, Below), StatementError> {
        match body {
            SetExpr::Select(select) => {
                let scopes = self.scopes.len();
                let projected = self.select(select)?;
                let scope = self.scopes.pop().unwrap_or_default();
                self.scopes.truncate(scopes);
                Ok((projected.output(), Below::Select(scope, projected)))
            }
            SetExpr::Query(query) => Ok((self.query(query, false)?, Below::Set)),
            SetExpr::SetOperation {
                left,
                right,
                set_quantifier,
                op,
            } => {
                if !matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
                ) {
                    return unsupported(left.span(), "BY NAME");
                }
                if *set_quantifier == SetQuantifier::All && *op != SetOperator::Union {
                    // The engine does not count how often a row is on each side.
                    let message = format!("{op} ALL is not supported");
                    return Err(StatementError::new(right.span(), message).cure(format!(
                        "write {op}, or number equal rows with row_number()"
                    )));
                }
                self.depth += 1;
                let sides = if self.depth > 4 * MAX_DEPTH {
                    Err(StatementError::new(
                        left.span(),
                        "set operations nest too deep",
                    ))
                } else {
                    self.body(left)
                        .and_then(|(columns, _)| Ok((columns, self.body(right)?.0)))
                };
                self.depth -= 1;
                let (columns, others) = sides?;
                if columns.len() != others.len() {
                    return Err(StatementError::new(
                        right.span(),
                        format!(
                            "one side has {} columns, the other {}",
                            columns.len(),
                            others.len()
                        ),
                    ));
                }
                Ok((self.together(columns, &others), Below::Set))
            }
            SetExpr::Values(values) => {
                let mut width = 0;
                for row in &mut values.rows {
                    width = row.content.len();
                    self.exprs(&mut row.content)?;
                }
                Ok((
                    (1..=width)
                        .map(|n| Column::named(format!("column{n}")))
                        .collect(),
                    Below::Set,
                ))
            }
            other => unsupported(other.span(), "anything but SELECT in a query"),
        }
    }

    fn order_by(
        &mut self,
        order_by: &mut OrderBy,
        output: &Output,
        below: Below,
    ) -> Result<(), StatementError> {
        let OrderByKind::Expressions(keys) = &mut order_by.kind else {
            return Err(
                StatementError::new(order_by.span(), "ORDER BY ALL is not supported")
                    .cure("name the columns"),
            );
        };
        if order_by.interpolate.is_some() {
            return unsupported(Span::empty(), "INTERPOLATE");
        }
        let scopes = self.scopes.len();
        let projected = match below {
            Below::Select(scope, projected) => {
                self.scopes.push(scope);
                Some(projected)
            }
            Below::Set => None,
        };
        for key in keys {
            self.order_key(key, output, projected.as_ref())?;
        }
        self.scopes.truncate(scopes);
        Ok(())
    }

    fn order_key(
        &mut self,
        key: &mut OrderByExpr,
        output: &Output,
        projected: Option<&Projected>,
    ) -> Result<(), StatementError> {
        // A number is a place, also where a column is that number.
        if position(&key.expr).is_some() {
            return Ok(());
        }
        // A bare name is first of all an output column, as in PostgreSQL.
        if let Expr::Identifier(ident) = &key.expr {
            let wanted = super::folded(ident);
            if let Some(position) = output.iter().position(|column| column.name == wanted) {
                key.expr = ordinal(position + 1).expr;
                return Ok(());
            }
        }
        if let Some(projected) = projected {
            self.order_by_expr(key)?;
            if let Some(position) = projected.position(&key.expr) {
                key.expr = ordinal(position + 1).expr;
            }
            return Ok(());
        }
        // Over a set operation a path can only mean an output column of that name.
        if access(&key.expr)?.is_some() {
            let written = key
                .expr
                .to_string()
                .replace(['"', crate::protect::MARK], "");
            if let Some(column) = find(output, &written) {
                key.expr = Expr::Identifier(quoted(&column.name, key.expr.span()));
                return Ok(());
            }
        }
        Err(
            StatementError::new(key.expr.span(), "this ORDER BY must name an output column")
                .cure("name the column in each SELECT with AS and order by that name"),
        )
    }

    /// Whether rows are cut off.
    fn limit(&mut self, query: &mut Query) -> Result<bool, StatementError> {
        let mut limited = false;
        fetch_as_limit(query)?;
        match &mut query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                if let Some(by) = limit_by.first() {
                    return unsupported(by.span(), "LIMIT BY");
                }
                limited |= limit.is_some() || offset.is_some();
                self.exprs(
                    limit
                        .iter_mut()
                        .chain(offset.iter_mut().map(|o| &mut o.value)),
                )?;
            }
            Some(LimitClause::OffsetCommaLimit { offset, .. }) => {
                return Err(
                    StatementError::new(offset.span(), "LIMIT a, b is not supported")
                        .cure("write LIMIT b OFFSET a"),
                );
            }
        }
        Ok(limited)
    }
}

/// Spells FETCH FIRST as LIMIT.
fn fetch_as_limit(query: &mut Query) -> Result<(), StatementError> {
    let span = query.span();
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    let rows = Some(fetch.quantity.unwrap_or_else(one));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => *limit = rows,
        Some(_) => return unsupported(span, "FETCH beside LIMIT"),
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: rows,
                offset: None,
                limit_by: Vec::new(),
            });
        }
    }
    Ok(())
}

fn refuse_clauses(query: &Query) -> Result<(), StatementError> {
    if !query.locks.is_empty() {
        return Err(
            StatementError::new(query.span(), "FOR UPDATE is refused: nothing is locked")
                .cure("leave it out"),
        );
    }
    if query
        .fetch
        .as_ref()
        .is_some_and(|fetch| fetch.with_ties || fetch.percent)
    {
        return unsupported(query.span(), "FETCH with TIES or PERCENT");
    }
    if query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty()
    {
        return unsupported(query.span(), "a clause at the end of the query");
    }
    Ok(())
}

/// The sort key "output column number `position`".
fn ordinal(position: usize) -> OrderByExpr {
    OrderByExpr {
        expr: Expr::value(Value::Number(position.to_string(), false)),
        options: OrderByOptions {
            asc: None,
            nulls_first: None,
        },
        with_fill: None,
    }
}

/// The output column that a sort key of digits means.
fn position(key: &Expr) -> Option<usize> {
    match key {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
