//! How much of a table a statement needs: all namespaces or one, objects or their metadata.
//!
//! # Contract
//!
//! Rows and fields outside of the extent cannot change the answer: it comes from the read set.

use kybern_table::{Column, Columns, Index, Keys, KindKey, Path, ReadSet, ScanRead};

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The only namespace; none for all.
    pub(crate) namespace: Option<String>,
    /// Whether the objects' metadata is enough.
    pub(crate) metadata_only: bool,
}

impl Extent {
    /// What the scans of a table need together. A table that no scan reads needs to be there all
    /// the same: what cannot be read is to be told.
    pub(crate) fn needed(reads: &ReadSet, table: &KindKey) -> Self {
        let scans = reads.scans.iter().filter(|scan| scan.table == *table);
        let scans = scans.filter(|scan| !reads_nothing(&scan.keys));
        let extents = scans.map(|scan| Self {
            namespace: namespace(&scan.keys),
            metadata_only: metadata_only(scan),
        });
        extents.reduce(|a, b| a.and(&b)).unwrap_or(Self {
            namespace: None,
            metadata_only: true,
        })
    }

    /// The least extent that covers both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let same = self.namespace == other.namespace;
        Self {
            namespace: self.namespace.clone().filter(|_| same),
            metadata_only: self.metadata_only && other.metadata_only,
        }
    }

    /// Whether this is all that the other needs.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.and(other) == *self
    }
}

/// Whether no row can have a key.
fn reads_nothing(keys: &Keys) -> bool {
    matches!(keys, Keys::Of { values, .. } if values.is_empty())
}

/// The namespace that all keys are in.
fn namespace(keys: &Keys) -> Option<String> {
    let Keys::Of { index, values } = keys else {
        return None;
    };
    let mut namespaces = values.iter().map(|key| match index {
        Index::Namespace => Some(key.as_str()),
        Index::Name => key.split_once('/').map(|(namespace, _)| namespace),
        _ => None,
    });
    let first = namespaces.next()??;
    let only = namespaces.all(|other| other == Some(first)) && is_dns_label(first);
    only.then(|| first.to_owned())
}

/// Whether a namespace may be called so. Others would make another path of the list's URL.
fn is_dns_label(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}

fn metadata_only(scan: &ScanRead) -> bool {
    match &scan.columns {
        Columns::All => false,
        Columns::Named(names) => names.iter().all(|name| is_metadata(name)),
    }
}

/// Whether a column or path, by its canonical name, is in an object's metadata.
fn is_metadata(name: &str) -> bool {
    if matches!(Column::named(name), Column::Top(_) | Column::Object) {
        let path: Result<Path, _> = name.parse();
        return path.is_ok_and(|path| path.head() == Some("metadata"));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> KindKey {
        KindKey::new("", "v1", "Pod")
    }

    fn scan(columns: &[&str], keys: Keys) -> ScanRead {
        let names = columns.iter().map(|name| (*name).to_owned());
        ScanRead {
            table: pods(),
            columns: Columns::Named(names.collect()),
            keys,
        }
    }

    fn of(index: Index, values: &[&str]) -> Keys {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Keys::Of { index, values }
    }

    fn needed(scans: Vec<ScanRead>) -> (Option<String>, bool) {
        let extent = Extent::needed(&ReadSet { scans }, &pods());
        (extent.namespace, extent.metadata_only)
    }

    #[test]
    fn metadata_is_enough_for_metadata() {
        for (columns, enough) in [
            (
                vec!["name", "labels", "creation_timestamp", "owner_uid"],
                true,
            ),
            (vec![], true),
            (
                vec!["metadata.labels.app", "metadata.annotations['a/b']"],
                true,
            ),
            (vec!["metadata"], true),
            (vec!["name", "spec.nodeName"], false),
            (vec!["status"], false),
            (vec!["object"], false),
            (vec!["data['metadata.x']"], false),
            (vec!["kind"], false),
            (vec!["metadatas.x"], false),
        ] {
            let (_, found) = needed(vec![scan(&columns, Keys::All)]);
            assert_eq!(found, enough, "{columns:?}");
        }
    }

    #[test]
    fn a_scan_that_finds_nothing_needs_nothing() {
        let never = scan(&["spec"], of(Index::Uid, &[]));
        let name = scan(&["name"], of(Index::Namespace, &["a"]));
        assert_eq!(
            needed(vec![never.clone(), name]),
            (Some("a".to_owned()), true)
        );
        assert_eq!(needed(vec![never]), (None, true));
    }

    #[test]
    fn one_namespace_is_enough_when_every_scan_says_so() {
        let both = of(Index::Name, &["a/x", "a/y"]);
        for (keys, wanted) in [
            (vec![of(Index::Namespace, &["a"])], Some("a")),
            (vec![both.clone()], Some("a")),
            (vec![of(Index::Namespace, &["a"]), both.clone()], Some("a")),
            (vec![of(Index::Namespace, &["a", "b"])], None),
            (vec![of(Index::Name, &["a/x", "b/x"])], None),
            (vec![of(Index::Name, &["node-1"])], None),
            (vec![of(Index::Uid, &["a"])], None),
            (vec![of(Index::Namespace, &["a"]), Keys::All], None),
            (vec![of(Index::Namespace, &[""])], None),
            (vec![of(Index::Namespace, &["a/../b"])], None),
            (vec![of(Index::Namespace, &[])], None),
            (vec![], None),
        ] {
            let scans = keys.into_iter().map(|keys| scan(&["name"], keys)).collect();
            assert_eq!(needed(scans).0.as_deref(), wanted);
        }
    }

    #[test]
    fn a_wider_extent_covers_a_narrower_one() {
        let extent = |namespace: Option<&str>, metadata_only| Extent {
            namespace: namespace.map(str::to_owned),
            metadata_only,
        };
        let all = [
            extent(None, false),
            extent(None, true),
            extent(Some("a"), false),
            extent(Some("a"), true),
            extent(Some("b"), true),
        ];
        for (at, a) in all.iter().enumerate() {
            for b in &all {
                let both = a.and(b);
                assert!(both.covers(a) && both.covers(b), "{a:?} {b:?}");
            }
            assert!(all[0].covers(a));
            assert_eq!(a.covers(&all[0]), at == 0);
        }
        assert!(!extent(Some("a"), false).covers(&extent(Some("b"), true)));
        assert!(!extent(None, true).covers(&extent(Some("a"), false)));
        assert!(extent(None, true).covers(&extent(Some("a"), true)));
    }
}
