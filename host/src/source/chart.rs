//! Charts of repositories, put into the bundle that names them.
//!
//! # Contract
//! A chart is fetched where its bundle is, never in a pass; what comes of both is one bundle, with a
//! digest that covers the chart. Nothing is taken that has not the digest that `charts.yaml` pins. A
//! chart that lies in the bundle already, or on disk, needs no server.

use super::error::SourceError;
use super::pins::{self, Pin, Repositories, Repository};
use super::registry::{Access, Registry};
use super::web::{Ask, Web, shown};
use super::{Credentials, Fetched, Reach, Reference, Sources};
use super::{artifact, digest, http, index, pull_secret};
use bytes::Bytes;
use kybern_bundle::{Bundle, MAX_BYTES};
use kybern_kube::Cluster;
use url::Url;

/// Bytes of an index.
const MOST_OF_INDEX: usize = 32 << 20;

impl Sources {
    /// The bundle with its charts, for a command that knows no cluster.
    pub(crate) async fn complete(&self, bundle: Bundle) -> Result<Bundle, SourceError> {
        let time = self.inner.web.limits().time;
        let elsewhere = Repositories::new();
        let completing = self.charts(bundle, &elsewhere, None, Reach::Far);
        let completed = tokio::time::timeout(time, completing).await;
        completed.unwrap_or_else(|_| {
            let file = pins::FILE;
            let time = time.as_secs();
            let text = format!("{file}: the charts did not come within {time} s");
            let reason = "SourceUnavailable";
            Err(SourceError::Chart { reason, text })
        })
    }

