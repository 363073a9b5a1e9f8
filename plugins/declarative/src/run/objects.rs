//! Objects in what templates and charts give.

use super::Run;
use super::plan::Building;
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::operator::Child;
use crate::yaml::{self, Duplicates, Limits, Node};
use kybern_sdk::Gvk;
use serde_json::Value;

/// Objects of one plan.
const MOST: usize = 2000;

/// An object by its name, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty = the CR's.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A child.
#[derive(Debug)]
pub(crate) struct Desired {
    pub(crate) object: Value,
    pub(crate) child: Child,
    pub(crate) wave: i32,
    /// What gave it.
    pub(crate) from: String,
}

/// The type of an object.
pub(crate) fn gvk(object: &Value) -> Gvk {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    Gvk::from_api_version(text("apiVersion"), text("kind"))
}

/// The objects of a YAML text; lists are taken apart.
pub(crate) fn read(from: &str, text: &str, duplicates: Duplicates) -> Result<Vec<Value>, Errors> {
    let nodes = yaml::documents(from, text, &Limits::RENDERED, duplicates)?;
    let mut objects = Vec::new();
    for node in &nodes {
        let wrong =
            |message: &str| Errors::from(Diagnostic::new(from, node.place, message).within(text));
        let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
        if kind.ends_with("List") && node.get("items").is_some() {
            objects.extend(
                node.get("items")
                    .map(Node::items)
                    .unwrap_or_default()
                    .iter()
                    .map(Node::value),
            );
            continue;
        }
        if node.get("apiVersion").and_then(Node::text).is_none() || kind.is_empty() {
            return Err(wrong(
                "this is no Kubernetes object: it needs `apiVersion` and `kind`",
            ));
        }
        objects.push(node.value());
    }
    Ok(objects)
}

impl Building<'_> {
    pub(crate) fn key(&self, object: &Value) -> Key {
        let kind = gvk(object);
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let namespace = text("/metadata/namespace");
        Key {
            group: kind.group,
            kind: kind.kind,
            namespace: if namespace == self.pass.namespace() {
                String::new()
            } else {
                namespace
            },
            name: text("/metadata/name"),
        }
    }

    /// One more child.
    pub(crate) fn child(&mut self, from: &str, object: Value, child: Child, wave: i32) -> Run<()> {
        let key = self.key(&object);
        let wrong =
            |message: String| Errors::from(Diagnostic::new(from, Place::default(), message));
        if key.name.is_empty() {
            let message = format!("a {} has no metadata.name", key.kind);
            return Err(wrong(message).into());
        }
        if self.children.len() >= MOST {
            return Err(wrong(format!("more than {MOST} objects")).into());
        }
        let desired = Desired {
            object,
            child,
            wave,
            from: from.to_owned(),
        };
        match self.children.get(&key) {
            Some(there) if there.object == desired.object => Ok(()),
            Some(there) => {
                let message = format!("{key} is also given, otherwise, by {}", there.from);
                let one = Diagnostic::new(from, Place::default(), message);
                Err(Errors::from(
                    one.cure("give one of them another name, or change it with kube-patch"),
                )
                .into())
            }
            None => {
                self.children.insert(key, desired);
                Ok(())
            }
        }
    }
}
