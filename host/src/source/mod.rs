//! Where a component comes from: a file of the host, a key of a ConfigMap, an HTTP address, a registry.
//!
//! # Contract
//! What is handed out has the digest that was pinned, and of an OCI artifact that is to be verified,
//! a good signature. Nothing is read beyond its bound; what claims to be larger is not read at all.
//! A fetch from afar ends in time, whatever the other side does.
//!
//! | room | what is in it |
//! |---|---|
//! | file, config_map, http, oci | one kind of source each |
//! | bundle | the same for bundles |
//! | chart, pins, index | the charts of repositories that a bundle names |
//! | digest, signature, key | what is checked of a component |
//! | keep | components on disk, by digest |
//! | turns | how many fetches run at once, and how many of them from one server |
//! | web | one HTTP request, bounded |
//! | registry, reference, artifact, challenge, credentials, push | one repository of a registry |

mod artifact;
mod bundle;
mod challenge;
mod chart;
mod config_map;
mod credentials;
mod digest;
mod error;
#[cfg(test)]
mod fake;
mod file;
mod http;
mod index;
mod keep;
mod key;
mod limits;
mod object;
mod oci;
mod pins;
mod push;
mod reference;
mod registry;
mod signature;
mod turns;
mod web;

pub(crate) use self::http::address;
pub(crate) use bundle::{BundleSource, SETTING};
pub(crate) use credentials::Credentials;
pub(crate) use digest::{digest, is_digest};
pub(crate) use error::SourceError;
pub(crate) use keep::Keep;
pub(crate) use limits::SourceConfig;
pub(crate) use oci::pull;
pub(crate) use push::push;
pub(crate) use reference::Reference;
pub(crate) use registry::{Access, Registry};
pub(crate) use web::Web;

use bytes::Bytes;
use key::Verified;
use kybern_interface::{ImageSource, ObjectName, ResolvedImage, Source};
use kybern_kube::Cluster;
use object::Kind;
use pins::Repositories;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use turns::Turns;

/// What kind of thing is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum What {
    /// A component, as it is.
    #[default]
    Component,
    /// A bundle, in its one form, with the charts that it names of these repositories.
    Bundle(Repositories),
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fetch {
    /// From where.
    pub(crate) source: Source,
    /// The component's digest, where it is pinned.
    pub(crate) digest: Option<String>,
    /// What an OCI reference was resolved to before; none = its tag is resolved now.
    pub(crate) resolved: Option<String>,
    /// What kind of thing it is.
    pub(crate) what: What,
}

impl Fetch {
    /// Whether somebody else's server is asked.
    pub(crate) fn is_far(&self) -> bool {
        self.source.oci.is_some() || self.source.http.is_some()
    }

    /// Whose server it is, as far as can be told before it is asked.
    fn place(&self) -> String {
        let registry = self.source.oci.as_ref();
        let registry = registry.and_then(|oci| Reference::parse(&oci.image).ok());
        let server = self.source.http.as_ref();
        let server = server.and_then(|http| address(&http.url).ok());
        match (registry, server) {
            (Some(reference), _) => reference.host().to_owned(),
            (None, Some(url)) => url.authority().to_owned(),
            (None, None) => String::new(),
        }
    }
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Their digest.
    pub(crate) digest: String,
    /// What its OCI reference was resolved to.
    pub(crate) image: Option<ResolvedImage>,
}

/// What is counted of fetches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Under way.
    pub(crate) running: usize,
    /// Ended well.
    pub(crate) succeeded: u64,
    /// Ended otherwise.
    pub(crate) failed: u64,
    /// Bytes that are kept on disk.
    pub(crate) kept_bytes: u64,
}

/// Whether servers are asked, or only the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Kept,
    Far,
}

