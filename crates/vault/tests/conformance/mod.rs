//! Every store keeps the promises of the trait, or the engine's own mean nothing.
//!
//! One suite for all: `vault/tests/store_conformance.rs` runs it on the stores of this crate,
//! `stores/tests` on real servers.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    dead_code,
    reason = "helpers of tests may panic, and not every test uses all of them"
)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
    thread,
};

use rekindle_testing::data::Random;
use rekindle_vault::{
    Id, Store,
    store::{FileKind, NewObject, ObjectKey, StoreErrorKind},
};

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub fn kind<T>(result: Result<T, rekindle_vault::store::StoreError>) -> StoreErrorKind {
    result.err().map(|error| error.kind).unwrap()
}

/// Everything that the trait promises, on an empty store.
pub fn keeps_its_promises(store: &Arc<dyn Store>) {
    keeps_the_promises_to_one_at_a_time(store);
    one_of_many_creators_wins(store);
    a_replacement_is_seen_whole(store);
}

/// What a store keeps, too, that has no conditional writes and replaces objects in place.
pub fn keeps_the_promises_to_one_at_a_time(store: &Arc<dyn Store>) {
    create_never_replaces(&**store);
    what_is_missing_is_not_found(&**store);
    ranges_are_exact_or_too_short(&**store);
    listings_are_complete(&**store);
    odd_keys_and_sizes_come_back(&**store);
    many_are_created_together(&**store);
    a_replacement_is_the_object_from_then_on(&**store);
    when_an_object_was_written_is_told_by_one_clock(&**store);
}

fn when_an_object_was_written_is_told_by_one_clock(store: &dyn Store) {
    let [first, second, missing] = ["locks/first", "locks/second", "locks/none"].map(key);
    store.create(&first, b"x").unwrap();
    store.create(&second, b"x").unwrap();
    let written = |key: &ObjectKey| store.written_at(key).unwrap().unwrap();
    assert!(written(&first) <= written(&second));
    assert_eq!(kind(store.written_at(&missing)), StoreErrorKind::NotFound);
    store.delete(&first).unwrap();
    store.delete(&second).unwrap();
}

fn create_never_replaces(store: &dyn Store) {
    let object = key("snapshots/once");
    store.create(&object, b"first").unwrap();
    assert_eq!(
        kind(store.create(&object, b"second")),
        StoreErrorKind::AlreadyExists
    );
    assert_eq!(store.read(&object).unwrap(), b"first");
    store.delete(&object).unwrap();
    store.create(&object, b"third").unwrap();
    assert_eq!(
        store.read(&object).unwrap(),
        b"third",
        "a freed name is free"
    );
}

fn what_is_missing_is_not_found(store: &dyn Store) {
    for missing in ["missing", "no/such/folder/object", "snapshots/missing"] {
        let missing = key(missing);
        assert_eq!(kind(store.read(&missing)), StoreErrorKind::NotFound);
        assert_eq!(
            kind(store.read_range(&missing, 0, &mut [0; 4])),
            StoreErrorKind::NotFound
        );
        assert_eq!(kind(store.delete(&missing)), StoreErrorKind::NotFound);
        let error = store.read(&missing).unwrap_err().to_string();
        assert!(error.contains(missing.as_str()), "{error}");
    }
    assert_eq!(store.list("no/such/folder").unwrap(), []);
}

fn ranges_are_exact_or_too_short(store: &dyn Store) {
    let object = key("data/ab/range");
    let content = Random::new(1).bytes(10_000);
    store.create(&object, &content).unwrap();
    for (offset, length) in [(0, 10_000), (0, 1), (9_999, 1), (1, 9_998), (5_000, 0)] {
        let mut buffer = vec![0; length];
        store
            .read_range(&object, offset as u64, &mut buffer)
            .unwrap();
        assert_eq!(buffer, content[offset..offset + length], "{offset}");
    }
    for (offset, length) in [
        (0, 10_001),
        (9_999, 2),
        (10_000, 1),
        (u64::from(u32::MAX), 1),
    ] {
        let read = store.read_range(&object, offset, &mut vec![0; length]);
        assert_eq!(kind(read), StoreErrorKind::TooShort, "{offset}");
    }
}

fn listings_are_complete(store: &dyn Store) {
    let mut expected = BTreeSet::new();
    for number in 0..300_u32 {
        let id = Id::of(&number.to_le_bytes());
        let object = ObjectKey::of(FileKind::Pack, &id);
        store.create(&object, &vec![7; number as usize]).unwrap();
        expected.insert((object.as_str().to_owned(), u64::from(number)));
    }
    let list = |folder: &str| -> BTreeSet<(String, u64)> {
        let listed = store.list(folder).unwrap();
        let names: BTreeSet<_> = listed
            .iter()
            .map(|o| (o.key.as_str().to_owned(), o.size_bytes))
            .collect();
        assert_eq!(names.len(), listed.len(), "nothing is listed twice");
        names
    };
    expected.insert(("data/ab/range".to_owned(), 10_000));
    assert_eq!(
        list("data"),
        expected,
        "folders in the folder are listed too"
    );
    assert_eq!(list("dat"), BTreeSet::new(), "a folder is no prefix");
    let (gone, size) = expected.iter().nth(40).unwrap().clone();
    store.delete(&key(&gone)).unwrap();
    expected.remove(&(gone, size));
    assert_eq!(list("data"), expected);
}

