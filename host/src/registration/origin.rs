//! What can be said of where a component comes from without fetching it.

use super::limits;
use super::problem::Problem;
use crate::source::{self, BundleSource, Reference, SourceError, is_digest};
use kybern_interface::{PluginSpec, Source};

/// The first thing that is wrong with the source and the digest.
pub(crate) fn check(spec: &PluginSpec, host_namespace: &str) -> Result<(), Problem> {
    one(&spec.source)?;
    if let Some(digest) = &spec.digest
        && !is_digest(digest)
    {
        return Err(Problem::new(
            "InvalidDigest",
            format!(
                "spec.digest `{digest}` is not `sha256:` and 64 lower-case hex digits; `kybern plugin inspect FILE` prints it"
            ),
        ));
    }
    place(&spec.source)?;
    // What is no bundle is told to plugins that interpret one: others may have a setting of its name.
    if let Ok(Some(bundle)) = BundleSource::of(&spec.settings)
        && let Some(why) = bundle.unpinned(host_namespace)
    {
        return Err(Problem::new("DigestRequired", why));
    }
    pinned(spec, host_namespace)
}

/// Whether there can be something where a source says.
pub(super) fn place(source: &Source) -> Result<(), Problem> {
    one(source)?;
    let problem = |error: SourceError| error.problem(true);
    if let Some(source) = &source.http {
        source::address(&source.url).map_err(problem)?;
    }
    if let Some(source) = &source.oci {
        Reference::parse(&source.image).map_err(problem)?;
        limits::poll_interval(source)?;
    }
    Ok(())
}

/// Exactly one of them.
fn one(source: &Source) -> Result<(), Problem> {
    let given = [
        source.file.is_some(),
        source.config_map.is_some(),
        source.oci.is_some(),
        source.http.is_some(),
    ];
    if given.iter().filter(|given| **given).count() == 1 {
        return Ok(());
    }
    Err(Problem::new(
        "InvalidSource",
        "spec.source must name exactly one of file, configMap, oci, http",
    ))
}

/// Whether there is a digest where others could replace the code.
fn pinned(spec: &PluginSpec, host_namespace: &str) -> Result<(), Problem> {
    if spec.digest.is_some() {
        return Ok(());
    }
    let required = |message: String| Err(Problem::new("DigestRequired", message));
    if let Some(source) = &spec.source.config_map
        && source.namespace != host_namespace
    {
        return required(format!(
            "spec.digest is required because ConfigMap {}/{} is outside the host's namespace {host_namespace}: whoever may edit it could replace the code",
            source.namespace, source.name
        ));
    }
    if spec.source.http.is_some() {
        return required(
            "spec.digest is required for spec.source.http: whoever answers for the address could replace the code; `kybern plugin inspect FILE` prints it".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(spec: Value) -> Option<&'static str> {
        let spec: PluginSpec = serde_json::from_value(spec).unwrap();
        check(&spec, "kybern").err().map(|problem| problem.reason)
    }

    #[test]
    fn each_fault_of_a_source_has_its_reason() {
        let map = |namespace: &str| json!({ "configMap": { "namespace": namespace, "name": "n", "key": "k" } });
        let http = |url: &str| json!({ "http": { "url": url } });
        let polled = json!({ "oci": { "image": "r.example/app:v1", "pollInterval": "1s" } });
        for (source, told) in [
            (json!({}), Some("InvalidSource")),
            (
                json!({ "file": "x", "http": { "url": "https://a/b" } }),
                Some("InvalidSource"),
            ),
            (json!({ "file": "x" }), None),
            (map("kybern"), None),
            (map("other"), Some("DigestRequired")),
            (http("u"), Some("InvalidSource")),
            (http("ftp://a/b"), Some("InvalidSource")),
            (http("https://u:p@a/b"), Some("InvalidSource")),
            (http("https://a/b"), Some("DigestRequired")),
            (
                json!({ "oci": { "image": "app:v1" } }),
                Some("InvalidSource"),
            ),
            (json!({ "oci": { "image": "r.example/app:v1" } }), None),
            (polled, Some("InvalidSource")),
        ] {
            assert_eq!(reason(json!({ "source": source })), told, "{source}");
        }
        let digest =
            |digest: String| reason(json!({ "source": http("https://a/b"), "digest": digest }));
        assert_eq!(digest("sha256:12".to_owned()), Some("InvalidDigest"));
        assert_eq!(digest(source::digest(b"")), None);
    }
}
