use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes a new one among the system's temporary files; `TMPDIR` says where those are.
    pub(crate) fn temporary() -> anyhow::Result<Self> {
        let name = format!("olmcast-testbed-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
}
