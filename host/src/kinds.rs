//! The kinds that the API server serves: discovery, scalar types, and the names of tables.

pub(crate) mod builtin;
pub(crate) mod types;

use kybern_interface::Gvk;
use kybern_kube::{ApiResource, Cluster, Discovery};
use kybern_reconcile::KindFacts;
use kybern_sql::{Catalog, CatalogTable, PathTypes};
use kybern_table::{KindKey, TableDef};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kind of registrations.
pub(crate) fn plugin_table() -> TableDef {
    own("kybern.dev", "v1alpha1", "Plugin", "plugins")
}

/// The kind of CustomResourceDefinitions: a change of one changes what is served.
pub(crate) fn crd_table() -> TableDef {
    own(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )
}

/// A cluster-scoped table that the host itself needs, known before discovery.
fn own(group: &str, version: &str, kind: &str, plural: &str) -> TableDef {
    TableDef {
        key: KindKey::new(group, version, kind),
        schema: schema(group),
        plural: plural.into(),
        namespaced: false,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    }
}

/// The SQL schema of an API group: `core`, `apps`, `networking_k8s_io`.
pub(crate) fn schema(group: &str) -> String {
    if group.is_empty() {
        "core".into()
    } else {
        group.replace(['.', '-'], "_")
    }
}

/// The plural by English rules, which API conventions follow.
pub(crate) fn english_plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower.ends_with('s')
        || lower.ends_with('x')
        || lower.ends_with("ch")
        || lower.ends_with("sh")
    {
        format!("{lower}es")
    } else if let Some(stem) = lower
        .strip_suffix('y')
        .filter(|s| !s.ends_with(['a', 'e', 'o', 'u']))
    {
        format!("{stem}ies")
    } else {
        format!("{lower}s")
    }
}

/// The table of a served kind.
pub(crate) fn table(resource: &ApiResource) -> TableDef {
    TableDef {
        key: KindKey::new(&*resource.group, &*resource.version, &*resource.kind),
        schema: schema(&resource.group),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced,
        label_keys: vec![kybern_interface::names::PART_OF.into()],
        path_indexes: Vec::new(),
    }
}

/// What is served, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Served {
    resources: BTreeMap<Gvk, ApiResource>,
    failures: Vec<(String, String)>,
    /// Whether discovery has succeeded at all: before it, nothing is known to be absent.
    complete: bool,
}

impl Served {
    /// From a list of resources.
    pub(crate) fn new(resources: Vec<ApiResource>) -> Self {
        Self {
            resources: resources
                .into_iter()
                .map(|r| (Gvk::new(&*r.group, &*r.version, &*r.kind), r))
                .collect(),
            failures: Vec::new(),
            complete: true,
        }
    }

    /// Whether discovery has succeeded at all.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// Why it is not known whether a group's kinds are served; none = what is absent is not served.
    pub(crate) fn unknown(&self, group: &str) -> Option<String> {
        if !self.complete {
            return Some("the API server has not said yet what it serves".into());
        }
        let of_group = |api_version: &str| match api_version.split_once('/') {
            Some((found, _)) => found == group,
            None => group.is_empty(),
        };
        self.failures
            .iter()
            .find(|(api_version, _)| of_group(api_version))
            .map(|(api_version, reason)| format!("{api_version} could not be discovered: {reason}"))
    }

    /// One kind.
    pub(crate) fn get(&self, gvk: &Gvk) -> Option<&ApiResource> {
        self.resources.get(gvk)
    }

    /// Why a kind is not known: its group version could not be discovered, or it is not served.
    pub(crate) fn why_not(&self, gvk: &Gvk) -> String {
        let api_version = gvk.api_version();
        match self.failures.iter().find(|(gv, _)| *gv == api_version) {
            Some((_, reason)) => format!("{api_version} could not be discovered: {reason}"),
            None => format!("{gvk} is not served by this cluster"),
        }
    }

    /// The kind with that group and kind in the API server's preferred version.
    pub(crate) fn preferred(&self, group: &str, kind: &str) -> Option<&ApiResource> {
        let mut versions = self
            .resources
            .values()
            .filter(|r| r.group == group && r.kind == kind);
        let first = versions.clone().next();
        versions.find(|r| r.preferred).or(first)
    }

    /// All kinds.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ApiResource> {
        self.resources.values()
    }
}

/// (group, version) -> kind -> what its schema says.
type Types = BTreeMap<(String, String), BTreeMap<String, KindTypes>>;

/// What is served, kept up to date by whoever notices a change.
#[derive(Clone, Default)]
pub(crate) struct Kinds {
    served: Arc<RwLock<Arc<Served>>>,
    types: Arc<RwLock<Types>>,
    /// Tries that failed, by (group, version): a CRD's schema is published a while after it is served.
    tries: Arc<RwLock<BTreeMap<(String, String), u32>>>,
}

/// Tries after which a group version is taken to publish no schema, until a CRD changes.
const SCHEMA_TRIES: u32 = 8;

