//! Names of kinds, the definition of a table, and the indexes that a table has.

use std::fmt;
use std::sync::Arc;

use crate::path::Path;

/// One kind of one API group and version: what a table holds.
#[derive(Default, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindKey {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// API version, such as `v1`.
    pub version: Arc<str>,
    /// Kind, such as `Deployment`.
    pub kind: Arc<str>,
}

impl KindKey {
    /// A key from its three parts; the core group is the empty string.
    pub fn new(
        group: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        kind: impl Into<Arc<str>>,
    ) -> KindKey {
        KindKey {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// `apps/v1`, or `v1` for the core group: what an object's `apiVersion` says.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for KindKey {
    /// `apps/v1/Deployment`, or `v1/Pod` for the core group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        write!(f, "{}/{}", self.version, self.kind)
    }
}

/// What a table is called and which indexes it has besides the built-in ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDef {
    /// The kind whose objects are the rows.
    pub key: KindKey,
    /// SQL schema: `core`, `apps`, `networking_k8s_io`.
    pub schema: String,
    /// Plural resource name, which is the table's SQL name.
    pub plural: String,
    /// Whether objects of this kind live in a namespace.
    pub namespaced: bool,
    /// Label keys with an index of their own.
    pub label_keys: Vec<String>,
    /// Paths with an index of their own; the key is the value's text ([`crate::PathType::Text`]).
    pub path_indexes: Vec<Path>,
}

/// An index of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Index {
    /// The object's uid.
    Uid,
    /// `namespace/name`, or `name` for an object without a namespace.
    Name,
    /// Uid of the owner whose reference says `controller: true`.
    Owner,
    /// The namespace.
    Namespace,
    /// The value of one declared label key.
    Label(String),
    /// The text of the value at one declared path.
    Path(Path),
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Index::Uid => f.write_str("uid"),
            Index::Name => f.write_str("name"),
            Index::Owner => f.write_str("owner_uid"),
            Index::Namespace => f.write_str("namespace"),
            Index::Label(key) => write!(
                f,
                "{}",
                Path::key("metadata").child("labels").child(key.clone())
            ),
            Index::Path(path) => write!(f, "{path}"),
        }
    }
}
