//! Points as plain files that stock tools take, and archives of files as points.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rekindle_testing::{
    faults::tree_digest,
    meilisearch_stand_in::{MeilisearchStandIn, StandInOptions},
    postgres::{Existing, Major, Postgres},
    temp_dir,
};
use serde_json::json;
use support::Home;

/// The one file in a directory whose name has these two parts.
fn only(directory: &Path, beginning: &str, ending: &str) -> PathBuf {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(beginning) && name.ends_with(ending)
    };
    let found: Vec<_> = names.filter(fits).collect();
    assert_eq!(found.len(), 1, "{beginning}…{ending}: {found:?}");
    found[0].clone()
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn checksums_fit(directory: &Path) {
    succeeds(
        Command::new("sh")
            .current_dir(directory)
            .args(["-c", "sha256sum --check --strict *.sha256"]),
    );
}

#[test]
fn a_cluster_becomes_dumps_that_load_and_a_directory_that_starts() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    pg.psql("create database shop");
    pg.psql_db(
        "shop",
        "create table item as select g as id, md5(g::text) as name from generate_series(1, 500) g",
    );
    let home = Home::with_vault();
    let yaml = format!(
        "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  postgres: {{ datasets: [ {{ kind: \
         postgres, url: \"{}\", logical: [shop], bin_dir: {:?} }} ] }}\n",
        pg.url(),
        pg.bin_dir()
    );
    home.write("rekindle.yaml", &yaml);
    home.ok(&["backup"]);

    let plan = home.json(&["export", "--to", "out", "--dry-run"]);
    assert_eq!(plan["files"].as_array().unwrap().len(), 4, "{plan}");
    assert!(!home.join("out").exists(), "a plan writes nothing");
    let done = home.json(&["export", "--to", "out"]);
    let out = home.join("out");
    checksums_fit(&out);
    for file in done["files"].as_array().unwrap() {
        let path = out.join(file["name"].as_str().unwrap());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), file["bytes"].as_u64().unwrap());
        assert_eq!(
            metadata.permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
    }
    let manifest = fs::read_to_string(out.join("MANIFEST.txt")).unwrap();
    assert!(
        manifest.contains("pg_restore --exit-on-error"),
        "{manifest}"
    );
    let left: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".part")),
        "{left:?}"
    );

    let dump = only(&out, "postgres_shop_dump_", ".dump");
    pg.psql("create database from_dump");
    succeeds(
        pg.tool("pg_restore")
            .args(["--exit-on-error", "-d", "from_dump"])
            .stdin(fs::File::open(dump).unwrap()),
    );
    home.ok(&[
        "export",
        "latest",
        "--service",
        "postgres",
        "--to",
        "sql",
        "--plain-sql",
    ]);
    let sql = only(&home.join("sql"), "postgres_shop_dump_", ".sql");
    pg.psql("create database from_sql");
    succeeds(
        pg.tool("psql")
            .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "from_sql"])
            .stdin(fs::File::open(sql).unwrap()),
    );
    for database in ["from_dump", "from_sql"] {
        let rows = "select count(*) || md5(string_agg(name, ',' order by id)) from item";
        assert_eq!(
            pg.psql_db(database, rows),
            pg.psql_db("shop", rows),
            "{database}"
        );
    }

    let unpacked = temp_dir().unwrap();
    let tar = only(&out, "postgres_pgdata_", ".tar.gz");
    succeeds(
        Command::new("tar")
            .arg("-xpzf")
            .arg(tar)
            .arg("-C")
            .arg(unpacked.path()),
    );
    fs::set_permissions(unpacked.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let started = Existing::new(pg.bin_dir(), unpacked.path())
        .start()
        .unwrap();
    assert_eq!(started.psql_db("shop", "select count(*) from item"), "500");
    drop(started);

    home.run(&["export", "--to", "out"]).fails_with(1, "exists");
    home.run(&["export", "--to", "x", "--service", "nobody"])
        .fails_with(1, "nobody");
}

#[test]
fn a_search_index_becomes_a_dump_that_a_server_imports() {
    let server = MeilisearchStandIn::start().unwrap();
    server.put("movies", "id", &[json!({ "id": 1, "title": "ü" })]);
    let home = Home::with_vault();
    home.write("key", rekindle_testing::meilisearch_stand_in::ADMIN_KEY);
    let yaml = format!(
        "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  search: {{ datasets: [ {{ kind: \
         meilisearch, url: \"{}\", key_file: key }} ] }}\n",
        server.url()
    );
    home.write("rekindle.yaml", &yaml);
    home.ok(&["backup"]);
    home.ok(&["export", "--to", "out"]);
    checksums_fit(&home.join("out"));
    let options = StandInOptions {
        import_dump: Some(only(&home.join("out"), "search_meilisearch_", ".dump")),
        ..StandInOptions::default()
    };
    let other = temp_dir().unwrap();
    let imported = MeilisearchStandIn::start_in(other.path(), &options).unwrap();
    assert_eq!(imported.documents("movies"), server.documents("movies"));
}

