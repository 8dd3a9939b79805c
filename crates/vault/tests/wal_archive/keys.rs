//! Who can read the archive, and who can write to it.

use super::*;

#[test]
fn every_password_of_the_vault_opens_the_archive() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let archive = vault.wal_archive().unwrap();
    let exported = store.read(&key_file()).unwrap();
    put(&archive, &segment(1), b"x").unwrap();
    let second = Password::new("another one");
    vault.add_key(&second).unwrap();
    let again = Vault::open(Arc::clone(&store), &second)
        .unwrap()
        .wal_archive()
        .unwrap();
    assert_eq!(again.get(&segment(1)).unwrap().unwrap(), b"x");
    assert_eq!(again.public_part(), archive.public_part());
    assert_eq!(store.read(&key_file()).unwrap(), exported, "written once");
}

#[test]
fn a_key_file_of_another_program_opens_what_it_is_for() {
    let store = Arc::new(MemoryStore::new());
    let vault = || Vault::open(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
    Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
    let theirs = Identity::random().unwrap();
    let text = format!("# made elsewhere\n{}\n", *theirs.to_text());
    let exported = age::seal_with_passphrase(common::PASSWORD, 16, text.as_bytes()).unwrap();
    store.create(&key_file(), &exported).unwrap();
    let object = age::seal(&[theirs.recipient()], wal_frame(b"theirs", WalEffort::Fast)).unwrap();
    store.create(&object_of(&segment(1)), &object).unwrap();

    let archive = vault().wal_archive().unwrap();
    assert_eq!(archive.get(&segment(1)).unwrap().unwrap(), b"theirs");
    assert_eq!(
        put(&archive, &segment(1), b"theirs").unwrap(),
        WalPut::AlreadyThere
    );
    assert_eq!(store.read(&key_file()).unwrap(), exported, "it stays");
    // What we add opens by their key, and without the file by ours.
    put(&archive, &segment(2), b"ours").unwrap();
    let object = store.read(&object_of(&segment(2))).unwrap();
    age::open(&[theirs], object).unwrap();
    assert!(check(&vault(), Thoroughness::AllData).problems.is_empty());
    store.delete(&key_file()).unwrap();
    let archive = vault().wal_archive().unwrap();
    assert_eq!(archive.get(&segment(2)).unwrap().unwrap(), b"ours");
    let error = archive.get(&segment(1)).unwrap_err();
    assert!(
        matches!(error, WalArchiveError::AnotherKey { .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_key_file_costs_nobody_the_archive_and_is_told() {
    let (store, archive) = in_memory();
    put(&archive, &segment(1), b"x").unwrap();
    let vault = Vault::open(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
    let whole = store.read(&key_file()).unwrap();
    // Each of them costs a password check: one in the salt, the sealed key, the code, the content.
    for at in [3, 35, 60, 100, 150, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        store.overwrite(&key_file(), damaged);
        let archive = vault.wal_archive().unwrap();
        assert_eq!(archive.get(&segment(1)).unwrap().unwrap(), b"x");
        let report = check(&vault, Thoroughness::Structure);
        let text = &report.problems[0].text;
        assert!(
            report.is_whole() && text.contains("wal.age"),
            "{at}: {text}"
        );
    }
    store.delete(&key_file()).unwrap();
    let text = &check(&vault, Thoroughness::Structure).problems[0].text;
    assert!(text.contains("wal.age` is gone"), "{text}");
    vault.wal_archive().unwrap();
    assert!(check(&vault, Thoroughness::Structure).problems.is_empty());
}

#[test]
fn many_who_use_a_new_archive_at_once_all_succeed_and_agree() {
    for _ in 0..2 {
        let place = Place::in_memory();
        place.create();
        let barrier = Barrier::new(4);
        let publics: Vec<_> = thread::scope(|scope| {
            let open = || {
                let vault = place.open();
                barrier.wait();
                vault.wal_archive().unwrap().public_part()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(publics.iter().all(|public| *public == publics[0]));
        assert!(
            check(&place.open(), Thoroughness::Structure)
                .problems
                .is_empty()
        );
    }
}

#[test]
fn a_new_archive_whose_key_was_not_exported_is_not_used() {
    for at in 0..6 {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Vault::create(Arc::clone(&inner), &password()).unwrap();
        let store = FaultyStore::failing_once(
            Arc::clone(&inner),
            at,
            Fault::Refused(ErrorKind::StorageFull),
        );
        let Ok(vault) = Vault::open(Arc::new(store), &password()) else {
            continue;
        };
        let archive = vault.wal_archive();
        assert_eq!(archive.is_ok(), inner.read(&key_file()).is_ok(), "at {at}");
    }
}

#[test]
fn without_the_password_files_are_stored_and_not_read() {
    let (store, archive) = in_memory();
    put(&archive, &segment(1), b"one").unwrap();
    let text = archive.public_part().to_string();
    let public: WalPublic = text.parse().unwrap();
    assert_eq!(public, archive.public_part());
    let blind = WalArchive::from_public(Arc::clone(&store) as Arc<dyn Store>, public).unwrap();
    assert_eq!(put(&blind, &segment(2), b"two").unwrap(), WalPut::Stored);
    let stored = blind.put_all(vec![sealed(&blind, &segment(3), b"three")]);
    assert!(matches!(stored[..], [Ok(WalPut::Stored)]));
    assert_eq!(blind.list(SYSTEM).unwrap().len(), 3);
    for error in [
        put(&blind, &segment(1), b"one").unwrap_err(),
        blind.get(&segment(1)).unwrap_err(),
        blind.get(&segment(9)).unwrap_err(),
    ] {
        assert!(
            matches!(error, WalArchiveError::NeedsPassword { .. }),
            "{error}"
        );
    }
    assert_eq!(archive.get(&segment(2)).unwrap().unwrap(), b"two");
    assert_eq!(archive.get(&segment(3)).unwrap().unwrap(), b"three");
}