/// All sources. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    web: Web,
    keep: Keep,
    turns: Turns,
    verified: Verified,
    /// Of the user who runs a command: says who asks registries for charts.
    docker_config: Option<PathBuf>,
    running: AtomicUsize,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Sources {
    /// With these bounds; `plain` registries are talked to without TLS.
    pub(crate) fn new(config: SourceConfig, keep: Keep, plain: Vec<String>) -> Self {
        Self::of_user(config, keep, plain, None)
    }

    /// The same for a user with this docker config.
    pub(crate) fn of_user(
        config: SourceConfig,
        keep: Keep,
        plain: Vec<String>,
        docker_config: Option<PathBuf>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                turns: Turns::new(config.fetches, config.fetches_each),
                web: Web::new(config, plain),
                keep,
                verified: Verified::default(),
                docker_config,
                running: AtomicUsize::new(0),
                succeeded: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        }
    }

    /// Without a server of somebody else: near sources, and what is kept of others.
    pub(crate) async fn near(
        &self,
        fetch: &Fetch,
        cluster: Option<&Cluster>,
    ) -> Result<Fetched, SourceError> {
        self.get(fetch, cluster, Reach::Kept).await
    }

    /// From wherever it is; waits for its turn.
    pub(crate) async fn fetch(
        &self,
        fetch: &Fetch,
        cluster: Option<&Cluster>,
    ) -> Result<Fetched, SourceError> {
        let turn = self.inner.turns.take(&fetch.place()).await;
        let stopped = || SourceError::Unavailable("the host is stopping".to_owned());
        let _turn = turn.ok_or_else(stopped)?;
        let time = self.inner.web.limits().time;
        let running = Running::new(&self.inner);
        let fetching = tokio::time::timeout(time, self.get(fetch, cluster, Reach::Far));
        let got = fetching.await.unwrap_or_else(|_| {
            Err(SourceError::Unavailable(format!(
                "spec.source: the component did not come within {} s",
                time.as_secs()
            )))
        });
        running.ended(&got);
        got
    }

    /// The component with this digest, if it is on disk.
    pub(crate) async fn kept(&self, digest: &str) -> Option<Fetched> {
        let bytes = self.inner.keep.get(digest).await?;
        Some(Fetched {
            bytes,
            digest: digest.to_owned(),
            image: None,
        })
    }

    /// Keeps a component on disk, wherever it came from: to be gone back to.
    pub(crate) async fn keep(&self, fetched: &Fetched) {
        if !self.keeps(fetched) {
            self.inner.keep.put(&fetched.digest, &fetched.bytes).await;
        }
    }

    /// Says which digests, of components and of manifests, are in use: on disk they go last.
    pub(crate) fn hold<'a>(&self, digests: impl Iterator<Item = &'a str>) {
        self.inner.keep.hold(digests);
    }

    /// Whether this component is on disk, so that nobody has to hold it.
    pub(crate) fn keeps(&self, fetched: &Fetched) -> bool {
        self.inner.keep.has(&fetched.digest)
    }

    /// What is counted.
    pub(crate) fn counts(&self) -> Counts {
        let inner = &self.inner;
        Counts {
            running: inner.running.load(Ordering::Relaxed),
            succeeded: inner.succeeded.load(Ordering::Relaxed),
            failed: inner.failed.load(Ordering::Relaxed),
            kept_bytes: inner.keep.bytes(),
        }
    }

    async fn get(
        &self,
        fetch: &Fetch,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Fetched, SourceError> {
        if let What::Bundle(repositories) = &fetch.what {
            let bundle = self.bundle(fetch, cluster, reach).await?;
            return self.with_charts(bundle, repositories, cluster, reach).await;
        }
        let most = self.inner.web.limits().component_bytes;
        let source = &fetch.source;
        let bytes = match (&source.file, &source.config_map, &source.http, &source.oci) {
            (Some(path), None, None, None) => file::fetch(path, most).await?,
            (None, Some(source), None, None) => {
                let cluster = cluster.ok_or_else(|| no_cluster("spec.source.configMap"))?;
                config_map::fetch(source, cluster, most).await?
            }
            (None, None, Some(source), None) => {
                let wanted = fetch.digest.as_deref().unwrap_or_default();
                self.http(&source.url, wanted, reach).await?
            }
            (None, None, None, Some(source)) => {
                return self.oci(source, fetch, cluster, reach).await;
            }
            _ => {
                return Err(SourceError::Invalid(
                    "spec.source must name exactly one of file, configMap, oci, http".to_owned(),
                ));
            }
        };
        let found = digest(&bytes);
        digest::pinned(fetch.digest.as_deref(), &found, "the source")?;
        Ok(Fetched {
            bytes,
            digest: found,
            image: None,
        })
    }

    async fn http(&self, url: &str, wanted: &str, reach: Reach) -> Result<Bytes, SourceError> {
        let Inner { web, keep, .. } = &*self.inner;
        match (keep.get(wanted).await, reach) {
            (Some(bytes), _) => Ok(bytes),
            (None, Reach::Kept) => Err(SourceError::NotKept),
            (None, Reach::Far) => {
                let bytes = http::fetch(web, url, wanted).await?;
                keep.put(wanted, &bytes).await;
                Ok(bytes)
            }
        }
    }

    async fn oci(
        &self,
        source: &ImageSource,
        fetch: &Fetch,
        cluster: Option<&Cluster>,
        reach: Reach,
    ) -> Result<Fetched, SourceError> {
        let Inner { web, keep, .. } = &*self.inner;
        let reference = Reference::parse(&source.image)?;
        let mut registry = match reach {
            Reach::Kept => None,
            Reach::Far => {
                let secret = source.pull_secret.as_ref();
                let credentials = pull_secret(secret, PULL_SECRET, &reference, cluster).await?;
                let place = oci::PLACE;
                let access = Access::Pull;
                Some(Registry::new(web, &reference, place, credentials, access)?)
            }
        };
        let which = reference.digest.as_ref().or(fetch.resolved.as_ref());
        let component = oci::Wanted::Component(fetch.digest.as_deref());
        let most = web.limits().component_bytes;
        let which = which.map(String::as_str);
        let far = registry.as_mut();
        let found = oci::find(&reference, which, component, keep, far, most).await?;
        self.verify(source, &found.digest, cluster, registry.as_mut())
            .await?;
        let bytes = oci::layer(&found, keep, registry.as_mut()).await?;
        Ok(Fetched {
            bytes,
            digest: found.layer.digest,
            image: Some(ResolvedImage {
                image: source.image.clone(),
                digest: found.digest,
            }),
        })
    }

    /// Whether it is signed, where it has to be.
    async fn verify(
        &self,
        source: &ImageSource,
        manifest: &str,
        cluster: Option<&Cluster>,
        registry: Option<&mut Registry>,
    ) -> Result<(), SourceError> {
        let Some(verification) = &source.verify else {
            return Ok(());
        };
        let keys = key::keys(verification, cluster).await?;
        if self.inner.verified.knows(manifest, &keys) {
            return Ok(());
        }
        let registry = registry.ok_or(SourceError::NotKept)?;
        signature::verify(registry, manifest, &keys).await?;
        self.inner.verified.learns(manifest, &keys);
        Ok(())
    }
}

