//! The files of a bundle, by their paths from its root.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Where files come from.
pub trait Files: Send + Sync {
    /// The paths of all files, sorted.
    fn paths(&self) -> Vec<String>;
    /// What is in a file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

/// Files in memory.
impl Files for BTreeMap<String, Vec<u8>> {
    fn paths(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.get(path).cloned()
    }
}

/// A bundle.
#[derive(Clone)]
pub struct Bundle {
    files: Arc<dyn Files>,
    paths: Arc<[String]>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// A bundle of these files.
    pub fn new(files: impl Files + 'static) -> Self {
        let paths = files.paths().into();
        Self {
            files: Arc::new(files),
            paths,
        }
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Whether there is a file with this path.
    pub fn has(&self, path: &str) -> bool {
        self.paths
            .binary_search_by(|there| there.as_str().cmp(path))
            .is_ok()
    }

    /// The files in a folder and below it.
    pub fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let folder = folder.trim_end_matches('/').to_owned();
        self.paths().filter(move |path| {
            let rest = path.strip_prefix(folder.as_str());
            folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Result<String, String> {
        let bytes = self.files.read(path).ok_or_else(|| self.missing(path))?;
        String::from_utf8(bytes).map_err(|_| format!("`{path}` is no text (UTF-8)"))
    }

    /// What to say of a file that is not there.
    pub fn missing(&self, path: &str) -> String {
        let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let near = crate::diagnostic::suggestion(path, self.paths());
        let near = near.or_else(|| self.paths().find(|there| name(there) == name(path)));
        match near {
            Some(near) => {
                format!("there is no file `{path}` in the bundle: did you mean `{near}`?")
            }
            None => format!("there is no file `{path}` in the bundle"),
        }
    }
}

/// A path as the bundle has it, seen from the file `from`: names that begin with `./` or `../` are
/// relative to that file, all others to the bundle's root.
pub fn resolve(from: &str, written: &str) -> Result<String, String> {
    let outside = || {
        format!(
            "`{written}` leads out of the bundle: a path names one of its own files, relative to its root, with `/` between names"
        )
    };
    if written.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if written.starts_with('/') || written.contains('\\') || written.contains(':') {
        return Err(outside());
    }
    let relative = written.starts_with("./") || written.starts_with("../");
    let mut parts: Vec<&str> = if relative {
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        folder.split('/').filter(|part| !part.is_empty()).collect()
    } else {
        Vec::new()
    };
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_bundle() {
        assert_eq!(resolve("a/b.yaml", "c.yaml").as_deref(), Ok("c.yaml"));
        assert_eq!(resolve("a/b.yaml", "./c.yaml").as_deref(), Ok("a/c.yaml"));
        assert_eq!(resolve("a/b.yaml", "../c.yaml").as_deref(), Ok("c.yaml"));
        assert_eq!(resolve("b.yaml", "x//y/./z/").as_deref(), Ok("x/y/z"));
        for path in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            "..",
            "",
            "C:\\x",
            "file:///x",
        ] {
            let from = resolve("operator.yaml", path);
            assert!(from.is_err(), "{path}: {from:?}");
        }
        assert_eq!(
            resolve("a/b.yaml", "../../c").unwrap_err(),
            "`../../c` leads out of the bundle: a path names one of its own files, relative to its root, with `/` between names"
        );
    }

    #[test]
    fn a_missing_file_is_told_with_the_near_one() {
        let files = BTreeMap::from([("templates/web.yaml".to_owned(), Vec::new())]);
        let bundle = Bundle::new(files);
        assert_eq!(
            bundle.missing("web.yaml"),
            "there is no file `web.yaml` in the bundle: did you mean `templates/web.yaml`?"
        );
        assert_eq!(
            bundle.missing("x.yaml"),
            "there is no file `x.yaml` in the bundle"
        );
    }
}