fn odd_keys_and_sizes_come_back(store: &dyn Store) {
    let long = "n".repeat(240);
    let names = [
        "wal/with space",
        "wal/ünïcødé 数据",
        "wal/quote'\"\\and\nline",
        "wal/-rf",
        "wal/%2e%2e",
        "wal/a:b?c=d&e#f+g*",
        "wal/.hidden",
        "wal/deep/er/and/deep/er",
        &format!("wal/{long}"),
    ];
    for name in names {
        store.create(&key(name), name.as_bytes()).unwrap();
        assert_eq!(store.read(&key(name)).unwrap(), name.as_bytes());
    }
    let listed: BTreeSet<_> = store.list("wal").unwrap().into_iter().collect();
    assert_eq!(listed.len(), names.len(), "{listed:?}");
    assert!(listed.iter().all(|o| names.contains(&o.key.as_str())));

    store.create(&key("empty"), b"").unwrap();
    assert_eq!(store.read(&key("empty")).unwrap(), b"");
    let big = Random::new(2).bytes(48 << 20);
    store.create(&key("big"), &big).unwrap();
    assert!(store.read(&key("big")).unwrap() == big, "48 MiB come back");
    let mut tail = vec![0; 1 << 20];
    store.read_range(&key("big"), 47 << 20, &mut tail).unwrap();
    assert!(tail == big[47 << 20..]);
}

fn one_of_many_creators_wins(store: &Arc<dyn Store>) {
    for round in 0..20 {
        let object = key(&format!("race/{round}"));
        let barrier = Arc::new(Barrier::new(4));
        let creators: Vec<_> = (0..4_u8)
            .map(|who| {
                let (store, barrier) = (Arc::clone(store), Arc::clone(&barrier));
                let object = object.clone();
                thread::spawn(move || {
                    barrier.wait();
                    store.create(&object, &[who; 5000]).map(|()| who)
                })
            })
            .collect();
        let (mut winners, mut losers) = (Vec::new(), 0);
        for creator in creators {
            match creator.join().unwrap() {
                Ok(who) => winners.push(who),
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
                    losers += 1;
                }
            }
        }
        assert_eq!((winners.len(), losers), (1, 3), "round {round}");
        assert_eq!(store.read(&object).unwrap(), [winners[0]; 5000]);
    }
}

fn many_are_created_together(store: &dyn Store) {
    assert_eq!(store.create_all(&[]).len(), 0);
    store.create(&key("group/7"), b"was there").unwrap();
    // More than a local store opens at once, in several folders, some of them new.
    let names: Vec<_> = (0..300)
        .map(|number| match number {
            0..200 => key(&format!("group/{number}")),
            _ => key(&format!("group/of/{}/{number}", number % 3)),
        })
        .collect();
    let contents: Vec<_> = (0..300).map(|n| Random::new(n).bytes(n as usize)).collect();
    let mut objects: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(key, content)| NewObject { key, content })
        .collect();
    // The same name twice in one group is a name that is taken.
    objects.push(NewObject {
        key: &names[100],
        content: b"other",
    });
    let outcomes = store.create_all(&objects);
    assert_eq!(outcomes.len(), objects.len());
    let mut taken = Vec::new();
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let stored = store.read(objects[at].key).unwrap();
        match outcome {
            Ok(()) => assert!(stored == objects[at].content, "{at}"),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
                assert!(error.to_string().contains(objects[at].key.as_str()));
                taken.push(at);
            }
        }
    }
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert!(
        taken[0] == 7 && (taken[1] == 100 || taken[1] == 300),
        "{taken:?}"
    );
    assert_eq!(store.read(&key("group/7")).unwrap(), b"was there");
    assert_eq!(store.list("group").unwrap().len(), 300);
}

fn a_replacement_is_the_object_from_then_on(store: &dyn Store) {
    let object = key("replaced/in/new/folder");
    store.replace(&object, b"first").unwrap();
    assert_eq!(
        store.read(&object).unwrap(),
        b"first",
        "it need not be there before"
    );
    store.replace(&object, b"").unwrap();
    assert_eq!(store.read(&object).unwrap(), b"");
    assert_eq!(
        kind(store.create(&object, b"x")),
        StoreErrorKind::AlreadyExists
    );
    assert_eq!(store.list("replaced").unwrap().len(), 1);
}

fn a_replacement_is_seen_whole(store: &Arc<dyn Store>) {
    let object = key("seen/whole");
    let reader = {
        let (store, object) = (Arc::clone(store), object.clone());
        store.replace(&object, &[0; 100_000]).unwrap();
        thread::spawn(move || {
            loop {
                let seen = store.read(&object).unwrap();
                assert_eq!(seen.len(), 100_000);
                assert!(seen.iter().all(|&byte| byte == seen[0]), "old or new");
                if seen[0] == 20 {
                    break;
                }
            }
        })
    };
    for round in 1..=20 {
        store.replace(&object, &[round; 100_000]).unwrap();
    }
    reader.join().unwrap();
}
