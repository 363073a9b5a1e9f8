//! Bounds what functions make of text.
//!
//! # Why
//!
//! A chain of `WITH` that doubles a text in each step makes gigabytes of a statement of a few lines,
//! and no operator asks for that memory: results of functions belong to nobody. So every function
//! whose result may be longer than what it is given is told first how long it can become. Planning
//! computes constants only while they are short; a statement that runs asks its own pool, and keeps
//! what it asked for until the function is called again.
//!
//! # Limits
//!
//! The bounds are generous where the length depends on what a pattern finds. Functions whose result
//! is at most a few times as long (`upper`, `translate`) are not in the list.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr as PhysicalBinary, Column};

use crate::SqlError;
use crate::memory::column_bytes;
use crate::planner::each_expression;

/// The longest result of one call that planning keeps.
const CONSTANT_BYTES: usize = 64 << 10;
/// What a value that is no text or list is taken for.
const PLAIN_BYTES: usize = 40;

/// The memory that the calls of one statement ask for.
pub(crate) type Room = Arc<dyn MemoryPool>;

/// Lets no constant grow while the plan is optimised. Undone by [`reveal`].
pub(crate) fn hide(plan: LogicalPlan) -> Result<LogicalPlan> {
    each_expression(plan, |expr| Ok(bounded(expr, None)))
}

/// Undoes [`hide`].
pub(crate) fn reveal(plan: LogicalPlan) -> Result<LogicalPlan> {
    each_expression(plan, |expr| {
        let Expr::ScalarFunction(call) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let Some(bounded) = call.func.inner().downcast_ref::<Bounded>() else {
            return Ok(Transformed::no(expr));
        };
        bounded
            .grows
            .unbounded(call.args.clone())
            .map(Transformed::yes)
    })
}

/// The expression, if it can grow, as one that asks for room.
pub(crate) fn bounded(expr: Expr, room: Option<&Room>) -> Transformed<Expr> {
    let (grows, args) = match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::StringConcat,
            right,
        }) => (Grows::Operator, vec![*left, *right]),
        Expr::ScalarFunction(call) => match growth_of(call.func.name()) {
            Some(growth) => (Grows::Function(call.func, growth), call.args),
            None => return Transformed::no(Expr::ScalarFunction(call)),
        },
        other => return Transformed::no(other),
    };
    let consumer = |pool| MemoryConsumer::new("function").register(pool);
    let function = Bounded {
        grows,
        signature: Signature::variadic_any(Volatility::Immutable),
        room: room.map(consumer),
    };
    let call = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), args);
    Transformed::yes(Expr::ScalarFunction(call))
}

/// Whether [`bounded`] makes another expression of it.
pub(crate) fn can_grow(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => *op == Operator::StringConcat,
        Expr::ScalarFunction(call) => growth_of(call.func.name()).is_some(),
        _ => false,
    }
}

/// How long a result can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// All arguments, one after the other.
    Sum,
    /// The same with the first argument between them.
    Joined,
    /// A list, with the second argument between its items.
    Listed,
    /// The first argument with the third in place of each second.
    Replaced,
    /// The same, where the third may name groups of what was found.
    Patterned,
}

fn growth_of(name: &str) -> Option<Growth> {
    Some(match name {
        "concat" | "make_array" | "overlay" => Growth::Sum,
        "concat_ws" => Growth::Joined,
        "array_to_string" => Growth::Listed,
        "replace" => Growth::Replaced,
        "regexp_replace" => Growth::Patterned,
        _ => return None,
    })
}

/// What can grow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Grows {
    /// `||`.
    Operator,
    Function(Arc<ScalarUDF>, Growth),
}

impl Grows {
    fn growth(&self) -> Growth {
        match self {
            Self::Operator => Growth::Sum,
            Self::Function(_, growth) => *growth,
        }
    }

    fn unbounded(&self, args: Vec<Expr>) -> Result<Expr> {
        match self {
            Self::Function(function, _) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
                Arc::clone(function),
                args,
            ))),
            Self::Operator => match <[Expr; 2]>::try_from(args) {
                Ok([left, right]) => Ok(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(left),
                    Operator::StringConcat,
                    Box::new(right),
                ))),
                Err(_) => internal_err!("|| has two sides"),
            },
        }
    }
}

