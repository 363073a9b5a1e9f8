//! The licences of what is linked into the engine: known one by one, and their texts in one file.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How files begin that have to go with the binary.
const TEXTS: [&str; 4] = ["LICENSE", "COPYING", "NOTICE", "PATENTS"];

/// A module that is linked.
#[derive(Debug, PartialEq, Eq)]
struct Linked {
    version: String,
    folder: PathBuf,
    /// Those of its folders that hold linked packages.
    packages: BTreeSet<PathBuf>,
}

/// Writes the texts of all that `list` names, which are lines of `go list -deps`; `known` says which
/// licence each module has.
pub(super) fn write(list: &mut Command, known: &Path, go: &Path, to: &Path) -> Result<()> {
    let listed = list.output().context("start go")?;
    ensure!(
        listed.status.success(),
        "`go list` failed: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let linked = linked(&String::from_utf8(listed.stdout)?)?;
    let known_text =
        fs::read_to_string(known).with_context(|| format!("read {}", known.display()))?;
    let licenses = compared(&known_text, &linked)?;
    let mut out = String::from("Licences of what is linked into helm-engine.wasm.\n");
    section(
        &mut out,
        "The Go standard library",
        "BSD-3-Clause",
        &texts([go.to_owned()])?,
    )?;
    for (name, module) in &linked {
        let texts = texts(above(module))?;
        ensure!(!texts.is_empty(), "{name} has no file with its licence");
        let title = format!("{name} {}", module.version);
        section(
            &mut out,
            &title,
            licenses.get(name.as_str()).unwrap_or(&""),
            &texts,
        )?;
    }
    fs::write(to, out).with_context(|| format!("write {}", to.display()))
}

/// Each line: module, version, the module's folder, the package's folder.
fn linked(list: &str) -> Result<BTreeMap<String, Linked>> {
    let mut all: BTreeMap<String, Linked> = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, folder, package] = fields.as_slice() else {
            bail!("`go list` says {line:?}");
        };
        let module = all.entry((*name).to_owned()).or_insert_with(|| Linked {
            version: (*version).to_owned(),
            folder: folder.into(),
            packages: BTreeSet::new(),
        });
        module.packages.insert(package.into());
    }
    Ok(all)
}

/// The licence of each module; an error if the list and what is linked are not the same.
fn compared<'a>(
    known: &'a str,
    linked: &BTreeMap<String, Linked>,
) -> Result<BTreeMap<&'a str, &'a str>> {
    let licenses: BTreeMap<&str, &str> = known
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let new = linked
        .keys()
        .filter(|name| !licenses.contains_key(name.as_str()));
    let new: Vec<&str> = new.map(String::as_str).collect();
    let gone = licenses.keys().filter(|name| !linked.contains_key(**name));
    let gone: Vec<&str> = gone.copied().collect();
    ensure!(
        new.is_empty() && gone.is_empty(),
        "plugins/helm-engine/licenses.txt is not what is linked: read the licences of {new:?} and add them, \
         take out {gone:?}"
    );
    Ok(licenses)
}

/// The folders of linked packages and all above them, up to the module's.
fn above(module: &Linked) -> BTreeSet<PathBuf> {
    let packages = module.packages.iter();
    packages
        .flat_map(|package| package.ancestors())
        .filter(|folder| folder.starts_with(&module.folder))
        .map(Path::to_owned)
        .collect()
}

/// What lies in these folders and has to go with the binary.
fn texts(folders: impl IntoIterator<Item = PathBuf>) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for folder in folders {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_uppercase();
            if TEXTS.iter().any(|text| name.starts_with(text)) && entry.file_type()?.is_file() {
                texts.insert(fs::read_to_string(entry.path())?);
            }
        }
    }
    Ok(texts)
}

fn section(out: &mut String, title: &str, license: &str, texts: &BTreeSet<String>) -> Result<()> {
    let line = "=".repeat(80);
    write!(out, "\n{line}\n{title}: {license}\n{line}\n")?;
    for text in texts {
        writeln!(out, "\n{}", text.trim())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_nobody_looked_at_is_named_and_so_is_one_that_is_gone() {
        let linked = linked("a.example/m\tv1\t/m\t/m\na.example/m\tv1\t/m\t/m/p\n").unwrap();
        assert_eq!(
            above(&linked["a.example/m"])
                .into_iter()
                .collect::<Vec<_>>(),
            [PathBuf::from("/m"), PathBuf::from("/m/p")]
        );
        assert_eq!(
            compared("# c\na.example/m MIT AND ISC\n", &linked).unwrap()["a.example/m"],
            "MIT AND ISC"
        );
        for (known, named) in [
            ("", "[\"a.example/m\"] and add"),
            (
                "a.example/m MIT\nb.example/n MIT\n",
                "out [\"b.example/n\"]",
            ),
        ] {
            let error = compared(known, &linked).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
