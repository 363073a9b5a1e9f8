//! Builds a program with Go, telling the person who waits.

use crate::cache::cache;
use crate::keys::hex;
use crate::spawner::spawn;
use crate::wait::{Progress, Stopwatch, until};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A cold build of the API server takes minutes; past this something hangs.
const LIMIT: Duration = Duration::from_secs(45 * 60);
const TELL_EVERY: Duration = Duration::from_secs(15);

/// How a program is built.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// From a module of this checkout, which pins every dependency.
    Module {
        folder: PathBuf,
        package: String,
        flags: Vec<String>,
    },
    /// As its authors released it, `path@version`.
    Released { package: String },
}

impl Recipe {
    /// Arguments of `go`, without where the result goes.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Module { package, flags, .. } => {
                let mut all = vec!["build"];
                all.extend(flags.iter().map(String::as_str));
                all.push(package);
                all
            }
            Self::Released { package } => vec!["install", package],
        }
    }
}

/// The program of a Go module of this checkout: from the cache, else built.
///
/// # Errors
/// It is not there and cannot be built; the message says what is missing.
pub fn go_program(name: &str, module: &Path) -> Result<PathBuf> {
    let recipe = Recipe::Module {
        folder: module.to_owned(),
        package: ".".to_owned(),
        flags: vec!["-trimpath".to_owned(), "-buildvcs=false".to_owned()],
    };
    let key = key(&recipe, &["go.mod", "go.sum", "main.go"])?;
    let path = cache()?.join("go").join(format!("{name}-{key}")).join(name);
    if !path.is_file() {
        build(name, "of this checkout", &recipe, &path)?;
    }
    Ok(path)
}

/// The native twin of Helm's engine (plugins/helm-engine, package `native`): from the cache, else built.
///
/// # Errors
/// As [`go_program`].
pub fn helm_engine_native() -> Result<PathBuf> {
    let name = "helm-engine";
    let folder = helm_engine_module()?;
    let mut sources = vec!["native.mod".to_owned(), "native.sum".to_owned()];
    for package in ["native", "render"] {
        let entries = std::fs::read_dir(folder.join(package))
            .with_context(|| format!("list the package {package} of {}", folder.display()))?;
        for entry in entries {
            sources.push(format!(
                "{package}/{}",
                entry?.file_name().to_string_lossy()
            ));
        }
    }
    sources.sort();
    let flags = ["-modfile=native.mod", "-tags=native", "-buildvcs=false"];
    let recipe = Recipe::Module {
        folder,
        package: "./native".to_owned(),
        flags: flags.map(str::to_owned).to_vec(),
    };
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let key = key(&recipe, &sources)?;
    let path = cache()?.join("go").join(format!("{name}-{key}")).join(name);
    if !path.is_file() {
        build(name, "as a native program", &recipe, &path)?;
    }
    Ok(path)
}

/// The Go module of Helm's engine in this checkout.
///
/// # Errors
/// It is not there.
pub fn helm_engine_module() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("plugins/helm-engine")
        .canonicalize()
        .context("find plugins/helm-engine")
}

/// What determines a build, in a few letters: its arguments, and these files of its module.
pub(crate) fn key(recipe: &Recipe, files: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    for argument in recipe.arguments() {
        hash.update(argument);
        hash.update([0]);
    }
    if let Recipe::Module { folder, .. } = recipe {
        for file in files {
            let path = folder.join(file);
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            hash.update(bytes);
        }
    }
    Ok(hex(hash.finalize().get(..8).unwrap_or_default()))
}

/// Builds `name` to `path`. Two builds of one program wait for each other.
pub(crate) fn build(name: &str, version: &str, recipe: &Recipe, path: &Path) -> Result<()> {
    let folder = path.parent().context("the program has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let lock = File::create(folder.join(".lock")).context("create the lock file")?;
    lock.lock().context("wait for another build")?;
    if path.is_file() {
        return Ok(());
    }
    require_go(name)?;

    let partial = folder.join("partial");
    std::fs::create_dir_all(&partial)?;
    let built = partial.join(name);
    let mut command = Command::new("go");
    command.stdin(Stdio::null());
    let mut arguments = recipe.arguments();
    let output = built.to_string_lossy();
    match recipe {
        Recipe::Module { folder, .. } => {
            command.current_dir(folder);
            arguments.splice(1..1, ["-o", &output]);
        }
        Recipe::Released { .. } => {
            command.current_dir(&partial).env("GOBIN", &partial);
        }
    }
    // The environment's flags could name other modules than the pinned ones.
    command
        .args(arguments)
        .env_remove("GOFLAGS")
        .env("GOWORK", "off");

    eprintln!(
        "{name} {version}: building with Go (once; it is kept in {})",
        folder.display()
    );
    let watch = Stopwatch::start();
    let mut child = spawn(command).context("start go")?;
    let mut told = Duration::ZERO;
    let status = until(&format!("go build of {name}"), LIMIT, || {
        let elapsed = watch.elapsed();
        if elapsed >= told + TELL_EVERY {
            told = elapsed;
            eprintln!("{name} {version}: still building, {} s", elapsed.as_secs());
        }
        Ok(Progress::from(child.try_wait()?))
    });
    if status.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = status?;
    ensure!(
        status.success(),
        "Go could not build {name} {version} ({status}); its own message is above"
    );
    std::fs::rename(&built, path).with_context(|| format!("move {name} to {}", path.display()))?;
    let _ = std::fs::remove_dir_all(&partial);
    eprintln!("{name} {version}: built in {} s", watch.elapsed().as_secs());
    Ok(())
}

/// Whether there is a Go to build with.
#[must_use]
pub fn is_there() -> bool {
    let asked = Command::new("go").arg("version").output();
    asked.is_ok_and(|output| output.status.success())
}

fn require_go(name: &str) -> Result<()> {
    match Command::new("go").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!(
            "`go version` fails: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{name} is not there, and neither is Go to build it. Install Go 1.26 or newer \
             (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory that holds {name} \
             (`setup-envtest use -p path` prints one with etcd and kube-apiserver)"
        ),
        Err(error) => Err(error).context("run `go version`"),
    }
}
