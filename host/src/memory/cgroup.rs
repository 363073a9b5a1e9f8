//! The process's own cgroup, version 1 or 2, as it is seen inside and outside of a container.

use std::path::{Path, PathBuf};

/// Above this a version 1 limit means none: it is then the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 62;

/// Where a cgroup's memory figures are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    version: Version,
}

/// The two families of file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// File pages that are dropped first, the cgroup's children included.
    fn inactive_file(self) -> &'static str {
        match self {
            Self::One => "total_inactive_file",
            Self::Two => "inactive_file",
        }
    }
}

impl Cgroup {
    /// The process's cgroup with a memory controller. `root` is `/` but in tests.
    pub(crate) fn find(root: &Path) -> Option<Self> {
        let own = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mount = root.join("sys/fs/cgroup");
        // `hierarchy:controllers:path`; version 2 is hierarchy 0 without controllers.
        let path_of = |wanted: &dyn Fn(&str) -> bool| {
            own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let one = path_of(&|controllers| controllers.split(',').any(|c| c == "memory"))
            .map(|path| (Version::One, mount.join("memory"), path));
        let two = path_of(&str::is_empty).map(|path| (Version::Two, mount, path));
        // In a container without a cgroup namespace the path is that of the machine, but what is
        // mounted is the container's own.
        [one, two]
            .into_iter()
            .flatten()
            .flat_map(|(version, mount, path)| {
                [mount.join(path), mount].map(|folder| Self { folder, version })
            })
            .find(|cgroup| cgroup.folder.join(cgroup.version.limit()).is_file())
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        let text = self.read(self.version.limit())?;
        // Version 2 writes `max`, which is no number.
        let limit: u64 = text.trim().parse().ok()?;
        (limit < NO_LIMIT).then_some(limit)
    }

    /// What is charged, file pages included: cheap to ask, and never below the working set.
    pub(crate) fn usage(&self) -> Option<u64> {
        self.read(self.version.usage())?.trim().parse().ok()
    }

    /// What is charged without file pages that wait to be dropped.
    pub(crate) fn working_set(&self) -> Option<u64> {
        let usage = self.usage()?;
        let name = self.version.inactive_file();
        let stat = self.read("memory.stat")?;
        let inactive: u64 = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.trim().parse().ok())?
        })?;
        Some(usage.saturating_sub(inactive))
    }

    /// The folder, for messages.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(name)).ok()
    }
}
