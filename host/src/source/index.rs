//! `index.yaml` of an HTTP repository of charts: which version is where.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Values of an index that are read: large repositories have hundreds of thousands.
const MOST: usize = 4_000_000;
/// Versions that are told where the wanted one is missing.
const TOLD: usize = 8;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    entries: BTreeMap<String, Vec<Entry>>,
}

/// A version of a chart.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    version: String,
    /// Where its archive is; the first counts.
    #[serde(default)]
    pub(super) urls: Vec<String>,
    /// Of its archive: hex digits, with or without `sha256:` in front.
    #[serde(default)]
    digest: Option<String>,
}

impl Entry {
    /// What the index says of the archive's digest.
    pub(super) fn digest(&self) -> Option<String> {
        let text = self.digest.as_deref()?;
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        (!hex.is_empty()).then(|| format!("sha256:{}", hex.to_lowercase()))
    }
}

/// The version of a chart. An error says what there is instead.
pub(super) fn find(text: &[u8], chart: &str, version: &str) -> Result<Entry, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST,
            max_events: MOST,
        },
    };
    let index: Result<Index, _> = serde_saphyr::from_slice_with_options(text, options);
    let mut index =
        index.map_err(|error| format!("is no index of charts: {}", error.without_snippet()))?;
    let Some(versions) = index.entries.remove(chart) else {
        return Err(format!(
            "has no chart `{chart}` among {}; name one that it has",
            index.entries.len()
        ));
    };
    let plain = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
    let there: Vec<&str> = versions
        .iter()
        .map(|one| &*one.version)
        .take(TOLD)
        .collect();
    let instead = format!(
        "has no version {version} of `{chart}`; there are: {}",
        there.join(", ")
    );
    let same = |one: &&Entry| one.version == version;
    let wanted = match versions.iter().position(|one| same(&one)) {
        Some(at) => Some(at),
        None => {
            let version = plain(version);
            versions
                .iter()
                .position(|one| plain(&one.version) == version)
        }
    };
    let mut versions = versions;
    wanted.map(|at| versions.swap_remove(at)).ok_or(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &[u8] = b"
apiVersion: v1
entries:
  web:
    - {version: 1.10, urls: [a.tgz], digest: AB}
    - {version: v1.9.0, urls: [https://b/b.tgz], digest: 'sha256:cd', home: x}
    - {version: 1.9.0+x}
generated: 2020-01-01
";

    #[test]
    fn a_version_is_found_as_it_is_written_or_without_its_v() {
        let of = |version: &str| find(INDEX, "web", version).unwrap();
        assert_eq!(of("1.10").urls, ["a.tgz"]);
        assert_eq!(of("1.10").digest().as_deref(), Some("sha256:ab"));
        assert_eq!(of("1.9.0").digest().as_deref(), Some("sha256:cd"));
        assert_eq!(of("1.9.0+x").digest(), None);
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let told = find(INDEX, "web", "2.0.0").unwrap_err();
        assert!(told.ends_with("there are: 1.10, v1.9.0, 1.9.0+x"), "{told}");
        let told = find(INDEX, "db", "2.0.0").unwrap_err();
        assert!(told.contains("no chart `db`"), "{told}");
        let told = find(b"<html>", "db", "2.0.0").unwrap_err();
        assert!(told.contains("no index"), "{told}");
    }

    #[test]
    fn an_index_of_a_large_repository_is_read() {
        let mut text = "entries:\n".to_owned();
        for chart in 0..500 {
            text.push_str(&format!("  c{chart}:\n"));
            for version in 0..100 {
                text.push_str(&format!(
                    "  - {{name: c{chart}, version: 1.{version}.0, urls: [c{chart}-{version}.tgz], digest: ab}}\n"
                ));
            }
        }
        assert!(find(text.as_bytes(), "c499", "1.99.0").is_ok());
    }
}
