//! An operator file, read: profiles, commands, rules.

mod command;
mod read;
mod rule;

pub use command::{Child, Command, Helm, Http, Inline, Patch, Target, What};
pub use rule::{Category, Rule, Scope, Watch};

use crate::bundle::Bundle;
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::jinja::{Jinja, Source};
use crate::sql::Statement;
use kybern_sdk::Gvk;
use serde_json::Value;
use std::collections::BTreeMap;

/// The file's name.
pub const FILE: &str = "operator.yaml";

/// An operator: the bundle, read.
#[derive(Debug)]
pub struct Operator {
    /// The bundle.
    pub bundle: Bundle,
    /// Its templates.
    pub jinja: Jinja,
    /// The operator file's path.
    pub file: String,
    /// Profiles by name.
    pub profiles: BTreeMap<String, Profile>,
}

/// A profile.
#[derive(Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// CustomResourceDefinitions.
    pub crds: Vec<Value>,
    /// What it is in charge of.
    pub kinds: Vec<Gvk>,
    /// Commands for each CR.
    pub deploy: Vec<Command>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Rows by name.
    pub query: Vec<(String, Statement)>,
    /// Values kept.
    pub remember: Vec<(String, Source)>,
    /// Names for all.
    pub set: Vec<(String, Source)>,
    /// Fields of the status.
    pub status: Option<Inline>,
    /// JSON Schema of the settings.
    pub settings: Value,
    /// Kinds read.
    pub reads: Vec<Gvk>,
    /// Kinds written: verbs and subresources.
    pub writes: Vec<(Gvk, Vec<String>, Vec<String>)>,
}

impl Operator {
    /// Reads a bundle; what is wrong with it is told all at once.
    pub fn load(bundle: Bundle) -> Result<Self, Errors> {
        read::load(bundle)
    }

    /// The profile that the settings choose.
    pub fn profile(&self, settings: &Value) -> Result<&Profile, Errors> {
        let wanted = settings.get("profile").and_then(Value::as_str);
        let name = wanted.unwrap_or("default");
        if let Some(profile) = self.profiles.get(name) {
            return Ok(profile);
        }
        let mut all = self.profiles.values();
        if let (None, Some(only), None) = (wanted, all.next(), all.next()) {
            return Ok(only);
        }
        let names: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
        let message = format!("there is no profile `{name}`");
        let one = Diagnostic::new(&self.file, Place::default(), message);
        Err(one
            .cure(format!(
                "spec.settings.profile is one of {}",
                names.join(", ")
            ))
            .into())
    }

    /// The plural of a kind: as its definition in the bundle has it, else as kinds usually have it.
    pub fn plural(&self, gvk: &Gvk) -> String {
        let crds = self.profiles.values().flat_map(|profile| &profile.crds);
        let text =
            |crd: &Value, path: &str| crd.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let mut found = crds.filter(|crd| {
            text(crd, "/spec/group").as_deref() == Some(&gvk.group)
                && text(crd, "/spec/names/kind").as_deref() == Some(&gvk.kind)
        });
        found
            .find_map(|crd| text(crd, "/spec/names/plural"))
            .unwrap_or_else(|| crate::sql::plural(&gvk.kind))
    }
}
