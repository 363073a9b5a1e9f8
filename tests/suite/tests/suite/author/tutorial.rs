//! The commands of docs/tutorial.md, run one after the other; what they print is what the page says.
//!
//! # Contract
//! A block that begins with ```` ```console ```` holds commands (`$ `, continued by `> `) and what
//! they print. A line `...` stands for any number of lines, `...` inside a line for any text. All
//! commands run in one shell, so that `cd` stays. Each must end with 0 unless its output says
//! otherwise in its last line, as in `[exit code 1]`.

use anyhow::{Context, Result, ensure};
use kybern_testcluster::kybern;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = include_str!("../../../../../docs/tutorial.md");
/// Ends the output of one command.
const MARK: &str = "@@ended";

/// One command of the page.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    code: i32,
    expected: Vec<String>,
}

/// The commands of a page, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                code: 0,
                expected: Vec::new(),
            });
            continue;
        }
        let step = steps.last_mut().expect("a command before its output");
        let code = line.strip_prefix("[exit code ");
        match (
            line.strip_prefix("> "),
            code.and_then(|rest| rest.strip_suffix(']')),
        ) {
            (Some(more), _) if step.expected.is_empty() => {
                step.command.push('\n');
                step.command.push_str(more);
            }
            (_, Some(code)) => step.code = code.parse().expect("a number"),
            _ => step.expected.push(line.to_owned()),
        }
    }
    steps
}

/// Whether the lines are those that are expected.
fn alike(expected: &[String], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == "..." => {
            (0..=printed.len()).any(|skipped| alike(rest, &printed[skipped..]))
        }
        (Some((wanted, rest)), Some((line, others))) => {
            same_line(wanted, line) && alike(rest, others)
        }
        _ => false,
    }
}

fn same_line(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    rest.is_empty() || open
}

/// Where the page's crate is made, and built: always the same place of the target directory, so that
/// cargo finds again what it built.
fn folder() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The SDK of this repository.
fn sdk() -> Result<PathBuf> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk");
    Ok(sdk.canonicalize()?)
}

/// Runs all in one shell; what each printed, and its exit code.
fn run(steps: &[Step], folder: &Path) -> Result<Vec<(String, i32)>> {
    let mut script = String::new();
    for step in steps {
        write!(
            script,
            "{{\n{}\n}} 2>&1\necho \"{MARK} $?\"\n",
            step.command
        )?;
    }
    let tools = kybern()?
        .parent()
        .context("a program has a folder")?
        .to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools].into_iter().chain(std::env::split_paths(&path)))?;
    let output = Command::new("sh")
        .arg("-c")
        .arg(&script)
        .current_dir(folder)
        .env("PATH", path)
        .env("KYBERN_SDK", sdk()?)
        .env("CARGO_TARGET_DIR", folder.with_file_name("target"))
        .env("CARGO_TERM_COLOR", "never")
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let mut ran = Vec::new();
    let mut text = String::new();
    for line in printed.lines() {
        match line.strip_prefix(MARK) {
            Some(code) => ran.push((std::mem::take(&mut text), code.trim().parse()?)),
            None => writeln!(text, "{line}")?,
        }
    }
    ensure!(ran.len() == steps.len(), "the shell ended early: {printed}");
    Ok(ran)
}

#[test]
fn the_tutorial_does_what_it_says() -> Result<()> {
    let folder = folder()?;
    // Two test runs of one machine share the place.
    let lock = fs::File::create(folder.join(".lock"))?;
    lock.lock()?;
    let work = folder.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir(&work)?;
    let steps = steps(PAGE);
    ensure!(steps.len() >= 10, "the page has lost its commands");
    let mut wrong = String::new();
    for (step, (printed, code)) in steps.iter().zip(run(&steps, &work)?) {
        let lines: Vec<&str> = printed.lines().collect();
        if code != step.code || !alike(&step.expected, &lines) {
            let expected = step.expected.join("\n");
            writeln!(
                wrong,
                "$ {}\n---- the page says (exit code {})\n{expected}\n---- it printed (exit code {code})\n{printed}",
                step.command, step.code
            )?;
        }
    }
    let component = fs::read(work.join("hello/hello.wasm"))?;
    let text = String::from_utf8_lossy(&component);
    for local in [work.display().to_string(), sdk()?.display().to_string()] {
        ensure!(!text.contains(&local), "{local} is in the component");
    }
    ensure!(
        wrong.is_empty(),
        "docs/tutorial.md is not what happens:\n{wrong}"
    );
    Ok(())
}

#[test]
fn pages_are_read_and_compared_as_the_contract_says() {
    let page = "text\n```console\n$ a <<E\n> b\n> E\nout\n[exit code 1]\n$ c\n```\n```sh\n$ not this\n```\n";
    let step = |command: &str, code, expected: &[&str]| Step {
        command: command.to_owned(),
        code,
        expected: expected.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(
        steps(page),
        [step("a <<E\nb\nE", 1, &["out"]), step("c", 0, &[])]
    );
    let alike = |expected: &[&str], printed: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        alike(&expected, printed)
    };
    assert!(alike(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(alike(&["...", "d"], &["d"]));
    assert!(alike(
        &["size: ... bytes", "sha256:..."],
        &["size: 12 bytes", "sha256:ab"]
    ));
    assert!(!alike(&["a"], &["a", "b"]));
    assert!(!alike(&["a", "b"], &["a"]));
    assert!(!alike(&["size: ... bytes"], &["size: 12 bytes more"]));
}
