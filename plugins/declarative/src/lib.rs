//! Interprets bundles: operators that are YAML files, templates and charts.

pub mod bundle;
pub mod describe;
pub mod diagnostic;
pub mod effects;
pub mod grammar;
pub mod guest;
pub mod jinja;
pub mod operator;
pub mod run;
pub mod sql;
pub mod yaml;
