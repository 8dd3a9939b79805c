//! The vault and its recovery points, without any service: points are made by stock restic.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, io, path::PathBuf};

use rekindle_testing::{faults, restic::Restic, skip};
use support::Home;

/// A vault with one point of `data/a` and `data/b`; `None` where restic is not installed.
fn with_point() -> Option<(Home, Restic)> {
    let home = Home::with_vault();
    let password = fs::read_to_string(home.join("vault-password")).unwrap();
    let restic = Restic::new(home.join("vault"), password.trim());
    skip::unless_available(restic.version())?;
    fs::create_dir(home.join("data")).unwrap();
    home.write("data/a", "first");
    home.write("data/b", "second");
    back_up(&home, &restic);
    Some((home, restic))
}

/// By a relative path, so that the point begins at `/data` whatever this directory is called.
fn back_up(home: &Home, restic: &Restic) {
    let mut command = restic.command();
    command.args(["backup", "data"]).current_dir(home.path());
    rekindle_testing::process::run(&mut command).unwrap();
}

fn packs(home: &Home) -> Vec<PathBuf> {
    faults::files_below(&home.join("vault/data")).unwrap()
}

#[test]
fn an_empty_vault_is_whole_and_says_so() {
    let home = Home::with_vault();
    home.run(&["vault", "check"])
        .says(0, "whole: 0 recovery points, 0 packs\n", "");
    let nothing = "there is no recovery point yet\nnext: rekindle backup\n";
    home.run(&["points"]).says(0, "", nothing);
    home.run(&["points", "list", "--quiet"]).says(0, "", "");
    let stats = home.json(&["vault", "stats"]);
    assert_eq!(
        (&stats["snapshots"], &stats["packs"]),
        (&0.into(), &0.into())
    );
    let list = home.json(&["points"]);
    assert_eq!(
        list,
        serde_json::json!({ "points": [], "unreadable": [], "windows": [] })
    );
}

#[test]
fn a_vault_is_made_once() {
    let home = Home::with_vault();
    let said = "\
error: there is a vault at HOME/vault already
hint: it is kept as it is; `rekindle vault stats` tells what is in it
";
    home.run(&["vault", "init"]).says(1, "", said);
    fs::remove_dir_all(home.join("vault")).unwrap();
    let said = "\
error: there is no vault at HOME/vault
hint: `rekindle vault init` makes one; or is its disk not mounted?
";
    home.run(&["points"]).says(1, "", said);
    let made = home.json(&["vault", "init"]);
    assert_eq!(made["location"], home.join("vault").display().to_string());
    assert_eq!(home.run(&["points"]).code, 0);
}

#[test]
fn a_wrong_password_opens_nothing_and_is_not_told() {
    let home = Home::with_vault();
    home.write("vault-password", "hunter2");
    let said = "\
error: the password opens none of the 1 keys of the vault at HOME/vault
hint: is `password_file` the one that the vault was made with? The vault is well
";
    home.run(&["points"]).says(1, "", said);
    let error = home.json_error(&["vault", "check"], 1);
    assert_eq!(error["chain"].as_array().unwrap().len(), 1);
    assert!(error["hint"].as_str().unwrap().contains("password_file"));
}

