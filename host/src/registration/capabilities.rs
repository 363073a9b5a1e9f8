//! What act hooks ask for beside writes to the cluster: hosts and secrets.

use super::problem::Problem;
use kybern_interface::{Capability, Manifest, PluginSpec};

/// Capabilities are granted or the plugin does not run: what is not granted is not linked, and
/// effects would fail one by one.
pub(super) fn check(spec: &PluginSpec, manifest: &Manifest) -> Result<(), Problem> {
    for ask in &manifest.capabilities {
        let because = match ask.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        match ask.name {
            Capability::Http if spec.grants.http.is_empty() => {
                return Err(Problem::new(
                    "CapabilityNotGranted",
                    format!(
                        "the plugin {} asks for the capability http{because}: name the hosts that it may reach in spec.grants.http",
                        manifest.name
                    ),
                ));
            }
            Capability::Http => {}
            Capability::Secrets if spec.grants.secrets.is_empty() => {
                return Err(Problem::new(
                    "CapabilityNotGranted",
                    format!(
                        "the plugin {} asks for the capability secrets{because}: name the secrets that it may use in spec.grants.secrets",
                        manifest.name
                    ),
                ));
            }
            Capability::Secrets | Capability::Render => {}
        }
    }
    secrets(spec, manifest)
}

/// Each secret that requests refer to is granted.
fn secrets(spec: &PluginSpec, manifest: &Manifest) -> Result<(), Problem> {
    let granted = |name: &str| spec.grants.secrets.iter().any(|grant| grant.name == name);
    let mut asks = manifest.secrets.iter();
    let Some(ask) = asks.find(|ask| !granted(&ask.name)) else {
        return Ok(());
    };
    let because = match ask.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    Err(Problem::new(
        "CapabilityNotGranted",
        format!(
            "the plugin {} asks for the secret `{}`{because}: say in spec.grants.secrets where it is and which hosts get it",
            manifest.name, ask.name
        ),
    ))
}
