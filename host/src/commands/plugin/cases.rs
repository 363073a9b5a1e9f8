//! An author's cases: a folder for each, with a situation and what is to come of it.
//!
//! ```text
//! cases/NAME/situation.yaml    what decide sees
//! cases/NAME/plan.yaml         the plan that is to come of it, or
//! cases/NAME/error.yaml        the hook's error
//! ```

use super::plan;
use super::situation::{Recorded, Situation};
use anyhow::{Context, bail, ensure};
use kybern_interface::{Failure, HookError, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Most cases of one folder.
const MAX_CASES: usize = 1_000;
/// Largest file of what is expected.
const MAX_BYTES: u64 = 16 << 20;

const SITUATION: &str = "situation.yaml";
const PLAN: &str = "plan.yaml";
const ERROR: &str = "error.yaml";

/// One case.
pub(super) struct Case {
    /// Its folder's name.
    pub(super) name: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// What `decide` sees.
    pub(super) situation: Situation,
    /// What is to come of it; none = nothing is said yet.
    pub(super) expected: Option<Outcome>,
}

/// What comes of a case.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// A plan.
    Plan(Plan),
    /// A hook's error.
    Error(ExpectedError),
}

/// A hook's error as it is written in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExpectedError {
    /// Which.
    kind: ErrorKind,
    /// For people.
    message: String,
    /// What `wait` and `retry` ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ErrorKind {
    Invalid,
    Wait,
    Retry,
    Internal,
}

impl From<&HookError> for ExpectedError {
    fn from(error: &HookError) -> Self {
        let failed = |kind, failure: &Failure| Self {
            kind,
            message: failure.message.clone(),
            retry_after_ms: failure.retry_after_ms,
        };
        let said = |kind, message: &String| Self {
            kind,
            message: message.clone(),
            retry_after_ms: None,
        };
        match error {
            HookError::Invalid(message) => said(ErrorKind::Invalid, message),
            HookError::Internal(message) => said(ErrorKind::Internal, message),
            HookError::Wait(failure) => failed(ErrorKind::Wait, failure),
            HookError::Retry(failure) => failed(ErrorKind::Retry, failure),
        }
    }
}

impl Outcome {
    /// The file that says it.
    pub(super) fn file(&self) -> &'static str {
        match self {
            Self::Plan(_) => PLAN,
            Self::Error(_) => ERROR,
        }
    }

    /// What the file says.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Plan(plan) => serde_saphyr::to_string(&plan::form(plan)?)?,
            Self::Error(error) => serde_saphyr::to_string(error)?,
        })
    }
}

impl Case {
    /// Makes this what is to come of it.
    pub(super) fn update(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let path = self.folder.join(outcome.file());
        fs::write(&path, outcome.text()?)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        let other = match outcome {
            Outcome::Plan(_) => ERROR,
            Outcome::Error(_) => PLAN,
        };
        let other = self.folder.join(other);
        if other.exists() {
            fs::remove_file(&other)
                .with_context(|| format!("{}: cannot be removed", other.display()))?;
        }
        Ok(())
    }
}

/// The cases of a folder, by name. What is not part of a case is refused: a file that is misspelt
/// would never be looked at.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for path in entries(folder)? {
        ensure!(
            path.is_dir(),
            "{}: not a case; a case is a folder with {SITUATION}",
            path.display()
        );
        ensure!(
            cases.len() < MAX_CASES,
            "{}: more than {MAX_CASES} cases",
            folder.display()
        );
        cases.push(case(path)?);
    }
    Ok(cases)
}

/// Writes a case into a folder that is not there yet; only its owner can read the files.
pub(super) fn write(folder: &Path, recorded: &Recorded, outcome: &Outcome) -> anyhow::Result<()> {
    let place = |name: &str| format!("{}: cannot be written", folder.join(name).display());
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(|| place(""))?;
    }
    // One that is there is somebody's work.
    fs::create_dir(folder).with_context(|| place(""))?;
    let files = [
        (SITUATION, serde_saphyr::to_string(recorded)?),
        (outcome.file(), outcome.text()?),
    ];
    for (name, text) in files {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(folder.join(name))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| place(name))?;
    }
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<Result<Vec<_>, _>>()
    });
    let mut entries = entries.with_context(|| format!("{}: cannot be listed", folder.display()))?;
    entries.sort();
    Ok(entries)
}

