//! Interprets bundles: operators that are YAML files, templates and charts.

pub mod bundle;
pub mod diagnostic;
pub mod grammar;
pub mod jinja;
pub mod operator;
pub mod sql;
pub mod yaml;
