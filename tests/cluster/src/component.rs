//! The programs that make a control plane or a node, where each comes from, and how it is found.

use crate::cache::cache;
use crate::golang::{self, Recipe};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Kubernetes' version; go.mod pins the same.
const KUBERNETES: &str = "v1.36.3";

/// A program that a control plane is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers.
    KubeControllerManager,
    /// Binds Pods to Nodes.
    KubeScheduler,
    /// Plays Nodes and Pods.
    Kwok,
    /// Installs charts.
    Helm,
    /// The command line client, of the same version as the API server.
    Kubectl,
    /// Runs Pods.
    Kubelet,
    /// Makes Services' addresses work.
    KubeProxy,
    /// Runs containers.
    Containerd,
    /// One for each Pod: keeps its containers when containerd ends.
    ContainerdShim,
    /// Loads images.
    Ctr,
    /// Keeps artifacts.
    Registry,
}

impl Component {
    /// Name of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Kubectl => "kubectl",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Containerd => "containerd",
            // containerd looks for it by this name.
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Registry => "registry",
        }
    }

    /// The program, if there is one already.
    ///
    /// # Errors
    /// There is no cache directory, or the checkout's go.mod cannot be read.
    pub fn present(self) -> Result<Option<PathBuf>> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let path = Path::new(&assets).join(self.name());
            if path.is_file() {
                return Ok(Some(path));
            }
        }
        let built = self.built_path()?;
        Ok(built.is_file().then_some(built))
    }

    /// The program: from `KUBEBUILDER_ASSETS`, else from the cache, else built with Go.
    ///
    /// # Errors
    /// It is not there and cannot be built; the message says what to install or set.
    pub fn find(self) -> Result<PathBuf> {
        if let Some(path) = self.present()? {
            return Ok(path);
        }
        let path = self.built_path()?;
        golang::build(self.name(), self.version(), &self.recipe(), &path)?;
        Ok(path)
    }

    /// `<cache>/control-plane/<name>-<hash of what determines the build>/<name>`.
    fn built_path(self) -> Result<PathBuf> {
        let short = golang::key(&self.recipe(), &["go.mod", "go.sum"])?;
        Ok(cache()?
            .join("control-plane")
            .join(format!("{}-{short}", self.name()))
            .join(self.name()))
    }

    fn version(self) -> &'static str {
        match self {
            Self::Etcd => "v3.7.3",
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubectl
            | Self::Kubelet
            | Self::KubeProxy => KUBERNETES,
            Self::Kwok => "v0.8.0",
            Self::Helm => "v4.3.1",
            Self::Containerd | Self::ContainerdShim | Self::Ctr => "v2.4.2",
            Self::Registry => "v3.1.2",
        }
    }

    fn recipe(self) -> Recipe {
        let module = |folder: &str, package: &str, flags: &[String]| Recipe::Module {
            folder: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("control-plane")
                .join(folder),
            package: package.to_owned(),
            flags: flags.to_vec(),
        };
        let name = self.name();
        let kubernetes = |folder: &str| {
            module(
                folder,
                &format!("k8s.io/kubernetes/cmd/{name}"),
                &["-ldflags".to_owned(), version_flags()],
            )
        };
        let containerd = || {
            let package = format!("github.com/containerd/containerd/v2/cmd/{name}");
            module("containerd", &package, &[])
        };
        let released = |path: &str| Recipe::Released {
            package: format!("{path}@{}", self.version()),
        };
        match self {
            Self::Etcd => module("etcd", "go.etcd.io/etcd/server/v3", &[]),
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler => {
                kubernetes("kubernetes")
            }
            // Apart from the control plane: another tool in its go.mod would build all of it anew.
            Self::Kubectl | Self::Kubelet | Self::KubeProxy => kubernetes("kubelet"),
            Self::Containerd | Self::ContainerdShim | Self::Ctr => containerd(),
            Self::Registry => {
                let package = "github.com/distribution/distribution/v3/cmd/registry";
                module("registry", package, &[])
            }
            Self::Kwok => released("sigs.k8s.io/kwok/cmd/kwok"),
            Self::Helm => released("helm.sh/helm/v4/cmd/helm"),
        }
    }
}

/// Without them the API server calls itself v0.0.0-master and clients refuse it.
fn version_flags() -> String {
    let package = "k8s.io/component-base/version";
    let mut parts = KUBERNETES.trim_start_matches('v').split('.');
    let major = parts.next().unwrap_or_default();
    let minor = parts.next().unwrap_or_default();
    format!(
        "-X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_go_modules() {
        let read = |folder: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("control-plane")
                .join(folder)
                .join("go.mod");
            std::fs::read_to_string(path).unwrap()
        };
        for folder in ["kubernetes", "kubelet"] {
            let pin = format!("k8s.io/kubernetes {KUBERNETES}");
            assert!(read(folder).contains(&pin), "{folder}/go.mod lacks {pin}");
        }
        let pin = format!("go.etcd.io/etcd/server/v3 {}", Component::Etcd.version());
        assert!(read("etcd").contains(&pin), "go.mod lacks {pin}");
        let pin = format!("containerd/v2 {}", Component::Containerd.version());
        assert!(read("containerd").contains(&pin), "go.mod lacks {pin}");
        let pin = format!("distribution/v3 {}", Component::Registry.version());
        assert!(read("registry").contains(&pin), "go.mod lacks {pin}");
    }

    #[test]
    fn flags_name_the_version() {
        let flags = version_flags();
        assert!(flags.contains("gitVersion=v1.36.3"), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }
}
