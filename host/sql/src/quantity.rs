//! `cpu_millis(q)`, `bytes(q)` and `quantity(q)`: Kubernetes quantities as numbers.
//!
//! What is no quantity is NULL, like every other mismatch of a path.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringViewArray};
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
        let result: ArrayRef = match self.view {
            View::Millis => Arc::new(Int64Array::from(each(texts, Quantity::milli_value))),
            View::Units => Arc::new(Int64Array::from(each(texts, Quantity::value))),
            View::Exact => Arc::new(
                Decimal128Array::from(each(texts, Quantity::nanos))
                    .with_precision_and_scale(PRECISION, SCALE)?,
            ),
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// Texts whose value is kept.
const KEPT: usize = 64;

/// The value of each text. A cluster has few different quantities: each is read once, as long as
/// no other one takes its place. Within an array equal views are equal texts.
fn each<T: Copy>(texts: &StringViewArray, value: impl Fn(Quantity) -> T) -> Vec<Option<T>> {
    let read = |text: &str| text.parse::<Quantity>().ok().map(&value);
    let mut kept: [Option<(u128, Option<T>)>; KEPT] = [None; KEPT];
    let one = |(text, view): (Option<&str>, &u128)| {
        let text = text?;
        let Some(place) = kept.get_mut(place_of(*view)) else {
            return read(text);
        };
        match place {
            Some((same, known)) if same == view => *known,
            _ => {
                let found = read(text);
                *place = Some((*view, found));
                found
            }
        }
    };
    texts.iter().zip(texts.views().iter()).map(one).collect()
}

/// Spreads views over the places.
fn place_of(view: u128) -> usize {
    let mixed = (view ^ (view >> 64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [.., byte, _, _, _, _, _, _, _, _] = mixed.to_le_bytes();
    usize::from(byte) % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More texts than are kept, each again and again, in no order, and some too long to be kept.
    #[test]
    fn a_value_that_was_read_before_is_that_of_its_own_text() {
        let text = |row: usize| match row % 7 {
            0 => None,
            1 => Some(format!("{}", row * 7919 % 300)),
            2 => Some(format!("{}m", row * 104_729 % 300)),
            3 => Some(format!("{}Mi", row % 11)),
            4 => Some(format!("0.{:020}", row % 5)),
            5 => Some(format!("1000000000000{}k", row % 3)),
            _ => Some("no quantity".to_owned()),
        };
        let texts: StringViewArray = (0..5000).map(text).collect();
        let values = each(&texts, Quantity::nanos);
        for (row, value) in values.into_iter().enumerate() {
            let text = text(row);
            let alone = text.as_ref().and_then(|text| text.parse::<Quantity>().ok());
            assert_eq!(value, alone.map(Quantity::nanos), "{text:?}");
        }
    }
}