/// A function that asks for room first.
#[derive(Debug)]
struct Bounded {
    grows: Grows,
    signature: Signature,
    /// None while planning.
    room: Option<MemoryReservation>,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.grows == other.grows
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.grows.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        match &self.grows {
            Grows::Operator => "||",
            Grows::Function(function, _) => function.name(),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match (&self.grows, args) {
            (Grows::Function(function, _), _) => function.return_type(args),
            (Grows::Operator, [left, right]) => {
                BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
            }
            (Grows::Operator, _) => internal_err!("|| has two sides"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Grows::Function(function, _) = &self.grows {
            return function.return_field_from_args(args);
        }
        let types: Vec<_> = args
            .arg_fields
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let of = self.return_type(&types)?;
        Ok(Arc::new(Field::new(self.name(), of, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        // Of constants there is one result, whatever the batch.
        let rows = if args.args.iter().all(scalar) {
            1
        } else {
            args.number_rows
        };
        let most = most(self.grows.growth(), &args.args, rows);
        match &self.room {
            Some(room) => room.try_resize(most)?,
            None if most > CONSTANT_BYTES => return Err(too_long(most)),
            None => {}
        }
        let result = match &self.grows {
            Grows::Function(function, _) => function.invoke_with_args(args),
            Grows::Operator => concatenate(args),
        }?;
        if let Some(room) = &self.room {
            room.try_resize(held(&result).min(most))?;
        }
        Ok(result)
    }
}

/// Nobody sees it: planning leaves the call for when the statement runs.
fn too_long(bytes: usize) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::Limit {
        message: format!("a constant of {bytes} bytes"),
    }))
}

fn concatenate(args: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let scalars = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
    let constant = args.args.iter().all(scalars);
    let rows = if constant { 1 } else { args.number_rows };
    let columns: Vec<ArrayRef> = args
        .args
        .into_iter()
        .map(|value| value.into_array(rows))
        .collect::<Result<_>>()?;
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Field::new(at.to_string(), column.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let side = |at: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(&at.to_string(), at)) };
    let both = PhysicalBinary::new(side(0), Operator::StringConcat, side(1)).evaluate(&batch)?;
    if constant {
        let value = ScalarValue::try_from_array(&both.into_array(1)?, 0)?;
        return Ok(ColumnarValue::Scalar(value));
    }
    Ok(both)
}

/// Bytes that the result of a call may have at most.
fn most(growth: Growth, args: &[ColumnarValue], rows: usize) -> usize {
    let of = |at: usize| args.get(at).map_or(0, |arg| total(arg, rows));
    let longest = |at: usize| args.get(at).map_or(0, longest);
    let sum = (0..args.len()).fold(0, |sum: usize, at| sum.saturating_add(of(at)));
    // What is found at most, if nothing is found between all characters as well.
    let found = of(0).saturating_add(rows);
    match growth {
        Growth::Sum => sum,
        Growth::Joined => sum.saturating_add(of(0).saturating_mul(args.len())),
        Growth::Listed => {
            let items = args.first().map_or(0, items);
            let between = longest(1).max(longest(2));
            of(0).saturating_add(items.saturating_mul(between))
        }
        Growth::Replaced => {
            of(0).saturating_add((found / shortest(args.get(1)).max(1)).saturating_mul(longest(2)))
        }
        Growth::Patterned => {
            // A name of a group takes two bytes, and all groups of one place are in the text once.
            let groups = of(0).saturating_mul(longest(2) / 2);
            let plain = found.saturating_mul(longest(2));
            of(0).saturating_add(groups).saturating_add(plain)
        }
    }
}

/// Bytes of all rows.
fn total(value: &ColumnarValue, rows: usize) -> usize {
    match value {
        ColumnarValue::Array(array) => {
            (0..array.len()).fold(0, |sum: usize, row| sum.saturating_add(length(array, row)))
        }
        ColumnarValue::Scalar(_) => longest(value).saturating_mul(rows),
    }
}

fn longest(value: &ColumnarValue) -> usize {
    lengths(value).max().unwrap_or(0)
}

fn shortest(value: Option<&ColumnarValue>) -> usize {
    value.and_then(|value| lengths(value).min()).unwrap_or(0)
}

fn lengths(value: &ColumnarValue) -> Box<dyn Iterator<Item = usize> + '_> {
    match value {
        ColumnarValue::Array(array) => Box::new((0..array.len()).map(|row| length(array, row))),
        ColumnarValue::Scalar(value) => Box::new(std::iter::once(match value.try_as_str() {
            Some(text) => text.map_or(0, str::len),
            None => value.size(),
        })),
    }
}

/// Bytes of one row.
fn length(array: &ArrayRef, row: usize) -> usize {
    match array.data_type() {
        _ if array.is_null(row) => 0,
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|item| length(&items, item));
            items.sum::<usize>().saturating_add(PLAIN_BYTES)
        }
        _ => PLAIN_BYTES,
    }
}

/// How many items all lists have.
fn items(value: &ColumnarValue) -> usize {
    let of = |array: &ArrayRef| match array.as_list_opt::<i32>() {
        Some(lists) => lists.values().len(),
        None => array.len(),
    };
    match value {
        ColumnarValue::Array(array) => of(array),
        ColumnarValue::Scalar(ScalarValue::List(list)) => list.values().len(),
        ColumnarValue::Scalar(_) => 1,
    }
}

fn held(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Array(array) => column_bytes(array),
        ColumnarValue::Scalar(value) => value.size(),
    }
}
