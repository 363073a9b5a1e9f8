//! `cargo xtask image`: the host as an OCI image, FROM scratch: one static program, Helm's engine and
//! one folder.
//!
//! # Contract
//! The same program, engine, tag and definition give the same digest; an archive that is there is not made
//! again. Containerfile makes the same image where there is only a container engine: it takes the
//! files from `stage`, and a test compares the rest with [`Definition`].

mod archive;
mod binary;
#[cfg(test)]
mod tests;

use crate::helm_engine;
use crate::workspace::{Workspace, succeed, words};
use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use binary::Profile;

/// `cargo xtask image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// How the program is compiled; what is not `dist` is for tests alone.
    #[arg(long, value_enum, default_value_t = Profile::Dist)]
    profile: Profile,
    /// Tag and version label; without it the workspace's version.
    #[arg(long)]
    tag: Option<String>,
    /// The OCI archive to write; without it `image/PROFILE/kybern.tar` in the cache, or
    /// `image/PROFILE/kybern-TAG.tar` with a tag.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Takes the program as it was last built.
    #[arg(long)]
    no_build: bool,
    /// Only puts the image's files into this folder, for another builder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tag", "output"])]
    stage: Option<PathBuf>,
}

/// What the image is beside its files.
struct Definition {
    repository: &'static str,
    program: &'static str,
    /// Helm's engine, and the texts of its licences.
    engine: &'static str,
    licenses: &'static str,
    /// Compiled plugins; the one folder that the user may write to.
    compiled: &'static str,
    user: &'static str,
    environment: [(&'static str, &'static str); 2],
    /// The version's label comes with the tag.
    labels: &'static [(&'static str, &'static str)],
}

const DEFINITION: Definition = Definition {
    repository: "localhost/kybern",
    program: "/kybern",
    engine: "/usr/share/kybern/helm-engine.wasm",
    licenses: "/usr/share/kybern/helm-engine.licenses.txt",
    compiled: "/var/cache/kybern",
    user: "65532:65532",
    environment: [
        ("KYBERN_COMPILED", "/var/cache/kybern"),
        ("KYBERN_HELM_ENGINE", "/usr/share/kybern/helm-engine.wasm"),
    ],
    labels: &[
        ("org.opencontainers.image.title", "kybern"),
        (
            "org.opencontainers.image.description",
            "Operator host for Kubernetes: sandboxed WebAssembly plugins over a SQL picture of the cluster",
        ),
        ("org.opencontainers.image.licenses", "Apache-2.0"),
    ],
};

/// The version's label.
const VERSION: &str = "org.opencontainers.image.version";

/// Builds what is asked for and says what is in it.
pub(crate) fn run(workspace: &Workspace, args: &ImageArgs) -> Result<()> {
    let program = if args.no_build {
        binary::as_built(workspace, args.profile)?
    } else {
        binary::build(workspace, args.profile)?
    };
    let files = Files::with(workspace, program)?;
    if let Some(folder) = &args.stage {
        return files.stage(folder);
    }
    let tag = args.tag.as_deref();
    let output = match &args.output {
        Some(output) => output.clone(),
        None => kept_at(workspace, args.profile, tag),
    };
    pack(workspace, &files, tag, &output)?;
    archive::describe(&output)
}

/// Builds the program and packs it under each of these tags; the archives.
pub(crate) fn build(
    workspace: &Workspace,
    profile: Profile,
    tags: &[Option<&str>],
) -> Result<Vec<PathBuf>> {
    let files = Files::with(workspace, binary::build(workspace, profile)?)?;
    let packed = tags.iter().map(|tag| {
        let output = kept_at(workspace, profile, *tag);
        pack(workspace, &files, *tag, &output).map(|()| output)
    });
    packed.collect()
}

/// The program as it was last built for the image.
pub(crate) fn program(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    binary::as_built(workspace, profile)
}

/// Where the image's archive is kept; without a tag that of the workspace's version.
pub(crate) fn kept_at(workspace: &Workspace, profile: Profile, tag: Option<&str>) -> PathBuf {
    let folder = workspace.cache.join("image").join(profile.name());
    match tag {
        None => folder.join("kybern.tar"),
        Some(tag) => folder.join(format!("kybern-{tag}.tar")),
    }
}

/// What the image is made of.
struct Files {
    program: PathBuf,
    engine: PathBuf,
    licenses: PathBuf,
}

impl Files {
    /// This program, and Helm's engine, which is built if it has to be.
    fn with(workspace: &Workspace, program: PathBuf) -> Result<Self> {
        let built = helm_engine::build(workspace)?;
        let built = built.context("the image holds Helm's engine: install Go 1.26 or newer")?;
        Ok(Self {
            program,
            engine: built.module,
            licenses: built.licenses,
        })
    }

