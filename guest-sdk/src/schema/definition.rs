//! The places of a CustomResourceDefinition that the types fill in.

use super::writer::Text;
use super::{Field, Kind, Node, Shape};

/// A piece of a manifest's text.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub enum Part {
    /// As it is.
    Text(&'static str),
    /// The description, as a JSON string.
    Description(&'static Node),
    /// The schema of `metadata`, whose names look so.
    Metadata(Shape),
    /// The schema of the spec.
    Spec(&'static Node),
    /// The schema of the status, with what the host writes.
    Status(&'static Node),
    /// The columns of `kubectl get`: of the spec, of the status, and the age.
    Columns(&'static Node, &'static Node),
}

/// What the host writes into a status.
const HOSTS: &[Field] = &[
    Field {
        name: "conditions",
        required: false,
        node: Node {
            unique: &["type"],
            ..Node::of(Kind::List(&Node::of(Kind::Object(CONDITION))))
        },
    },
    Field {
        name: "observedGeneration",
        required: false,
        node: Node::integer("int64", None, None),
    },
];

/// `metav1.Condition`.
const CONDITION: &[Field] = &[
    condition(
        "lastTransitionTime",
        Node {
            format: "date-time",
            ..text(None, None)
        },
    ),
    condition("message", text(None, Some(32_768))),
    Field {
        required: false,
        ..condition("observedGeneration", Node::integer("int64", Some(0), None))
    },
    condition("reason", text(Some(1), Some(1_024))),
    condition(
        "status",
        Node {
            values: &["True", "False", "Unknown"],
            ..text(None, None)
        },
    ),
    condition("type", text(Some(1), Some(316))),
];

const fn condition(name: &'static str, node: Node) -> Field {
    Field {
        name,
        required: true,
        node,
    }
}

const fn text(min: Option<i64>, max: Option<i64>) -> Node {
    Node {
        min,
        max,
        ..Node::of(Kind::Text)
    }
}

impl<const N: usize> Text<N> {
    /// One piece of a manifest.
    pub(super) const fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.raw(text),
            Part::Description(node) => self.string(node.description),
            Part::Metadata(names) => self.metadata(*names),
            Part::Spec(node) => self.node(node, &[], 1),
            Part::Status(node) => self.node(node, HOSTS, 1),
            Part::Columns(spec, status) => {
                self.raw("[");
                self.columns(spec, "spec");
                self.columns(status, "status");
                self.raw(
                    r#"{"jsonPath":".metadata.creationTimestamp","name":"Age","type":"date"}]"#,
                );
            }
        }
    }

    /// Names and nothing else of `metadata` may be described.
    const fn metadata(&mut self, names: Shape) {
        let pattern = names.pattern();
        if pattern.is_empty() {
            return self.raw(r#"{"type":"object"}"#);
        }
        self.raw(r#"{"properties":{"name":{"maxLength":63,"pattern":"#);
        self.string(pattern);
        self.raw(r#","type":"string"}},"type":"object"}"#);
    }

    /// The columns of the fields of a spec or a status.
    const fn columns(&mut self, node: &Node, at: &str) {
        let Kind::Object(fields) = node.kind else {
            return;
        };
        let mut rest = fields;
        while let Some((field, more)) = rest.split_first() {
            rest = more;
            if field.node.column.is_empty() {
                continue;
            }
            self.raw("{");
            if !field.node.description.is_empty() {
                self.raw(r#""description":"#);
                self.string(field.node.description);
                self.raw(",");
            }
            self.raw(r#""jsonPath":"."#);
            self.raw(at);
            self.raw(".");
            self.raw(field.name);
            self.raw(r#"","name":"#);
            self.string(field.node.column);
            self.raw(r#","type":""#);
            self.raw(match field.node.kind {
                Kind::Boolean => "boolean",
                Kind::Integer => "integer",
                Kind::Number => "number",
                _ => "string",
            });
            self.raw("\"},");
        }
    }
}
