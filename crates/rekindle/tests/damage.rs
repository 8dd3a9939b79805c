//! A damaged vault on the command line: told, healed, its index rebuilt, and what is left of it brought out.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, path::PathBuf, process::Command};

use rekindle_testing::{faults, restic::Restic, skip};
use support::Home;

/// A vault with one point of `data/a` and `data/b`, and a mirror of its files that is a copy of it in the configuration;
/// `None` where restic is not installed.
fn with_mirror() -> Option<Home> {
    let home = Home::with_vault();
    let password = fs::read_to_string(home.join("vault-password")).unwrap();
    let restic = Restic::new(home.join("vault"), password.trim());
    skip::unless_available(restic.version())?;
    fs::create_dir(home.join("data")).unwrap();
    home.write("data/a", "first");
    home.write("data/b", "second");
    let mut command = restic.command();
    command.args(["backup", "data"]).current_dir(home.path());
    rekindle_testing::process::run(&mut command).unwrap();
    let mut command = Command::new("cp");
    command
        .arg("-a")
        .arg(home.join("vault"))
        .arg(home.join("mirror"));
    rekindle_testing::process::run(&mut command).unwrap();
    let config = fs::read_to_string(home.join("rekindle.yaml")).unwrap();
    let mirror = home.join("mirror");
    let copies = format!(
        "vault:\n  copies: [ {{ name: mirror, at: {} }} ]\n",
        mirror.display()
    );
    assert!(config.contains("\nvault:\n"), "{config}");
    home.write("rekindle.yaml", &config.replace("vault:\n", &copies));
    Some(home)
}

fn files(home: &Home, folder: &str) -> Vec<PathBuf> {
    faults::files_below(&home.join(folder)).unwrap()
}

