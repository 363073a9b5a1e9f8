//! `cargo xtask languages`: the examples of guest-sdk/examples in other languages than Rust, built
//! with their languages' tools and tested with the cases that all of them share.
//!
//! # Contract
//! Go is always there. Python and JavaScript are built where `python3` and `npm` are; a language
//! that is left out is said, and never counted as tested. What their package managers fetch is kept
//! in `<cache>/languages`.

use crate::programs;
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tools that make components, of versions that were tried.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const JCO: &str = "@bytecodealliance/jco@1.35.0";

/// `cargo xtask languages`.
#[derive(Debug, Default, Args)]
pub(crate) struct LanguagesArgs {
    /// Only these.
    #[arg(value_enum)]
    languages: Vec<Language>,
}

/// A language with an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Go's own compiler, for WASI 0.1.
    Go,
    /// componentize-py.
    Python,
    /// jco, with QuickJS.
    Javascript,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::Javascript => "javascript",
        }
    }

    /// The program without which there is nothing to build with.
    fn needs(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python3",
            Self::Javascript => "npm",
        }
    }
}

/// Builds and tests them; what was left out, and why.
pub(crate) fn run(workspace: &Workspace, args: &LanguagesArgs) -> Result<Vec<String>> {
    let languages = match args.languages.as_slice() {
        [] => Language::value_variants(),
        some => some,
    };
    let kybern = programs::kybern(workspace)?;
    let mut left_out = Vec::new();
    for &language in languages {
        let name = language.name();
        if !is_there(language.needs()) {
            let why = format!("{name}: there is no {}", language.needs());
            println!("languages: skipped {why}");
            left_out.push(why);
            continue;
        }
        println!("languages: {name} ...");
        one(workspace, &kybern, language).with_context(|| format!("the example in {name}"))?;
    }
    Ok(left_out)
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    let arguments: &[&str] = match program {
        "go" => &["version"],
        // Some distributions have Python without what makes an environment.
        "python3" => &["-c", "import ensurepip, venv"],
        _ => &["--version"],
    };
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Builds one, makes a plugin of it, and tests that.
fn one(workspace: &Workspace, kybern: &Path, language: Language) -> Result<()> {
    let examples = workspace.root.join("guest-sdk/examples");
    let source = examples.join(language.name());
    let out = workspace.cache.join("languages").join(language.name());
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let built = out.join("built.wasm");
    let wit = workspace.root.join("wit");
    match language {
        Language::Go => go(&source, &built)?,
        Language::Python => python(&source, &out, &wit, &built)?,
        Language::Javascript => javascript(&source, &out, &wit, &built)?,
    }
    let mut build = Command::new(kybern);
    build.current_dir(&out).args(["plugin", "build", "--from"]);
    build.arg(&built).arg("--manifest");
    succeed(build.arg(source.join("manifest.yaml")))?;
    let plugin = out.join(format!("greeter-{}.wasm", language.name()));
    let mut test = Command::new(kybern);
    test.args(["plugin", "test"]).arg(plugin).arg("--cases");
    succeed(test.arg(examples.join("cases")))
}

fn go(source: &Path, built: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(source)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-o"]);
    succeed(go.arg(built).arg("."))
}

fn python(source: &Path, out: &Path, wit: &Path, built: &Path) -> Result<()> {
    let venv = out.join("venv");
    let tool = venv.join("bin/componentize-py");
    once(&tool, COMPONENTIZE_PY, || {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        succeed(pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            COMPONENTIZE_PY,
        ]))
    })?;
    let mut componentize = Command::new(tool);
    componentize
        .current_dir(source)
        // It looks for packages there, too.
        .env("VIRTUAL_ENV", &venv)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--quiet", "--wit-path"])
        .arg(wit)
        .args(["--world", "decider", "componentize", "app", "--output"]);
    succeed(componentize.arg(built))
}

fn javascript(source: &Path, out: &Path, wit: &Path, built: &Path) -> Result<()> {
    let tool = out.join("node_modules/.bin/jco");
    once(&tool, JCO, || {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
        ]);
        succeed(npm.arg(out).arg(JCO))
    })?;
    let mut componentize = Command::new(tool);
    componentize
        .current_dir(source)
        .args(["componentize", "app.js", "--world-name", "decider", "--wit"])
        .arg(wit.join("operator.wit"))
        .args([
            "--backend",
            "quickjs",
            "--backend-qjs-disable-async",
            "--out",
        ]);
    succeed(componentize.arg(built))
}

/// Installs a tool, unless this version of it was installed whole before.
fn once(tool: &Path, version: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = PathBuf::from(format!("{}.version", tool.display()));
    if tool.is_file() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == version) {
        return Ok(());
    }
    println!("languages: installing {version}");
    install()?;
    fs::write(&stamp, version).with_context(|| format!("write {}", stamp.display()))
}
