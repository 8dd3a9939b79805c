//! Stock restic checks our copies, restores from them, and agrees on what is a copy of what.

use super::*;

fn restic_copies(from: (&Path, &str), to: (&Path, &str)) {
    let mut command = restic_of(to.0, to.1).command();
    command
        .args(["copy", "--from-repo"])
        .arg(from.0)
        .env("RESTIC_FROM_PASSWORD", from.1);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn ids(vault: &Vault) -> Vec<rekindle_vault::Id> {
    vault.snapshots().unwrap().iter().map(|s| s.id).collect()
}

#[test]
fn restic_finds_our_copy_whole_and_restores_from_it() {
    let place = Place::new();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let dir = place.path("copy");
    let to = vault_in(dir.clone(), &other_password());
    copy_all(&from, &to).unwrap();
    let restic = restic_of(&dir, OTHER_PASSWORD);
    restic.check(true).unwrap();
    let last = to.snapshots().unwrap().pop().unwrap();
    let target = place.path("by restic");
    restic.restore(&last.id.to_string(), &target).unwrap();
    common::assert_same(&points[2].1, &target.join(common::AT));
    // Nothing is there twice and nothing is left over.
    let pruned = restic
        .run(["prune", "--dry-run", "--max-unused", "0"])
        .unwrap();
    let nothing = pruned
        .lines()
        .any(|line| line.starts_with("total prune:") && line.contains(" 0 blobs"));
    assert!(nothing, "{pruned}");
}

#[test]
fn restic_copy_and_ours_agree_on_what_is_there() {
    let place = Place::new();
    let from = place.create();
    three_points(&from, &place.source());
    let (here, ours, theirs) = (place.vault_dir(), place.path("ours"), place.path("theirs"));
    let to = vault_in(ours.clone(), &other_password());
    copy_all(&from, &to).unwrap();
    let copied = ids(&to);
    restic_copies((&here, common::PASSWORD), (&ours, OTHER_PASSWORD));
    assert_eq!(ids(&to), copied, "restic finds our copies");
    restic_copies((&ours, OTHER_PASSWORD), (&here, common::PASSWORD));
    assert_eq!(ids(&from).len(), 3, "and knows where they came from");
    let by_restic = vault_in(theirs.clone(), &other_password());
    restic_copies((&here, common::PASSWORD), (&theirs, OTHER_PASSWORD));
    for (a, b) in [(&from, &by_restic), (&by_restic, &from), (&to, &by_restic)] {
        let report = copy_all(a, b).unwrap();
        assert_eq!((report.copied.len(), report.present.len()), (0, 3));
    }
}

#[test]
fn a_repository_that_restic_made_is_copied() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir_all(&source).unwrap();
    for number in 0..20 {
        fs::write(
            source.join(format!("{number}")),
            Random::new(number).text(200_000),
        )
        .unwrap();
    }
    let restic = place.restic();
    restic.init().unwrap();
    restic.backup(&[&source]).unwrap();
    let dir = place.path("copy");
    let to = vault_in(dir.clone(), &other_password());
    assert_eq!(copy_all(&place.open(), &to).unwrap().copied.len(), 1);
    assert_whole(&to);
    restic_of(&dir, OTHER_PASSWORD).check(true).unwrap();
    let target = place.path("target");
    let last = to.snapshots().unwrap().pop().unwrap();
    restore(&to, &last, &target).unwrap();
    let below = target.join(source.strip_prefix("/").unwrap());
    common::assert_same(&tree_digest(&source).unwrap(), &below);
}
