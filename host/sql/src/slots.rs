//! Parameters as columns: an expression is compiled once, and each execution
//! puts its values beside the rows.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::SqlError;
use crate::bind::Values;
use crate::growth::can_grow;
use crate::source::is_free_of;

/// Before the number of a slot in the name of its column; no column of a table begins so.
const SLOT: &str = "\u{0}slot ";

/// Slots of one statement: each is a column beside every row, so that more are compiled for each
/// execution, as constants.
const MOST: usize = 32;

/// Where the values of a compiled statement come from, in the order of their columns.
#[derive(Debug, Default)]
pub(crate) struct Slots(Vec<Slot>);

#[derive(Debug, PartialEq)]
enum Slot {
    Parameter(Placeholder),
    /// The namespace that the asker is bound to.
    OwnNamespace,
}

impl Slots {
    /// The expression with columns for its parameters; none if it must be compiled for each
    /// execution: a parameter stands where the engine wants a constant, or a function asks for memory.
    pub(crate) fn take(&mut self, expr: &Expr) -> Option<Expr> {
        if !is_free_of(expr, |part| can_grow(part) || wants_constants(part)) {
            return None;
        }
        let taken = expr.clone().transform_up(|part| {
            Ok(match part {
                Expr::Placeholder(placeholder) => {
                    Transformed::yes(self.column(Slot::Parameter(placeholder)))
                }
                other => Transformed::no(other),
            })
        });
        taken.ok().map(|taken| taken.data)
    }

    /// The namespace that the asker is bound to.
    pub(crate) fn own_namespace(&mut self) -> Expr {
        self.column(Slot::OwnNamespace)
    }

    fn column(&mut self, slot: Slot) -> Expr {
        let known = self.0.iter().position(|known| *known == slot);
        let number = known.unwrap_or_else(|| {
            self.0.push(slot);
            self.0.len() - 1
        });
        Expr::Column(Column::new_unqualified(format!("{SLOT}{number}")))
    }

    /// Whether they are few enough.
    pub(crate) fn are_few(&self) -> bool {
        self.0.len() <= MOST
    }

    /// Which slot an expression is, if it is one.
    pub(crate) fn number(expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Column(column) => column.name.strip_prefix(SLOT)?.parse().ok(),
            _ => None,
        }
    }

    /// Whether one is in the expression.
    pub(crate) fn are_in(expr: &Expr) -> bool {
        !is_free_of(expr, |part| Self::number(part).is_some())
    }

    /// Their columns, which stand behind those of the rows.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let fields = self.0.iter().enumerate().map(|(number, slot)| {
            let of = match slot {
                Slot::Parameter(placeholder) => placeholder.field.as_ref(),
                Slot::OwnNamespace => None,
            };
            let of = of.map_or(DataType::Utf8View, |field| field.data_type().clone());
            Field::new(format!("{SLOT}{number}"), of, true)
        });
        fields.collect()
    }

    /// The values of one execution. The namespace is NULL for who is bound to none.
    pub(crate) fn values(
        &self,
        values: Values<'_>,
        namespace: Option<&Arc<str>>,
    ) -> Result<Vec<ScalarValue>, SqlError> {
        let value = |slot: &Slot| match slot {
            Slot::Parameter(placeholder) => values.of(placeholder),
            Slot::OwnNamespace => {
                let namespace = namespace.map(|namespace| (**namespace).to_owned());
                Ok(ScalarValue::Utf8View(namespace))
            }
        };
        self.0.iter().map(value).collect()
    }
}

/// The values beside so many rows.
pub(crate) fn beside(values: &[ScalarValue], rows: usize) -> Result<Vec<ArrayRef>> {
    values
        .iter()
        .map(|value| value.to_array_of_size(rows))
        .collect()
}

/// Whether a parameter is below something that may treat constants otherwise than columns.
fn wants_constants(expr: &Expr) -> bool {
    let takes_columns = match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
            matches!(op, And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq)
        }
        other => matches!(
            other,
            Expr::Placeholder(_)
                | Expr::Column(_)
                | Expr::Literal(..)
                | Expr::Alias(_)
                | Expr::Not(_)
                | Expr::InList(_)
                | Expr::IsNull(_)
                | Expr::IsNotNull(_)
                | Expr::Cast(_)
                | Expr::TryCast(_)
        ),
    };
    !takes_columns && !is_free_of(expr, |part| matches!(part, Expr::Placeholder(_)))
}
