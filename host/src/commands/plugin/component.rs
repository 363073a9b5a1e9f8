//! A component's file: its bytes, digest and sizes.

use crate::args::InterpreterArgs;
use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use kybern_plugin::MAX_COMPONENT_BYTES;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A component's file.
pub(super) struct Component {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// `sha256:` and the hex digest.
    pub(super) digest: String,
    /// Digest of the files that it was composed of, as they lie there: what a registration pins. Charts of
    /// repositories are not among them.
    pub(super) files: Option<String>,
    /// Where is what it is run with.
    pub(super) interpreter: InterpreterArgs,
}

impl Component {
    /// Reads it whole.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("{}: cannot be read", path.display());
        let file = std::fs::File::open(path).with_context(unreadable)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_COMPONENT_BYTES)?;
        let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
        ensure!(
            read.with_context(unreadable)? <= MAX_COMPONENT_BYTES,
            "{}: it has more than {MAX_COMPONENT_BYTES} bytes; build the component with optimisation for size",
            path.display()
        );
        Ok(Self {
            path: path.to_owned(),
            digest: crate::source::digest(&bytes),
            bytes,
            files: None,
            interpreter: InterpreterArgs::default(),
        })
    }

    /// The file's name without folders.
    pub(super) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Bytes of it as a ConfigMap may hold it: packed with gzip.
    pub(super) fn gzip_size(&self) -> io::Result<u64> {
        let mut gzip = GzEncoder::new(Count(0), Compression::best());
        gzip.write_all(&self.bytes)?;
        gzip.finish().map(|count| count.0)
    }
}

/// Counts what is written.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