/// Counts a fetch while it runs, also one that is dropped.
struct Running<'a>(&'a Inner);

impl<'a> Running<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.running.fetch_add(1, Ordering::Relaxed);
        Self(inner)
    }

    fn ended(self, got: &Result<Fetched, SourceError>) {
        let counter = match got {
            Ok(_) => &self.0.succeeded,
            Err(_) => &self.0.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn no_cluster(field: &str) -> SourceError {
    SourceError::Unavailable(format!("{field} needs a cluster"))
}

/// Where a component's Secret is named.
const PULL_SECRET: &str = "spec.source.oci.pullSecret";

/// User and password for the registry, from the Secret that is named in this field.
async fn pull_secret(
    named: Option<&ObjectName>,
    field: &'static str,
    reference: &Reference,
    cluster: Option<&Cluster>,
) -> Result<Option<Credentials>, SourceError> {
    let Some(name) = named else {
        return Ok(None);
    };
    let cluster = cluster.ok_or_else(|| no_cluster(field))?;
    let place = format!("{field}: Secret {}/{}", name.namespace, name.name);
    let named = (name.namespace.as_str(), name.name.as_str());
    let secret = object::get(cluster, Kind::Secret, named, field).await?;
    let config = object::value(&secret, Kind::Secret, ".dockerconfigjson").ok_or_else(|| {
        SourceError::Unavailable(format!(
            "{place} has no .dockerconfigjson; make it with `kubectl create secret docker-registry`"
        ))
    })?;
    let registry = &reference.registry;
    let found = Credentials::of_docker_config(&config, registry, &place)?;
    found.map(Some).ok_or_else(|| {
        SourceError::Unavailable(format!(
            "{place} says nothing of {registry}; make it with --docker-server={registry}"
        ))
    })
}

#[cfg(test)]
mod tests;
