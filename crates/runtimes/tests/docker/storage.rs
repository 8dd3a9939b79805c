//! Storage of services, through their containers.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rekindle_runtimes::{Runtime as _, StorageAccess, StorageKind};

use crate::project::{sh, shop, shop_of};

fn tar_of(access: &mut dyn StorageAccess, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    access
        .read(Path::new(path))
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Name, owner, mode, time and content's length of each entry.
fn listing(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let (uid, mode, mtime) = (
            header.uid().unwrap(),
            header.mode().unwrap(),
            header.mtime().unwrap(),
        );
        let link = entry
            .link_name()
            .unwrap()
            .map(|to| format!(" → {}", to.display()))
            .unwrap_or_default();
        let path = entry.path().unwrap();
        let path = path.strip_prefix(".").unwrap_or(&path).display();
        // Some write the kind of the file into the mode, too.
        format!(
            "{path} {uid} {:o} {mtime} {}{link}",
            mode & 0o7777,
            entry.size()
        )
    });
    let mut lines: Vec<String> = entries.collect();
    lines.sort();
    lines
}

#[test]
fn volumes_binds_and_nameless_volumes_are_found_with_where_they_lie() {
    let Some(shop) = shop() else { return };
    let found = shop.docker.storage("app").unwrap();
    let short: Vec<_> = found
        .iter()
        .map(|one| (one.inside.to_str().unwrap(), one.kind, one.read_only))
        .collect();
    assert_eq!(
        short,
        [
            ("/conf", StorageKind::Bind, true),
            ("/data", StorageKind::Volume, false),
            ("/scratch", StorageKind::Anonymous, false),
        ]
    );
    assert_eq!(found[1].name, "shop_files");
    sh(&shop.docker, "app", "echo inside >/data/x");
    let here = found[1].here.as_ref().unwrap();
    assert_eq!(
        std::fs::read_to_string(here.join("x")).unwrap(),
        "inside\n",
        "the tests run as root beside the engine"
    );
    let conf = found[0].here.as_ref().unwrap().join("app.conf");
    assert_eq!(std::fs::read_to_string(conf).unwrap(), "colour=green\n");
}

#[test]
fn what_is_read_from_a_volume_can_be_written_to_another_with_owners_modes_times_and_links() {
    let Some(shop) = shop() else { return };
    let script = "cd /data && chown 999:999 . && chmod 0711 . && mkdir -p d/e && echo one >d/one && ln -s one d/link && ln d/one d/hard && \
                  head -c 300000 /dev/urandom >d/e/big && chown 4242:17 d/e/big && chmod 4751 d/e/big && \
                  touch -d '2001-02-03 04:05:06' d/e/big d/e d && chmod 0750 d/e && : >empty";
    assert_eq!(sh(&shop.docker, "app", script).0, 0);
    let storage = shop.docker.storage("app").unwrap();
    let (data, scratch) = (&storage[1], &storage[2]);
    let tar = tar_of(shop.docker.open_storage("app", data).unwrap().as_mut(), "");
    let lines = listing(&tar);
    assert!(
        lines.contains(&"d/e/big 4242 4751 981173106 300000".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("d/link") && line.ends_with("→ one")),
        "{lines:#?}"
    );
    for state in ["running", "frozen", "stopped"] {
        match state {
            "frozen" => shop.docker.pause("app").unwrap(),
            "stopped" => shop.docker.stop("app", Duration::from_secs(1)).unwrap(),
            _ => (),
        }
        let mut other = shop.docker.open_storage("app", scratch).unwrap();
        other.write(Path::new(""), &mut tar.as_slice()).unwrap();
        assert_eq!(listing(&tar_of(other.as_mut(), "")), lines, "{state}");
        assert!(
            lines.iter().any(|line| line.starts_with(" 999 711 ")),
            "the directory itself, too: {lines:#?}"
        );
        let own = shop.docker.open_storage("app", data).unwrap();
        drop(own);
    }
    let mut data = shop.docker.open_storage("app", data).unwrap();
    assert_eq!(
        listing(&tar_of(data.as_mut(), "d/e")).len(),
        2,
        "a part alone"
    );
    let mut big = Vec::new();
    assert_eq!(
        data.copy_file(Path::new("d/e/big"), &mut big).unwrap(),
        300_000
    );
    assert_eq!(big.len(), 300_000);
    data.rename(Path::new("d"), Path::new("d.before")).unwrap();
    assert_eq!(listing(&tar_of(data.as_mut(), "d.before/e")).len(), 2);
    let error = data
        .rename(Path::new("empty"), Path::new("d.before"))
        .unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    for path in ["../etc", "/etc", "d/../../x"] {
        assert!(
            data.copy_file(Path::new(path), &mut Vec::new()).is_err(),
            "{path}"
        );
    }
    let error = data
        .copy_file(Path::new("nowhere"), &mut Vec::new())
        .unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    let helpers = shop.engine.run([
        "ps",
        "--all",
        "--quiet",
        "--filter",
        "label=io.rekindle.owner",
    ]);
    assert_eq!(helpers, "", "no helper stays");
}

/// Ends with an error in the middle of an archive.
struct Breaking<'a>(&'a [u8]);

impl Read for Breaking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            length => Ok(length),
        }
    }
}

#[test]
fn an_archive_whose_source_breaks_is_an_error_with_its_reason() {
    let Some(shop) = shop() else { return };
    sh(
        &shop.docker,
        "app",
        "head -c 3000000 /dev/urandom >/data/big",
    );
    let storage = shop.docker.storage("app").unwrap();
    let tar = tar_of(
        shop.docker
            .open_storage("app", &storage[1])
            .unwrap()
            .as_mut(),
        "",
    );
    let mut scratch = shop.docker.open_storage("app", &storage[2]).unwrap();
    let error = scratch
        .write(Path::new(""), &mut Breaking(&tar[..1_000_000]))
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the disk is gone", "{error}");
}

#[test]
fn a_volume_without_space_says_so_and_what_to_do() {
    // A mebibyte in pages; of `size` Podman thinks that it is a quota.
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1', volumes: ['small:/data', '/scratch'] } }\n\
                   volumes: { small: { driver_opts: { type: tmpfs, device: tmpfs, o: 'nr_blocks=256' } } }\n";
    let Some(shop) = shop_of(compose) else { return };
    sh(
        &shop.docker,
        "app",
        "head -c 3000000 /dev/urandom >/scratch/big",
    );
    let storage = shop.docker.storage("app").unwrap();
    let tar = tar_of(
        shop.docker
            .open_storage("app", &storage[1])
            .unwrap()
            .as_mut(),
        "",
    );
    let mut small = shop.docker.open_storage("app", &storage[0]).unwrap();
    let error = small.write(Path::new(""), &mut tar.as_slice()).unwrap_err();
    assert!(
        error.to_string().contains("no space left on device"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("is full"), "{error:?}");
}
