//! Walks function calls and their windows. Which functions there are, the
//! engine decides.

use sqlparser::ast::{
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    ObjectNamePart, Spanned, WindowFrameBound, WindowSpec, WindowType,
};
use sqlparser::tokenizer::Span;

use super::{Rewriter, settle, unsupported};
use crate::StatementError;

impl Rewriter<'_> {
    pub(super) fn function(&mut self, function: &mut Function) -> Result<(), StatementError> {
        let span = function.name.span();
        match function.name.0.as_slice() {
            // Names with a space are those of functions that paths become.
            [ObjectNamePart::Identifier(name)] if !name.value.contains(' ') => {}
            [ObjectNamePart::Identifier(name)] => {
                let message = format!("there is no function {}", name.value);
                return Err(StatementError::new(span, message));
            }
            _ => {
                return Err(StatementError::new(
                    span,
                    format!("there is no function {}", function.name),
                )
                .cure("functions have no schema"));
            }
        }
        if function.uses_odbc_syntax || !matches!(function.parameters, FunctionArguments::None) {
            return unsupported(span, "this form of a call");
        }
        match &mut function.args {
            FunctionArguments::None => {
                let name = function.name.to_string();
                if !name.eq_ignore_ascii_case("current_timestamp") {
                    return Err(
                        StatementError::new(span, format!("there is no value {name}"))
                            .cure("now() is the time of the statement, now()::date its day"),
                    );
                }
            }
            FunctionArguments::Subquery(query) => drop(self.query(query, false)?),
            FunctionArguments::List(list) => {
                for arg in &mut list.args {
                    self.argument(arg, span)?;
                }
                for clause in &mut list.clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(order) => {
                            order.iter_mut().try_for_each(|o| self.order_by_expr(o))?;
                        }
                        FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                        _ => return unsupported(span, "this clause of a call"),
                    }
                }
            }
        }
        self.exprs(function.filter.iter_mut().map(|e| &mut **e))?;
        function
            .within_group
            .iter_mut()
            .try_for_each(|o| self.order_by_expr(o))?;
        match &mut function.over {
            None => Ok(()),
            Some(WindowType::NamedWindow(name)) => {
                settle(name);
                Ok(())
            }
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
        }
    }

    fn argument(&mut self, arg: &mut FunctionArg, span: Span) -> Result<(), StatementError> {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(()),
            FunctionArg::Unnamed(_) => {
                Err(StatementError::new(span, "a table is no argument here")
                    .cure("name a column, or write count(*)"))
            }
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                unsupported(span, "a named argument")
            }
        }
    }

    pub(super) fn window(&mut self, spec: &mut WindowSpec) -> Result<(), StatementError> {
        if let Some(name) = &spec.window_name {
            // The engine would not look at it.
            let message = format!(
                "a window that adds to window {} is not supported",
                name.value
            );
            return Err(StatementError::new(name.span, message)
                .cure("write its PARTITION BY and ORDER BY in one place"));
        }
        self.exprs(&mut spec.partition_by)?;
        spec.order_by
            .iter_mut()
            .try_for_each(|o| self.order_by_expr(o))?;
        if let Some(frame) = &mut spec.window_frame {
            for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
                if let WindowFrameBound::Preceding(Some(expr))
                | WindowFrameBound::Following(Some(expr)) = bound
                {
                    self.expr(expr)?;
                }
            }
        }
        Ok(())
    }
}
