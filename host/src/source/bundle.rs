//! A bundle from where `spec.settings.bundle` says: a folder or an archive of the host, a ConfigMap, an
//! HTTP address, a registry.
//!
//! # Contract
//! What is handed out is the bundle's one form as bytes, whatever it came as, and has the digest that
//! was pinned. Places of other hosts are pinned, by the bundle's digest or by that of the manifest.
//! Charts of repositories that it names come after that, see `chart`: its digest names theirs.

use super::error::SourceError;
use super::object::{self, Kind};
use super::pins::Repositories;
use super::web::Ask;
use super::{Access, Fetch, Fetched, Reach, Reference, Registry, Sources};
use super::{PULL_SECRET, digest, http, no_cluster, oci, pull_secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kybern_bundle::{Bundle, BundleError};
use kybern_interface::{ConfigMapSource, HttpSource, ImageSource, Source};
use kybern_kube::Cluster;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The setting that names it.
pub(crate) const SETTING: &str = "bundle";

/// What `spec.settings.bundle` says: exactly one place, and perhaps a digest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BundleSource {
    file: Option<String>,
    config_map: Option<Keys>,
    oci: Option<ImageSource>,
    http: Option<HttpSource>,
    /// Of the bundle's one form.
    pub(crate) digest: Option<String>,
    /// What is to be known here of the repositories of its charts.
    #[serde(default)]
    pub(crate) repositories: Repositories,
}

/// A ConfigMap: each of its keys is a file, or one key is an archive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Keys {
    namespace: String,
    name: String,
    #[serde(default)]
    key: String,
}

impl BundleSource {
    /// What these settings name; none = no bundle. An error says what is wrong with it.
    pub(crate) fn of(settings: &Map<String, Value>) -> Result<Option<Self>, String> {
        let Some(value) = settings.get(SETTING) else {
            return Ok(None);
        };
        let source: Self = serde_json::from_value(value.clone()).map_err(|error| {
            format!("spec.settings.bundle: {error}; it names one of file, configMap, oci, http, and perhaps digest and repositories")
        })?;
        let given = [
            source.file.is_some(),
            source.config_map.is_some(),
            source.oci.is_some(),
            source.http.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(
                "spec.settings.bundle must name exactly one of file, configMap, oci, http"
                    .to_owned(),
            );
        }
        Ok(Some(source))
    }

    /// As sources of components are written; all keys of a ConfigMap = an empty key.
    pub(crate) fn place(&self) -> Source {
        let map = self.config_map.clone().map(|keys| ConfigMapSource {
            namespace: keys.namespace,
            name: keys.name,
            key: keys.key,
        });
        Source {
            file: self.file.clone(),
            config_map: map,
            oci: self.oci.clone(),
            http: self.http.clone(),
        }
    }

    /// The repositories of charts that are asked with a Secret, as far as rights go.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Source> {
        let all = self.repositories.values();
        all.filter_map(|of| of.pull_secret.clone())
            .map(|secret| Source {
                oci: Some(ImageSource {
                    image: String::new(),
                    pull_secret: Some(secret),
                    poll_interval: None,
                    verify: None,
                }),
                ..Source::default()
            })
    }

    /// Why it has to say a digest, if it has to and does not.
    pub(crate) fn unpinned(&self, host_namespace: &str) -> Option<String> {
        if self.digest.is_some() {
            return None;
        }
        let what = "spec.settings.bundle.digest is required";
        let cure = "whoever may change it could replace what the plugin does; `kybern plugin lint DIR` prints it";
        if let Some(map) = &self.config_map
            && map.namespace != host_namespace
        {
            let (namespace, name) = (&map.namespace, &map.name);
            return Some(format!(
                "{what} because ConfigMap {namespace}/{name} is outside the host's namespace {host_namespace}: {cure}"
            ));
        }
        if self.http.is_some() {
            return Some(format!("{what} for http: {cure}"));
        }
        let by_tag = |oci: &&ImageSource| !oci.image.contains("@sha256:");
        let tag = self.oci.as_ref().filter(by_tag)?;
        let image = &tag.image;
        Some(format!(
            "{what} because {image} is a tag; or name it with @sha256:: {cure}"
        ))
    }
}

fn wrong(error: BundleError) -> SourceError {
    match error {
        BundleError::Read { path, source } => {
            let path = path.display();
            SourceError::Unavailable(format!("spec.source.file {path}: {source}"))
        }
        error => SourceError::Bundle(error.to_string()),
    }
}

/// The one form of what an archive holds.
fn unpacked(bytes: &[u8]) -> Result<Bytes, SourceError> {
    let bundle = Bundle::of_archive(bytes).map_err(wrong)?;
    Ok(bundle.to_bytes().into())
}