/// A stack with a service of files.
fn with_files() -> Home {
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        "stack: shop\nvault: { at: vault, password_file: vault-password }\nservices:\n  index: { datasets: [ { kind: files, \
         paths: [data] } ] }\n",
    );
    home
}

/// Everything that an archive may hold but devices.
fn made_up_tree(root: &Path) {
    let deep = root.join("a".repeat(120)).join("b".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("long name"), "x").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("large"), vec![7; 3_000_000]).unwrap();
    fs::write(root.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("script"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(root.join("large"), root.join("also large")).unwrap();
    symlink("large", root.join("link")).unwrap();
    symlink("../nowhere", deep.join("dangling")).unwrap();
    fs::write(root.join("ünïcode"), "ü").unwrap();
    // Not every file system and machine has them.
    let tagged = ["-n", "user.tag", "-v", "red"];
    let _ = Command::new("setfattr")
        .args(tagged)
        .arg(root.join("script"))
        .output();
}

fn tagged(path: &Path) -> Vec<u8> {
    let mut command = Command::new("getfattr");
    command.args(["--only-values", "-n", "user.tag"]).arg(path);
    command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default()
}

#[test]
fn an_archive_is_imported_restored_and_exported_and_nothing_is_lost_on_the_way() {
    let home = with_files();
    let tree = home.join("tree");
    fs::create_dir(&tree).unwrap();
    made_up_tree(&tree);
    let pack = |name: &str, flags: &str| {
        let mut tar = Command::new("tar");
        succeeds(
            tar.current_dir(&tree)
                .args(["--xattrs", "--format=pax", flags])
                .arg(home.join(name))
                .arg("."),
        );
    };
    pack("old.tar.gz", "-czf");
    pack("old.tar", "-cf");
    succeeds(
        Command::new("sh")
            .current_dir(home.path())
            .args(["-c", "sha256sum old.tar.gz > old.tar.gz.sha256"]),
    );
    let before = tree_digest(&tree).unwrap();

    let plan = home.json(&["import", "old.tar.gz", "--dry-run"]);
    assert_eq!(plan["files"][0]["files"], 6, "{plan}");
    assert_eq!(plan["files"][0]["is_verified"], true);
    assert_eq!(home.json(&["points"])["points"], json!([]));
    let imported = home.json(&["import", "old.tar.gz", "--tag", "legacy"]);
    assert_eq!(imported["point"]["tags"], json!(["imported", "legacy"]));
    home.json(&["import", "old.tar"]);

    for (number, point) in ["legacy", "latest"].into_iter().enumerate() {
        let back = home.join(&format!("back{number}"));
        home.ok(&[
            "restore",
            point,
            "--service",
            "index",
            "--to",
            back.to_str().unwrap(),
        ]);
        assert_eq!(
            tree_digest(&back).unwrap().0.len(),
            before.0.len(),
            "{point}"
        );
        for (path, entry) in &before.0 {
            let found = &tree_digest(&back).unwrap().0[path];
            let same = (
                &found.kind,
                found.mode,
                found.owner,
                found.size,
                &found.sha256,
                &found.target,
            );
            assert_eq!(
                same,
                (
                    &entry.kind,
                    entry.mode,
                    entry.owner,
                    entry.size,
                    &entry.sha256,
                    &entry.target
                ),
                "{path:?}"
            );
        }
        assert_eq!(tagged(&back.join("script")), tagged(&tree.join("script")));
    }

    home.ok(&["export", "legacy", "--to", "out"]);
    checksums_fit(&home.join("out"));
    let archive = only(&home.join("out"), "index_files_", ".tar.gz");
    let unpacked = home.join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let mut tar = Command::new("tar");
    succeeds(
        tar.args(["--xattrs", "--xattrs-include=*", "-xpzf"])
            .arg(&archive)
            .arg("-C")
            .arg(&unpacked),
    );
    assert_eq!(
        tree_digest(&unpacked).unwrap(),
        before,
        "times and links included"
    );
    assert_eq!(
        tagged(&unpacked.join("script")),
        tagged(&tree.join("script"))
    );
    home.ok(&["import", archive.to_str().unwrap(), "--tag", "again"]);
    let same = home.json(&["points", "diff", "legacy", "tag:again"]);
    let changed = same["differences"].as_array().unwrap();
    let data = changed.iter().filter(|one| {
        one["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("index/"))
    });
    assert_eq!(data.count(), 0, "{same}");
}

#[test]
fn archives_that_lead_out_are_damaged_or_are_not_what_they_should_be_are_refused() {
    let home = with_files();
    let tar = |name: &str, setup: &str, flags: &str| {
        let directory = home.join(&format!("of-{name}"));
        fs::create_dir(&directory).unwrap();
        let script = format!("{setup}\ntar -cPf '{}' {flags}", home.join(name).display());
        succeeds(
            Command::new("sh")
                .current_dir(directory)
                .args(["-ec", &script]),
        );
    };
    tar("up.tar", "touch ../x", "../x");
    tar("absolute.tar", "", "/etc/hostname");
    tar("link.tar", "ln -s ../../etc/passwd l", "l");
    tar("absolute-link.tar", "ln -s /etc/passwd l", "l");
    tar("pipe.tar", "mkfifo p", "p");
    tar("twice.tar", "echo 1 > a", "a a");
    tar(
        "fine.tar",
        "head -c 100000 /dev/zero > a; echo 2 > b",
        "a b",
    );
    tar(
        "hard.tar",
        "echo 1 > a; ln a b",
        "a b --transform 's,^a$,../a,RSh'",
    );
    let refused = |name: &str, said: &str| {
        let ran = home.run(&["import", name]);
        ran.fails_with(1, said);
    };
    refused("up.tar", "leads out of it");
    refused("absolute.tar", "leads out of it");
    refused("link.tar", "the link `l` leads out of it");
    refused("absolute-link.tar", "hint: `--allow outside-links`");
    refused("pipe.tar", "hint: `--allow devices`");
    refused("twice.tar", "`a` is in it twice");
    refused("hard.tar", "another name of a file outside of it");
    let fine = fs::read(home.join("fine.tar")).unwrap();
    for (length, what) in [
        (600, "in the middle of a file"),
        (100_864, "between two files"),
        (fine.len() - 10_240, "at its end"),
    ] {
        fs::write(home.join("cut.tar"), &fine[..length]).unwrap();
        let ran = home.run(&["import", "cut.tar"]);
        assert_eq!(ran.code, 1, "{what}: {}", ran.stderr);
    }
    succeeds(Command::new("gzip").arg("-k").arg(home.join("fine.tar")));
    let gzip = fs::read(home.join("fine.tar.gz")).unwrap();
    fs::write(home.join("cut.tar.gz"), &gzip[..gzip.len() - 4]).unwrap();
    assert_eq!(home.run(&["import", "cut.tar.gz"]).code, 1);
    home.write(
        "fine.tar.sha256",
        &format!("{}  fine.tar\n", "0".repeat(64)),
    );
    refused("fine.tar", "the file beside it says ID");
    home.run(&["import", "fine.tar", "--service", "nobody"])
        .fails_with(2, "nobody");
    home.run(&["import", "fine.tar", "up.tar", "vault-password"])
        .fails_with(2, "different kinds");
    assert_eq!(
        home.json(&["points"])["points"],
        json!([]),
        "nothing of all that was stored"
    );

    home.ok(&["import", "link.tar", "--allow", "outside-links"]);
    home.ok(&["import", "pipe.tar", "--allow", "devices"]);
    home.ok(&["restore", "--service", "index", "--to", "back"]);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_written() {
    let home = with_files();
    let tree = home.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(
        tree.join("a"),
        rekindle_testing::data::Random::new(1).bytes(200_000),
    )
    .unwrap();
    succeeds(
        Command::new("tar")
            .arg("-cf")
            .arg(home.join("a.tar"))
            .arg("-C")
            .arg(&tree)
            .arg("."),
    );
    home.ok(&["import", "a.tar"]);
    let packs = home.join("vault/data");
    for folder in fs::read_dir(packs).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = pack.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            if bytes.len() > 100_000 {
                bytes[1000] ^= 1;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    let ran = home.run(&["export", "--to", "out"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let manifest = fs::read_to_string(home.join("out/MANIFEST.txt")).unwrap();
    assert!(manifest.contains("THIS EXPORT IS NOT WHOLE"), "{manifest}");
    only(&home.join("out"), "recovery-point_", ".json");
    let names: Vec<_> = fs::read_dir(home.join("out"))
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("index_files")),
        "{names:?}"
    );
}
