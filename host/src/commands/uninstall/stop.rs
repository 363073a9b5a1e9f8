//! `--stop-deployment`: ends the host, so that nothing takes its finalizers again.

use crate::registration::report::MANAGER;
use crate::terminal::say;
use anyhow::{Context, bail};
use bytes::Bytes;
use kybern_kube::{
    ListOptions, PatchOptions, RequestError, Resource, Target, WriteOptions, Writes,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Most Pods that are read.
const MAX_PODS: usize = 10_000;
/// How long Pods have to end: twice the chart's grace period, and time to notice.
const LIMIT: Duration = Duration::from_secs(90);

/// Namespace and name of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    namespace: String,
    name: String,
}

impl std::str::FromStr for Deployment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err("write it as NAMESPACE/NAME".to_owned()),
        }
    }
}

impl std::fmt::Display for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Scales the Deployment to zero and waits until none of its Pods runs any more.
pub(super) async fn run(writes: &Writes, deployment: &Deployment) -> anyhow::Result<()> {
    let resource = Resource::new("apps", "v1", "Deployment", "deployments", true);
    let target = Target::new(&resource, Some(&deployment.namespace), &deployment.name);
    let none = Bytes::from(json!({ "spec": { "replicas": 0 } }).to_string());
    let options = PatchOptions {
        write: WriteOptions::by(MANAGER),
        subresource: Some("scale".to_owned()),
    };
    let scale = match writes.merge_patch(&target, none, &options).await {
        Ok(raw) => serde_json::from_slice::<Value>(&raw)?,
        Err(RequestError::Api(refused)) if refused.is_not_found() => {
            say!("there is no Deployment {deployment}: nothing to stop");
            return Ok(());
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("Deployment {deployment} cannot be scaled to zero"));
        }
    };
    let Some(selector) = scale
        .pointer("/status/selector")
        .and_then(Value::as_str)
        .filter(|selector| !selector.is_empty())
    else {
        bail!("the scale of Deployment {deployment} names no selector");
    };
    say!("scaled Deployment {deployment} to zero");
    let deadline = crate::clock::monotonic().saturating_add(LIMIT);
    loop {
        let left = running(writes, &deployment.namespace, selector).await?;
        if left.is_empty() {
            return Ok(());
        }
        if crate::clock::monotonic() >= deadline {
            bail!(
                "Pods {} of Deployment {deployment} did not end within {LIMIT:?}; if their node is gone, delete them with --force, then run this again",
                left.join(", ")
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Names of the Pods that have not ended.
async fn running(writes: &Writes, namespace: &str, selector: &str) -> anyhow::Result<Vec<String>> {
    let pods = Resource::new("", "v1", "Pod", "pods", true);
    let options = ListOptions {
        label_selector: Some(selector.to_owned()),
        ..ListOptions::default()
    };
    let page = writes
        .cluster()
        .list_all(&pods, Some(namespace), &options, MAX_PODS)
        .await
        .context("the host's Pods cannot be listed")?;
    let mut left = Vec::new();
    for raw in &page.items {
        let pod: Value = serde_json::from_slice(raw)?;
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
        // An evicted Pod stays on the list long after its containers.
        if !matches!(text("/status/phase"), Some("Succeeded" | "Failed")) {
            left.push(text("/metadata/name").unwrap_or_default().to_owned());
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_with_its_namespace() {
        let parsed: Deployment = "kybern-system/kybern".parse().unwrap();
        assert_eq!(parsed.to_string(), "kybern-system/kybern");
        for wrong in ["kybern", "/kybern", "a/", "a/b/c", ""] {
            assert!(wrong.parse::<Deployment>().is_err(), "{wrong}");
        }
    }
}
