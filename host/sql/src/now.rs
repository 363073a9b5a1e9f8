//! `now()`: a value that is bound for each execution, never computed by the engine.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The hidden parameter that `now()` becomes.
pub(crate) const NOW: &str = "$now";

/// Stands for `now()` until planning replaces it by the parameter [`NOW`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    signature: Signature,
    aliases: Vec<String>,
}

impl Now {
    pub(crate) const NAME: &'static str = "now";

    pub(crate) fn new() -> Self {
        let aliases = [
            "current_timestamp",
            "statement_timestamp",
            "transaction_timestamp",
        ];
        Self {
            signature: Signature::nullary(Volatility::Stable),
            aliases: aliases.map(str::to_owned).to_vec(),
        }
    }
}

/// The type of `now()`.
pub(crate) fn now_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(now_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("now() was not bound")
    }
}
