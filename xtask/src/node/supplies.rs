//! What a node is started with: programs, images, and the host under test.

use super::Places;
use crate::image::{self, Profile};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use kybern_testcluster::Component;
use std::path::PathBuf;

/// What the node runs, and what its tests call.
const COMPONENTS: [Component; 11] = [
    Component::Etcd,
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
    Component::Kubelet,
    Component::KubeProxy,
    Component::Containerd,
    Component::ContainerdShim,
    Component::Ctr,
    Component::Kubectl,
    Component::Helm,
];

/// Tags of the host's images: as it is released, and the one that upgrades go to.
const TAGS: [Option<&str>; 2] = [None, Some("next")];

/// Whether the host is built first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Its images are built from the checkout.
    Build,
    /// Its images are taken as they were last built.
    Take,
}

/// Everything built.
#[derive(Debug)]
pub(super) struct Supplies {
    /// Folder with links to the programs.
    pub(super) programs: PathBuf,
    /// Archives of the images to load.
    pub(super) images: Vec<PathBuf>,
    /// The host as it lies in the image, once it has been built: static, so it runs here too.
    pub(super) kybern: Option<PathBuf>,
}

impl Supplies {
    /// Finds or builds all of it.
    pub(super) fn gather(workspace: &Workspace, host: Host, profile: Profile) -> Result<Self> {
        let programs = link_programs(workspace)?;
        let mut images = own_images(workspace)?;
        images.extend(match host {
            Host::Build => image::build(workspace, profile, &TAGS)?,
            Host::Take => built_images(workspace, profile),
        });
        Ok(Self {
            programs,
            images,
            kybern: image::program(workspace, profile).ok(),
        })
    }
}

/// One folder for the PATH; the programs themselves lie where the test cluster keeps its own.
fn link_programs(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("node").join("bin");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for component in COMPONENTS {
        let program = component.find()?;
        let link = folder.join(component.name());
        if std::fs::read_link(&link).is_ok_and(|to| to == program) {
            continue;
        }
        // Renamed into place: a node that runs may look for it at this moment.
        let new = folder.join(format!(".{}", component.name()));
        let _ = std::fs::remove_file(&new);
        std::os::unix::fs::symlink(&program, &new)
            .and_then(|()| std::fs::rename(&new, &link))
            .with_context(|| format!("link {}", link.display()))?;
    }
    Ok(folder)
}

/// The images of the node itself.
fn own_images(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let output = Places::of(workspace)
        .script(workspace, "images.sh")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start images.sh")?;
    ensure!(
        output.status.success(),
        "images.sh failed ({})",
        output.status
    );
    let lines = String::from_utf8(output.stdout).context("paths are UTF-8")?;
    Ok(lines.lines().map(PathBuf::from).collect())
}

/// The host's images, those that there are.
fn built_images(workspace: &Workspace, profile: Profile) -> Vec<PathBuf> {
    let archives = TAGS.map(|tag| image::kept_at(workspace, profile, tag));
    archives
        .into_iter()
        .filter(|archive| archive.is_file())
        .collect()
}
