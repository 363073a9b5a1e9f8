//! `charts.yaml`: the charts of a bundle that lie in repositories, each pinned by a digest.
//!
//! # Contract
//! What a bundle says of a chart names it for good: the digest is that of its archive, wherever it
//! lies. A registration may say another place for a repository, and who asks there; never another
//! chart.

use super::digest::is_digest;
use kybern_bundle::Bundle;
use kybern_interface::ObjectName;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;
use url::Url;

/// The file, in the bundle's root.
pub(super) const FILE: &str = "charts.yaml";
/// Charts of one bundle.
const MOST: usize = 32;
/// Bytes of a version.
const LONGEST: usize = 128;

/// What a registration says of repositories, by alias.
pub(crate) type Repositories = BTreeMap<String, Elsewhere>;

/// Where a repository is for this host, and who asks there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Elsewhere {
    /// Instead of what the bundle says: a mirror.
    url: Option<String>,
    /// A Secret of type kubernetes.io/dockerconfigjson.
    pub(crate) pull_secret: Option<ObjectName>,
}

/// A repository of charts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repository {
    /// `HOST/PATH` of a registry, to which the chart's name is added.
    Oci(String),
    /// A folder of a server that holds `index.yaml`.
    Http(Url),
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oci(place) => write!(f, "oci://{place}"),
            Self::Http(url) => write!(f, "{}", super::web::shown(url)),
        }
    }
}

/// A chart that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// `ALIAS/CHART`, as commands name it.
    pub(super) name: String,
    /// Its name in the repository.
    pub(super) chart: String,
    /// Its version, as it is written there.
    pub(super) version: String,
    /// Of its archive.
    pub(super) digest: String,
    /// Where it is.
    pub(super) repository: Repository,
    /// Who asks there.
    pub(super) pull_secret: Option<ObjectName>,
}

impl Pin {
    /// Where it lies in the bundle.
    pub(super) fn path(&self) -> String {
        format!("{}.tgz", self.name)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            version,
            repository,
            ..
        } = self;
        write!(f, "{FILE}: {name} {version} of {repository}")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    repositories: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    charts: BTreeMap<String, Spanned<Pinned>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    version: String,
    digest: String,
}

