//! Kinds that a registration named before and names no longer: its status still does.
//!
//! *Why.* What a plugin made stays its registration's to let go of. The status is written before
//! the first pass over a kind, so that it is never short of one, whenever the host ends.

use kybern_interface::{Gvk, PluginStatus, Registration, ResourceStatus};

/// Kinds that are still to be let go of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Kinds that it was in charge of.
    pub(crate) resources: Vec<Gvk>,
    /// Kinds that it might write.
    pub(crate) written: Vec<Gvk>,
}

impl Dropped {
    /// What the status names and the spec does not. Another version is no other kind.
    pub(crate) fn of(registration: &Registration) -> Self {
        let spec = &registration.spec;
        let named = |kind: &ResourceStatus| {
            spec.resources
                .iter()
                .any(|r| r.group == kind.group && r.kind == kind.kind)
        };
        let granted = |kind: &ResourceStatus| {
            spec.grants
                .write
                .iter()
                .any(|g| g.group == kind.group && g.kinds.contains(&kind.kind))
        };
        let status = &registration.status;
        Self {
            resources: rest(&status.resources, named),
            written: rest(&status.written, granted),
        }
    }

    /// Whether nothing was dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.written.is_empty()
    }

    /// The kinds, for people.
    pub(crate) fn names(&self) -> String {
        let mut names: Vec<String> = self
            .resources
            .iter()
            .chain(&self.written)
            .map(Gvk::to_string)
            .collect();
        names.dedup();
        names.join("; ")
    }
}

fn rest(all: &[ResourceStatus], kept: impl Fn(&ResourceStatus) -> bool) -> Vec<Gvk> {
    all.iter()
        .filter(|kind| !kept(kind))
        .map(|kind| Gvk::new(&*kind.group, &*kind.version, &*kind.kind))
        .collect()
}

/// The kind as a status has it.
pub(crate) fn entry(gvk: &Gvk) -> ResourceStatus {
    ResourceStatus {
        group: gvk.group.clone(),
        version: gvk.version.clone(),
        kind: gvk.kind.clone(),
    }
}

/// Whether the status names every kind that passes of this registration may leave something on.
pub(crate) fn recorded(status: &PluginStatus, resources: &[Gvk], written: &[Gvk]) -> bool {
    let has = |list: &[ResourceStatus], gvk: &Gvk| {
        list.iter()
            .any(|kind| kind.group == gvk.group && kind.kind == gvk.kind)
    };
    resources.iter().all(|gvk| has(&status.resources, gvk))
        && written.iter().all(|gvk| has(&status.written, gvk))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::slice::from_ref;

    /// Names one kind and one grant fewer than its status, which has another version of what it keeps.
    pub(in crate::registration) fn registration(metadata: Value) -> Registration {
        let mut value = json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "file": "x" },
                "resources": [{ "group": "g", "version": "v2", "kind": "Kept" }],
                "grants": { "write": [{ "group": "", "kinds": ["ConfigMap"], "verbs": ["apply"] }] },
            },
            "status": {
                "resources": [
                    { "group": "g", "version": "v1", "kind": "Kept" },
                    { "group": "g", "version": "v1", "kind": "Lost" },
                ],
                "written": [
                    { "group": "", "version": "v1", "kind": "ConfigMap" },
                    { "group": "", "version": "v1", "kind": "Service" },
                ],
            },
        });
        if let (Some(all), Value::Object(more)) = (value["metadata"].as_object_mut(), metadata) {
            all.extend(more);
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_status_names_and_the_spec_does_not_is_dropped_whatever_its_version() {
        let dropped = Dropped::of(&registration(json!({})));
        assert_eq!(dropped.resources, [Gvk::new("g", "v1", "Lost")]);
        assert_eq!(dropped.written, [Gvk::new("", "v1", "Service")]);
        assert_eq!(dropped.names(), "g/v1, Kind=Lost; v1, Kind=Service");
    }

    #[test]
    fn a_kind_that_the_status_does_not_name_is_recorded_first() {
        let status = registration(json!({})).status;
        let kept = Gvk::new("g", "v2", "Kept");
        let map = Gvk::new("", "v1", "ConfigMap");
        assert!(recorded(&status, from_ref(&kept), from_ref(&map)));
        assert!(!recorded(&status, &[kept], &[Gvk::new("", "v1", "Pod")]));
        assert!(!recorded(&status, &[Gvk::new("g", "v1", "New")], &[map]));
    }
}
