//! Between building and swapping the service runs on, and so does the world.

use std::{fs, os::unix::fs::symlink};

use rekindle_datasets::{Candidate, Captured};
use rekindle_testing::{faults::tree_digest, temp_dir};
use rekindle_vault::Snapshot;

use crate::stand::{FileJournal, Stand};

const SETTINGS: &str = "paths: [db, .env]";

fn backed_up(stand: &Stand) -> (Snapshot, Captured) {
    stand.write("db/a", "old");
    stand.write("db/deep/b", "old");
    stand.write(".env", "old");
    let point = stand.back_up(SETTINGS).unwrap();
    stand.write("db/a", "new");
    stand.write(".env", "new");
    point
}

/// Builds all of it, or a part.
fn prepare(stand: &Stand, point: &(Snapshot, Captured), part: Option<&str>) -> Box<dyn Candidate> {
    let dataset = stand.dataset(SETTINGS).unwrap();
    stand.with_source(&point.0, &point.1.record, part, |source| {
        let mut journal = FileJournal::of(stand);
        let candidate = dataset.prepare_in_place(source, &mut journal).unwrap();
        candidate.unwrap()
    })
}

#[test]
fn what_is_changed_while_its_successor_is_built_is_set_aside_as_it_is_then() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let point = backed_up(&stand);
    let candidate = prepare(&stand, &point, None);
    assert_eq!(stand.read("db/a"), "new", "built beside, and nothing else");
    // One is written anew under its name, one goes and comes again.
    stand.write(".env.tmp", "newest");
    fs::rename(stand.app(".env.tmp"), stand.app(".env")).unwrap();
    fs::remove_dir_all(stand.app("db")).unwrap();
    stand.write("db/c", "newest");
    let mut journal = FileJournal::of(&stand);
    candidate.swap(&mut journal).unwrap();
    assert_eq!(
        (stand.read("db/a"), stand.read(".env")),
        ("old".into(), "old".into())
    );
    let dataset = stand.dataset(SETTINGS).unwrap();
    let aside = journal.read().unwrap();
    dataset.undo_in_place(&aside).unwrap();
    assert_eq!(stand.names("db"), ["c"]);
    assert_eq!(
        (stand.read("db/c"), stand.read(".env")),
        ("newest".into(), "newest".into())
    );
}

#[test]
fn what_is_gone_when_its_successor_comes_needs_no_place_aside() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let point = backed_up(&stand);
    let candidate = prepare(&stand, &point, None);
    fs::remove_file(stand.app(".env")).unwrap();
    let mut journal = FileJournal::of(&stand);
    let done = candidate.swap(&mut journal).unwrap();
    assert_eq!(done.set_aside.len(), 1, "{done:?}");
    let dataset = stand.dataset(SETTINGS).unwrap();
    dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert!(!stand.app(".env").exists());
    assert_eq!(stand.read("db/a"), "new");
}

#[test]
fn a_candidate_that_never_got_its_place_is_removed_by_discard_and_by_undo() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let point = backed_up(&stand);
    let before = tree_digest(&stand.app("")).unwrap().without_times();
    let dataset = stand.dataset(SETTINGS).unwrap();
    for is_undo in [false, true] {
        drop(prepare(&stand, &point, None));
        assert_eq!(stand.names("").len(), 4, "{:?}", stand.names(""));
        let aside = FileJournal::of(&stand).read().unwrap();
        assert!(aside.is_untouched(), "{}", aside.in_words());
        // Also if what it was for is gone meanwhile.
        fs::rename(stand.app(".env"), stand.app("elsewhere")).unwrap();
        match is_undo {
            true => drop(dataset.undo_in_place(&aside).unwrap()),
            false => drop(dataset.discard_aside(&aside).unwrap()),
        }
        fs::rename(stand.app("elsewhere"), stand.app(".env")).unwrap();
        let after = tree_digest(&stand.app("")).unwrap().without_times();
        assert_eq!(before.differences(&after), Vec::<String>::new());
    }
}

#[test]
fn nothing_goes_to_where_a_name_leads_only_since_then() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let point = backed_up(&stand);
    stand.write("db/deep/b", "new");
    let candidate = prepare(&stand, &point, Some("db/deep/b"));
    fs::rename(stand.app("db/deep"), dir.path().join("moved")).unwrap();
    symlink(dir.path().join("moved"), stand.app("db/deep")).unwrap();
    let error = candidate.swap(&mut FileJournal::of(&stand)).unwrap_err();
    assert!(error.to_string().contains("leads elsewhere"), "{error}");
    let names = fs::read_dir(dir.path().join("moved")).unwrap();
    assert_eq!(names.count(), 1, "the candidate is gone");
    assert_eq!(
        fs::read_to_string(dir.path().join("moved/b")).unwrap(),
        "new"
    );
}