#[test]
fn a_damaged_vault_is_healed_from_its_copy() {
    let Some(home) = with_mirror() else { return };
    home.run(&["vault", "heal"])
        .says(0, "nothing to heal: 1 recovery point\n", "");
    for pack in files(&home, "vault/data") {
        faults::flip_bit(&pack, 20).unwrap();
    }
    let check = home.run(&["vault", "check", "--read-data"]);
    check.fails_with(4, "next: rekindle vault heal --dry-run");
    let plan = home.run(&["vault", "heal", "--dry-run"]);
    assert_eq!(plan.code, 0, "{} {}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("could be healed: "), "{}", plan.stdout);
    assert_eq!(home.run(&["vault", "check", "--read-data"]).code, 4);
    let wrong = home.run(&["vault", "heal", "--from", "moon"]);
    wrong.fails_with(
        2,
        "there is no copy `moon` in the configuration; it has mirror",
    );
    let healed = home.json(&["vault", "heal", "--from", "mirror"]);
    assert_eq!(healed["ok"], true, "{healed}");
    assert!(!healed["set_aside"].as_array().unwrap().is_empty());
    assert_eq!(home.run(&["vault", "check", "--read-data"]).code, 0);
    home.ok(&["restore", "--to", "out"]);
    assert_eq!(fs::read(home.join("out/data/a")).unwrap(), b"first");
}

#[test]
fn a_vault_with_parity_is_healed_without_any_copy() {
    let Some(home) = with_mirror() else { return };
    let config = fs::read_to_string(home.join("rekindle.yaml")).unwrap();
    let copies = config.lines().find(|line| line.contains("copies:"));
    home.write(
        "rekindle.yaml",
        &config.replace(copies.unwrap(), "  parity: 10%"),
    );
    let none = home.run(&["vault", "parity"]);
    assert!(none.stdout.starts_with("no parity: "), "{}", none.stdout);
    let plan = home.json(&["vault", "parity", "make", "--dry-run"]);
    assert_eq!(plan["parity"]["groups_made"], 1, "{plan}");
    home.ok(&["vault", "parity", "make"]);
    home.run(&["vault", "parity", "make"])
        .says(0, "all is protected\n", "");
    for pack in files(&home, "vault/data") {
        faults::flip_bit(&pack, 20).unwrap();
    }
    assert_eq!(home.run(&["vault", "check", "--read-data"]).code, 4);
    let healed = home.json(&["vault", "heal"]);
    assert_eq!(healed["ok"], true, "{healed}");
    assert_eq!(healed["parity"]["rebuilt"].as_array().unwrap().len(), 2);
    assert_eq!(home.run(&["vault", "check", "--read-data"]).code, 0);
    home.ok(&["restore", "--to", "out"]);
    assert_eq!(fs::read(home.join("out/data/a")).unwrap(), b"first");
    let status = home.json(&["vault", "parity"]);
    assert_eq!(status["unprotected_files"], 0, "{status}");
    assert_eq!(home.run(&["vault", "parity", "remove"]).code, 7);
    home.ok(&["vault", "parity", "remove", "--yes"]);
    assert!(files(&home, "vault/rekindle/parity").is_empty());
}

#[test]
fn a_copy_that_is_away_is_told_and_what_stays_lost_has_its_own_exit_code() {
    let Some(home) = with_mirror() else { return };
    fs::rename(home.join("mirror"), home.join("away")).unwrap();
    for pack in files(&home, "vault/data") {
        faults::flip_bit(&pack, 20).unwrap();
    }
    let ran = home.run(&["vault", "heal"]);
    ran.fails_with(
        4,
        "warning: the copy `mirror` cannot be used: there is no vault at",
    );
    assert!(
        ran.stdout.contains("whole: 0 of 1 recovery point"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_lost_configuration_of_the_vault_comes_back() {
    let Some(home) = with_mirror() else { return };
    fs::remove_file(home.join("vault/config")).unwrap();
    home.run(&["points"])
        .fails_with(4, "`rekindle vault heal` makes it anew");
    home.run(&["vault", "heal"])
        .fails_with(0, "the vault's configuration was lost, and came back");
    assert_eq!(home.run(&["vault", "check"]).code, 0);
}

#[test]
fn a_lost_index_is_rebuilt_when_it_is_said() {
    let Some(home) = with_mirror() else { return };
    home.run(&["vault", "rebuild-index"]).fails_with(0, "");
    for file in files(&home, "vault/index") {
        fs::remove_file(file).unwrap();
    }
    home.run(&["vault", "rebuild-index", "--dry-run"])
        .fails_with(0, "next: rekindle vault rebuild-index --yes");
    home.run(&["vault", "rebuild-index"])
        .fails_with(7, "next: rekindle vault rebuild-index --yes");
    assert!(files(&home, "vault/index").is_empty());
    let ran = home.run(&["vault", "rebuild-index", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("rebuilt: 1 index file written"),
        "{}",
        ran.stdout
    );
    assert_eq!(home.run(&["vault", "check", "--read-data"]).code, 0);
    home.ok(&["restore", "--to", "out"]);
}

#[test]
fn what_is_left_of_a_vault_is_listed_and_brought_out() {
    let Some(home) = with_mirror() else { return };
    fs::remove_file(home.join("vault/config")).unwrap();
    fs::remove_dir_all(home.join("vault/index")).unwrap();
    fs::remove_dir_all(home.join("vault/snapshots")).unwrap();
    let list = home.json(&["vault", "salvage", "--list"]);
    let points = list["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["found"]), (1, &true.into()));
    let name = points[0]["name"].as_str().unwrap().to_owned();
    let ran = home.run(&["vault", "salvage", "--to", "out"]);
    ran.fails_with(0, "warning: ");
    assert!(ran.stdout.contains("whole: found-"), "{}", ran.stdout);
    let file = home.join("out").join(&name).join("data/b");
    assert_eq!(fs::read(file).unwrap(), b"second");
    assert!(home.join("out/REKINDLE-SALVAGE.json").exists());
    home.run(&["vault", "salvage", "--to", "more", "--point", "moon"])
        .fails_with(2, "there is nothing of a point `moon`");
    // Without a key nobody can do anything, and that is said.
    fs::remove_dir_all(home.join("vault/keys")).unwrap();
    let ran = home.run(&["vault", "salvage", "--list"]);
    ran.fails_with(4, "Without a key file nobody can read the vault");
}

#[test]
fn a_check_within_a_budget_says_how_far_it_is() {
    let Some(home) = with_mirror() else { return };
    let noise = rekindle_testing::data::Random::new(1).bytes(200_000);
    fs::write(home.join("data/noise"), noise).unwrap();
    let password = fs::read_to_string(home.join("vault-password")).unwrap();
    let restic = Restic::new(home.join("vault"), password.trim());
    restic.backup(&[&home.join("data")]).unwrap();
    let day = |home: &Home| home.run(&["vault", "check", "--budget", "1KiB", "--state", "st"]);
    let first = day(&home);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(
        first.stdout.contains("the rest is due next"),
        "{}",
        first.stdout
    );
    let mut days = (0..5).map(|_| day(&home).stdout);
    assert!(days.any(|told| told.contains("all data verified since TIME")));
    let json = home.json(&["vault", "check", "--budget", "10GiB", "--state", "st"]);
    let coverage = &json["coverage"];
    assert_eq!(coverage["verified_bytes"], coverage["stored_bytes"]);
    home.run(&["vault", "check", "--budget", "ten"])
        .fails_with(2, "a size is a number with KiB, MiB, GiB or TiB");
}
