//! Builds Helm's engine (plugins/helm-engine): Go, then a snapshot of the module after its start-up.
//!
//! # Contract
//! `<cache>/guests/helm-engine.wasm` follows from the module's sources, those of the snapshot, and the
//! version of Go; while they are the same it is not built again. The same ones give the same bytes on
//! every machine. Beside it are the texts of the licences of what is linked into it.

mod licenses;

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
const LICENSES: &str = "helm-engine.licenses.txt";
/// Packages of the standard library, and the small ones that stand in for them.
const STAND_INS: [(&str, &str); 3] = [
    ("net/http", "net_http/http.go"),
    ("crypto/tls", "crypto_tls/tls.go"),
    ("testing", "testing/testing.go"),
];
/// Of the module: what is in the engine, and not what tests and benchmarks take beside.
const SOURCES: [&str; 5] = ["guest", "render", "standin", "std", "stubs"];

/// The engine, built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The module.
    pub(crate) module: PathBuf,
    /// Texts of licences.
    pub(crate) licenses: PathBuf,
}

/// Builds it, or leaves it as it is if nothing changed; none = there is no Go.
pub(crate) fn build(workspace: &Workspace) -> Result<Option<Built>> {
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
    let built = Built {
        module: path.clone(),
        licenses: guests.join(LICENSES),
    };
    let stamp_path = path.with_extension("stamp");
    let stamp = stamp(workspace, &go)?;
    if built.is_there() && fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp) {
        eprintln!("helm-engine: unchanged");
        return Ok(Some(built));
    }
    eprintln!("helm-engine: building with Go (minutes the first time)");
    let compiled = work.join("compiled.wasm");
    let overlay = work.join("overlay.json");
    fs::write(&overlay, overlaid(&go, &folder(workspace).join("std"))?)
        .with_context(|| format!("write {}", overlay.display()))?;
    licenses(workspace, &go, &overlay, &built.licenses)?;
    compile(workspace, &overlay, &compiled)?;
    let taken = work.join("taken.wasm");
    snapshot(workspace, &compiled, &taken)?;
    let _ = fs::remove_file(&stamp_path);
    fs::rename(&taken, &path).with_context(|| format!("write {}", path.display()))?;
    fs::write(&stamp_path, &stamp).with_context(|| format!("write {}", stamp_path.display()))?;
    let bytes = fs::metadata(&path)?.len();
    eprintln!("helm-engine: {bytes} bytes");
    Ok(Some(built))
}

impl Built {
    fn is_there(&self) -> bool {
        self.module.is_file() && self.licenses.is_file()
    }
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("plugins").join("helm-engine")
}

/// Where Go's own sources are.
struct GoRoot {
    version: String,
    folder: PathBuf,
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
            folder: root.into(),
        })
    }
}

fn stamp(workspace: &Workspace, go: &GoRoot) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(include_str!("helm_engine.rs"));
    hash.update(include_str!("helm_engine/licenses.rs"));
    hash.update(&go.version);
    let module = folder(workspace);
    for sources in SOURCES {
        hash_folder(&mut hash, &module.join(sources))?;
    }
    for file in ["go.mod", "go.sum", "licenses.txt"] {
        hash.update(fs::read(module.join(file)).with_context(|| format!("read {file}"))?);
    }
    let helm = workspace.root.join("host").join("helm").join("src");
    for file in ["snapshot.rs", "wasi.rs", "random.rs"] {
        hash.update(fs::read(helm.join(file)).with_context(|| format!("read {file}"))?);
    }
    Ok(format!("{:x}\n", hash.finalize()))
}

/// go, for the module of the engine.
fn go(workspace: &Workspace, overlay: &Path, command: &str) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder(workspace))
        // The environment's flags could name other modules than the pinned ones.
        .env_remove("GOFLAGS")
        .env("GOWORK", "off")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args([command, "-overlay"])
        .arg(overlay);
    go
}

fn compile(workspace: &Workspace, overlay: &Path, to: &Path) -> Result<()> {
    let mut build = go(workspace, overlay, "build");
    build
        .args(["-trimpath", "-buildvcs=false", "-ldflags=-s -w"])
        .args(["-buildmode=c-shared", "-o"])
        .arg(to)
        .arg("./guest");
    succeed(&mut build)
}

fn licenses(workspace: &Workspace, root: &GoRoot, overlay: &Path, to: &Path) -> Result<()> {
    // Not the standard library, which has no module, and not what is in this checkout.
    let line = "{{with .Module}}{{if not (or .Main .Replace)}}\
        {{.Path}}\t{{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}";
    let mut list = go(workspace, overlay, "list");
    list.args(["-deps", "-f", line, "./guest"]);
    let known = folder(workspace).join("licenses.txt");
    licenses::write(&mut list, &known, &root.folder, to)
}

/// What go reads in place of three packages of its own, for this build alone: a quarter of the module.
fn overlaid(go: &GoRoot, stand_ins: &Path) -> Result<String> {
    let mut replaced = BTreeMap::new();
    for (package, stand_in) in STAND_INS {
        let folder = go.folder.join("src").join(package);
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
