//! Functions that read a path of JSON text: paths below a column of a subquery.
//!
//! They read as a table reads its paths, but for a string that holds JSON: once it is text, it
//! cannot be told from an object, and a path enters it. Text that is no JSON has nothing inside.
//! Statements reach them through paths only: they are not in the allow-list.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_view_array;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use kybern_table::{Path, PathType, inside};
use serde::de::IgnoredAny;

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonPath {
    of: PathType,
    signature: Signature,
}

const TYPES: [PathType; 5] = [
    PathType::Text,
    PathType::Bool,
    PathType::Int,
    PathType::Float,
    PathType::Timestamp,
];

/// The name of the function that reads a value as this.
pub(crate) fn name(of: PathType) -> &'static str {
    match of {
        PathType::Text | PathType::Json => "path as text",
        PathType::Bool => "path as boolean",
        PathType::Int => "path as bigint",
        PathType::Float => "path as double precision",
        PathType::Timestamp => "path as timestamp",
    }
}

/// One function for each type.
pub(crate) fn path_functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    TYPES.into_iter().map(|of| {
        let signature = Signature::uniform(2, vec![DataType::Utf8View], Volatility::Immutable);
        Arc::new(ScalarUDF::from(JsonPath { of, signature }))
    })
}

impl ScalarUDFImpl for JsonPath {
    fn name(&self) -> &str {
        name(self.of)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.of.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [
            texts,
            ColumnarValue::Scalar(ScalarValue::Utf8View(Some(path))),
        ] = args.args.as_slice()
        else {
            return internal_err!("{} takes a text and a literal path", self.name());
        };
        let Ok(path) = path.parse::<Path>() else {
            return internal_err!("{path} is no path");
        };
        let texts = texts.to_array(args.number_rows)?;
        let texts = as_string_view_array(&texts)?.iter();
        let texts = texts.map(|text| text.filter(|text| is_json(text)));
        let found = inside(texts, &[(path.segments(), self.of)]);
        match found.into_iter().next() {
            Some(values) => Ok(ColumnarValue::Array(values)),
            None => internal_err!("{} found no column", self.name()),
        }
    }
}

/// What is read as text may be a string of any content.
fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
