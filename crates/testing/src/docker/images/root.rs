//! The root directory of an image: busybox as the whole userland, and programs with the libraries they need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestingError;
use crate::process::{output_with_input, run, set_mode};

const BUSYBOX: &str = "/bin/busybox";

/// Applets that would be the image's init, or busybox itself.
const NOT_LINKED: [&str; 3] = ["busybox", "init", "linuxrc"];

/// Where a library goes that its program finds beside itself only, as those of Python's packages.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A directory that becomes the file system of an image; all in it will belong to root.
pub(super) struct Root<'a> {
    dir: &'a Path,
}

impl<'a> Root<'a> {
    /// Fills an empty directory with a userland.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] without a busybox that needs no libraries.
    pub(super) fn create(dir: &'a Path) -> Result<Self, TestingError> {
        if !Path::new(BUSYBOX).exists() {
            return Err(TestingError::Unavailable {
                what: "images".into(),
                why: format!("there is no {BUSYBOX}; `make deps` installs it"),
            });
        }
        let root = Self { dir };
        for name in [
            "bin",
            "usr/bin",
            "usr/sbin",
            "usr/local/bin",
            "etc",
            "run",
            "root",
            "proc",
            "sys",
            "dev",
            "tmp",
            "var",
        ] {
            root.directory(name)?;
        }
        set_mode(&root.at("tmp"), 0o1777)?;
        root.link("run", "../run")?;
        root.copy(BUSYBOX, "/bin/busybox")?;
        for applet in run(Command::new(BUSYBOX).arg("--list"))?.lines() {
            if !NOT_LINKED.contains(&applet) {
                root.link_to(&format!("bin/{applet}"), "busybox")?;
            }
        }
        root.link_to("usr/bin/env", "../../bin/busybox")?;
        root.text("etc/passwd", PASSWD)?;
        root.text("etc/group", GROUP)?;
        root.text(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )?;
        root.text(
            "etc/services",
            "http 80/tcp\npostgresql 5432/tcp\nredis 6379/tcp\n",
        )?;
        Ok(root)
    }

    fn link(&self, name: &str, target: &str) -> Result<(), TestingError> {
        self.link_to(&format!("var/{name}"), target)
    }

    /// A path of the image as this machine sees it.
    pub(super) fn at(&self, inside: &str) -> PathBuf {
        self.dir.join(inside.trim_start_matches('/'))
    }

    /// Makes a directory and those above it.
    pub(super) fn directory(&self, inside: &str) -> Result<(), TestingError> {
        let path = self.at(inside);
        fs::create_dir_all(&path).map_err(TestingError::file("create", &path))
    }

    /// Writes a text.
    pub(super) fn text(&self, inside: &str, text: &str) -> Result<(), TestingError> {
        let path = self.at(inside);
        fs::write(&path, text).map_err(TestingError::file("write", &path))
    }

    /// Writes a script that can be run.
    pub(super) fn script(&self, inside: &str, text: &str) -> Result<(), TestingError> {
        self.text(inside, text)?;
        set_mode(&self.at(inside), 0o755)
    }

    /// Copies a file; a link is followed.
    pub(super) fn copy(&self, from: impl AsRef<Path>, inside: &str) -> Result<(), TestingError> {
        let (from, to) = (from.as_ref(), self.at(inside));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(TestingError::file("create", parent))?;
        }
        fs::copy(from, &to)
            .map(drop)
            .map_err(TestingError::file("copy", from))
    }

    /// Copies a directory with all below it into another, except for the names given.
    pub(super) fn copy_tree(
        &self,
        from: &Path,
        inside: &str,
        except: &[&str],
    ) -> Result<(), TestingError> {
        self.directory(inside)?;
        let mut tar = Command::new("tar");
        tar.arg("--create")
            .arg("--dereference")
            .arg("--directory")
            .arg(from);
        for name in except {
            tar.arg(format!("--exclude=./{name}"));
        }
        let made = output_with_input(tar.arg("."), &[]).and_then(|made| {
            crate::process::succeeded(&tar, &made)?;
            Ok(made.stdout)
        })?;
        let mut untar = Command::new("tar");
        untar
            .args(["--extract", "--no-same-owner", "--directory"])
            .arg(self.at(inside));
        let put = output_with_input(&mut untar, &made)?;
        crate::process::succeeded(&untar, &put)
    }

    /// Brings the libraries that these programs of this machine load, and those that names are looked up with.
    pub(super) fn libraries_of(&self, programs: &[PathBuf]) -> Result<(), TestingError> {
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        let asked = output_with_input(Command::new("ldd").args(programs), &[])?;
        for word in String::from_utf8_lossy(&asked.stdout).split_whitespace() {
            // A line that ends in a colon is a heading.
            if word.starts_with('/') && !word.ends_with(':') {
                wanted.insert(word.into());
            }
        }
        for name in ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"] {
            wanted.insert(Path::new("/lib/x86_64-linux-gnu").join(name));
        }
        for library in wanted.iter().filter(|path| path.exists()) {
            let usual = library.starts_with("/lib")
                || library.starts_with("/lib64")
                || library.starts_with("/usr/lib");
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            let inside = if usual {
                library.to_string_lossy().into_owned()
            } else {
                format!("{LIBRARIES}/{name}")
            };
            self.copy(library, &inside)?;
        }
        Ok(())
    }

    /// Makes a symbolic link; what is there already stays.
    pub(super) fn link_to(&self, inside: &str, target: &str) -> Result<(), TestingError> {
        let path = self.at(inside);
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        symlink(target, &path).map_err(TestingError::file("link", &path))
    }
}

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n\
    messagebus:x:101:101::/:/bin/false\n\
    postgres:x:999:999::/var/lib/postgresql:/bin/sh\n\
    redis:x:999:999::/data:/bin/sh\n\
    app:x:1000:1000::/data:/bin/sh\n\
    nobody:x:65534:65534::/:/bin/sh\n";

const GROUP: &str =
    "root:x:0:\nmessagebus:x:101:\npostgres:x:999:\nredis:x:999:\napp:x:1000:\nnogroup:x:65534:\n";
