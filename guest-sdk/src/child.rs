//! One child of a plan: an object that should exist, and how it is kept.

use crate::Value;
use kybern_interface::{Adoption, ApplyMode, ApplyObject, ImmutablePolicy, PrunePolicy};
use serde::Serialize;

/// An object that should exist. Without further words it is kept as planned,
/// in wave 0, and pruned when a later plan no longer names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    pub(crate) apply: ApplyObject,
    /// Why the object could not be turned into JSON; told when the plan is built.
    pub(crate) unserializable: Option<String>,
}

impl Child {
    /// An object with the fields that the plugin cares about, at least
    /// apiVersion, kind and metadata.name. A missing namespace is the CR's.
    pub fn new(object: impl Serialize) -> Self {
        let (object, unserializable) = match serde_json::to_value(object) {
            Ok(object) => (object, None),
            Err(error) => (Value::Null, Some(error.to_string())),
        };
        Self {
            apply: ApplyObject {
                object,
                mode: ApplyMode::Managed,
                wave: 0,
                ready: false,
                on_immutable: ImmutablePolicy::Fail,
                adopt: Adoption::Never,
                prune: PrunePolicy::Delete,
                during_deletion: false,
                ignore_paths: Vec::new(),
            },
            unserializable,
        }
    }

    /// Lower waves are written first.
    #[must_use]
    pub fn wave(mut self, wave: i32) -> Self {
        self.apply.wave = wave;
        self
    }

    /// The next wave waits until this object is ready (kstatus).
    #[must_use]
    pub fn ready(mut self) -> Self {
        self.apply.ready = true;
        self
    }

    /// Created if absent, then never changed: generated passwords, Jobs.
    #[must_use]
    pub fn create_once(mut self) -> Self {
        self.apply.mode = ApplyMode::CreateOnce;
        self
    }

    /// Deleted and created again when the API server says that a field cannot change.
    #[must_use]
    pub fn recreate_if_immutable(mut self) -> Self {
        self.apply.on_immutable = ImmutablePolicy::Recreate;
        self
    }

    /// Takes over an existing object that has no controller, if the grant says `adopt`.
    #[must_use]
    pub fn adopt_if_unowned(mut self) -> Self {
        self.apply.adopt = Adoption::IfUnowned;
        self
    }

    /// When a later plan no longer names it, it loses its ownerReference and stays.
    #[must_use]
    pub fn orphan(mut self) -> Self {
        self.apply.prune = PrunePolicy::Orphan;
        self
    }

    /// When a later plan no longer names it, it stays a child.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.apply.prune = PrunePolicy::Keep;
        self
    }

    /// Also applied while the CR is being deleted.
    #[must_use]
    pub fn during_deletion(mut self) -> Self {
        self.apply.during_deletion = true;
        self
    }

    /// Hands a field over to other managers, like `spec.replicas` to an autoscaler.
    #[must_use]
    pub fn ignore(mut self, path: impl Into<String>) -> Self {
        self.apply.ignore_paths.push(path.into());
        self
    }
}

impl<T: Serialize> From<T> for Child {
    fn from(object: T) -> Self {
        Self::new(object)
    }
}
