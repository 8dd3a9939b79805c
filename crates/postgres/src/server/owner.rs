//! Running programs as the owner of a data directory.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::ControlError;
use crate::error::Error;

/// Who owns a data directory; the server on it runs as that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    gid: u32,
    name: String,
    /// The user's groups: the key of a server's certificate is often readable by one of them.
    groups: Vec<u32>,
    must_become: bool,
}

impl Owner {
    /// The owner of the data directory `path`, if this process is or can become that user.
    ///
    /// # Errors
    /// [`ControlError::OwnedByRoot`], [`ControlError::NotOurs`], or if it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self, ControlError> {
        let metadata = fs::metadata(path).map_err(|source| Error::io("look at", path, source))?;
        Self::new(path, metadata.uid(), metadata.gid())
    }

    fn new(path: &Path, uid: u32, gid: u32) -> Result<Self, ControlError> {
        if uid == 0 {
            return Err(ControlError::OwnedByRoot {
                path: path.to_owned(),
            });
        }
        let user = uzers::get_user_by_uid(uid);
        let name = user.as_ref().map_or_else(
            || format!("user {uid}"),
            |user| user.name().to_string_lossy().into_owned(),
        );
        let us = geteuid();
        if us.as_raw() != uid && !us.is_root() {
            return Err(ControlError::NotOurs {
                path: path.to_owned(),
                owner: name,
            });
        }
        let gid = user.as_ref().map_or(gid, uzers::User::primary_group_id);
        let groups = user
            .and_then(|user| uzers::get_user_groups(user.name(), gid))
            .map(|groups| groups.iter().map(uzers::Group::gid).collect());
        Ok(Self {
            uid,
            gid,
            name,
            groups: groups.unwrap_or_else(|| vec![gid]),
            must_become: us.as_raw() != uid,
        })
    }

    /// The user's number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The number of the user's main group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The user's name, or its number in words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives a file or directory to this user; no effect if it is ours anyway.
    ///
    /// # Errors
    /// As the file system failed.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        if !self.must_become {
            return Ok(());
        }
        lchown(path, Some(self.uid), Some(self.gid))
            .map_err(|source| Error::io("change the owner of", path, source))
    }

    /// Starts `command` as this user.
    ///
    /// Credentials belong to a thread in Linux, and a child gets those of the thread that makes it.
    /// So a thread of its own becomes the user, with all of the user's groups, and ends; the rest
    /// of this process stays who it is (setresuid(2), "C library/kernel differences").
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if !self.must_become {
            return command.spawn();
        }
        let become_and_spawn = || {
            self.become_on_this_thread()?;
            command.spawn()
        };
        thread::scope(|scope| {
            let thread = scope.spawn(become_and_spawn);
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it failed")))
        })
    }

    /// Runs `command` as this user to its end, with nothing to read.
    pub(super) fn output(&self, command: &mut Command) -> io::Result<Output> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.spawn(command)?.wait_with_output()
    }

    fn become_on_this_thread(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_directories_are_refused() {
        let error = Owner::new(Path::new("/x"), 0, 0).unwrap_err();
        assert!(matches!(error, ControlError::OwnedByRoot { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--owner"));
    }

    #[test]
    fn a_child_is_the_owner_and_we_stay_who_we_are() {
        if !geteuid().is_root() {
            return;
        }
        let owner = Owner::new(Path::new("/x"), 65_534, 65_534).unwrap();
        let ids = |arguments: &[&str]| {
            let output = owner.output(Command::new("id").args(arguments)).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(ids(&["-u"]).trim(), "65534");
        assert!(
            !ids(&["-G"]).split_whitespace().any(|group| group == "0"),
            "root's groups are left"
        );
        assert!(geteuid().is_root());
        assert_eq!(
            Command::new("id").arg("-u").output().unwrap().stdout,
            b"0\n"
        );
    }
}
