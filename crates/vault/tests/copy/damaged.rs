//! Damage of the source is never carried on, and hinders nothing that it does not hit.

use std::{fs, io::ErrorKind};

use super::{hooked::Hooked, *};
use rekindle_testing::faults::{cut, delete, files_below, flip_bit};
use rekindle_vault::store::Operation;

/// The pack that only the last point needs.
fn newest_pack(dir: &Path, before: &BTreeSet<PathBuf>) -> PathBuf {
    let now = files_below(&dir.join("data")).unwrap();
    let mut new: Vec<_> = now
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    new.sort_by_key(|path| fs::metadata(path).unwrap().len());
    new.pop().unwrap()
}

#[test]
fn a_point_that_is_hit_is_named_and_the_others_are_copied() {
    for damage in ["flip", "cut", "delete"] {
        let place = Place::in_memory();
        let from = place.create();
        let mut points = three_points(&from, &place.source());
        let before: BTreeSet<_> = files_below(&place.vault_dir().join("data"))
            .unwrap()
            .into_iter()
            .collect();
        fs::write(
            place.source().join("only here"),
            Random::new(9).bytes(90_000),
        )
        .unwrap();
        let last = back_up(&from, &place.source(), None).unwrap();
        let state = tree_digest(&place.source()).unwrap();
        let pack = newest_pack(&place.vault_dir(), &before);
        let whole = fs::read(&pack).unwrap();
        match damage {
            "flip" => flip_bit(&pack, 1000).unwrap(),
            "cut" => cut(&pack, 50_000).unwrap(),
            _ => delete(&pack).unwrap(),
        }
        let (_, to) = in_memory(&other_password());
        let report = copy_all(&from, &to).unwrap();
        assert!(!report.is_complete());
        assert_eq!(report.copied.len(), 3, "{damage}: {:?}", report.damages);
        let told = &report.damages[0];
        assert_eq!((told.snapshot, report.damages.len()), (last.id, 1));
        assert_eq!(told.path.to_string(), "/source/only here");
        let name = pack.file_name().unwrap().to_str().unwrap();
        assert!(told.reason.contains(name), "{damage}: {}", told.reason);
        assert_copied(&to, &points, &place);
        // Once the source is whole again, so is the copy.
        if damage != "delete" {
            delete(&pack).unwrap();
        }
        fs::write(&pack, whole).unwrap();
        assert_eq!(copy_all(&from, &to).unwrap().copied.len(), 1);
        points.push((last, state));
        assert_copied(&to, &points, &place);
    }
}

#[test]
fn a_damaged_directory_is_told_with_its_place_and_in_every_point_that_has_it() {
    let place = Place::in_memory();
    let from = place.create();
    let first = three_points(&from, &place.source()).remove(0).0;
    let index = from.load_index().unwrap();
    let node = from
        .find_node(&index, &first, b"source/folder 3")
        .unwrap()
        .unwrap();
    let subtree = node.subtree.unwrap();
    let at = index
        .find(rekindle_vault::BlobKind::Tree, &subtree)
        .unwrap();
    let pack = at.pack.to_string();
    let path = place.vault_dir().join("data").join(&pack[..2]).join(&pack);
    flip_bit(&path, u64::from(at.blob.offset) + 20).unwrap();
    let (_, to) = in_memory(&other_password());
    let report = copy_all(&from, &to).unwrap();
    // `folder 3` is the same in all three points.
    assert_eq!((report.copied.len(), report.damages.len()), (0, 3));
    let paths = report
        .damages
        .iter()
        .all(|hit| hit.path.to_string() == "/source/folder 3");
    assert!(paths, "{:?}", report.damages);
    assert_eq!(to.snapshots().unwrap().len(), 0);
}

#[test]
fn a_source_that_does_not_answer_is_an_error_and_no_damage() {
    let place = Place::in_memory();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let healthy = Vault::create(Arc::clone(&store), &password()).unwrap();
    let points = three_points(&healthy, &place.source());
    let largest = store
        .list("data")
        .unwrap()
        .into_iter()
        .max_by_key(|pack| pack.size_bytes);
    let pack = largest.unwrap().key.to_string();
    let refusing = Hooked::store(&store, move |operation, key| {
        (operation == Operation::Read && key == pack).then_some(ErrorKind::TimedOut)
    });
    let from = Vault::open(refusing, &password()).unwrap();
    let (_, to) = in_memory(&other_password());
    match copy_all(&from, &to) {
        Err(error @ CopyToError::Source { .. }) => {
            assert!(chain(&error).contains("made-up"), "{}", chain(&error));
        }
        other => panic!("{other:?}"),
    }
    copy_all(&healthy, &to).unwrap();
    assert_copied(&to, &points, &place);
}

#[test]
fn a_lost_index_file_of_the_source_hits_what_it_listed() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let index = files_below(&place.vault_dir().join("index")).unwrap();
    let newest = index
        .iter()
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    delete(newest.unwrap()).unwrap();
    let (_, to) = in_memory(&other_password());
    let report = copy_all(&from, &to).unwrap();
    assert_eq!(report.copied.len(), 2, "{:?}", report.damages);
    assert!(
        report
            .damages
            .iter()
            .all(|hit| hit.snapshot == points[2].0.id)
    );
    assert!(report.damages[0].reason.contains("in no index"));
    assert_copied(&to, &points[..2], &place);
}

#[test]
fn a_blob_that_is_damaged_in_one_pack_comes_out_of_another() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), Random::new(3).bytes(80_000)).unwrap();
    let state = tree_digest(&source).unwrap();
    let from = place.create();
    back_up(&from, &source, None).unwrap();
    // Without its index the vault stores everything again.
    let index = place.vault_dir().join("index");
    let first: BTreeSet<_> = files_below(&place.vault_dir().join("data"))
        .unwrap()
        .into_iter()
        .collect();
    fs::rename(&index, place.path("aside")).unwrap();
    fs::create_dir(&index).unwrap();
    let snapshot = back_up(&from, &source, None).unwrap();
    for file in files_below(&place.path("aside")).unwrap() {
        fs::rename(&file, index.join(file.file_name().unwrap())).unwrap();
    }
    let all: BTreeSet<_> = files_below(&place.vault_dir().join("data"))
        .unwrap()
        .into_iter()
        .collect();
    let second: BTreeSet<_> = all.difference(&first).cloned().collect();
    assert_eq!(first.len(), second.len(), "everything is there twice");
    for damaged in [first, second] {
        let flip_all = || damaged.iter().for_each(|pack| flip_bit(pack, 100).unwrap());
        flip_all();
        let (_, to) = in_memory(&other_password());
        let report = copy(&from, &to, std::slice::from_ref(&snapshot)).unwrap();
        assert!(report.is_complete(), "{:?}", report.damages);
        assert_copied(&to, &[(snapshot.clone(), state.clone())], &place);
        flip_all();
    }
}