/// The charts that a bundle names; none without the file. An error says what is wrong, with its place.
pub(super) fn read(bundle: &Bundle, elsewhere: &Repositories) -> Result<Vec<Pin>, String> {
    let Some(bytes) = bundle.read(FILE) else {
        return match elsewhere.keys().next() {
            None => Ok(Vec::new()),
            Some(alias) => Err(format!(
                "repositories.{alias}: the bundle has no {FILE}, and so no charts of repositories; leave it out"
            )),
        };
    };
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{FILE}: is no text (UTF-8)"))?;
    let written: Written = serde_saphyr::from_str(text).map_err(|error| {
        let what = error.without_snippet().to_string();
        let cure =
            "write `repositories:` (alias: URL) and `charts:` (alias/chart: {version, digest})";
        let Some(at) = error.location() else {
            return format!("{FILE}: {what}; {cure}");
        };
        let place = format!(" at line {}, column {}", at.line(), at.column());
        let what = what.strip_suffix(&place).unwrap_or(&what);
        told(at, &format!("{what}; {cure}"))
    })?;
    if written.charts.len() > MOST {
        return Err(format!(
            "{FILE}: it names {} charts, at most {MOST} are fetched; put the others into the bundle",
            written.charts.len()
        ));
    }
    let mut repositories = BTreeMap::new();
    for (alias, url) in &written.repositories {
        let at = url.referenced;
        if !is_alias(alias) {
            let what = "is no alias; use a-z, 0-9 and -, beginning with a letter";
            return Err(told(at, &format!("`{alias}` {what}")));
        }
        let place = match elsewhere.get(alias).and_then(|of| of.url.as_ref()) {
            Some(url) => {
                repository(url).map_err(|why| format!("repositories.{alias}.url: {why}"))?
            }
            None => repository(&url.value).map_err(|why| told(at, &why))?,
        };
        repositories.insert(alias.as_str(), place);
    }
    let aliases = || match repositories.is_empty() {
        true => "none".to_owned(),
        false => repositories.keys().copied().collect::<Vec<_>>().join(", "),
    };
    for (alias, of) in elsewhere {
        match repositories.get(alias.as_str()) {
            None => {
                return Err(format!(
                    "repositories.{alias}: {FILE} has no such alias; there are: {}",
                    aliases()
                ));
            }
            Some(Repository::Http(_)) if of.pull_secret.is_some() => {
                return Err(format!(
                    "repositories.{alias}.pullSecret: only registries (oci://) are asked with one"
                ));
            }
            Some(_) => {}
        }
    }
    let charts = written.charts.into_iter().map(|(name, pinned)| {
        let at = pinned.referenced;
        let Pinned { version, digest } = pinned.value;
        let (alias, chart) = name
            .split_once('/')
            .filter(|(_, chart)| is_chart(chart))
            .ok_or_else(|| told(at, &format!("`{name}` is not ALIAS/CHART")))?;
        let repository = repositories.get(alias).ok_or_else(|| {
            let what = format!("`{name}`: there is no repository `{alias}`");
            told(at, &format!("{what}; name it under `repositories`, where there are: {}", aliases()))
        })?;
        if !is_version(&version) {
            let what = format!("`{name}`: version `{version}` is none; write the one version that is pinned, like 1.2.3");
            return Err(told(at, &what));
        }
        if !is_digest(&digest) {
            let what = format!(
                "`{name}`: digest `{digest}` is not `sha256:` and 64 lower-case hex digits; `sha256sum` of the chart's .tgz gives them"
            );
            return Err(told(at, &what));
        }
        Ok(Pin {
            chart: chart.to_owned(),
            version,
            digest,
            repository: repository.clone(),
            pull_secret: elsewhere.get(alias).and_then(|of| of.pull_secret.clone()),
            name,
        })
    });
    charts.collect()
}

fn told(at: Location, what: &str) -> String {
    format!("{FILE}:{}:{}: {what}", at.line(), at.column())
}

/// Where a repository is.
fn repository(text: &str) -> Result<Repository, String> {
    let invalid = || {
        let shown: String = text.chars().take(200).collect();
        format!("`{shown}` is no repository of charts; write https://HOST/PATH or oci://HOST/PATH")
    };
    if let Some(place) = text.strip_prefix("oci://") {
        let place = place.trim_end_matches('/');
        // The rest is told with the chart's name behind it.
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'@' | b'?' | b'#');
        return match place.contains('/') && place.bytes().all(plain) {
            true => Ok(Repository::Oci(place.to_owned())),
            false => Err(invalid()),
        };
    }
    let mut url: Url = text.parse().map_err(|_| invalid())?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(invalid());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(format!(
            "{}: leave user, password and query out; registries (oci://) are asked with a pullSecret",
            super::web::shown(&url)
        ));
    }
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let folder = format!("{}/", url.path());
        url.set_path(&folder);
    }
    Ok(Repository::Http(url))
}

fn is_alias(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(inner)
}

