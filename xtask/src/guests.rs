//! Builds guest crates into components, each with its manifest embedded.
//!
//! # Contract
//! A guest is a workspace package with a `cdylib` target. It is compiled for
//! wasm32-unknown-unknown (or wasm32-wasip2, if it asks for that) in a target directory of its own, made into a
//! component, and written to `<cache>/guests/<name>.wasm` (dashes become
//! underscores). A guest whose sources, dependencies and toolchain are
//! unchanged is not built again. The same sources give the same bytes on every
//! machine: local paths are mapped away.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use kybern_component::{Build, componentize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One built guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The package's name.
    pub(crate) name: String,
    /// The component.
    pub(crate) path: PathBuf,
    /// `sha256:` and the digest of the component's bytes.
    pub(crate) digest: String,
}

/// Builds the guests `names` into `<cache>/guests`, or leaves them as they are if nothing changed.
pub(crate) fn build(cache: &Path, names: &[&str]) -> Result<Vec<Guest>> {
    let out = cache.join("guests");
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    // Two builds at once would write the same files; the lock goes with the file handle.
    let lock = fs::File::create(out.join(".lock")).context("create the lock file")?;
    lock.lock()
        .context("wait for another build of the guests")?;

    let root = workspace_root()?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .context("read the workspace's metadata")?;
    names
        .iter()
        .map(|name| {
            build_one(cache, &root, &metadata, name).with_context(|| format!("guest {name}"))
        })
        .collect()
}

fn build_one(cache: &Path, root: &Path, metadata: &Metadata, name: &str) -> Result<Guest> {
    let file = name.replace('-', "_");
    let path = cache.join("guests").join(format!("{file}.wasm"));
    let stamp_path = path.with_extension("stamp");
    let stamp = stamp(root, metadata, name)?;
    if path.is_file() && fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp) {
        let guest = guest(name, &path)?;
        eprintln!("guest {name}: unchanged ({})", short(&guest.digest));
        return Ok(guest);
    }
    eprintln!("guest {name}: building");
    let triple = triple(metadata, name)?;
    let module_path = kybern_component::compile(&Build {
        folder: root,
        package: name,
        target: &cache.join("guests-target"),
        triple,
        called: "kybern",
        local: &[],
        quiet: true,
    })?;
    let module = fs::read(&module_path)
        .with_context(|| format!("read {}: is it a cdylib?", module_path.display()))?;
    let component = componentize(&module)?;

    // The stamp goes first and comes last, so that an interrupted build is not taken for a finished one.
    let _ = fs::remove_file(&stamp_path);
    let partial = path.with_extension("partial");
    fs::write(&partial, &component).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("write {}", path.display()))?;
    fs::write(&stamp_path, &stamp).with_context(|| format!("write {}", stamp_path.display()))?;

    let guest = guest(name, &path)?;
    eprintln!(
        "guest {name}: {} bytes ({})",
        component.len(),
        short(&guest.digest)
    );
    Ok(guest)
}

fn triple(metadata: &Metadata, name: &str) -> Result<&'static str> {
    let mut packages = metadata.workspace_packages().into_iter();
    let package = packages.find(|package| package.name.as_str() == name);
    let package = package.context("no such package in the workspace")?;
    kybern_component::triple(&package.metadata).map_err(anyhow::Error::msg)
}

fn guest(name: &str, path: &Path) -> Result<Guest> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Guest {
        name: name.to_owned(),
        path: path.to_owned(),
        digest: format!("sha256:{:x}", Sha256::digest(&bytes)),
    })
}

fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

fn workspace_root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().context("xtask lies in the workspace")?;
    root.canonicalize().context("find the workspace")
}

/// What the component depends on: sources and manifests of the workspace's packages in it,
/// exact versions of the others, toolchain, and how it is built.
fn stamp(root: &Path, metadata: &Metadata, name: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(include_str!("guests.rs"));
    hash_folder(&mut hash, &root.join("guest-sdk/component/src"))?;
    for file in ["Cargo.toml", "rust-toolchain.toml", ".cargo/config.toml"] {
        hash.update(fs::read(root.join(file)).unwrap_or_default());
    }
    for package in closure(metadata, name)?.values() {
        hash.update(package.name.as_str());
        hash.update(package.version.to_string());
        match &package.source {
            Some(source) => hash.update(&source.repr),
            None => {
                let folder = package.manifest_path.parent().context("package folder")?;
                hash_folder(&mut hash, folder.as_std_path())?;
            }
        }
    }
    Ok(format!("{:x}\n", hash.finalize()))
}

/// The package and everything that it is built from, without what only its tests need.
fn closure<'a>(metadata: &'a Metadata, name: &str) -> Result<BTreeMap<PackageId, &'a Package>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("no resolved dependencies")?;
    let guest = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == name)
        .context("no such package in the workspace")?;
    let mut found = BTreeMap::new();
    let mut open = vec![guest.id.clone()];
    while let Some(id) = open.pop() {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.id == id)
            .context("a dependency is not in the metadata")?;
        if found.insert(id.clone(), package).is_some() {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id);
        for dependency in node.map(|node| node.deps.as_slice()).unwrap_or_default() {
            let only_tests = dependency
                .dep_kinds
                .iter()
                .all(|kind| kind.kind == DependencyKind::Development);
            if !only_tests {
                open.push(dependency.pkg.clone());
            }
        }
    }
    Ok(found)
}

/// Names and contents of all files below a folder, but for hidden ones and what was built.
pub(crate) fn hash_folder(hash: &mut Sha256, folder: &Path) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .and_then(Iterator::collect)
        .with_context(|| format!("list {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = entry.path();
        hash.update(name.as_bytes());
        if path.is_dir() {
            hash_folder(hash, &path)?;
        } else {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            hash.update(u64::try_from(bytes.len())?.to_le_bytes());
            hash.update(&bytes);
        }
    }
    Ok(())
}