impl Sources {
    /// The bundle. Messages name places as those of components are named.
    pub(super) async fn bundle(
        &self,
        fetch: &Fetch,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Fetched, SourceError> {
        let source = &fetch.source;
        if let Some(digest) = fetch.digest.as_ref().filter(|_| fetch.is_far())
            && let Some(kept) = self.kept(digest).await
        {
            return Ok(kept);
        }
        let bytes = match (&source.file, &source.config_map, &source.http, &source.oci) {
            (Some(path), None, None, None) => {
                let path = PathBuf::from(path);
                let read = move || Bundle::of_path(&path).map(|bundle| bundle.to_bytes());
                let read = tokio::task::spawn_blocking(read).await;
                let interrupted =
                    |_| SourceError::Unavailable("reading was interrupted".to_owned());
                read.map_err(interrupted)?.map_err(wrong)?.into()
            }
            (None, Some(source), None, None) => {
                let cluster = cluster.ok_or_else(|| no_cluster("spec.source.configMap"))?;
                keys(source, cluster).await?
            }
            (None, None, Some(_), None) if reach == Reach::Kept => {
                return Err(SourceError::NotKept);
            }
            (None, None, Some(source), None) => {
                let ask = Ask::get(http::address(&source.url)?, kybern_bundle::MAX_BYTES);
                unpacked(&http::body(&self.inner.web, ask, http::PLACE).await?)?
            }
            (None, None, None, Some(source)) => self.of_image(source, cluster, reach).await?,
            _ => {
                return Err(SourceError::Invalid(
                    "spec.source must name exactly one of file, configMap, oci, http".to_owned(),
                ));
            }
        };
        let found = digest::digest(&bytes);
        digest::pinned(fetch.digest.as_deref(), &found, "the bundle")?;
        if fetch.is_far() {
            self.inner.keep.put(&found, &bytes).await;
        }
        Ok(Fetched {
            bytes,
            digest: found,
            image: None,
        })
    }

    async fn of_image(
        &self,
        source: &ImageSource,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Bytes, SourceError> {
        let inner = &*self.inner;
        let reference = Reference::parse(&source.image)?;
        let mut registry = match reach {
            Reach::Kept => None,
            Reach::Far => {
                let secret = source.pull_secret.as_ref();
                let credentials = pull_secret(secret, PULL_SECRET, &reference, cluster).await?;
                let access = Access::Pull;
                let place = oci::PLACE;
                Some(Registry::new(
                    &inner.web,
                    &reference,
                    place,
                    credentials,
                    access,
                )?)
            }
        };
        let which = reference.digest.as_deref();
        let of = oci::Wanted::Bundle;
        let most = kybern_bundle::MAX_BYTES;
        let found = oci::find(&reference, which, of, &inner.keep, registry.as_mut(), most).await?;
        self.verify(source, &found.digest, cluster, registry.as_mut())
            .await?;
        unpacked(&oci::layer(&found, &inner.keep, registry.as_mut()).await?)
    }
}

/// The files of a ConfigMap, or of the archive under its one key.
async fn keys(source: &ConfigMapSource, cluster: &Cluster) -> Result<Bytes, SourceError> {
    const FIELD: &str = "spec.source.configMap";
    let (namespace, name) = (&source.namespace, &source.name);
    let place = format!("{FIELD}: ConfigMap {namespace}/{name}");
    let object = object::get(cluster, Kind::ConfigMap, (namespace, name), FIELD).await?;
    let decoded = |key: &str, value: &Value| {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        let what = format!("{place}: binaryData.{key} is not base64");
        bytes.ok_or(SourceError::Unavailable(what))
    };
    let part = |field: &str| object.get(field).and_then(Value::as_object);
    if !source.key.is_empty() {
        let key = &source.key;
        let value = part("binaryData").and_then(|data| data.get(key));
        let missing =
            || SourceError::Unavailable(format!("{place} has no key {key} under binaryData"));
        return unpacked(&decoded(key, value.ok_or_else(missing)?)?);
    }
    let mut all = Vec::new();
    for (key, value) in part("data").into_iter().flatten() {
        all.push((key.clone(), value.as_str().unwrap_or_default().into()));
    }
    for (key, value) in part("binaryData").into_iter().flatten() {
        all.push((key.clone(), decoded(key, value)?));
    }
    let bundle = Bundle::of_keys(all).map_err(wrong)?;
    Ok(bundle.to_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(bundle: Value) -> Result<Option<BundleSource>, String> {
        let settings = json!({ "bundle": bundle, "more": 1 });
        BundleSource::of(settings.as_object().unwrap())
    }

    #[test]
    fn what_names_no_bundle_is_told() {
        assert_eq!(BundleSource::of(&Map::new()), Ok(None));
        assert!(of(json!({ "file": "/b" })).unwrap().is_some());
        for bad in [
            json!({}),
            json!("/b"),
            json!({ "file": "/b", "http": { "url": "https://a/b" } }),
            json!({ "files": "/b" }),
        ] {
            assert!(
                of(bad.clone())
                    .unwrap_err()
                    .contains("spec.settings.bundle"),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_others_could_replace_is_pinned() {
        let map = |namespace: &str| json!({ "configMap": { "namespace": namespace, "name": "n" } });
        for (bundle, pinned) in [
            (json!({ "file": "/b" }), true),
            (map("kybern"), true),
            (map("other"), false),
            (json!({ "http": { "url": "https://a/b" } }), false),
            (json!({ "oci": { "image": "r.example/b:v1" } }), false),
            (
                json!({ "oci": { "image": format!("r.example/b@sha256:{}", "0".repeat(64)) } }),
                true,
            ),
        ] {
            let mut bundle = bundle;
            let found = of(bundle.clone()).unwrap().unwrap().unpinned("kybern");
            assert_eq!(found.is_none(), pinned, "{bundle}: {found:?}");
            bundle["digest"] = json!("sha256:0");
            assert_eq!(of(bundle).unwrap().unwrap().unpinned("kybern"), None);
        }
    }
}
