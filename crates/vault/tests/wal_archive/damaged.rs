//! What is damaged or not there is told, and told apart.

use super::*;

#[test]
fn every_flipped_byte_and_every_cut_of_an_object_is_an_error_and_never_absence() {
    let (store, archive) = in_memory();
    let (name, plain) = (segment(7), b"the only copy");
    put(&archive, &name, plain).unwrap();
    let object = object_of(&name);
    let whole = store.read(&object).unwrap();
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        bytes
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let longer = [[&whole[..], b"x"].concat(), [&whole[..], &whole].concat()];
    for bytes in flipped.chain(cut).chain(longer) {
        store.overwrite(&object, bytes.clone());
        for error in [
            archive.get(&name).unwrap_err(),
            put(&archive, &name, plain).unwrap_err(),
            archive
                .put_all(vec![sealed(&archive, &name, plain)])
                .remove(0)
                .unwrap_err(),
        ] {
            assert!(error.is_damage() && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains(object.as_str()), "{error}");
            assert!(error.hint().is_some());
        }
        assert_eq!(store.read(&object).unwrap(), bytes, "left as it is");
    }
    store.overwrite(&object, whole);
    assert_eq!(archive.get(&name).unwrap().unwrap(), plain);
}

#[test]
fn an_object_without_a_frame_is_damaged() {
    let (store, archive) = in_memory();
    let recipients = archive.public_part().recipients;
    for content in [&b""[..], b"not zstd"] {
        let object = age::seal(&recipients, content.to_vec()).unwrap();
        store.overwrite(&object_of(&segment(1)), object);
        let error = archive.get(&segment(1)).unwrap_err();
        assert!(matches!(error, WalArchiveError::Damaged { .. }), "{error}");
    }
}

#[test]
fn an_object_of_another_vault_is_told_from_absence() {
    let (ours, archive) = in_memory();
    let (theirs, other) = in_memory();
    put(&other, &segment(1), b"x").unwrap();
    ours.overwrite(
        &object_of(&segment(1)),
        theirs.read(&object_of(&segment(1))).unwrap(),
    );
    let error = archive.get(&segment(1)).unwrap_err();
    assert!(
        matches!(error, WalArchiveError::AnotherKey { .. }),
        "{error}"
    );
}

#[test]
fn a_vault_whose_disk_is_gone_is_no_empty_archive() {
    let place = Place::new();
    let archive = place.create().wal_archive().unwrap();
    put(&archive, &segment(1), b"x").unwrap();
    let elsewhere = place.path("elsewhere");
    fs::rename(place.vault_dir(), &elsewhere).unwrap();
    let is_told = |is: fn(&WalArchiveError) -> bool| {
        for error in [
            archive.get(&segment(1)).err(),
            archive.get(&segment(2)).err(),
            put(&archive, &segment(2), b"x").err(),
            archive
                .put_all(vec![sealed(&archive, &segment(2), b"x")])
                .remove(0)
                .err(),
            archive.delete(&segment(2)).err(),
            archive.list(SYSTEM).err(),
            archive.systems().err(),
            archive
                .replace_partial(&file("000000010000000000000002.partial"), &[])
                .err(),
            WalArchive::from_public(
                Arc::new(LocalStore::new(place.vault_dir())),
                archive.public_part(),
            )
            .err(),
        ] {
            let error = error.expect("it is an error");
            assert!(is(&error), "{error}");
        }
    };
    // The disk is not there; then its mount point is; then another vault is.
    is_told(|error| matches!(error, WalArchiveError::VaultGone { .. }) && error.is_retryable());
    fs::create_dir(place.vault_dir()).unwrap();
    is_told(|error| matches!(error, WalArchiveError::VaultGone { .. }) && error.is_retryable());
    let entries = fs::read_dir(place.vault_dir()).unwrap();
    assert_eq!(entries.count(), 0, "nothing was written there");
    place.create();
    is_told(|error| matches!(error, WalArchiveError::OtherVault { .. }) && !error.is_retryable());
    fs::remove_dir_all(place.vault_dir()).unwrap();
    fs::rename(&elsewhere, place.vault_dir()).unwrap();
    assert_eq!(archive.get(&segment(1)).unwrap().unwrap(), b"x");
}

#[test]
fn a_check_names_every_damaged_file_of_the_archive() {
    let place = Place::in_memory();
    let archive = place.create().wal_archive().unwrap();
    for number in 0..6 {
        put(&archive, &segment(number), &content(number.into(), 200_000)).unwrap();
    }
    let report = check(&place.open(), Thoroughness::AllData);
    assert!(report.is_whole() && report.problems.is_empty() && report.wal_files == 6);
    let stored: u64 = archive
        .list(SYSTEM)
        .unwrap()
        .iter()
        .map(|listed| listed.stored_bytes)
        .sum();
    assert_eq!(report.verified_bytes, stored);

    let path = |number| place.vault_dir().join(object_of(&segment(number)).as_str());
    damage(&path(1), 100_000);
    damage(&path(3), 120);
    let cut = fs::read(path(4)).unwrap();
    fs::remove_file(path(4)).unwrap();
    fs::write(path(4), &cut[..100]).unwrap();
    let told = |thoroughness| -> Vec<u32> {
        let report = check(&place.open(), thoroughness);
        let losses: Vec<_> = report
            .problems
            .iter()
            .filter(|problem| problem.is_loss)
            .collect();
        let names = |number: &u32| {
            losses
                .iter()
                .any(|loss| loss.text.contains(object_of(&segment(*number)).as_str()))
        };
        let told: Vec<_> = (0..6).filter(names).collect();
        assert_eq!(losses.len(), told.len());
        assert!(!report.is_whole());
        told
    };
    assert_eq!(
        told(Thoroughness::Structure),
        [4],
        "what is too short shows in the listing"
    );
    assert_eq!(told(Thoroughness::AllData), [1, 3, 4]);
}

/// Flips one bit.
pub fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
