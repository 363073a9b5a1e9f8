//! `cpu_millis(q)`, `bytes(q)` and `quantity(q)`: Kubernetes quantities as numbers.
//!
//! What is no quantity is NULL, like every other mismatch of a path.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_view_array;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use kybern_statement::Quantity;

/// Digits of `quantity(q)`: the largest quantity is 2^63 in billionths.
const PRECISION: u8 = 38;
const SCALE: i8 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum View {
    /// Thousandths, rounded up: what `100m` of CPU counts.
    Millis,
    /// Whole units, rounded up: bytes.
    Units,
    /// The exact value.
    Exact,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct QuantityFunction {
    name: &'static str,
    view: View,
    signature: Signature,
}

/// The three functions.
pub(crate) fn quantity_functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let functions = [
        ("cpu_millis", View::Millis),
        ("bytes", View::Units),
        ("quantity", View::Exact),
    ];
    functions.into_iter().map(|(name, view)| {
        let signature = Signature::uniform(1, vec![DataType::Utf8View], Volatility::Immutable);
        Arc::new(ScalarUDF::from(QuantityFunction {
            name,
            view,
            signature,
        }))
    })
}

impl ScalarUDFImpl for QuantityFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.view {
            View::Millis | View::Units => DataType::Int64,
            View::Exact => DataType::Decimal128(PRECISION, SCALE),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [argument] = args.args.as_slice() else {
            return internal_err!("{} takes one argument", self.name);
        };
        let texts = argument.to_array(rows)?;
        let texts = as_string_view_array(&texts)?;
        let values = texts
            .iter()
            .map(|text| text.and_then(|text| text.parse::<Quantity>().ok()));
        let result: ArrayRef = match self.view {
            View::Millis => Arc::new(
                values
                    .map(|q| q.map(Quantity::milli_value))
                    .collect::<Int64Array>(),
            ),
            View::Units => Arc::new(
                values
                    .map(|q| q.map(Quantity::value))
                    .collect::<Int64Array>(),
            ),
            View::Exact => Arc::new(
                values
                    .map(|q| q.map(Quantity::nanos))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(PRECISION, SCALE)?,
            ),
        };
        Ok(ColumnarValue::Array(result))
    }
}
