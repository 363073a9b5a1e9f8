//! The functions that statements may call: an allow-list.
//!
//! Left out are functions that give another result each time (`random`,
//! `uuid`), that make much out of little (`repeat`, `lpad`, `generate_series`),
//! and those that tell about the engine.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::functions_window::all_default_window_functions;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Volatility, WindowUDF};

use crate::json_path::path_functions;
use crate::now::Now;
use crate::quantity::quantity_functions;

const SCALAR: &[&str] = &[
    "abs",
    "array_has",
    "array_length",
    "array_to_string",
    "ascii",
    "bit_length",
    "btrim",
    "ceil",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "date_bin",
    "date_part",
    "date_trunc",
    "ends_with",
    "floor",
    "from_unixtime",
    "greatest",
    "initcap",
    "least",
    "left",
    "levenshtein",
    "lower",
    "ltrim",
    "make_array",
    "make_date",
    "nullif",
    "nvl",
    "octet_length",
    "overlay",
    "power",
    "regexp_count",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "round",
    "rtrim",
    "signum",
    "split_part",
    "sqrt",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_seconds",
    "to_unixtime",
    "translate",
    "trunc",
    "upper",
];

const AGGREGATE: &[&str] = &[
    "approx_distinct",
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Functions of others that are missing on purpose: nobody meant another one.
const LEFT_OUT: &[&str] = &[
    "arrow_cast",
    "arrow_typeof",
    "generate_series",
    "lpad",
    "random",
    "range",
    "repeat",
    "rpad",
    "uuid",
    "version",
];

/// Whether it is missing on purpose.
pub(crate) fn is_left_out(name: &str) -> bool {
    LEFT_OUT.contains(&name)
}

/// Whether it is a function of windows only.
pub(crate) fn is_window(name: &str) -> bool {
    WINDOW.contains(&name) && !AGGREGATE.contains(&name)
}

/// The names that there are, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let own = ["bytes", "cpu_millis", "quantity", "now"];
    let all = SCALAR.iter().chain(AGGREGATE).chain(WINDOW).copied();
    all.chain(own)
}

/// The functions, by each of their names.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub scalar: HashMap<String, Arc<ScalarUDF>>,
    pub aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub window: HashMap<String, Arc<WindowUDF>>,
}

impl Functions {
    pub(crate) fn allowed() -> Self {
        let mut functions = Self::default();
        let allowed = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .filter(|udf| SCALAR.contains(&udf.name()))
            .filter(|udf| udf.signature().volatility == Volatility::Immutable)
            .chain(quantity_functions())
            .chain([Arc::new(ScalarUDF::from(Now::new()))]);
        for udf in allowed {
            for name in udf.aliases().iter().map(String::as_str).chain([udf.name()]) {
                functions.scalar.insert(name.to_owned(), Arc::clone(&udf));
            }
        }
        for udf in path_functions() {
            functions.scalar.insert(udf.name().to_owned(), udf);
        }
        for udf in all_default_aggregate_functions() {
            if AGGREGATE.contains(&udf.name()) {
                for name in udf.aliases().iter().map(String::as_str).chain([udf.name()]) {
                    functions
                        .aggregate
                        .insert(name.to_owned(), Arc::clone(&udf));
                }
            }
        }
        for udf in all_default_window_functions() {
            if WINDOW.contains(&udf.name()) {
                for name in udf.aliases().iter().map(String::as_str).chain([udf.name()]) {
                    functions.window.insert(name.to_owned(), Arc::clone(&udf));
                }
            }
        }
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_allowed_function_exists() {
        let functions = Functions::allowed();
        for name in SCALAR {
            assert!(functions.scalar.contains_key(*name), "{name}");
        }
        for name in AGGREGATE {
            assert!(functions.aggregate.contains_key(*name), "{name}");
        }
        for name in WINDOW {
            assert!(functions.window.contains_key(*name), "{name}");
        }
        for name in LEFT_OUT {
            assert!(!functions.scalar.contains_key(*name), "{name}");
        }
    }
}