/// The case of one folder.
pub(super) fn case(folder: PathBuf) -> anyhow::Result<Case> {
    let known = [SITUATION, PLAN, ERROR];
    let entries = entries(&folder)?;
    let mut names: Vec<&str> = Vec::new();
    for path in &entries {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if known.contains(&name) => names.push(name),
            _ => bail!(
                "{}: not part of a case; it has {}",
                path.display(),
                known.join(", ")
            ),
        }
    }
    if names.contains(&PLAN) && names.contains(&ERROR) {
        bail!(
            "{}: a case has {PLAN} or {ERROR}, not both",
            folder.display()
        );
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(Case {
        name: name.into_owned(),
        situation: Situation::read(&folder.join(SITUATION))?,
        expected: expected(&folder, &names)?,
        folder,
    })
}

fn expected(folder: &Path, names: &[&str]) -> anyhow::Result<Option<Outcome>> {
    if names.contains(&PLAN) {
        let form: Value = yaml(&folder.join(PLAN))?;
        let plan = plan::of_form(&form)
            .map_err(|why| anyhow::anyhow!("{}: not a plan: {why}", folder.join(PLAN).display()))?;
        return Ok(Some(Outcome::Plan(plan)));
    }
    if names.contains(&ERROR) {
        return Ok(Some(Outcome::Error(yaml(&folder.join(ERROR))?)));
    }
    Ok(None)
}

fn yaml<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let place = || path.display().to_string();
    let size = fs::metadata(path).with_context(place)?.len();
    ensure!(
        size <= MAX_BYTES,
        "{}: more than {MAX_BYTES} bytes",
        place()
    );
    let text = fs::read_to_string(path).with_context(place)?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", place()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn refusal(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = read(folder.path()).err().unwrap();
        format!("{error:#}").replace(&folder.path().display().to_string(), "cases")
    }

    const OBJECT: &str = "object: { kind: Web }\n";

    #[test]
    fn what_is_not_part_of_a_case_is_refused_by_name() {
        assert_eq!(
            refusal(&[("README.md", "")]),
            "cases/README.md: not a case; a case is a folder with situation.yaml"
        );
        assert_eq!(
            refusal(&[("a/situation.yaml", OBJECT), ("a/plan.yml", "")]),
            "cases/a/plan.yml: not part of a case; it has situation.yaml, plan.yaml, error.yaml"
        );
        let both = [
            ("a/situation.yaml", OBJECT),
            ("a/plan.yaml", ""),
            ("a/error.yaml", ""),
        ];
        assert_eq!(
            refusal(&both),
            "cases/a: a case has plan.yaml or error.yaml, not both"
        );
        let wrong = [
            ("a/situation.yaml", OBJECT),
            ("a/plan.yaml", "children: some\nactions: []"),
        ];
        assert!(refusal(&wrong).starts_with("cases/a/plan.yaml: not a plan: "));
        assert!(
            refusal(&[("a/plan.yaml", "")]).starts_with("cases/a/situation.yaml: cannot be read")
        );
    }

    #[test]
    fn what_is_written_is_what_is_read_and_one_of_two_stays() {
        let folder = folder(&[("a/situation.yaml", OBJECT)]);
        let only = || read(folder.path()).unwrap().remove(0);
        assert_eq!(only().expected, None);
        let text = "yes: no\n- 1\n\n# \"#: ";
        let plan: Plan = serde_json::from_value(json!({ "children": "complete", "actions": [
            { "type": "apply", "object": { "apiVersion": "v1", "kind": "ConfigMap", "data": { "012": text, "on": "1e3" } } },
            { "type": "status", "status": { "a": null, "b": [], "c": 1.5, "d": "2026-01-01", "e": "~" } },
        ] }))
        .unwrap();
        let failed = HookError::Wait(Failure {
            message: "the disk".into(),
            retry_after_ms: Some(5),
        });
        for outcome in [Outcome::Plan(plan), Outcome::Error((&failed).into())] {
            only().update(&outcome).unwrap();
            assert_eq!(only().expected, Some(outcome));
        }
        assert!(!folder.path().join("a/plan.yaml").exists());
    }
}