    /// The same of a bundle as bytes.
    pub(super) async fn with_charts(
        &self,
        bundle: Fetched,
        elsewhere: &Repositories,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Fetched, SourceError> {
        let wrong = |error: kybern_bundle::BundleError| SourceError::Bundle(error.to_string());
        let plain = Bundle::parse(&bundle.bytes).map_err(wrong)?;
        let files = plain.paths().count();
        let whole = self.charts(plain, elsewhere, cluster, reach).await?;
        if whole.paths().count() == files {
            return Ok(bundle);
        }
        let bytes = Bytes::from(whole.to_bytes());
        Ok(Fetched {
            digest: digest(&bytes),
            bytes,
            image: None,
        })
    }

    async fn charts(
        &self,
        mut bundle: Bundle,
        elsewhere: &Repositories,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Bundle, SourceError> {
        let pins = pins::read(&bundle, elsewhere).map_err(SourceError::Bundle)?;
        for pin in pins {
            let path = pin.path();
            if let Some(there) = bundle.read(&path) {
                let place = format!("{path} of the bundle");
                pinned(&pin, &digest(there), &place).map_err(|error| of_chart(&pin, error))?;
                continue;
            }
            let below = format!("{}/", pin.name);
            if bundle.paths().any(|path| path.starts_with(&below)) {
                return Err(SourceError::Bundle(format!(
                    "{pin}: the bundle has a folder {below} too; name one of them otherwise"
                )));
            }
            let chart = self.chart(&pin, cluster, reach).await;
            let chart = chart.map_err(|error| of_chart(&pin, error))?;
            let inserted = bundle.insert(&path, chart.to_vec());
            inserted.map_err(|error| SourceError::Bundle(format!("{pin}: {error}")))?;
        }
        Ok(bundle)
    }

    async fn chart(
        &self,
        pin: &Pin,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Bytes, SourceError> {
        let keep = &self.inner.keep;
        match (keep.get(&pin.digest).await, reach) {
            (Some(chart), _) => return Ok(chart),
            (None, Reach::Kept) => return Err(SourceError::NotKept),
            (None, Reach::Far) => {}
        }
        let chart = match &pin.repository {
            Repository::Oci(place) => self.of_registry(pin, place, cluster).await?,
            Repository::Http(folder) => of_server(&self.inner.web, pin, folder).await?,
        };
        keep.put(&pin.digest, &chart).await;
        Ok(chart)
    }

    async fn of_registry(
        &self,
        pin: &Pin,
        place: &str,
        cluster: Option<&Cluster>,
    ) -> Result<Bytes, SourceError> {
        // A tag cannot have a plus; Helm writes an underscore.
        let tag = pin.version.replace('+', "_");
        let reference = Reference::parse(&format!("{place}/{}:{tag}", pin.chart))?;
        let credentials = match (&pin.pull_secret, &self.inner.docker_config) {
            (None, Some(path)) => Credentials::of_docker_file(path, &reference.registry)?,
            (secret, _) => {
                let field = "spec.settings.bundle.repositories.*.pullSecret";
                pull_secret(secret.as_ref(), field, &reference, cluster).await?
            }
        };
        let at = reference.to_string();
        let web = &self.inner.web;
        let mut registry = Registry::new(web, &reference, &at, credentials, Access::Pull)?;
        let manifest = registry.manifest(&tag).await?;
        let manifest = manifest.ok_or_else(|| {
            SourceError::Unavailable(format!(
                "{at}: the registry has no such chart; push it with `helm push`, or pin a version that is there"
            ))
        })?;
        let manifest = artifact::manifest(&manifest, &at)?;
        let layer = artifact::chart(&manifest, &at, MAX_BYTES)?;
        // Before it is fetched: what is not wanted is not worth its bytes.
        pinned(pin, &layer.digest, &at)?;
        registry.blob(&layer).await
    }
}

async fn of_server(web: &Web, pin: &Pin, folder: &Url) -> Result<Bytes, SourceError> {
    let none = |_| SourceError::Invalid(format!("{folder} is no folder of a server"));
    let list = folder.join("index.yaml").map_err(none)?;
    let place = shown(&list);
    let index = http::body(web, Ask::get(list.clone(), MOST_OF_INDEX), "the index").await?;
    let (chart, version) = (pin.chart.clone(), pin.version.clone());
    // A large one takes its time.
    let finding = tokio::task::spawn_blocking(move || index::find(&index, &chart, &version));
    let interrupted = |_| SourceError::Unavailable("reading was interrupted".to_owned());
    let found = finding.await.map_err(interrupted)?;
    let entry = found.map_err(|why| SourceError::Unavailable(format!("{place} {why}")))?;
    if let Some(says) = entry.digest() {
        pinned(pin, &says, &place)?;
    }
    let written = entry.urls.first().map(String::as_str).unwrap_or_default();
    if written.starts_with("oci://") {
        let shown: String = written.chars().take(200).collect();
        return Err(SourceError::Unavailable(format!(
            "{place} says it is at {shown}; name that registry as the repository, without the chart and its tag"
        )));
    }
    let url = match written {
        "" => None,
        written => folder.join(written).ok(),
    };
    let url = url.ok_or_else(|| {
        SourceError::Unavailable(format!("{place} does not say where the chart's archive is"))
    })?;
    let at = shown(&url);
    let chart = http::body(web, named(list, url), "the chart").await?;
    pinned(pin, &digest(&chart), &at)?;
    Ok(chart)
}

/// For an archive that an index names: it leads to no place that a redirect may not lead to.
fn named(index: Url, archive: Url) -> Ask {
    Ask {
        named_by: Some(index),
        ..Ask::get(archive, MAX_BYTES)
    }
}

/// Whether it is what the bundle's author reviewed.
fn pinned(pin: &Pin, found: &str, place: &str) -> Result<(), SourceError> {
    if pin.digest == found {
        return Ok(());
    }
    Err(SourceError::Digest(format!(
        "{} is pinned, but {place} is {found}; pin the digest that you reviewed, or restore the chart",
        pin.digest
    )))
}

/// The same error, told with the chart that it is about.
fn of_chart(pin: &Pin, error: SourceError) -> SourceError {
    match error {
        SourceError::NotKept => SourceError::NotKept,
        error => SourceError::Chart {
            reason: error.reason(),
            text: format!("{pin}: {error}"),
        },
    }
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
