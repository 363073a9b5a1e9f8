//! The canonical path to a value inside an object: `spec.containers[0].image`.
//!
//! # Grammar
//!
//! `head (tail)*` where `head` is an identifier, `['any key']` or `[7]`, and a
//! `tail` is `.identifier`, `['any key']` or `[7]`. Identifiers are
//! `[A-Za-z_][A-Za-z0-9_]*`; every other key is quoted, with `'` doubled.
//! Indexes count from 0. Spellings that mean the same path (`spec['replicas']`)
//! are accepted and printed in the one canonical form (`spec.replicas`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// A path of at least one step; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Arc<[Segment]>);

/// A text that is no path. Retrying does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a path: {reason} at byte {at} of `{text}`")]
pub struct PathError {
    /// What was given.
    pub text: String,
    /// Byte offset of the fault.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl Path {
    /// The path to a top-level member.
    pub fn key(key: impl Into<String>) -> Path {
        Path(Arc::from([Segment::Key(key.into())]))
    }

    /// A path from its steps; none when there are no steps.
    pub fn from_segments(segments: Vec<Segment>) -> Option<Path> {
        if segments.is_empty() {
            None
        } else {
            Some(Path(segments.into()))
        }
    }

    /// This path and one more object member.
    #[must_use]
    pub fn child(&self, key: impl Into<String>) -> Path {
        self.with(Segment::Key(key.into()))
    }

    /// This path and one more array element.
    #[must_use]
    pub fn item(&self, index: usize) -> Path {
        self.with(Segment::Index(index))
    }

    /// The steps, never empty.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The top-level member that the path starts at, if it starts at one.
    pub fn head(&self) -> Option<&str> {
        match self.0.first() {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The same place spelt from the object's root, for paths that start at a
    /// SQL column: `labels['app']` is `metadata.labels['app']`, and likewise
    /// `annotations`, `finalizers` and `owners` (`metadata.ownerReferences`).
    /// Paths that start elsewhere come back as they are.
    #[must_use]
    pub fn from_root(&self) -> Path {
        let inside = match self.head() {
            Some("labels") => "labels",
            Some("annotations") => "annotations",
            Some("finalizers") => "finalizers",
            Some("owners") => "ownerReferences",
            _ => return self.clone(),
        };
        let mut segments = vec![
            Segment::Key("metadata".to_owned()),
            Segment::Key(inside.to_owned()),
        ];
        segments.extend(self.0.iter().skip(1).cloned());
        Path(segments.into())
    }

    fn with(&self, segment: Segment) -> Path {
        let mut segments = self.0.to_vec();
        segments.push(segment);
        Path(segments.into())
    }
}

fn is_identifier(key: &str) -> bool {
    let mut bytes = key.bytes();
    let starts = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if is_identifier(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Segment::Key(key) => write!(f, "['{}']", key.replace('\'', "''"))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        let mut parser = Parser { text, at: 0 };
        let mut segments = Vec::new();
        while parser.at < text.len() {
            segments.push(parser.segment(segments.is_empty())?);
        }
        Path::from_segments(segments).ok_or_else(|| parser.fault("a path has at least one step"))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, reason: &'static str) -> PathError {
        PathError {
            text: self.text.to_owned(),
            at: self.at,
            reason,
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn segment(&mut self, first: bool) -> Result<Segment, PathError> {
        if self.take("['") {
            self.quoted()
        } else if self.take("[") {
            self.index()
        } else if first || self.take(".") {
            self.identifier()
        } else {
            Err(self.fault("expected `.` or `[`"))
        }
    }

    fn quoted(&mut self) -> Result<Segment, PathError> {
        let mut key = String::new();
        loop {
            let Some(length) = self.rest().find('\'') else {
                return Err(self.fault("the quoted key does not end"));
            };
            key.push_str(self.rest().get(..length).unwrap_or_default());
            self.at += length + 1;
            if self.take("'") {
                key.push('\'');
            } else if self.take("]") {
                return Ok(Segment::Key(key));
            } else {
                return Err(self.fault("expected `]`"));
            }
        }
    }

    fn index(&mut self) -> Result<Segment, PathError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let index = self
            .rest()
            .get(..digits)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.fault("expected an index or a quoted key"))?;
        self.at += digits;
        if self.take("]") {
            Ok(Segment::Index(index))
        } else {
            Err(self.fault("expected `]`"))
        }
    }

    fn identifier(&mut self) -> Result<Segment, PathError> {
        let length = self
            .rest()
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        let key = self.rest().get(..length).unwrap_or_default();
        if !is_identifier(key) {
            return Err(self.fault("expected an identifier; quote other keys like ['a-b']"));
        }
        self.at += length;
        Ok(Segment::Key(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn canonical_forms() {
        for text in [
            "spec",
            "spec.containers[0].image",
            "metadata.labels['a.b/c']",
            "['a-b'][3]['']['it''s'].x",
        ] {
            assert_eq!(path(text).to_string(), text);
        }
        assert_eq!(
            path("spec['replicas'][007]").to_string(),
            "spec.replicas[7]"
        );
    }

    #[test]
    fn faults_say_where() {
        for (text, at) in [
            ("", 0),
            (".a", 0),
            ("a.", 2),
            ("a..b", 2),
            ("a[", 2),
            ("a[x]", 2),
            ("a['b", 3),
            ("a['b'", 5),
            ("a b", 1),
            ("1a", 0),
            ("a[99999999999999999999999]", 2),
        ] {
            let error = text.parse::<Path>().unwrap_err();
            assert_eq!(error.at, at, "{error}");
        }
    }

    #[test]
    fn columns_resolve_to_the_root() {
        assert_eq!(
            path("labels['a/b']").from_root(),
            path("metadata.labels['a/b']")
        );
        assert_eq!(
            path("owners[0].uid").from_root(),
            path("metadata.ownerReferences[0].uid")
        );
        assert_eq!(path("spec.labels").from_root(), path("spec.labels"));
    }

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            "[a-z_][A-Za-z0-9_]{0,6}".prop_map(Segment::Key),
            any::<String>().prop_map(Segment::Key),
            "['\\[\\].]{0,4}".prop_map(Segment::Key),
            any::<usize>().prop_map(Segment::Index),
        ]
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(segments in prop::collection::vec(segment(), 1..6)) {
            let path = Path::from_segments(segments).unwrap();
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }

        #[test]
        fn whatever_parses_prints_stably(text in "[a.'\\[\\]0-9]{0,12}") {
            if let Ok(path) = text.parse::<Path>() {
                let printed = path.to_string();
                let again = printed.parse::<Path>().unwrap();
                prop_assert_eq!(&again, &path);
                prop_assert_eq!(again.to_string(), printed);
            }
        }
    }
}
