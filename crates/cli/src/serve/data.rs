//! What the service needs of the machine.

use std::{fs, path::Path};

use anyhow::Context;
use olmcast::server::Limits;

/// Makes the folder for what is kept, for its owner's eyes only.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| {
        format!("cannot make the folder {}; name another with --data", folder.display())
    })?;
    #[cfg(unix)]
    {
        let metadata = fs::metadata(folder)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            let (folder, mode) = (folder.display(), mode & 0o777);
            tracing::warn!("others can look into {folder} (mode {mode:o}); chmod 700 mends that");
        }
    }
    Ok(())
}

/// Says so if fewer files may be open than there may be sockets. That shows only as connections
/// that fail, and only on a bad day.
pub(super) fn check_open_files(limits: &Limits) {
    let needed = limits.connections.saturating_add(limits.sockets).saturating_add(64);
    let Ok(allowed) = fs::read_to_string("/proc/self/limits") else { return };
    let line = allowed.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    if let Some(soft) = soft.filter(|soft| *soft < needed) {
        tracing::warn!(
            "the limits allow {needed} sockets, but this process only {soft} open files: raise \
             that (ulimit -n, LimitNOFILE), or lower limits.connections and limits.sockets"
        );
    }
}
