//! Filters, tests and functions that operators need beside Jinja's own.

mod data;
mod encode;
mod net;
mod quantity;
mod text;

use minijinja::{Environment, Error, ErrorKind, Value};

/// Their names, and those of Jinja's own, for suggestions.
pub(super) const NAMES: &[&str] = &[
    "b64encode",
    "b64decode",
    "to_yaml",
    "to_nice_yaml",
    "to_json",
    "to_nice_json",
    "from_yaml",
    "from_yaml_all",
    "from_json",
    "combine",
    "regex_replace",
    "regex_search",
    "regex_findall",
    "regex_escape",
    "hash",
    "hmac",
    "quantity",
    "cpu_millis",
    "bytes",
    "quantity_add",
    "quantity_sub",
    "quantity_mul",
    "ipaddr",
    "ip_version",
    "cidr_host",
    "cidr_subnet",
    "cidr_contains",
    "quote",
    "mandatory",
    "ternary",
    "dict2items",
    "items2dict",
    "dns_label",
    "fail",
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "count",
    "default",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "range",
    "dict",
    "namespace",
];

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'static>) {
    data::add(environment);
    encode::add(environment);
    net::add(environment);
    quantity::add(environment);
    text::add(environment);
    environment.add_filter(super::whole::FILTER, scalar);
    environment.add_function("fail", |message: String| -> Result<Value, Error> {
        Err(wrong(message))
    });
}

/// What an expression becomes that is all of a value.
fn scalar(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if !value.is_safe() => Value::from_safe_string(crate::yaml::text(text)),
        _ => value.clone(),
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn json(value: &Value) -> Result<serde_json::Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

fn back(value: &serde_json::Value) -> Value {
    Value::from(minijinja::value::Serde(value))
}
