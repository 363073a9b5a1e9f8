//! The columns that every table has, and the types that paths can have.
//!
//! All text, plain or JSON, is Arrow `Utf8View`: one string type everywhere, so
//! that no comparison needs a cast and no column can outgrow 32-bit offsets.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};

/// How the value at a path is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathType {
    /// The text: a string's content, else the JSON text (what SQL's `->>` gives).
    Text,
    /// The JSON text, as it stands in the object (`->`).
    Json,
    /// JSON `true` or `false`.
    Bool,
    /// A JSON number that is a 64-bit integer.
    Int,
    /// A JSON number.
    Float,
    /// An RFC 3339 string, in microseconds, UTC.
    Timestamp,
}

impl PathType {
    /// The Arrow type of the column.
    pub fn data_type(self) -> DataType {
        match self {
            PathType::Text | PathType::Json => DataType::Utf8View,
            PathType::Bool => DataType::Boolean,
            PathType::Int => DataType::Int64,
            PathType::Float => DataType::Float64,
            PathType::Timestamp => timestamp(),
        }
    }
}

/// A declared column of a table. Absent values are null.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// `namespace`, text; null for cluster-scoped objects.
    Namespace,
    /// `name`, text.
    Name,
    /// `uid`, text; null for objects without one.
    Uid,
    /// `resource_version`, UInt64; null where the API gives none.
    ResourceVersion,
    /// `generation`, Int64.
    Generation,
    /// `creation_timestamp`, in microseconds, UTC.
    CreationTimestamp,
    /// `deletion_timestamp`, in microseconds, UTC.
    DeletionTimestamp,
    /// `labels`, JSON text.
    Labels,
    /// `annotations`, JSON text.
    Annotations,
    /// `owner_uid`, text: the uid of the controlling owner.
    OwnerUid,
    /// `owners`, JSON text of `metadata.ownerReferences`.
    Owners,
    /// `finalizers`, JSON text.
    Finalizers,
    /// A top-level field (`spec`, `status`, `data`, ...), JSON text.
    Top(Arc<str>),
    /// `object`: the whole object, JSON text.
    Object,
}

impl Column {
    /// The Arrow type of the column.
    pub fn data_type(&self) -> DataType {
        match self {
            Column::ResourceVersion => DataType::UInt64,
            Column::Generation => DataType::Int64,
            Column::CreationTimestamp | Column::DeletionTimestamp => timestamp(),
            _ => DataType::Utf8View,
        }
    }

    /// The SQL name.
    pub fn name(&self) -> &str {
        match self {
            Column::Namespace => "namespace",
            Column::Name => "name",
            Column::Uid => "uid",
            Column::ResourceVersion => "resource_version",
            Column::Generation => "generation",
            Column::CreationTimestamp => "creation_timestamp",
            Column::DeletionTimestamp => "deletion_timestamp",
            Column::Labels => "labels",
            Column::Annotations => "annotations",
            Column::OwnerUid => "owner_uid",
            Column::Owners => "owners",
            Column::Finalizers => "finalizers",
            Column::Top(name) => name,
            Column::Object => "object",
        }
    }

    /// The column with this SQL name; any other name is a top-level field.
    pub fn named(name: &str) -> Column {
        Column::METADATA
            .iter()
            .find(|column| column.name() == name)
            .cloned()
            .unwrap_or_else(|| match name {
                "object" => Column::Object,
                other => Column::Top(other.into()),
            })
    }

    /// The columns that come from an object's metadata, in SQL's order.
    pub const METADATA: [Column; 12] = [
        Column::Namespace,
        Column::Name,
        Column::Uid,
        Column::ResourceVersion,
        Column::Generation,
        Column::CreationTimestamp,
        Column::DeletionTimestamp,
        Column::Labels,
        Column::Annotations,
        Column::OwnerUid,
        Column::Owners,
        Column::Finalizers,
    ];
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
