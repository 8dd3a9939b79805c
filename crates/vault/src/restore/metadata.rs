//! Owner, mode, times and extended attributes of what was restored.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use crate::tree::{ExtendedAttribute, Node, NodeKind};

/// Whose restored files shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the recovery point says, by number. Needs root.
    AsStored,
    /// All of this user and group. Needs root, unless it is one's own.
    Of {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Whoever runs this.
    OfThisProcess,
}

impl Ownership {
    /// What this process can do: root restores owners, others cannot.
    #[must_use]
    pub fn of_this_process() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::AsStored
        } else {
            Self::OfThisProcess
        }
    }

    const fn ids(self, node: &Node) -> Option<(u32, u32)> {
        match self {
            Self::AsStored => Some((node.uid, node.gid)),
            Self::Of { uid, gid } => Some((uid, gid)),
            Self::OfThisProcess => None,
        }
    }
}

/// Sets everything a node says of a path but its content. The mode comes after the owner, because
/// a change of owner clears set-user-ID; the times come last.
pub(super) fn apply(path: &Path, node: &Node, ownership: Ownership) -> io::Result<()> {
    if let Some((uid, gid)) = ownership.ids(node) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    for ExtendedAttribute { name, value } in &node.extended_attributes {
        let set = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty());
        excuse_attribute(set, path, name, ownership)?;
    }
    if node.kind != NodeKind::Symlink {
        std::fs::set_permissions(path, Permissions::from_mode(node.unix_mode()))?;
    }
    set_times(path, node)
}

/// As [`apply`], of an open file of ours: by the descriptor, and only what is not so already. `path` is what it is called
/// in messages.
pub(super) fn apply_to_file(
    file: &File,
    path: &Path,
    node: &Node,
    ownership: Ownership,
) -> io::Result<()> {
    let now = file.metadata()?;
    let mut mode = Some(now.mode() & 0o7777);
    let ids = ownership.ids(node);
    if let Some((uid, gid)) = ids.filter(|ids| *ids != (now.uid(), now.gid())) {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
        mode = None;
    }
    for ExtendedAttribute { name, value } in &node.extended_attributes {
        let set = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
        excuse_attribute(set, path, name, ownership)?;
        // An access list has the mode in it.
        mode = None;
    }
    if mode != Some(node.unix_mode()) {
        file.set_permissions(Permissions::from_mode(node.unix_mode()))?;
    }
    Ok(rustix::fs::futimens(file, &times(node))?)
}

/// Sets the times only, as after a rename in a directory.
pub(super) fn set_times(path: &Path, node: &Node) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(CWD, path, &times(node), flags)?)
}

fn times(node: &Node) -> Timestamps {
    Timestamps {
        last_access: timespec(node.atime),
        last_modification: timespec(node.mtime),
    }
}

fn timespec(time: jiff::Timestamp) -> Timespec {
    // Before 1970 the nanoseconds of the kernel still count upwards.
    let (seconds, nanoseconds) = match SystemTime::from(time).duration_since(SystemTime::UNIX_EPOCH)
    {
        Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
        Err(error) => {
            let before: Duration = error.duration();
            match before.subsec_nanos() {
                0 => (-(before.as_secs() as i64), 0),
                nanoseconds => (-(before.as_secs() as i64) - 1, 1_000_000_000 - nanoseconds),
            }
        }
    };
    Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanoseconds),
    }
}

/// Attributes of namespaces that only root may write are left out for others, as are all on file
/// systems without them.
fn excuse_attribute(
    set: rustix::io::Result<()>,
    path: &Path,
    name: &str,
    ownership: Ownership,
) -> io::Result<()> {
    use rustix::io::Errno;
    match set {
        Err(Errno::OPNOTSUPP) => {
            tracing::warn!(path = %path.display(), name, "the file system has no such attributes");
            Ok(())
        }
        Err(Errno::PERM | Errno::ACCESS) if ownership == Ownership::OfThisProcess => {
            tracing::warn!(path = %path.display(), name, "only root may set this attribute");
            Ok(())
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_count_upwards() {
        let time = jiff::Timestamp::new(-2, -500_000_000).unwrap();
        let spec = timespec(time);
        assert_eq!((spec.tv_sec, spec.tv_nsec), (-3, 500_000_000));
    }
}
