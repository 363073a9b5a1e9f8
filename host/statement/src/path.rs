//! Where a value is inside an object, and its one canonical spelling.

use std::fmt;

/// One step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A field of an object.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// Steps from the root of an object. Its `Display` is canonical: equal paths
/// are spelled alike, different ones differently.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// The path of the named fields, one after the other.
    pub fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            keys.into_iter()
                .map(|key| Segment::Key(key.to_owned()))
                .collect(),
        )
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether one of the two is at, or inside of, the place of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// This path and the steps after it.
    pub fn join(&self, rest: &[Segment]) -> Self {
        Self(self.0.iter().chain(rest).cloned().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_segments(f, &self.0, true)
    }
}

/// Writes the steps; `first` says whether nothing stands before them.
pub(crate) fn write_segments(
    f: &mut impl fmt::Write,
    segments: &[Segment],
    mut first: bool,
) -> fmt::Result {
    for segment in segments {
        match segment {
            Segment::Index(index) => write!(f, "[{index}]")?,
            Segment::Key(key) if is_plain(key) => {
                if !first {
                    f.write_char('.')?;
                }
                f.write_str(key)?;
            }
            Segment::Key(key) => write!(f, "['{}']", key.replace('\'', "''"))?,
        }
        first = false;
    }
    Ok(())
}

/// Whether the key can be written after a dot.
fn is_plain(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spelling() {
        let path = Path(vec![
            Segment::Key("metadata".into()),
            Segment::Key("labels".into()),
            Segment::Key("a.b/c'd".into()),
            Segment::Index(3),
            Segment::Key("x_1".into()),
        ]);
        assert_eq!(path.to_string(), "metadata.labels['a.b/c''d'][3].x_1");
    }

    proptest! {
        #[test]
        fn different_paths_are_spelled_differently(
            a in proptest::collection::vec(segment(), 1..4),
            b in proptest::collection::vec(segment(), 1..4),
        ) {
            let (a, b) = (Path(a), Path(b));
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
        }
    }

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            "[a.'\\[\\]0]{0,4}".prop_map(Segment::Key),
            (0usize..3).prop_map(Segment::Index),
        ]
    }
}
