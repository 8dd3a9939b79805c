//! Points forgotten, held and kept; passwords changed: as a person does it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, sync::Arc};

use rekindle_testing::{restic::Restic, skip};
use rekindle_vault::{BackupOptions, Password, SnapshotDraft, Vault, store::LocalStore};
use support::Home;

/// A vault of a stack with one service, and a retention.
fn home(retention: &str) -> Home {
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: ./vault, password_file: ./vault-password }}\n\
             services:\n  api: {{ datasets: [ {{ kind: files, paths: [/srv/api] }} ] }}\n\
             retention: {{ {retention} }}\n"
        ),
    );
    home
}

fn password(home: &Home) -> String {
    let text = fs::read_to_string(home.join("vault-password")).unwrap();
    text.trim().to_owned()
}

/// Makes a point of the service; returns its id.
fn point(home: &Home, tags: &[&str]) -> String {
    let store = Arc::new(LocalStore::new(home.join("vault")));
    let vault = Vault::open(store, &Password::new(password(home))).unwrap();
    let backup = vault.start_backup(BackupOptions::default()).unwrap();
    let draft = SnapshotDraft {
        paths: vec!["/api/files".to_owned()],
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    backup.finish(draft).unwrap().id.to_string()
}

fn ids(home: &Home) -> Vec<String> {
    let list = home.json(&["points"]);
    let points = list["points"].as_array().unwrap();
    points
        .iter()
        .map(|p| p["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_no_rule_keeps_is_shown_and_then_forgotten() {
    let home = home("last: 1, keep_tags: [release]");
    let first = point(&home, &["release"]);
    let second = point(&home, &[]);
    let third = point(&home, &[]);
    let shown = home.run(&["retention", "show"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let fates: Vec<&str> = shown.stdout.lines().skip(1).collect();
    assert!(
        fates[0].contains("stays") && fates[0].contains("tag `release`"),
        "{fates:?}"
    );
    assert!(
        fates[1].contains("would go") && fates[1].contains("no rule keeps it"),
        "{fates:?}"
    );
    assert!(
        fates[2].contains("newest of api; newest with all services"),
        "{fates:?}"
    );
    assert_eq!(shown.stderr, "next: rekindle retention apply --yes\n");
    assert_eq!(ids(&home).len(), 3);
    let done = home.json(&["retention", "apply", "--yes"]);
    assert_eq!(done["forgotten"], 1);
    assert_eq!(done["points"][1]["id"], second);
    assert_eq!(done["points"][1]["reasons"], serde_json::json!([]));
    assert_eq!(ids(&home), [first, third]);
    let again = home.run(&["retention", "apply", "--yes"]);
    assert!(
        again.stdout.ends_with("0 recovery points forgotten\n"),
        "{}",
        again.stdout
    );
    home.run(&["vault", "check", "--read-data"]);
}

#[test]
fn a_hold_is_set_seen_by_restic_honoured_and_removed() {
    let home = home("last: 1");
    let first = point(&home, &[]);
    point(&home, &[]);
    point(&home, &[]);
    home.ok(&[
        "hold",
        "add",
        "incident-7",
        "--point",
        &first[..8],
        "--reason",
        "evidence",
    ]);
    let restic = Restic::new(home.join("vault"), &password(&home));
    if skip::unless_available(restic.version()).is_some() {
        // What stock restic forgets of three points with this rule, and what not.
        let said = restic.run([
            "forget",
            "--dry-run",
            "--keep-last",
            "1",
            "--keep-tag",
            "hold:incident-7",
        ]);
        let said = format!("{:?}", said.unwrap());
        assert!(said.contains("keep 2 snapshots"), "{said}");
    }
    let done = home.json(&["retention", "apply", "--yes"]);
    assert_eq!(done["forgotten"], 1, "{done}");
    let held = ids(&home)[0].clone();
    let refused = home.run(&["points", "forget", &held, "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("hold `incident-7` [hold]"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--force hold"),
        "{}",
        refused.stderr
    );
    home.ok(&["hold", "add", "all", "--all", "--until", "1d"]);
    let blocked = home.run(&["retention", "apply", "--yes"]);
    assert_eq!(blocked.code, 1);
    assert!(
        blocked.stderr.contains("hold `all` on the whole vault"),
        "{}",
        blocked.stderr
    );
    let list = home.json(&["hold", "list"]);
    assert_eq!(
        (&list["holds"][0]["points"], &list["holds"][1]["points"]),
        (&1.into(), &2.into())
    );
    assert_eq!(home.run(&["hold", "remove", "all"]).code, 7);
    home.ok(&["hold", "remove", "all", "--yes"]);
    home.ok(&["hold", "remove", "incident-7", "--yes"]);
    assert_eq!(home.json(&["retention", "apply", "--yes"])["forgotten"], 1);
    assert_eq!(home.run(&["hold", "remove", "incident-7", "--yes"]).code, 1);
    for wrong in [
        &["hold", "add", "x"][..],
        &["hold", "add", "x", "--all", "--service", "api"],
        &["hold", "add", "x", "--service", "nobody"],
        &["hold", "add", "x", "--all", "--until", "2020-01-01"],
    ] {
        assert_eq!(home.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_hold_on_a_service_keeps_what_is_made_later() {
    let home = home("last: 1");
    point(&home, &[]);
    home.ok(&["hold", "add", "migration", "--service", "api"]);
    point(&home, &[]);
    point(&home, &[]);
    assert_eq!(home.json(&["retention", "apply", "--yes"])["forgotten"], 0);
    // The same again gives the tag to what came later.
    home.ok(&["hold", "add", "migration", "--service", "api"]);
    let list = home.json(&["points"]);
    let tags = list["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["tags"][0].clone());
    assert!(tags.into_iter().all(|tag| tag == "hold:migration"));
}

#[test]
fn a_single_point_goes_by_hand_and_a_guarded_one_by_the_name_of_its_guard() {
    let home = home("");
    let first = point(&home, &[]);
    let second = point(&home, &[]);
    let said = home.run(&["points", "forget", &first[..8]]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (7, "would be forgotten: ID\n")
    );
    let refused = home.run(&["points", "forget", &first, &second, "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("[newest]") && refused.stderr.contains("[last-proven]"),
        "{}",
        refused.stderr
    );
    assert_eq!(ids(&home).len(), 2, "all or none");
    home.ok(&["points", "forget", &first, "--yes"]);
    let one = ["points", "forget", &second, "--yes", "--force", "newest"];
    assert_eq!(home.run(&one).code, 1);
    assert_eq!(ids(&home), std::slice::from_ref(&second));
    home.ok(&[&one[..], &["--force", "last-proven"]].concat());
    assert!(ids(&home).is_empty());
    assert_eq!(
        home.run(&["points", "forget", "x", "--yes", "--force", "everything"])
            .code,
        2
    );
}

#[test]
fn a_rotation_changes_the_password_file_and_the_old_password_opens_nothing() {
    let home = home("");
    point(&home, &[]);
    let old = password(&home);
    home.write("new", "the password of tomorrow\n");
    let said = home.run(&["vault", "keys", "rotate", "--new-password-file", "new"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(password(&home), "the password of tomorrow");
    assert_eq!(
        home.json(&["vault", "keys"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(ids(&home).len(), 1);
    let restic = Restic::new(home.join("vault"), "the password of tomorrow");
    if skip::unless_available(restic.version()).is_some() {
        restic.check(true).unwrap();
        assert!(Restic::new(home.join("vault"), &old).snapshots().is_err());
    }
    // The last key stays, and nobody is asked who is not there.
    let id = home.json(&["vault", "keys"])["keys"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = home.run(&["vault", "keys", "remove", &id, "--yes", "--even-in-use"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("the last one"),
        "{}",
        refused.stderr
    );
    let refused = home.run(&["vault", "keys", "rotate"]);
    assert!(
        refused.code == 2 && refused.stderr.contains("nobody to ask"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_new_password_can_be_typed_and_is_not_shown() {
    let home = home("");
    let program = env!("CARGO_BIN_EXE_rekindle");
    let line = format!("{program} vault keys add");
    let typed = "a typed password\na typed password\n";
    let said = rekindle_testing::age::on_a_terminal(home.path(), &line, typed);
    let Some(said) = skip::unless_available(said) else {
        return;
    };
    assert!(said.contains("added key"), "{said}");
    home.write("vault-password", "a typed password");
    assert_eq!(
        home.json(&["vault", "keys"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
