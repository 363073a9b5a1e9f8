//! Values of `$1`, `$2`, ...

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use crate::SqlError;

/// One parameter value. It takes the type that the statement compares it with.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text, or a timestamp as text.
    Text(String),
}

impl From<serde_json::Value> for Param {
    /// Objects and arrays become their JSON text.
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::Text(number.to_string()),
            },
            Value::String(text) => Self::Text(text),
            other => Self::Text(other.to_string()),
        }
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Param {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl Param {
    /// The value as the type that parameter `id` has in the statement.
    pub(crate) fn scalar(&self, id: &str, to: &DataType) -> Result<ScalarValue, SqlError> {
        let natural = match self {
            Self::Null => ScalarValue::Null,
            Self::Bool(value) => ScalarValue::Boolean(Some(*value)),
            Self::Int(value) => ScalarValue::Int64(Some(*value)),
            Self::Float(value) => ScalarValue::Float64(Some(*value)),
            Self::Text(value) => ScalarValue::Utf8(Some(value.clone())),
        };
        let cast = natural.cast_to(to).ok();
        // What a cast cannot express is null there, and would silently match nothing.
        let lost = |value: &ScalarValue| value.is_null() && !matches!(self, Self::Null);
        cast.filter(|value| !lost(value))
            .ok_or_else(|| SqlError::Params {
                message: format!(
                    "parameter {id} is {}; the statement needs {}",
                    self.what(),
                    type_name(to)
                ),
            })
    }

    fn what(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) if text.chars().count() > 40 => "a long text".to_owned(),
            Self::Text(text) => format!("the text '{text}'"),
        }
    }
}

/// What people call an Arrow type.
pub(crate) fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double precision",
        DataType::Timestamp(..) => "timestamp with time zone",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        other if other.is_integer() => "bigint",
        _ => "text",
    }
}
