//! Interprets bundles: operators that are YAML files, templates and charts.

pub mod bundle;
pub mod diagnostic;
pub mod jinja;
pub mod yaml;
