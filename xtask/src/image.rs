//! `cargo xtask image`: the host as an OCI image, FROM scratch: one static program and one folder.
//!
//! # Contract
//! The same program, tag and definition give the same digest; an archive that is there is not made
//! again. Containerfile makes the same image where there is only a container engine: it takes the
//! files from [`stage`], and a test compares the rest with [`Definition`].

mod archive;
mod binary;
#[cfg(test)]
mod tests;

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
    /// Compiled plugins; the one folder that the user may write to.
    compiled: &'static str,
    user: &'static str,
    environment: (&'static str, &'static str),
    /// The version's label comes with the tag.
    labels: &'static [(&'static str, &'static str)],
}

const DEFINITION: Definition = Definition {
    repository: "localhost/kybern",
    program: "/kybern",
    compiled: "/var/cache/kybern",
    user: "65532:65532",
    environment: ("KYBERN_COMPILED", "/var/cache/kybern"),
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
    if let Some(folder) = &args.stage {
        return stage(&program, folder);
    }
    let tag = args.tag.as_deref();
    let output = match &args.output {
        Some(output) => output.clone(),
        None => kept_at(workspace, args.profile, tag),
    };
    pack(workspace, &program, tag, &output)?;
    archive::describe(&output)
}

/// Builds the program and packs it under each of these tags; the archives.
pub(crate) fn build(
    workspace: &Workspace,
    profile: Profile,
    tags: &[Option<&str>],
) -> Result<Vec<PathBuf>> {
    let program = binary::build(workspace, profile)?;
    let packed = tags.iter().map(|tag| {
        let output = kept_at(workspace, profile, *tag);
        pack(workspace, &program, *tag, &output).map(|()| output)
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

/// Makes the image's archive under this tag, if it is not there or not of this program.
fn pack(workspace: &Workspace, program: &Path, tag: Option<&str>, output: &Path) -> Result<()> {
    let tag = tag.unwrap_or(env!("CARGO_PKG_VERSION"));
    let inputs = inputs(program, tag)?;
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
    let packed = commit(program, tag, &work);
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
fn inputs(program: &Path, tag: &str) -> Result<String> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(bytes));
    for words in steps(Path::new("/stage"), tag) {
        hash.update(words.join("\0"));
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Puts the image's files into a folder: `kybern`, `var`, and `cache`, which is empty.
fn stage(program: &Path, folder: &Path) -> Result<()> {
    let into = folder.join("kybern");
    fs::create_dir_all(folder.join("cache"))
        .and_then(|()| fs::create_dir_all(folder.join("var").join("cache")))
        .and_then(|()| fs::copy(program, &into).map(|_| ()))
        .with_context(|| format!("copy the program to {}", into.display()))
}

/// What buildah is told after `from scratch` and before `commit`; `{}` is the container.
fn steps(stage: &Path, tag: &str) -> Vec<Vec<String>> {
    let definition = &DEFINITION;
    let staged = |name: &str| stage.join(name).display().to_string();
    let (name, value) = definition.environment;
    let mut config = vec![
        "config".to_owned(),
        format!("--entrypoint=[\"{}\"]", definition.program),
        format!("--user={}", definition.user),
        format!("--env={name}={value}"),
        format!("--label={VERSION}={tag}"),
    ];
    let labels = definition.labels.iter();
    config.extend(labels.map(|(key, value)| format!("--label={key}={value}")));
    config.push("{}".to_owned());
    let copy = |owner: &str, from: String, to: &str| {
        let words = ["copy", "--quiet", "--chmod=0755", owner, "{}", &from, to];
        words.map(str::to_owned).to_vec()
    };
    vec![
        copy("--chown=0:0", staged("kybern"), definition.program),
        // Or builders would make the user the owner of all folders above the cache.
        copy("--chown=0:0", staged("var"), "/var"),
        copy(
            &format!("--chown={}", definition.user),
            staged("cache"),
            definition.compiled,
        ),
        config,
    ]
}

/// Makes the archive in `work`, where buildah's own files are too.
fn commit(program: &Path, tag: &str, work: &Path) -> Result<PathBuf> {
    let staged = work.join("stage");
    stage(program, &staged)?;
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