/// What the schema says about one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct KindTypes {
    /// Top-level fields beside apiVersion, kind and metadata.
    pub(crate) top_level: Vec<String>,
    /// Scalars by path.
    pub(crate) types: PathTypes,
}

impl Kinds {
    /// What is served now.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read())
    }

    /// Takes in what was found.
    pub(crate) fn set(&self, served: Served) {
        *self.served.write() = Arc::new(served);
    }

    /// Takes in what a schema says.
    pub(crate) fn set_types(&self, group: &str, version: &str, kinds: BTreeMap<String, KindTypes>) {
        self.types
            .write()
            .insert((group.into(), version.into()), kinds);
    }

    /// Asks the API server what it serves. Groups that cannot be discovered keep their reason;
    /// kinds of a group version that failed now but was known before are kept.
    pub(crate) async fn discover(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let Discovery {
            resources,
            failures,
        } = kybern_kube::discover(cluster).await?;
        let before = self.served();
        let mut served = Served::new(resources);
        for failure in failures {
            tracing::warn!(group_version = %failure.group_version, reason = %failure.reason, "an API group could not be discovered; its kinds stay as they were");
            for (gvk, resource) in &before.resources {
                if gvk.api_version() == failure.group_version {
                    served
                        .resources
                        .entry(gvk.clone())
                        .or_insert_with(|| resource.clone());
                }
            }
            served
                .failures
                .push((failure.group_version, failure.reason));
        }
        self.set(served);
        Ok(())
    }

    /// Reads the schema of a group version; without one its paths are JSON text.
    pub(crate) async fn learn_types(&self, cluster: &Cluster, group: &str, version: &str) {
        match kybern_kube::openapi_types(cluster, group, version).await {
            Ok(found) => {
                let kinds = crate::kinds::types::convert(&found);
                self.set_types(group, version, kinds);
            }
            Err(error) => {
                let place = (group.to_owned(), version.to_owned());
                let mut tries = self.tries.write();
                let count = tries.entry(place).or_default();
                *count += 1;
                if *count == SCHEMA_TRIES {
                    tracing::warn!(%group, %version, %error, "no schema: paths of these kinds are read as text");
                }
            }
        }
    }

    /// Whether the schema of a group version is still to be read.
    pub(crate) fn wants_types(&self, group: &str, version: &str) -> bool {
        let place = (group.to_owned(), version.to_owned());
        !self.types.read().contains_key(&place)
            && self
                .tries
                .read()
                .get(&place)
                .is_none_or(|n| *n < SCHEMA_TRIES)
    }

    /// A CRD changed: what its group version publishes may have changed too.
    pub(crate) fn forget_types(&self, group: &str) {
        self.types.write().retain(|(known, _), _| known != group);
        self.tries.write().retain(|(known, _), _| known != group);
    }

    /// Whether the schema of a group version was read.
    pub(crate) fn has_types(&self, group: &str, version: &str) -> bool {
        self.types
            .read()
            .contains_key(&(group.to_owned(), version.to_owned()))
    }

    /// The SQL catalog of everything that is served.
    pub(crate) fn catalog(&self) -> Catalog {
        let served = self.served();
        let types = self.types.read();
        let tables = served
            .all()
            .map(|resource| {
                let known = types
                    .get(&(resource.group.clone(), resource.version.clone()))
                    .and_then(|kinds| kinds.get(&resource.kind))
                    .cloned();
                catalog_table(resource, known)
            })
            .collect();
        Catalog::new(tables)
    }
}

fn catalog_table(resource: &ApiResource, known: Option<KindTypes>) -> CatalogTable {
    let known = known.unwrap_or_else(|| KindTypes {
        top_level: vec!["spec".into(), "status".into(), "data".into()],
        types: PathTypes::default(),
    });
    let can = |verb: &str| resource.can(verb);
    CatalogTable {
        def: table(resource),
        preferred: resource.preferred,
        singular: resource.singular.clone(),
        short_names: resource.short_names.clone(),
        top_level: known.top_level,
        types: known.types,
        listable: can("list"),
        watchable: can("watch"),
    }
}

impl kybern_reconcile::Kinds for Kinds {
    fn facts(&self, gvk: &Gvk) -> Option<KindFacts> {
        self.served().get(gvk).map(|resource| KindFacts {
            plural: resource.plural.clone(),
            namespaced: resource.namespaced,
            has_status: resource.subresources.contains_key("status"),
        })
    }

    fn versions(&self, group: &str, kind: &str) -> Option<Vec<String>> {
        let served = self.served();
        let of = |resource: &&ApiResource| resource.group == group && resource.kind == kind;
        let versions = served.all().filter(of).map(|r| r.version.clone());
        let versions: Vec<String> = versions.collect();
        // What could not be discovered may be served all the same.
        (!versions.is_empty() || served.unknown(group).is_none()).then_some(versions)
    }
}
