//! What a custom resource may hold, said once by its Rust type.
//!
//! [`derive(Schema)`](macro@crate::Schema) describes a type; the attribute
//! [`plugin`](macro@crate::plugin) with `crd(...)` writes the description of
//! `Spec` and `Status` into the CustomResourceDefinition, so that the API server
//! refuses what does not fit, and checks it again before each hook, for objects
//! that no API server has seen (tests, `kybern simulate`) or that are older than
//! the definition.
//!
//! Everything here is computed while compiling: a component carries the text.

mod check;
mod definition;
mod json;
mod types;
mod writer;

#[doc(hidden)]
pub use check::check;
#[doc(hidden)]
pub use definition::Part;
#[doc(hidden)]
pub use json::{bytes, length, text};

/// A type that a custom resource's fields may have. Use the derive macro of the
/// same name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema",
    note = "put `#[derive(kybern_sdk::Schema)]` above it"
)]
pub trait Schema {
    /// What it may hold.
    const SCHEMA: Node;
    /// The same, where a reference is needed.
    #[doc(hidden)]
    const NODE: &'static Node = &Self::SCHEMA;
    /// Whether a field of it must be there.
    #[doc(hidden)]
    const REQUIRED: bool = true;
}

/// What one place may hold. Built by the derive macro.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Node {
    /// Which JSON type, and what is inside.
    pub kind: Kind,
    /// For people.
    pub description: &'static str,
    /// OpenAPI's name of a narrower type, or empty.
    pub format: &'static str,
    /// The least number, characters or items.
    pub min: Option<i64>,
    /// The most of them.
    pub max: Option<i64>,
    /// How a text must look.
    pub shape: Shape,
    /// The only texts, or empty for any.
    pub values: &'static [&'static str],
    /// Fields of the items of a list that no two items have in common.
    pub unique: &'static [&'static str],
    /// Whether the value stays as it was at first.
    pub immutable: bool,
    /// Rules that only the API server checks.
    pub rules: &'static [Rule],
    /// Its column in `kubectl get`, or empty.
    pub column: &'static str,
}

/// A JSON type.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub enum Kind {
    /// Whatever it is.
    Any,
    /// true or false.
    Boolean,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// An object with these fields.
    Object(&'static [Field]),
    /// An object with any keys and such values.
    Map(&'static Node),
    /// A list of such items.
    List(&'static Node),
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it may hold.
    pub node: Node,
}

/// How a text must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Shape {
    /// Any way.
    Free,
    /// Not empty, no spaces around it.
    Trimmed,
    /// Up to 63 small letters, digits and dashes, the first a letter: names a Service.
    Dns1035Label,
    /// Up to 63 small letters, digits and dashes.
    Dns1123Label,
}

/// A rule in CEL.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Rule {
    /// The expression.
    pub rule: &'static str,
    /// What is wrong when it does not hold.
    pub message: &'static str,
}

impl Node {
    /// Anything.
    pub const ANY: Self = Self {
        kind: Kind::Any,
        description: "",
        format: "",
        min: None,
        max: None,
        shape: Shape::Free,
        values: &[],
        unique: &[],
        immutable: false,
        rules: &[],
        column: "",
    };

    /// A kind without further limits.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, ..Self::ANY }
    }

    /// Integers in a range.
    pub const fn integer(format: &'static str, min: Option<i64>, max: Option<i64>) -> Self {
        Self {
            format,
            min,
            max,
            ..Self::of(Kind::Integer)
        }
    }
}

impl Shape {
    /// The pattern that the API server checks.
    pub(crate) const fn pattern(self) -> &'static str {
        match self {
            Self::Free => "",
            Self::Trimmed => r"^\S([\s\S]*\S)?$",
            Self::Dns1035Label => "^[a-z]([-a-z0-9]*[a-z0-9])?$",
            Self::Dns1123Label => "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        }
    }
}
