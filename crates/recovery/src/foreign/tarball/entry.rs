//! What is in an archive, and whether it may be.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io::Read,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use rekindle_vault::TreePath;
use tar::{Entry, EntryType};

use super::{
    Allowed,
    open::{Watched, open},
    refuse,
};
use crate::RecoveryError;

/// An archive that was read to its end.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) files: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    pub(super) is_verified: bool,
    /// Further names of files, by the name under which the content comes.
    pub(super) links: HashMap<Vec<u8>, Vec<TreePath>>,
}

impl Contents {
    /// Looks at every entry. `taken` are the names of entries that there are already.
    ///
    /// # Errors
    /// [`RecoveryError::Tarball`].
    pub(super) fn of(
        path: &Path,
        allowed: Allowed,
        taken: &mut HashSet<Vec<u8>>,
    ) -> Result<Self, RecoveryError> {
        let mut contents = Self::default();
        let mut regular: HashSet<Vec<u8>> = HashSet::new();
        each_entry(path, |entry, name| {
            let kind = entry.header().entry_type();
            if name.as_bytes().is_empty() {
                return Ok(());
            }
            let is_new = taken.insert(name.as_bytes().to_vec());
            // Tar writes a directory again where several trees meet.
            if !is_new && !kind.is_dir() {
                return Err(refuse(path, format!("`{}` is in it twice", shown(&name))));
            }
            match kind {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    contents.files += 1;
                    contents.bytes += entry.size();
                    regular.insert(name.as_bytes().to_vec());
                }
                EntryType::Link => {
                    let target = link_target(entry, path)?;
                    let target = checked(&target).ok_or_else(|| {
                        let name = shown(&name);
                        refuse(
                            path,
                            format!("`{name}` is another name of a file outside of it"),
                        )
                    })?;
                    if !regular.contains(target.as_bytes()) {
                        let (name, target) = (shown(&name), shown(&target));
                        return Err(refuse(
                            path,
                            format!(
                                "`{name}` is another name of `{target}`, which does not come before it"
                            ),
                        ));
                    }
                    contents.files += 1;
                    let links = contents.links.entry(target.as_bytes().to_vec());
                    links.or_default().push(name);
                }
                EntryType::Symlink => {
                    contents.others += 1;
                    let target = link_target(entry, path)?;
                    if !allowed.outside_links && leads_out(&name, &target) {
                        let target = String::from_utf8_lossy(&target).into_owned();
                        return Err(refuse(
                            path,
                            format!("the link `{}` leads out of it, to `{target}`", shown(&name)),
                        ));
                    }
                }
                EntryType::Directory => contents.others += 1,
                EntryType::Char | EntryType::Block | EntryType::Fifo if allowed.devices => {
                    contents.others += 1;
                }
                EntryType::Char | EntryType::Block | EntryType::Fifo => {
                    return Err(refuse(
                        path,
                        format!("`{}` is a device or a pipe", shown(&name)),
                    ));
                }
                other => {
                    return Err(refuse(
                        path,
                        format!(
                            "`{}` is of a kind ({other:?}) that is not known",
                            shown(&name)
                        ),
                    ));
                }
            }
            Ok(())
        })?;
        if contents.files + contents.others == 0 {
            return Err(refuse(path, "there is nothing in it"));
        }
        Ok(contents)
    }
}

/// Calls `each` on every entry with its checked name; fails unless the archive has its end.
///
/// # Errors
/// [`RecoveryError::Tarball`]; as `each` failed.
pub(super) fn each_entry(
    path: &Path,
    mut each: impl FnMut(&mut Entry<'_, Watched<Box<dyn Read>>>, TreePath) -> Result<(), RecoveryError>,
) -> Result<(), RecoveryError> {
    let unread = |error: std::io::Error| refuse(path, error.to_string());
    let content = open(path).map_err(|source| RecoveryError::ReadForeign {
        path: path.to_owned(),
        source,
    })?;
    let mut archive = tar::Archive::new(Watched::new(content));
    for entry in archive.entries().map_err(unread)? {
        let mut entry = entry.map_err(unread)?;
        let raw = entry.path_bytes().into_owned();
        let name = checked(&raw).ok_or_else(|| {
            let name = String::from_utf8_lossy(&raw).into_owned();
            refuse(
                path,
                format!("an entry has the name `{name}`, which leads out of it"),
            )
        })?;
        each(&mut entry, name)?;
    }
    match archive.into_inner().has_ended_well() {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse(
            path,
            "it has no end: it was cut, or is still being written",
        )),
        Err(error) => Err(unread(error)),
    }
}

/// The name without `./` and doubled slashes; `None` if it is absolute or has a `..`.
pub(super) fn checked(name: &[u8]) -> Option<TreePath> {
    if name.first() == Some(&b'/') {
        return None;
    }
    let mut path = TreePath::root();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            part => path = path.join(OsStr::from_bytes(part))?,
        }
    }
    Some(path)
}

fn link_target(entry: &Entry<'_, impl Read>, path: &Path) -> Result<Vec<u8>, RecoveryError> {
    let target = entry.link_name_bytes();
    let target = target.ok_or_else(|| refuse(path, "a link in it leads nowhere"))?;
    Ok(target.into_owned())
}

/// Whether a symbolic link, read where it lies, goes above the archive's root at any step.
fn leads_out(name: &TreePath, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return true;
    }
    let mut depth = name.names().count().saturating_sub(1);
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

fn shown(path: &TreePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        let fine = |name: &str| checked(name.as_bytes()).map(|path| shown(&path));
        assert_eq!(fine("./a//b/"), Some("a/b".to_owned()));
        assert_eq!(fine("./"), Some(String::new()));
        for bad in ["/etc/passwd", "../x", "a/../b", "a/.."] {
            assert_eq!(fine(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_are_followed_from_where_they_lie() {
        let out = |name: &str, target: &str| {
            leads_out(&checked(name.as_bytes()).unwrap(), target.as_bytes())
        };
        assert!(!out("a/b", "c"));
        assert!(!out("a/b", "../c"));
        assert!(!out("a/b/c", "./../../x"));
        assert!(out("a", "../x"));
        assert!(out("a/b", "../../x"));
        assert!(out("a/b", "/etc"));
        assert!(out("a/b", "c/../../../x"));
    }
}
