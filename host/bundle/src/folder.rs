//! A bundle in a folder of the file system.

use crate::{Bundle, BundleError, MAX_BYTES, wrong};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Deepest folder.
const DEPTH: usize = 32;

impl Bundle {
    /// The files of a folder and of all below it; `.git` is left out, and what begins with `..`: the
    /// places where a kubelet keeps the files of a mounted ConfigMap, to which links in the folder
    /// lead.
    ///
    /// # Errors
    /// A file cannot be read, leads out of the folder, or is more or other than a bundle may have.
    pub fn of_folder(folder: &Path) -> Result<Self, BundleError> {
        let root = fs::canonicalize(folder).map_err(|source| unreadable(folder, source))?;
        let mut bundle = Self::default();
        walk(&mut bundle, &root, &root, "", 0)?;
        bundle.filled()
    }

    /// The bundle at a path: a folder, or an archive.
    ///
    /// # Errors
    /// As [`Bundle::of_folder`] and [`Bundle::of_archive`].
    pub fn of_path(path: &Path) -> Result<Self, BundleError> {
        let unreadable = |source| unreadable(path, source);
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Self::of_folder(path);
        }
        Self::of_archive(&read(path)?)
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> BundleError {
    let path = path.to_owned();
    BundleError::Read { path, source }
}

fn walk(
    bundle: &mut Bundle,
    root: &Path,
    folder: &Path,
    above: &str,
    depth: usize,
) -> Result<(), BundleError> {
    let listed = fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    for entry in listed {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if shown == ".git" || shown.starts_with("..") {
            continue;
        }
        let path = match above {
            "" => shown.clone().into_owned(),
            above => format!("{above}/{shown}"),
        };
        if name.to_str().is_none() {
            return Err(wrong(&path, "its name is not UTF-8"));
        }
        let at: PathBuf = entry.path();
        let real = fs::canonicalize(&at).map_err(|source| unreadable(&at, source))?;
        if !real.starts_with(root) {
            return Err(wrong(&path, "it is a link that leads out of the bundle"));
        }
        let kind = fs::metadata(&real).map_err(|source| unreadable(&at, source))?;
        if kind.is_dir() {
            if depth >= DEPTH {
                return Err(wrong(&path, "it lies too deep"));
            }
            if real != at {
                return Err(wrong(
                    &path,
                    "it is a link to a folder; put the folder itself there",
                ));
            }
            walk(bundle, root, &at, &path, depth + 1)?;
        } else if kind.is_file() {
            bundle.insert(&path, read(&real)?)?;
        } else {
            return Err(wrong(&path, "it is no regular file"));
        }
    }
    Ok(())
}

/// A file, of which no more is read than there may be.
fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |source| unreadable(path, source);
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(2 * MAX_BYTES).unwrap_or(u64::MAX);
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    match u64::try_from(read.map_err(unreadable)?) {
        Ok(read) if read <= most => Ok(bytes),
        _ => Err(BundleError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_is_its_files_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("charts/web/templates")).unwrap();
        fs::create_dir_all(at(".git")).unwrap();
        fs::create_dir_all(at("empty")).unwrap();
        for path in [
            "operator.yaml",
            "charts/web/templates/a.yaml",
            "charts/.helmignore",
            ".git/HEAD",
        ] {
            fs::write(at(path), path).unwrap();
        }
        let bundle = Bundle::of_folder(folder.path()).unwrap();
        let paths = [
            "charts/.helmignore",
            "charts/web/templates/a.yaml",
            "operator.yaml",
        ];
        assert_eq!(bundle.paths().collect::<Vec<_>>(), paths);
        fs::write(at("packed.tar"), bundle.to_bytes()).unwrap();
        assert_eq!(Bundle::of_path(&at("packed.tar")).unwrap(), bundle);
    }

    #[test]
    fn a_mounted_config_map_is_read_and_links_that_lead_out_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("mount");
        fs::create_dir_all(mount.join("..2026_01")).unwrap();
        fs::write(mount.join("..2026_01/operator.yaml"), "a").unwrap();
        symlink("..2026_01", mount.join("..data")).unwrap();
        symlink("..data/operator.yaml", mount.join("operator.yaml")).unwrap();
        let bundle = Bundle::of_folder(&mount).unwrap();
        assert_eq!(bundle.read("operator.yaml"), Some(&b"a"[..]));
        fs::write(folder.path().join("secret"), "s").unwrap();
        symlink("../secret", mount.join("stolen")).unwrap();
        let error = Bundle::of_folder(&mount).unwrap_err().to_string();
        assert!(
            error.contains("`stolen`") && error.contains("leads out"),
            "{error}"
        );
        fs::remove_file(mount.join("stolen")).unwrap();
        symlink(".", mount.join("round")).unwrap();
        assert!(
            Bundle::of_folder(&mount).is_err(),
            "folders are not followed in circles"
        );
    }
}