fn is_chart(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= 100
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// One version, no range of versions.
fn is_version(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_');
    let number = text.strip_prefix('v').unwrap_or(text);
    text.len() <= LONGEST
        && number.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::super::digest::digest;
    use super::*;
    use serde_json::{Value, json};

    fn pins(text: &str, elsewhere: Value) -> Result<Vec<Pin>, String> {
        let mut bundle = Bundle::default();
        bundle.insert(FILE, text.into()).unwrap();
        read(&bundle, &serde_json::from_value(elsewhere).unwrap())
    }

    fn good() -> String {
        let digest = digest(b"chart");
        format!(
            "repositories:
  ours: oci://r.example/charts/
  theirs: https://charts.example/stable
charts:
  ours/web: {{version: 1.20, digest: '{digest}'}}
  theirs/db: {{version: v1.2.3+a, digest: '{digest}'}}
"
        )
    }

    #[test]
    fn charts_are_named_with_their_repositories() {
        assert_eq!(
            read(&Bundle::default(), &Repositories::new()),
            Ok(Vec::new())
        );
        assert_eq!(pins("{}", json!({})), Ok(Vec::new()));
        let found = pins(&good(), json!({})).unwrap();
        let told: Vec<String> = found.iter().map(Pin::to_string).collect();
        assert_eq!(
            told,
            [
                "charts.yaml: ours/web 1.20 of oci://r.example/charts",
                "charts.yaml: theirs/db v1.2.3+a of https://charts.example/stable/",
            ]
        );
        assert_eq!(found[0].path(), "ours/web.tgz");
        let secret = json!({ "namespace": "a", "name": "b" });
        let mirror = json!({ "ours": { "url": "oci://mirror.example/x/y", "pullSecret": secret } });
        let found = pins(&good(), mirror).unwrap();
        assert_eq!(
            found[0].repository,
            Repository::Oci("mirror.example/x/y".to_owned())
        );
        assert_eq!(found[0].pull_secret.as_ref().unwrap().name, "b");
        assert_eq!(found[1].pull_secret, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_the_cure() {
        let good = good();
        let digest = digest(b"chart");
        for (from, to, says) in [
            (
                "charts:",
                "chart:",
                "charts.yaml:4:1: unknown field `chart`",
            ),
            (
                "version: 1.20, ",
                "",
                "charts.yaml:5:14: missing field `version`;",
            ),
            (
                "ours/web",
                "other/web",
                "charts.yaml:5:14: `other/web`: there is no repository `other`",
            ),
            (
                "ours/web",
                "web",
                "charts.yaml:5:8: `web` is not ALIAS/CHART",
            ),
            ("ours/web", "ours/../web", "is not ALIAS/CHART"),
            ("1.20", "^1.20", "version `^1.20` is none"),
            (&digest, "sha256:12", "`sha256sum` of the chart's .tgz"),
            (
                "oci://r.example/charts/",
                "r.example",
                "charts.yaml:2:9: `r.example` is no repository",
            ),
            (
                "oci://r.example/charts/",
                "ftp://r.example/charts",
                "is no repository",
            ),
            ("https://c", "https://u:p@c", "leave user, password"),
            (
                "  theirs:",
                "  Theirs:",
                "charts.yaml:3:11: `Theirs` is no alias",
            ),
        ] {
            assert!(good.contains(from), "{from}");
            let told = pins(&good.replacen(from, to, 1), json!({})).unwrap_err();
            assert!(told.contains(says), "{from} -> {to}: {told}");
            assert!(!told.contains("u:p"), "{told}");
        }
        for (elsewhere, says) in [
            (json!({ "mine": {} }), "there are: ours, theirs"),
            (
                json!({ "ours": { "url": "x" } }),
                "repositories.ours.url: `x` is no repository",
            ),
            (
                json!({ "theirs": { "pullSecret": { "namespace": "a", "name": "b" } } }),
                "only registries",
            ),
        ] {
            let told = pins(&good, elsewhere.clone()).unwrap_err();
            assert!(told.contains(says), "{elsewhere}: {told}");
        }
        let one = json!({ "ours": {} });
        let told = read(&Bundle::default(), &serde_json::from_value(one).unwrap());
        assert!(told.unwrap_err().contains("has no charts.yaml"));
        let many: String = (0..=MOST)
            .map(|n| format!("  ours/c{n}: {{version: 1.0.0, digest: '{digest}'}}\n"))
            .collect();
        let told = pins(
            &format!("repositories: {{ours: oci://r.example/c}}\ncharts:\n{many}"),
            json!({}),
        );
        assert!(told.unwrap_err().contains("33 charts"));
    }
}
