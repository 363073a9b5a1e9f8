//! From a `Plugin` object to a loaded, checked plugin.

use super::check;
use super::controller::{Controller, Role};
use super::crds::{self, Installed};
use super::prepared::Prepared;
use super::problem::{Problem, of_load};
use super::{limits, settings};
use crate::source;
use kybern_interface::Registration;
use std::sync::Arc;

impl Controller {
    /// From the object to a loaded, checked plugin.
    pub(super) async fn prepare(
        &self,
        registration: &Arc<Registration>,
        all: &[Arc<Registration>],
        role: &Role,
    ) -> Result<Prepared, Problem> {
        let spec = &registration.spec;
        check::spec(spec, &self.namespace)?;
        check::conflicts(registration, all)?;
        let limits = limits::of(&spec.limits)?;
        let bytes = source::fetch(&spec.source, Some(&self.cluster)).await?;
        let digest = source::digest(&bytes);
        if let Some(wanted) = &spec.digest
            && *wanted != digest
        {
            return Err(Problem::passing(
                "DigestMismatch",
                format!(
                    "spec.digest is {wanted}, but the source holds {digest}; pin the digest that you reviewed, or restore the source"
                ),
            ));
        }
        // A standby runs what the leader promoted, nothing else.
        if let (Role::Standby, Some(active)) = (role, &registration.status.active)
            && active.digest != digest
        {
            return Err(Problem::passing(
                "WaitingForLeader",
                format!("the source holds {digest}; the leader has not promoted it yet"),
            ));
        }
        let runtime = self.runtime.clone();
        let plugin = tokio::task::spawn_blocking(move || runtime.load(&bytes))
            .await
            .map_err(|_| Problem::passing("LoadFailed", "loading was interrupted"))?
            .map_err(|error| of_load(&error))?;
        let manifest = Arc::new(plugin.manifest().clone());
        check::manifest(spec, &manifest)?;
        let settings = settings::resolve(&spec.settings, &manifest.settings_schema)?;
        let mut crds_at = None;
        if matches!(role, Role::Leader(_)) {
            let manager = registration.field_manager();
            let installed =
                crds::install(&self.writes, spec.crds, &manifest.crds, &manager).await?;
            if installed == Installed::Changed {
                crds_at = Some(crate::clock::monotonic());
            }
        }
        Ok(Prepared {
            registration: Arc::clone(registration),
            plugin,
            manifest,
            settings,
            limits,
            crds_at,
        })
    }
}
