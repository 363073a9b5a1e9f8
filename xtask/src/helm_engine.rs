//! Builds Helm's engine (plugins/helm-engine): Go, then a snapshot of the module after its start-up.
//!
//! # Contract
//! `<cache>/guests/helm-engine.wasm` follows from the module's sources, those of the snapshot, and the
//! version of Go; while they are the same it is not built again. The same ones give the same bytes on
//! every machine.

use crate::guests::hash_folder;
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the module is called where it is kept.
const NAME: &str = "helm-engine.wasm";
/// Packages of the standard library, and the small ones that stand in for them.
const STAND_INS: [(&str, &str); 3] = [
    ("net/http", "net_http/http.go"),
    ("crypto/tls", "crypto_tls/tls.go"),
    ("testing", "testing/testing.go"),
];
/// Of the module: what is in the engine, and not what tests and benchmarks take beside.
const SOURCES: [&str; 5] = ["guest", "render", "standin", "std", "stubs"];

/// Builds it, or leaves it as it is if nothing changed; none = there is no Go.
pub(crate) fn build(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let guests = workspace.cache.join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("create {}", guests.display()))?;
    if !kybern_testcluster::go_is_there() {
        eprintln!("helm-engine: left out, for there is no Go (1.26 or newer, https://go.dev/dl)");
        return Ok(None);
    }
    let work = workspace.cache.join("go").join("helm-engine");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let lock = fs::File::create(work.join(".lock")).context("create the lock file")?;
    lock.lock().context("wait for another build of it")?;

    let go = GoRoot::find()?;
    let path = guests.join(NAME);
    let stamp_path = path.with_extension("stamp");
    let stamp = stamp(workspace, &go)?;
    if path.is_file() && fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp) {
        eprintln!("helm-engine: unchanged");
        return Ok(Some(path));
    }
    eprintln!("helm-engine: building with Go (minutes the first time)");
    let compiled = work.join("compiled.wasm");
    compile(workspace, &go, &work, &compiled)?;
    let taken = work.join("taken.wasm");
    snapshot(workspace, &compiled, &taken)?;
    let _ = fs::remove_file(&stamp_path);
    fs::rename(&taken, &path).with_context(|| format!("write {}", path.display()))?;
    fs::write(&stamp_path, &stamp).with_context(|| format!("write {}", stamp_path.display()))?;
    let bytes = fs::metadata(&path)?.len();
    eprintln!("helm-engine: {bytes} bytes");
    Ok(Some(path))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("plugins").join("helm-engine")
}

/// Where Go's own sources are.
struct GoRoot {
    version: String,
    sources: PathBuf,
}

impl GoRoot {
    fn find() -> Result<Self> {
        let output = Command::new("go")
            .args(["env", "GOVERSION", "GOROOT"])
            .output()
            .context("start go")?;
        ensure!(output.status.success(), "`go env` failed");
        let text = String::from_utf8(output.stdout).context("what go prints is UTF-8")?;
        let (version, root) = text.trim().split_once('\n').context("`go env` is short")?;
        Ok(Self {
            version: version.to_owned(),
            sources: Path::new(root).join("src"),
        })
    }
}

fn stamp(workspace: &Workspace, go: &GoRoot) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(include_str!("helm_engine.rs"));
    hash.update(&go.version);
    let module = folder(workspace);
    for sources in SOURCES {
        hash_folder(&mut hash, &module.join(sources))?;
    }
    for file in ["go.mod", "go.sum"] {
        hash.update(fs::read(module.join(file)).with_context(|| format!("read {file}"))?);
    }
    let helm = workspace.root.join("host").join("helm").join("src");
    for file in ["snapshot.rs", "wasi.rs", "random.rs"] {
        hash.update(fs::read(helm.join(file)).with_context(|| format!("read {file}"))?);
    }
    Ok(format!("{:x}\n", hash.finalize()))
}

fn compile(workspace: &Workspace, go: &GoRoot, work: &Path, to: &Path) -> Result<()> {
    let module = folder(workspace);
    let overlay = work.join("overlay.json");
    fs::write(&overlay, overlaid(go, &module.join("std"))?)
        .with_context(|| format!("write {}", overlay.display()))?;
    let mut command = Command::new("go");
    command
        .current_dir(&module)
        // The environment's flags could name other modules than the pinned ones.
        .env_remove("GOFLAGS")
        .env("GOWORK", "off")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"])
        .args(["-buildmode=c-shared", "-overlay"])
        .arg(&overlay)
        .arg("-o")
        .arg(to)
        .arg("./guest");
    succeed(&mut command)
}

/// What go reads in place of three packages of its own, for this build alone: a quarter of the module.
fn overlaid(go: &GoRoot, stand_ins: &Path) -> Result<String> {
    let mut replaced = BTreeMap::new();
    for (package, stand_in) in STAND_INS {
        let folder = go.sources.join(package);
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "go") {
                replaced.insert(path, PathBuf::new());
            }
        }
        replaced.insert(folder.join("stand_in.go"), stand_ins.join(stand_in));
    }
    Ok(json!({"Replace": replaced}).to_string())
}

fn snapshot(workspace: &Workspace, from: &Path, to: &Path) -> Result<()> {
    let program = "kybern-helm-snapshot";
    let mut build = workspace.cargo();
    build.args(["build", "--package", "kybern-helm", "--bin", program]);
    succeed(&mut build)?;
    let program = workspace.target().join("debug").join(program);
    succeed(Command::new(program).args([from, to]))
}
