//! One SELECT: its clauses, and what its output columns are called.

use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, GroupByWithModifier, NamedWindowExpr, Select,
    SelectFlavor, SelectItem, Spanned, Value,
};
use sqlparser::tokenizer::Span;

use super::access::access;
use super::output::{Column, Json};
use super::{Output, Rewriter, folded, quoted, settle, unsupported};
use crate::StatementError;

/// What a SELECT selects.
pub(super) struct Projected {
    columns: Vec<Projection>,
}

struct Projection {
    name: String,
    /// What is selected, rewritten.
    expr: Option<Expr>,
    /// Whether the author named it with AS.
    explicit: bool,
    /// Where it is JSON that paths may enter.
    json: Option<Json>,
}

impl Projected {
    pub(super) fn output(&self) -> Output {
        self.columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                json: column.json.clone(),
            })
            .collect()
    }

    /// The output column that is exactly this expression.
    pub(super) fn position(&self, expr: &Expr) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.expr.as_ref() == Some(expr))
    }

    fn explicit(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.explicit && c.name == name)
    }
}

impl Rewriter<'_> {
    /// Rewrites a SELECT and leaves its scope open for ORDER BY.
    pub(super) fn select(&mut self, select: &mut Select) -> Result<Projected, StatementError> {
        refuse_clauses(select)?;
        self.from(&mut select.from)?;
        let (moved, settled) = self.moved()?;
        select.selection = all(select.selection.take(), moved);
        let projected = self.projection(select)?;
        if let Some(Distinct::On(keys)) = &mut select.distinct {
            self.exprs(keys)?;
        }
        self.exprs(&mut select.selection)?;
        select.selection = all(select.selection.take(), settled);
        self.group_by(&mut select.group_by, &projected, select.select_token.0.span)?;
        self.exprs(&mut select.having)?;
        for window in &mut select.named_window {
            settle(&mut window.0);
            match &mut window.1 {
                NamedWindowExpr::NamedWindow(name) => settle(name),
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        self.exprs(&mut select.qualify)?;
        Ok(projected)
    }

    fn projection(&mut self, select: &mut Select) -> Result<Projected, StatementError> {
        let mut items = Vec::with_capacity(select.projection.len());
        let mut columns = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::UnnamedExpr(mut expr) => {
                    let replaced = match access(&expr)? {
                        Some(found) => Some(self.replace(&found)?),
                        None => None,
                    };
                    let own = match &replaced {
                        Some(replaced) => replaced.name.clone(),
                        None => self.output_name(&expr, columns.len() + 1)?,
                    };
                    let name = unique(own.clone(), &columns);
                    let json = replaced.as_ref().and_then(|replaced| replaced.json.clone());
                    let item = match replaced.map(|replaced| replaced.expr) {
                        Some(column @ Expr::CompoundIdentifier(_))
                            if name == own && is_called(&column, &own) =>
                        {
                            SelectItem::UnnamedExpr(column)
                        }
                        // A cast would take the name away.
                        Some(expr) => {
                            let alias = quoted(&name, expr.span());
                            SelectItem::ExprWithAlias { expr, alias }
                        }
                        None => {
                            self.expr(&mut expr)?;
                            let alias = quoted(&name, expr.span());
                            SelectItem::ExprWithAlias { expr, alias }
                        }
                    };
                    columns.push(Projection {
                        name,
                        expr: expr_of(&item),
                        explicit: false,
                        json,
                    });
                    items.push(item);
                }
                SelectItem::ExprWithAlias {
                    mut expr,
                    mut alias,
                } => {
                    let json = match access(&expr)? {
                        Some(found) => {
                            let replaced = self.replace(&found)?;
                            expr = replaced.expr;
                            replaced.json
                        }
                        None => {
                            self.expr(&mut expr)?;
                            None
                        }
                    };
                    settle(&mut alias);
                    if columns.iter().any(|column| column.name == alias.value) {
                        let message = format!("two columns are called {}", alias.value);
                        return Err(StatementError::new(alias.span, message)
                            .cure("give one of them another name with AS"));
                    }
                    columns.push(Projection {
                        name: alias.value.clone(),
                        expr: Some(expr.clone()),
                        explicit: true,
                        json,
                    });
                    items.push(SelectItem::ExprWithAlias { expr, alias });
                }
                SelectItem::ExprWithAliases { expr, .. } => {
                    return unsupported(expr.span(), "more than one name for a column");
                }
                wildcard @ (SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)) => {
                    for (item, own, json) in self.wildcard(&wildcard)? {
                        let name = unique(own.clone(), &columns);
                        let item = match expr_of(&item) {
                            Some(expr) if name != own => SelectItem::ExprWithAlias {
                                alias: quoted(&name, expr.span()),
                                expr,
                            },
                            _ => item,
                        };
                        columns.push(Projection {
                            name,
                            expr: expr_of(&item),
                            explicit: false,
                            json,
                        });
                        items.push(item);
                    }
                }
            }
        }
        if items.is_empty() {
            return Err(StatementError::new(
                select.select_token.0.span,
                "SELECT selects nothing",
            ));
        }
        select.projection = items;
        Ok(Projected { columns })
    }

    /// What an expression without AS is called: as in PostgreSQL, after the
    /// column or function that it is about.
    fn output_name(&mut self, expr: &Expr, position: usize) -> Result<String, StatementError> {
        Ok(match expr {
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => match access(inner)? {
                Some(found) => self.replace(&found)?.name,
                None => self.output_name(inner, position)?,
            },
            Expr::Function(function) => function.name.to_string().to_lowercase().replace('"', ""),
            Expr::Case { .. } => "case".to_owned(),
            Expr::Exists { .. } => "exists".to_owned(),
            _ => format!("column{position}"),
        })
    }

    fn group_by(
        &mut self,
        group_by: &mut GroupByExpr,
        projected: &Projected,
        span: Span,
    ) -> Result<(), StatementError> {
        let (exprs, modifiers) = match group_by {
            GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
            GroupByExpr::All(_) => {
                return Err(StatementError::new(span, "GROUP BY ALL is not supported")
                    .cure("name the columns"));
            }
        };
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(expr) => self.expr(expr)?,
                GroupByWithModifier::Rollup | GroupByWithModifier::Cube => {}
                GroupByWithModifier::Totals => {
                    return unsupported(Span::empty(), "WITH TOTALS");
                }
            }
        }
        for expr in exprs {
            // A column in reach comes first, then a name given with AS, as in PostgreSQL.
            if let Expr::Identifier(ident) = &*expr
                && let Some(position) = projected.explicit(&folded(ident))
                && !self.in_own_scope(ident)?
            {
                *expr = Expr::value(Value::Number((position + 1).to_string(), false));
                continue;
            }
            self.expr(expr)?;
        }
        Ok(())
    }

    /// Whether the innermost FROM has a column of that name.
    fn in_own_scope(&self, ident: &sqlparser::ast::Ident) -> Result<bool, StatementError> {
        match self.scopes.last() {
            Some(scope) => Ok(scope.head(std::slice::from_ref(ident))?.is_some()),
            None => Ok(false),
        }
    }
}

