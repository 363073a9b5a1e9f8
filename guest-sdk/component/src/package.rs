//! The crate in a folder, as cargo sees it.

use crate::{ComponentError, TARGET, WASI_TARGET};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate that can be a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Cargo's target directory for it.
    pub target: PathBuf,
    /// What it is compiled for.
    pub triple: &'static str,
    /// Crates elsewhere on this machine that it depends on: folder and name; folders inside others
    /// come after those.
    pub local: Vec<(PathBuf, String)>,
}

impl Package {
    /// The crate whose Cargo.toml is in this folder.
    ///
    /// # Errors
    /// There is none, or it has no `cdylib` target.
    pub fn find(folder: &Path) -> Result<Self, ComponentError> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            let reason = "there is no Cargo.toml; `kybern plugin new NAME` makes a crate";
            return Err(wrong(folder, reason));
        }
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(folder)
            .args(["metadata", "--format-version", "1"])
            .args(["--filter-platform", TARGET]);
        let output = cargo.output().map_err(|source| ComponentError::Start {
            program: "cargo",
            source,
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(wrong(folder, said.trim_end()));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| wrong(folder, format!("cargo metadata: {error}")))?;
        Self::of(folder, &manifest, &metadata)
    }

    fn of(folder: &Path, manifest: &Path, metadata: &Value) -> Result<Self, ComponentError> {
        let text = |value: &Value, field: &str| value.get(field)?.as_str().map(str::to_owned);
        let packages = metadata.get("packages").and_then(Value::as_array);
        let here = packages.into_iter().flatten().find(|package| {
            text(package, "manifest_path").is_some_and(|path| Path::new(&path) == manifest)
        });
        let named = here.and_then(|package| Some((package, text(package, "name")?)));
        let target = text(metadata, "target_directory");
        let (Some((package, name)), Some(target)) = (named, target) else {
            let reason = "its Cargo.toml names no package; give the folder of the plugin's crate";
            return Err(wrong(folder, reason));
        };
        let targets = package.get("targets").and_then(Value::as_array);
        let types = targets
            .into_iter()
            .flatten()
            .filter_map(|target| target.get("crate_types"));
        let mut types = types.filter_map(Value::as_array).flatten();
        if types.any(|kind| kind == "cdylib") {
            let wanted = package.get("metadata").unwrap_or(&Value::Null);
            return Ok(Self {
                name,
                target: target.into(),
                triple: triple(wanted).map_err(|reason| wrong(folder, reason))?,
                local: local(folder, metadata),
            });
        }
        Err(wrong(
            folder,
            "the crate is no cdylib; add to its Cargo.toml: [lib] crate-type = [\"cdylib\", \"rlib\"]",
        ))
    }
}

/// What the `[package.metadata]` of a Cargo.toml asks to be compiled for.
///
/// # Errors
/// It names another target than there are; the cure.
pub fn triple(metadata: &Value) -> Result<&'static str, String> {
    let wanted = metadata.pointer("/kybern/target");
    let wanted = wanted.map(|target| target.as_str().unwrap_or_default());
    match wanted {
        None | Some(TARGET) => Ok(TARGET),
        Some(WASI_TARGET) => Ok(WASI_TARGET),
        Some(other) => Err(format!(
            "`target` of [package.metadata.kybern] is `{other}`: use {TARGET} or {WASI_TARGET}"
        )),
    }
}

/// The packages that come from no registry, without the one in this folder.
fn local(folder: &Path, metadata: &Value) -> Vec<(PathBuf, String)> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    let packages = packages.into_iter().flatten();
    let local = packages.filter(|package| package.get("source").is_none_or(Value::is_null));
    let named = local.filter_map(|package| {
        let manifest = Path::new(package.get("manifest_path")?.as_str()?);
        Some((
            manifest.parent()?.to_owned(),
            package.get("name")?.as_str()?.to_owned(),
        ))
    });
    let mut local: Vec<_> = named.filter(|(path, _)| path != folder).collect();
    local.sort();
    local
}

fn wrong(folder: &Path, reason: impl Into<String>) -> ComponentError {
    ComponentError::Package {
        folder: folder.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(path: &str, types: &[&str]) -> Result<Package, String> {
        let metadata = json!({
            "packages": [
                { "name": "web", "manifest_path": path, "source": null, "targets": [{ "crate_types": types }] },
                { "name": "macros", "manifest_path": "/sdk/macros/Cargo.toml", "source": null },
                { "name": "sdk", "manifest_path": "/sdk/Cargo.toml", "source": null },
                { "name": "serde", "manifest_path": "/registry/serde/Cargo.toml", "source": "registry+x" },
            ],
            "target_directory": "/target",
        });
        let folder = Path::new("/web");
        Package::of(folder, &folder.join("Cargo.toml"), &metadata).map_err(|e| e.to_string())
    }

    #[test]
    fn a_cdylib_in_the_folder_is_a_plugin_and_nothing_else_is() {
        let package = of("/web/Cargo.toml", &["cdylib", "rlib"]).unwrap();
        assert_eq!(
            (package.name.as_str(), package.target.as_path()),
            ("web", Path::new("/target"))
        );
        let local = [("/sdk", "sdk"), ("/sdk/macros", "macros")];
        assert_eq!(
            package.local,
            local.map(|(path, name)| (path.into(), name.to_owned()))
        );
        assert!(
            of("/web/Cargo.toml", &["rlib"])
                .unwrap_err()
                .contains("no cdylib")
        );
        let elsewhere = of("/other/Cargo.toml", &["cdylib"]).unwrap_err();
        assert!(elsewhere.contains("names no package"), "{elsewhere}");
    }

    #[test]
    fn a_crate_may_ask_for_wasi_and_nothing_else() {
        let asked = |target: &str| triple(&json!({ "kybern": { "target": target } }));
        assert_eq!(triple(&Value::Null), Ok(TARGET));
        assert_eq!(asked(TARGET), Ok(TARGET));
        assert_eq!(asked(WASI_TARGET), Ok(WASI_TARGET));
        let told = asked("wasm32-wasip1").unwrap_err();
        assert!(told.contains("use wasm32-unknown-unknown or"), "{told}");
    }

    #[test]
    fn a_folder_without_a_crate_is_told_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let error = Package::find(folder.path()).unwrap_err().to_string();
        assert!(error.contains("kybern plugin new"), "{error}");
    }
}
