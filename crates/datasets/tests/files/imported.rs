//! Archives from elsewhere know no declared paths: names tell where they go, or nothing does.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rekindle_datasets::{DatasetRecord, InPlaceSteps, files::FilesRecord};
use rekindle_testing::temp_dir;
use rekindle_vault::Snapshot;

use crate::stand::{FileJournal, Stand};

/// As the import of an archive leaves it.
fn imported() -> DatasetRecord {
    DatasetRecord::Files(FilesRecord::default())
}

/// A point that holds what lies in `from`, as the archive of that directory's content would.
fn archive_of(stand: &Stand, from: &str, names: &[&str]) -> Snapshot {
    let from = stand.app(from);
    for name in names {
        fs::rename(from.join(name), stand.app(name)).unwrap();
    }
    let point = stand.back_up(&format!("paths: [{}]", names.join(", ")));
    for name in names {
        fs::rename(stand.app(name), from.join(name)).unwrap();
    }
    point.unwrap().0
}

fn plan(stand: &Stand, point: &Snapshot, settings: &str, part: Option<&str>) -> InPlaceSteps {
    let dataset = stand.dataset(settings).unwrap();
    stand.with_source(point, &imported(), part, |source| {
        dataset.plan_in_place(source).unwrap()
    })
}

fn refusal(stand: &Stand, point: &Snapshot, settings: &str) -> String {
    let dataset = stand.dataset(settings).unwrap();
    let error = stand.with_source(point, &imported(), None, |source| {
        dataset.plan_in_place(source).map(drop).unwrap_err()
    });
    assert!(error.hint().unwrap().contains("--to"), "{error}");
    error.to_string()
}

fn restore(stand: &Stand, point: &Snapshot, settings: &str, part: Option<&str>) -> FileJournal {
    let dataset = stand.dataset(settings).unwrap();
    let mut journal = FileJournal::of(stand);
    stand.with_source(point, &imported(), part, |source| {
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
    journal
}

#[test]
fn entries_go_to_the_paths_of_their_names_wherever_these_are() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    stand.write("old/vector_db/a", "old");
    stand.write("old/.env", "old");
    let point = archive_of(&stand, "old", &["vector_db", ".env"]);
    stand.write("data/vector_db/a", "new");
    stand.write(".env", "new");
    let settings = "paths: [data/vector_db, .env], optional_paths: [sessions]";
    let planned = plan(&stand, &point, settings, None);
    let place = stand.app("data/vector_db");
    let step = format!(
        "take `vector_db` of the imported archive for {}",
        place.display()
    );
    assert_eq!(planned.steps[0], step);
    assert_eq!(planned.stop_after, Some(4), "{planned:?}");
    assert!(planned.warnings[0].contains("`sessions` is not in the imported archive"));
    let journal = restore(&stand, &point, settings, None);
    assert_eq!(
        (stand.read("data/vector_db/a"), stand.read(".env")),
        ("old".into(), "old".into())
    );
    let dataset = stand.dataset(settings).unwrap();
    dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert_eq!(stand.read("data/vector_db/a"), "new");
    // One entry alone.
    restore(&stand, &point, settings, Some("vector_db/a"));
    assert_eq!(
        (stand.read("data/vector_db/a"), stand.read(".env")),
        ("old".into(), "new".into())
    );
}

#[test]
fn all_of_an_archive_becomes_the_content_of_the_only_path_which_stays_whose_it_was() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    stand.write("old/a", "old");
    stand.write("old/deep/b", "old");
    let point = archive_of(&stand, "old", &["a", "deep"]);
    stand.write("uploads/a", "new");
    stand.write("uploads/c", "new");
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(stand.app("uploads"), mode(0o2770)).unwrap();
    let settings = "paths: [uploads]";
    let planned = plan(&stand, &point, settings, None);
    assert!(planned.steps[0].contains("all that is in"), "{planned:?}");
    restore(&stand, &point, settings, None);
    assert_eq!(stand.names("uploads"), ["a", "deep"]);
    assert_eq!(stand.read("uploads/deep/b"), "old");
    let is = fs::metadata(stand.app("uploads")).unwrap().permissions();
    assert_eq!(is.mode() & 0o7777, 0o2770);
}

#[test]
fn an_archive_that_could_be_meant_in_two_ways_is_refused() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    stand.write("old/index-2026/a", "old");
    stand.write("old/notes", "old");
    let one = archive_of(&stand, "old", &["index-2026"]);
    let said = refusal(&stand, &one, "paths: [vector_db]");
    assert!(said.contains("`index-2026`"), "{said}");
    let both = archive_of(&stand, "old", &["index-2026", "notes"]);
    let said = refusal(&stand, &both, "paths: [vector_db, config]");
    assert!(
        said.contains("none of them is called like a path"),
        "{said}"
    );
    // What belongs nowhere is not passed over in silence, but a part that does may come alone.
    let said = refusal(&stand, &both, "paths: [notes, config]");
    assert!(
        said.contains("`index-2026` of the imported archive belongs to no path"),
        "{said}"
    );
    // Nor is what lies beside a path further down.
    stand.write("old/etc/nchat/a", "old");
    stand.write("old/etc/other", "old");
    let etc = archive_of(&stand, "old", &["etc"]);
    stand.write("etc/nchat/a", "new");
    let said = refusal(&stand, &etc, "paths: [etc/nchat]");
    assert!(said.contains("1 file(s) of the imported archive"), "{said}");
    let planned = plan(&stand, &both, "paths: [notes, config]", Some("notes"));
    assert_eq!(planned.entries, 1);
}