fn expr_of(item: &SelectItem) -> Option<Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        _ => None,
    }
}

/// Whether the engine calls the column by that name.
fn is_called(column: &Expr, name: &str) -> bool {
    matches!(column, Expr::CompoundIdentifier(idents) if idents.last().is_some_and(|i| i.value == name))
}

/// The condition and these ones.
fn all(condition: Option<Expr>, more: Vec<Expr>) -> Option<Expr> {
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    more.into_iter().fold(condition, |condition, one| {
        Some(match condition {
            None => one,
            Some(condition) => Expr::BinaryOp {
                left: Box::new(nested(condition)),
                op: BinaryOperator::And,
                right: Box::new(nested(one)),
            },
        })
    })
}

/// The name, numbered when it is taken.
fn unique(name: String, columns: &[Projection]) -> String {
    let taken = |name: &str| columns.iter().any(|column| column.name == name);
    if !taken(&name) {
        return name;
    }
    (2..)
        .map(|n| format!("{name}_{n}"))
        .find(|name| !taken(name))
        .unwrap_or(name)
}

fn refuse_clauses(select: &Select) -> Result<(), StatementError> {
    let span = select.select_token.0.span;
    if select.into.is_some() {
        return Err(
            StatementError::new(span, "SELECT INTO is refused: nothing is written")
                .cure("leave INTO out"),
        );
    }
    let unknown = !select.optimizer_hints.is_empty()
        || select.select_modifiers.is_some()
        || select.top.is_some()
        || select.exclude.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.value_table_mode.is_some()
        || select.flavor != SelectFlavor::Standard;
    if unknown {
        return unsupported(span, "a clause of this SELECT");
    }
    Ok(())
}