    /// Puts them into a folder, and beside them `var`, and `cache`, which is empty.
    fn stage(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder.join("cache"))
            .and_then(|()| fs::create_dir_all(folder.join("var").join("cache")))
            .with_context(|| format!("make folders in {}", folder.display()))?;
        for (file, name) in [
            (&self.program, "kybern"),
            (&self.engine, "helm-engine.wasm"),
            (&self.licenses, "helm-engine.licenses.txt"),
        ] {
            let into = folder.join(name);
            fs::copy(file, &into)
                .with_context(|| format!("copy {} to {}", file.display(), into.display()))?;
        }
        Ok(())
    }
}

/// Makes the image's archive under this tag, if it is not there or not of these files.
fn pack(workspace: &Workspace, files: &Files, tag: Option<&str>, output: &Path) -> Result<()> {
    let tag = tag.unwrap_or(env!("CARGO_PKG_VERSION"));
    let inputs = inputs(files, tag)?;
    let noted = output.with_extension("inputs");
    if output.is_file() && fs::read_to_string(&noted).is_ok_and(|before| before == inputs) {
        println!("image: {} is up to date", output.display());
        return Ok(());
    }
    binary::need("buildah", "buildah")?;
    let folder = workspace.cache.join("image");
    let beside = output.parent().unwrap_or(&folder);
    for needed in [&folder, beside] {
        fs::create_dir_all(needed).with_context(|| format!("create {}", needed.display()))?;
    }
    let work = folder.join(format!("work.{}", std::process::id()));
    let packed = commit(files, tag, &work);
    let kept = packed.and_then(|archive| {
        let _ = fs::remove_file(&noted);
        fs::rename(&archive, output)
            .or_else(|_| fs::copy(&archive, output).map(|_| ()))
            .and_then(|()| fs::write(&noted, inputs))
            .with_context(|| format!("write {}", output.display()))
    });
    let _ = fs::remove_dir_all(&work);
    kept
}

/// All that the image depends on, as one hash.
fn inputs(files: &Files, tag: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in [&files.program, &files.engine, &files.licenses] {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        hash.update(Sha256::digest(bytes));
    }
    for words in steps(Path::new("/stage"), tag) {
        hash.update(words.join("\0"));
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// What buildah is told after `from scratch` and before `commit`; `{}` is the container.
fn steps(stage: &Path, tag: &str) -> Vec<Vec<String>> {
    let definition = &DEFINITION;
    let staged = |name: &str| stage.join(name).display().to_string();
    let mut config = vec![
        "config".to_owned(),
        format!("--entrypoint=[\"{}\"]", definition.program),
        format!("--user={}", definition.user),
        format!("--label={VERSION}={tag}"),
    ];
    let environment = definition.environment.iter();
    config.extend(environment.map(|(name, value)| format!("--env={name}={value}")));
    let labels = definition.labels.iter();
    config.extend(labels.map(|(key, value)| format!("--label={key}={value}")));
    config.push("{}".to_owned());
    let copy = |mode: &str, owner: &str, from: &str, to: &str| {
        let words = ["copy", "--quiet", mode, owner, "{}", &staged(from), to];
        words.map(str::to_owned).to_vec()
    };
    let (run, read) = ("--chmod=0755", "--chmod=0644");
    vec![
        copy(run, "--chown=0:0", "kybern", definition.program),
        copy(read, "--chown=0:0", "helm-engine.wasm", definition.engine),
        copy(
            read,
            "--chown=0:0",
            "helm-engine.licenses.txt",
            definition.licenses,
        ),
        // Or builders would make the user the owner of all folders above the cache.
        copy(run, "--chown=0:0", "var", "/var"),
        copy(
            run,
            &format!("--chown={}", definition.user),
            "cache",
            definition.compiled,
        ),
        config,
    ]
}

/// Makes the archive in `work`, where buildah's own files are too.
fn commit(files: &Files, tag: &str, work: &Path) -> Result<PathBuf> {
    let staged = work.join("stage");
    files.stage(&staged)?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(work.join("root"))
            .arg("--runroot")
            .arg(work.join("run"))
            .args(["--storage-driver", "vfs"])
            .stdout(std::process::Stdio::null());
        command
    };
    let output = buildah()
        .args(["from", "scratch"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start buildah")?;
    ensure!(output.status.success(), "buildah from: {}", output.status);
    let container = String::from_utf8(output.stdout).context("a container's name is UTF-8")?;
    let container = container.trim();
    for step in steps(&staged, tag) {
        let step = step
            .iter()
            .map(|word| if word == "{}" { container } else { word });
        succeed(buildah().args(step))?;
    }
    let archive = work.join("kybern.tar");
    let target = format!(
        "oci-archive:{}:{}:{tag}",
        archive.display(),
        DEFINITION.repository
    );
    // No times and no version of buildah: the same files give the same digest.
    let mut commit = buildah();
    commit
        .args(["commit", "--quiet", "--rm", "--format=oci", "--timestamp=0"])
        .args(["--disable-compression=false", "--identity-label=false"])
        .args([container, &target]);
    succeed(&mut commit)?;
    ensure!(archive.is_file(), "`{}` wrote no archive", words(&commit));
    Ok(archive)
}