#[test]
fn a_second_password_opens_the_vault_too() {
    let home = Home::with_vault();
    home.write("second", "another password\n");
    home.run(&["vault", "keys", "add", "--new-password-file", "second"])
        .says(0, "added key ID\n", "");
    home.write("vault-password", "another password");
    let keys = home.json(&["vault", "keys"]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    home.run(&["vault", "keys", "add", "--new-password-file", "gone"])
        .says(
            1,
            "",
            "error: secret file gone: No such file or directory (os error 2)\n",
        );
}

#[test]
fn points_of_other_programs_are_listed_shown_compared_and_restored() {
    let Some((home, restic)) = with_point() else {
        return;
    };
    home.write("data/a", "changed");
    home.write("data/c", "third");
    fs::remove_file(home.join("data/b")).unwrap();
    back_up(&home, &restic);
    let list = home.json(&["points"]);
    let ids: Vec<&str> = (0..2)
        .map(|n| list["points"][n]["id"].as_str().unwrap())
        .collect();
    let table = home.ok(&["points"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("ID        TIME"), "{table}");
    assert!(table.contains(&ids[0][..8]), "{table}");
    let shown = home.json(&["points", "show", &ids[0][..12]]);
    assert_eq!(
        (&shown["id"], &shown["manifest"]),
        (&ids[0].into(), &serde_json::Value::Null)
    );
    let diff = home.run(&["points", "diff", ids[0], "latest"]).stdout;
    let expected = [
        "M  /data/a",
        "-  /data/b  (6 B)",
        "+  /data/c  (5 B)",
        "1 added (5 B), 1 removed",
    ];
    for (line, expected) in diff.lines().zip(expected) {
        assert!(line.starts_with(expected), "{diff}");
    }
    home.ok(&["restore", ids[0], "--to", "back"]);
    assert_eq!(
        fs::read_to_string(home.join("back/data/a")).unwrap(),
        "first"
    );
    home.ok(&["restore", "--path", "data/c", "--to", "one"]);
    assert_eq!(fs::read_to_string(home.join("one/c")).unwrap(), "third");
}

#[test]
fn a_directory_with_something_in_it_is_not_restored_into() {
    let Some((home, _restic)) = with_point() else {
        return;
    };
    fs::create_dir(home.join("full")).unwrap();
    home.write("full/mine", "mine");
    let said = "\
error: restore recovery point ID to HOME/full: the target directory HOME/full is not empty: it holds `mine`
hint: name an empty or new directory; nothing was touched
";
    home.run(&["restore", "--to", "full"]).says(1, "", said);
    assert_eq!(fs::read_dir(home.join("full")).unwrap().count(), 1);
}

#[test]
fn a_dry_run_restores_nothing_and_tells_the_command_that_does() {
    let Some((home, _restic)) = with_point() else {
        return;
    };
    let ran = home.run(&["restore", "--to", "new dir", "--dry-run"]);
    assert_eq!(
        ran.stderr,
        "next: rekindle restore ID --to 'HOME/new dir'\n"
    );
    assert!(
        ran.stdout.contains("size      2 files, 11 B; "),
        "{}",
        ran.stdout
    );
    assert!(!home.join("new dir").exists());
    let plan = home.json(&["restore", "--to", "new", "--dry-run"]);
    assert_eq!((&plan["files"], &plan["bytes"]), (&2.into(), &11.into()));
}

#[test]
fn an_unknown_point_is_an_error_with_a_way_out() {
    let Some((home, _restic)) = with_point() else {
        return;
    };
    let said = "\
error: no recovery point `ffffffffffff` in the vault
hint: `rekindle points` lists them
";
    for command in ["show", "diff"] {
        let mut arguments = vec!["points", command, "ffffffffffff"];
        arguments.extend((command == "diff").then_some("latest"));
        home.run(&arguments).says(1, "", said);
    }
    home.run(&["restore", "ffffffffffff", "--to", "x"])
        .says(1, "", said);
    assert!(!home.join("x").exists());
    home.run(&["restore", "--path", "data/none", "--to", "x"])
        .fails_with(1, "there is no `data/none` in recovery point ID");
}

#[test]
fn a_damaged_file_of_the_wal_archive_is_damage_of_the_vault() {
    let home = Home::with_vault();
    let folder = home.join("vault/rekindle/wal/7300000000000000001/00000001");
    std::fs::create_dir_all(&folder).unwrap();
    let name = "000000010000000000000003.zst.age";
    std::fs::write(folder.join(name), [7; 1000]).unwrap();
    // No byte of it is read without being asked to; the key file is missed at once.
    let ran = home.run(&["vault", "check"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("0 packs, 1 file of WAL"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("wal.age` is gone"), "{}", ran.stderr);
    let ran = home.run(&["vault", "check", "--read-data"]);
    assert_eq!(ran.code, 4, "{}", ran.stdout);
    let told = format!("damage: `rekindle/wal/7300000000000000001/ID/{name}`");
    assert!(ran.stdout.contains(&told), "{}", ran.stdout);
}

#[test]
fn damage_is_told_by_what_it_hits_and_has_its_own_exit_code() {
    let Some((home, _restic)) = with_point() else {
        return;
    };
    home.run(&["vault", "check", "--read-data"])
        .fails_with(0, "");
    for pack in packs(&home) {
        faults::flip_bit(&pack, 20).unwrap();
    }
    let ran = home.run(&["vault", "check", "--read-data"]);
    assert_eq!(ran.code, 4, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("damage: pack ID is damaged: "),
        "{}",
        ran.stdout
    );
    let lost = "of recovery point ID of TIME cannot be restored\n  /";
    assert!(ran.stdout.contains(lost), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("damaged: 1 of 1 recovery point hit, 0 whole"),
        "{}",
        ran.stdout
    );
    let restore = home.run(&["restore", "--to", "x"]);
    restore.fails_with(4, "hint: `rekindle vault check --read-data` tells which");
}

#[test]
fn a_recovery_point_that_cannot_be_read_does_not_hide_the_others() {
    let Some((home, restic)) = with_point() else {
        return;
    };
    back_up(&home, &restic);
    let points = faults::files_below(&home.join("vault/snapshots")).unwrap();
    faults::flip_bit(&points[0], 30).unwrap();
    let ran = home.run(&["points"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    ran.fails_with(5, "warning: ");
    assert_eq!(home.run(&["vault", "check"]).code, 4);
}

#[test]
fn where_nobody_works_there_is_no_lock_to_remove() {
    let home = Home::with_vault();
    home.run(&["vault", "unlock"])
        .says(0, "no abandoned lock\n", "");
    let said = home.json(&["vault", "unlock"]);
    assert_eq!(said, serde_json::json!({ "removed": [], "remaining": [] }));
}

#[test]
fn a_lock_that_cannot_be_read_is_in_the_way_of_a_prune_until_it_is_old() {
    let Some((home, restic)) = with_point() else {
        return;
    };
    let first = restic.list("snapshots").unwrap().remove(0);
    home.write("data/b", "second, and something else");
    back_up(&home, &restic);
    restic.forget(&first).unwrap();
    let lock = home.join("vault/locks").join("ab".repeat(32));
    fs::write(&lock, "cut").unwrap();
    let refused = home.run(&["vault", "prune", "--wait", "1s"]);
    refused.fails_with(1, "cannot be read");
    refused.fails_with(1, "`rekindle vault unlock`");
    let doctor = home.run(&["doctor"]);
    let said = doctor.stdout + &doctor.stderr;
    assert!(said.contains("cannot be read"), "{said}");
    let young = home.json(&["vault", "unlock"]);
    assert_eq!(young["remaining"][0]["lock"], serde_json::Value::Null);

    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(&lock).unwrap();
    file.set_modified(hour_ago).unwrap();
    let removed = home.ok(&["vault", "unlock"]);
    assert!(removed.contains("that cannot be read"), "{removed}");
    assert!(!lock.exists());
    home.ok(&["vault", "prune"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::with_vault();
    for arguments in [
        &["config", "schema"][..],
        &["--help"],
        &["points", "--json"],
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = home.command(arguments).stdout(writer).output().unwrap();
        let ran = home.ran(&output);
        ran.says(0, "", "");
    }
}

#[test]
fn logs_go_to_stderr_in_the_form_asked_for() {
    let home = Home::with_vault();
    let mut command = home.command(&["points", "--json", "--log-format", "json"]);
    let output = command.env("REKINDLE_LOG", "trace").output().unwrap();
    let stdout: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(stdout["points"].is_array());
    let stderr = String::from_utf8(output.stderr).unwrap();
    for line in stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string(), "{line}");
    }
}

#[test]
fn a_prune_shows_its_plan_then_marks_and_a_later_one_removes() {
    let Some((home, restic)) = with_point() else {
        return;
    };
    let first = restic.snapshots().unwrap()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    home.write("data/b", "second, and something else");
    back_up(&home, &restic);
    restic.forget(&first).unwrap();
    let before = packs(&home);

    let plan = home.ok(&["vault", "prune", "--dry-run", "--max-unused", "0"]);
    assert!(plan.starts_with("1 recovery point, "), "{plan}");
    assert!(plan.contains("too much of it is waste"), "{plan}");
    assert_eq!(packs(&home), before, "it only shows");
    let plan = home.json(&["vault", "prune", "--dry-run", "--max-unused", "0"]);
    assert!(plan["plan"]["repack_bytes"].as_u64().unwrap() > 0, "{plan}");

    let done = home.json(&["vault", "prune", "--max-unused", "0"]);
    assert!(done["marked_packs"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(
        done["removed_packs"], 0,
        "not in the run that marks: {done}"
    );
    restic.check(true).unwrap();
    let waiting = home.ok(&["vault", "prune"]);
    assert!(waiting.contains("its grace is not over"), "{waiting}");

    let done = home.ok(&["vault", "prune", "--now"]);
    assert!(done.contains("removed"), "{done}");
    restic.check(true).unwrap();
    assert_eq!(
        home.ok(&["vault", "prune"]).lines().last(),
        Some("there was nothing to do")
    );
    home.run(&["vault", "prune", "--max-unused", "lots"])
        .fails_with(2, "a size is a");
}
