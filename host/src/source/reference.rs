//! References of images: `registry/repository:tag`, `registry/repository@sha256:...`.

use super::digest::is_digest;
use super::error::SourceError;
use std::fmt;

/// Bytes of a reference that are read.
const LONGEST: usize = 1024;
/// Where Docker Hub's registry is.
const HUB: &str = "registry-1.docker.io";

/// Where an artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `HOST` or `HOST:PORT`, as it is written.
    pub(crate) registry: String,
    /// The path below it.
    pub(crate) repository: String,
    /// The tag; with a digest beside it, for people only.
    pub(crate) tag: Option<String>,
    /// The manifest's digest.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Reads a reference. A registry must be named: which one is meant without a name depends on
    /// the program that reads it.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        let invalid = |why: &str| {
            SourceError::Invalid(format!(
                "`{}` is no reference of an image: {why}; write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:...",
                text.chars().take(200).collect::<String>()
            ))
        };
        if text.len() > LONGEST {
            return Err(invalid("it is too long"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(invalid("its digest is not sha256: and 64 hex digits")),
            None => (text, None),
        };
        let (registry, path) = rest
            .split_once('/')
            .filter(|(registry, _)| is_registry(registry))
            .ok_or_else(|| invalid("it does not begin with a registry's host"))?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !repository.split('/').all(is_component) {
            return Err(invalid("its repository has characters that none has"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("its tag has characters that none has"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(invalid("it has neither a tag nor a digest"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Where its registry is asked.
    pub(crate) fn host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => HUB,
            other => other,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A host, perhaps with a port: it has a dot or a colon, or is this machine.
fn is_registry(text: &str) -> bool {
    let named = text.contains('.') || text.contains(':') || text == "localhost";
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    named && text.bytes().all(plain) && !text.starts_with([':', '.', '-'])
}

/// A part of a repository's path, as the distribution specification has it.
fn is_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let outer = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(inner)
        && text.bytes().next().is_some_and(outer)
        && text.bytes().last().is_some_and(outer)
}

fn is_tag(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_registry_repository_and_tag_or_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let read = |text: &str| Reference::parse(text).unwrap();
        let of = read("ghcr.io/team/plugins/app:1.2");
        assert_eq!(
            (of.host(), &*of.repository),
            ("ghcr.io", "team/plugins/app")
        );
        assert_eq!((of.tag.as_deref(), &of.digest), (Some("1.2"), &None));
        let of = read(&format!("127.0.0.1:5000/app@{digest}"));
        assert_eq!((of.host(), &of.tag), ("127.0.0.1:5000", &None));
        assert_eq!(of.digest.as_deref(), Some(&*digest));
        let both = format!("r.example/app:v1@{digest}");
        assert_eq!(read(&both).to_string(), both);
        assert_eq!(read("docker.io/library/app:v1").host(), HUB);
    }

    #[test]
    fn what_is_no_reference_is_told_so() {
        for wrong in [
            "app:v1",
            "team/app:v1",
            "r.example/app",
            "r.example/App:v1",
            "r.example/app:",
            "r.example/app@sha256:12",
            "r.example/a/../b:v1",
            "https://r.example/app:v1",
            "r.example/app:v1?x",
            "r.example/:v1",
            "@",
            "",
        ] {
            let error = Reference::parse(wrong).unwrap_err();
            assert!(error.to_string().contains("REPOSITORY:TAG"), "{wrong}");
        }
    }
}
