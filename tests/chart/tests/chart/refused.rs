//! Value files that are refused, each with a message that names the value.
//!
//! The first lines of a file, `# refused: WORDS`, are what the message must contain.

use crate::helm::{folder, template};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Files that must be there: nobody takes one away unseen.
const AT_LEAST: usize = 15;

fn files() -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder("refused"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();
    Ok(files)
}

#[test]
fn each_bad_file_is_refused_where_it_is_bad() -> Result<()> {
    let files = files()?;
    assert!(files.len() >= AT_LEAST, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# refused: "))
            .collect();
        let first = expected
            .first()
            .with_context(|| format!("{}: no `# refused: `", path.display()))?;
        assert!(
            first.starts_with("at '") || first.contains(": "),
            "{}: the message must name the value",
            path.display()
        );
        let output = template(&path)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{} is accepted", path.display());
        for words in expected {
            assert!(
                said.contains(words),
                "{}: {words:?} is not in\n{said}",
                path.display()
            );
        }
    }
    Ok(())
}

#[test]
fn a_wrong_duration_is_told_apart_from_a_contradiction() -> Result<()> {
    // The schema speaks first: a template never sees a duration that it cannot read.
    let output = template(&folder("refused").join("duration-without-unit.yaml"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("execution error"), "{said}");
    Ok(())
}
