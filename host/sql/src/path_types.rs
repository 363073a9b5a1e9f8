//! Types of the scalars in a kind's schema.

use std::collections::HashMap;

use kybern_statement::Found;
use kybern_table::{PathType, Segment};

/// One step of a path in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// A field of that name.
    Key(String),
    /// Any key of a map.
    AnyKey,
    /// Any item of an array.
    AnyItem,
}

/// Path -> type, for the scalar leaves of a schema. Empty: everything is text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathTypes {
    root: Node,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    leaf: Option<PathType>,
    keys: HashMap<String, Node>,
    any_key: Option<Box<Node>>,
    any_item: Option<Box<Node>>,
}

impl PathTypes {
    /// Says what is read at a path from the object's root.
    pub fn insert(&mut self, steps: Vec<PathStep>, of: PathType) {
        let mut node = &mut self.root;
        for step in steps {
            node = match step {
                PathStep::Key(key) => node.keys.entry(key).or_default(),
                PathStep::AnyKey => node.any_key.get_or_insert_default(),
                PathStep::AnyItem => node.any_item.get_or_insert_default(),
            };
        }
        node.leaf = Some(of);
    }

    /// The type of the scalar at a path; `None` for objects, arrays and unknown paths.
    pub fn get(&self, path: &[Segment]) -> Option<PathType> {
        self.find(path)?.leaf
    }

    /// The steps that the schema knows below a path, by name; a type where one ends at a scalar.
    pub fn below(&self, path: &[Segment]) -> Vec<(PathStep, Option<PathType>)> {
        let Some(node) = self.find(path) else {
            return Vec::new();
        };
        let any_key = node
            .any_key
            .iter()
            .map(|next| (PathStep::AnyKey, next.leaf));
        let any_item = node
            .any_item
            .iter()
            .map(|next| (PathStep::AnyItem, next.leaf));
        let keys = node.keys.iter();
        let keys = keys.map(|(name, next)| (PathStep::Key(name.clone()), next.leaf));
        let mut found: Vec<_> = keys.chain(any_key).chain(any_item).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// Whether the schema says that the value at the path is an object or an array.
    pub(crate) fn is_composite(&self, path: &[Segment]) -> bool {
        self.find(path).is_some_and(|node| node.leaf.is_none())
    }

    /// What the schema says of the value at the path.
    pub(crate) fn found(&self, path: &[Segment]) -> Found {
        let Some(node) = self.find(path) else {
            return Found::Unknown;
        };
        match node.leaf {
            Some(PathType::Json) => Found::Unknown,
            Some(_) => Found::Scalar,
            None if node.any_item.is_some() => Found::List,
            None if node.any_key.is_some() || !node.keys.is_empty() => Found::Object,
            None => Found::Unknown,
        }
    }

    fn find(&self, path: &[Segment]) -> Option<&Node> {
        path.iter()
            .try_fold(&self.root, |node, segment| match segment {
                Segment::Key(key) => node.keys.get(key).or(node.any_key.as_deref()),
                Segment::Index(_) => node.any_item.as_deref(),
            })
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.root == Node::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_map_keys() {
        let mut types = PathTypes::default();
        assert!(types.is_empty());
        let key = |name: &str| PathStep::Key(name.to_owned());
        types.insert(
            vec![key("spec"), key("c"), PathStep::AnyItem, key("port")],
            PathType::Int,
        );
        types.insert(vec![key("data"), PathStep::AnyKey], PathType::Text);
        let get = |path: &str| types.get(path.parse::<kybern_table::Path>().unwrap().segments());
        assert_eq!(get("spec.c[7].port"), Some(PathType::Int));
        assert_eq!(get("spec.c.port"), None);
        assert_eq!(get("spec.c"), None);
        assert_eq!(get("data['a.b']"), Some(PathType::Text));
        assert_eq!(
            types.below(&[Segment::Key("spec".into()), Segment::Key("c".into())]),
            [(PathStep::AnyItem, None)]
        );
        assert_eq!(
            types.below(&[Segment::Key("data".into())]),
            [(PathStep::AnyKey, Some(PathType::Text))]
        );
        assert_eq!(types.below(&[]), [(key("data"), None), (key("spec"), None)]);
        assert!(types.below(&[Segment::Key("other".into())]).is_empty());
        assert!(types.is_composite(&[Segment::Key("spec".into())]));
        assert!(!types.is_composite(&[Segment::Key("other".into())]));
        let found =
            |path: &str| types.found(path.parse::<kybern_table::Path>().unwrap().segments());
        assert_eq!(found("spec"), Found::Object);
        assert_eq!(found("spec.c"), Found::List);
        assert_eq!(found("spec.c[0]"), Found::Object);
        assert_eq!(found("spec.c[0].port"), Found::Scalar);
        assert_eq!(found("data"), Found::Object);
        assert_eq!(found("spec.nothing"), Found::Unknown);
    }
}
