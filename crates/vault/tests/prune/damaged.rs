//! What is damaged or gone stops a prune, and nothing is removed.

use rekindle_vault::{
    CopyOptions, HealOptions, PruneError, Store,
    store::{FileKind, MemoryStore, ObjectKey},
};

use crate::{
    assert_holds, assert_whole, noise, prune_at_once, with_waste,
    world::{World, back_up, hour, names, objects, prune},
};

#[derive(Clone, Copy, Debug)]
enum Damage {
    Delete,
    Cut,
    Alter,
}

fn damage(store: &MemoryStore, key: &ObjectKey, how: Damage) {
    let mut bytes = store.read(key).unwrap();
    match how {
        Damage::Delete => return store.delete(key).unwrap(),
        Damage::Cut => bytes.truncate(bytes.len() / 2),
        Damage::Alter => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }
    store.overwrite(key, bytes);
}

/// Damages each file of a kind in each way; `judge` gets what a prune then says.
fn for_each(kind: FileKind, mut judge: impl FnMut(&World, Damage, &ObjectKey)) {
    let (world, ..) = with_waste();
    for name in names(&*world.store, kind) {
        for how in [Damage::Delete, Damage::Cut, Damage::Alter] {
            let here = world.copy();
            let key = ObjectKey::of(kind, &name.parse().unwrap());
            damage(&here.store, &key, how);
            judge(&here, how, &key);
        }
    }
}

/// Nothing that was there is gone, but what lies at `key`.
fn assert_nothing_removed(world: &World, before: &std::collections::BTreeMap<ObjectKey, Vec<u8>>) {
    let after = objects(&*world.store);
    for (key, content) in before {
        assert!(after.get(key) == Some(content), "{key} was removed");
    }
}

#[test]
fn a_damaged_index_or_snapshot_prunes_nothing() {
    for kind in [FileKind::Index, FileKind::Snapshot] {
        for_each(kind, |world, how, key| {
            if kind == FileKind::Snapshot && matches!(how, Damage::Delete) {
                return;
            }
            let before = objects(&*world.store);
            match prune(&world.vault, hour(0)) {
                // Whatever that index file listed was not used by anybody.
                Ok(_) => assert!(matches!(how, Damage::Delete), "{key}"),
                Err(error) => {
                    assert!(error.is_damage(), "{how:?} {key}: {error}");
                    assert!(error.hint().unwrap().contains("check"));
                    assert_nothing_removed(world, &before);
                }
            }
        });
    }
}

#[test]
fn a_pack_that_is_gone_or_cut_stops_a_prune_if_it_is_needed() {
    let (mut refused, mut pruned) = (0, 0);
    for_each(FileKind::Pack, |world, how, _| {
        let before = objects(&*world.store);
        let point = world.vault.snapshots().unwrap().remove(0);
        let was_whole = crate::contents(&world.vault, &point).is_ok();
        match prune(&world.vault, hour(0)) {
            Ok(report) => {
                pruned += 1;
                let stays_bad = !was_whole && matches!(how, Damage::Alter);
                assert!(was_whole || stays_bad, "it must refuse");
                assert!(!stays_bad || !report.damaged.is_empty() || report.repacked_bytes > 0);
                prune(&world.vault, hour(30)).unwrap();
                assert_eq!(crate::contents(&world.vault, &point).is_ok(), was_whole);
            }
            Err(error) => {
                refused += 1;
                assert!(error.is_damage(), "{error}");
                assert_nothing_removed(world, &before);
            }
        }
    });
    assert!(refused > 5 && pruned > 5, "{refused} {pruned}");
}

#[test]
fn what_is_missing_is_named() {
    let world = World::new();
    let point = back_up(&world.vault, &noise(0..1, 5000)).unwrap();
    for name in names(&*world.store, FileKind::Pack) {
        let key = ObjectKey::of(FileKind::Pack, &name.parse().unwrap());
        let here = world.copy();
        here.store.delete(&key).unwrap();
        let error = prune(&here.vault, hour(0)).unwrap_err();
        assert!(
            matches!(&error, PruneError::Missing { count: 1, .. }),
            "{error}"
        );
        // Without the point nothing is missing, and the index forgets the pack.
        here.vault.forget(&[point.id]).unwrap();
        prune_at_once(&here.vault);
        assert!(names(&*here.store, FileKind::Index).is_empty());
        assert_whole(&here.vault);
    }
}

#[test]
fn packs_in_no_index_wait_for_their_grace_like_others() {
    let (world, point, kept) = with_waste();
    prune(&world.vault, hour(0)).unwrap();
    prune(&world.vault, hour(25)).unwrap();
    let stray = {
        let other = world.copy();
        back_up(&other.vault, &noise(50..51, 4000)).unwrap();
        let known = names(&*world.store, FileKind::Pack);
        let all = objects(&*other.store).into_iter();
        let is_new = |(key, _): &(ObjectKey, Vec<u8>)| {
            key.as_str().starts_with("data/") && !known.contains(&key.name().to_owned())
        };
        all.filter(is_new).collect::<Vec<_>>()
    };
    assert!(stray.len() >= 2);
    for (key, content) in &stray {
        world.store.create(key, content).unwrap();
    }
    let cut = ObjectKey::of(FileKind::Pack, &rekindle_vault::Id::of(b"cut"));
    world.store.create(&cut, b"no pack at all").unwrap();
    let marked = prune(&world.vault, hour(50)).unwrap();
    assert_eq!(marked.marked_packs, stray.len() as u64 + 1);
    assert_whole(&world.vault);
    let removed = prune(&world.vault, hour(75)).unwrap();
    assert_eq!(removed.removed_packs, marked.marked_packs);
    assert_holds(&world.vault, &point, &kept);
    let rest = world.vault.plan_prune(&crate::eager(hour(99))).unwrap();
    assert!(rest.steps.is_empty(), "{rest:?}");
}

#[test]
fn what_is_damaged_where_it_stays_and_where_it_leaves_is_healed_in_one_run() {
    let (world, point, kept) = with_waste();
    prune(&world.vault, hour(0)).unwrap();
    let copy = World::other();
    let points = world.vault.snapshots().unwrap();
    world
        .vault
        .copy_snapshots_to(
            &copy.vault,
            &points,
            &CopyOptions::default(),
            &Default::default(),
        )
        .unwrap();
    for how in [Damage::Cut, Damage::Alter] {
        let here = world.copy();
        for name in names(&*here.store, FileKind::Pack) {
            let key = ObjectKey::of(FileKind::Pack, &name.parse().unwrap());
            damage(&here.store, &key, how);
        }
        let copies = std::slice::from_ref(&copy.vault);
        let report = here.vault.heal(copies, &HealOptions::default()).unwrap();
        assert!(report.is_whole(), "{how:?}: {report:?}");
        assert_holds(&here.vault, &point, &kept);
        assert_whole(&here.vault);
    }
}
