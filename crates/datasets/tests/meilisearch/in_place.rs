//! A restore into the running server, and the way back from wherever it stopped.

use std::sync::Arc;

use rekindle_datasets::{Aside, Dataset, InPlaceError, Journal, RestoredInPlace};
use rekindle_testing::meilisearch_stand_in::{MeilisearchStandIn, StandInOptions};
use rekindle_vault::{Progress, TreePath};
use serde_json::json;

use crate::common::{ADMIN, Point, World, all, source, told};

/// Keeps what it was told last, in memory.
#[derive(Default)]
struct Kept(Option<Aside>);

impl Journal for Kept {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        self.0 = Some(serde_json::from_str(&serde_json::to_string(aside).unwrap()).unwrap());
        Ok(())
    }
}

fn restore(
    world: &World,
    dataset: &dyn Dataset,
    point: &Point,
    kept: &mut Kept,
) -> Result<RestoredInPlace, InPlaceError> {
    let (index, progress) = (world.index(), Arc::new(Progress::default()));
    dataset.restore_in_place(&source(world, &index, point, &progress), kept)
}

/// As after an accident: documents gone, one changed, settings changed, an index lost, another new.
fn harm(server: &MeilisearchStandIn) {
    server.put(
        "movies",
        "id",
        &[
            json!({ "id": 3, "title": "spoilt" }),
            json!({ "id": 999, "title": "new" }),
        ],
    );
    server.set_settings("movies", &json!({ "stopWords": [] }));
    server.put("later", "id", &[json!({ "id": 1 })]);
}

#[test]
fn the_captured_state_takes_the_place_of_the_live_one_which_is_set_aside() {
    let world = World::new();
    let dataset = world.by_dump();
    let before = all(&world.server);
    let point = world.capture(&*dataset).unwrap();
    harm(&world.server);
    let harmed = all(&world.server);
    let (index, progress) = (world.index(), Arc::new(Progress::default()));
    let plan = dataset
        .plan_in_place(&source(&world, &index, &point, &progress))
        .unwrap();
    assert_eq!(plan.entries, 252);
    assert_eq!(plan.set_aside.len(), 2, "{plan:?}");
    assert!(
        plan.warnings.iter().any(|text| text.contains("`later`")),
        "{plan:?}"
    );
    assert_eq!(all(&world.server), harmed, "a plan changes nothing");

    let mut kept = Kept::default();
    let restored = restore(&world, &*dataset, &point, &mut kept).unwrap();
    assert_eq!(restored.entries, 252);
    for (name, documents, settings) in &before {
        assert_eq!(
            world.server.documents(name).as_ref(),
            Some(documents),
            "{name}"
        );
        assert_eq!(
            world.server.settings(name).as_ref(),
            Some(settings),
            "{name}"
        );
    }
    assert_eq!(world.server.documents("later").unwrap().len(), 1);
    assert_eq!(world.server.indexes().len(), 5, "two are set aside");

    let undone = dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
    assert_eq!(undone.len(), 2);
    for (name, documents, settings) in &harmed {
        assert_eq!(
            world.server.documents(name).as_ref(),
            Some(documents),
            "{name}"
        );
        assert_eq!(
            world.server.settings(name).as_ref(),
            Some(settings),
            "{name}"
        );
    }
    let again = dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
    assert!(again[0].contains("were there before"), "{again:?}");
    dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
    assert_eq!(all(&world.server), harmed);
    assert!(
        dataset
            .discard_aside(kept.0.as_ref().unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn discarding_ends_a_restore_and_leaves_what_was_restored() {
    let world = World::new();
    let dataset = world.by_dump();
    let before = all(&world.server);
    let point = world.capture(&*dataset).unwrap();
    harm(&world.server);
    let mut kept = Kept::default();
    restore(&world, &*dataset, &point, &mut kept).unwrap();
    dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
    assert_eq!(world.server.indexes(), ["later", "movies", "users"]);
    let restored: Vec<_> = all(&world.server)
        .into_iter()
        .filter(|one| one.0 != "later")
        .collect();
    assert_eq!(restored, before);
}

#[test]
fn a_server_that_lost_everything_gets_it_back_and_undo_leaves_no_trace() {
    let world = World::new();
    let dataset = world.by_dump();
    let before = all(&world.server);
    let point = world.capture(&*dataset).unwrap();
    let home = rekindle_testing::temp_dir().unwrap();
    let empty = MeilisearchStandIn::start_in(home.path(), &StandInOptions::default()).unwrap();
    let world = World {
        server: empty,
        ..world
    };
    let dataset = world.dataset(ADMIN, "");
    let mut kept = Kept::default();
    let restored = restore(&world, &*dataset, &point, &mut kept).unwrap();
    assert!(restored.set_aside.is_empty());
    let live: Vec<_> = all(&world.server)
        .into_iter()
        .filter(|one| !one.0.contains("__rekindle_"))
        .collect();
    assert_eq!(live, before);
    dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
    dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
    assert!(
        world.server.indexes().is_empty(),
        "{:?}",
        world.server.indexes()
    );
}

#[test]
fn one_index_alone_comes_back() {
    let world = World::new();
    let dataset = world.by_dump();
    let point = world.capture(&*dataset).unwrap();
    world.server.put("users", "name", &[json!({ "name": "c" })]);
    world.server.put("movies", "id", &[json!({ "id": 999 })]);
    let (index, progress) = (world.index(), Arc::new(Progress::default()));
    let mut part = source(&world, &index, &point, &progress);
    part.part = Some(TreePath::new("users").unwrap());
    dataset
        .restore_in_place(&part, &mut Kept::default())
        .unwrap();
    assert_eq!(world.server.documents("users").unwrap().len(), 2);
    assert_eq!(world.server.documents("movies").unwrap().len(), 251);
    part.part = Some(TreePath::new("nobody").unwrap());
    let error = dataset
        .restore_in_place(&part, &mut Kept::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("no index `nobody`"), "{error}");
}

#[test]
fn wherever_a_restore_stops_the_live_indexes_are_whole_and_undo_goes_back() {
    let world = World::new();
    let dataset = world.by_dump();
    let point = world.capture(&*dataset).unwrap();
    harm(&world.server);
    let harmed = all(&world.server);
    let live = || -> Vec<_> {
        let all = all(&world.server).into_iter();
        all.filter(|one| !one.0.contains("__rekindle_")).collect()
    };
    let mut stops = 0;
    for after in 0.. {
        world.server.fail_after(after);
        let mut kept = Kept::default();
        let outcome = restore(&world, &*dataset, &point, &mut kept);
        if !world.server.has_failed() {
            world.server.fail_after(u64::MAX);
            assert!(outcome.is_ok());
            dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
            dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
            break;
        }
        stops += 1;
        assert!(told(&outcome.err().unwrap()).contains("made up for a test"));
        assert_eq!(live(), harmed, "after {after} tasks");
        dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
        dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
        assert_eq!(all(&world.server), harmed, "after {after} tasks");
    }
    assert_eq!(
        stops, 7,
        "two indexes made, set up and filled, and one change of names"
    );
}

#[test]
fn a_change_of_names_that_was_left_in_the_queue_is_waited_for_before_it_is_undone() {
    let world = World::new();
    let dumps = world.server.dump_directory();
    let more = format!(", dump_directory: {}, task_limit: 1s", dumps.display());
    let dataset = world.dataset(ADMIN, &more);
    let point = world.capture(&*dataset).unwrap();
    harm(&world.server);
    let harmed = all(&world.server);
    world.server.hang("indexSwap");
    let mut kept = Kept::default();
    let error = restore(&world, &*dataset, &point, &mut kept).err().unwrap();
    assert!(told(&error).contains("indexSwap"), "{}", told(&error));
    let error = dataset
        .undo_in_place(kept.0.as_ref().unwrap())
        .err()
        .unwrap();
    assert!(
        told(&error).contains("still processing"),
        "{}",
        told(&error)
    );
    world.server.go_on();
    dataset.undo_in_place(kept.0.as_ref().unwrap()).unwrap();
    dataset.discard_aside(kept.0.as_ref().unwrap()).unwrap();
    assert_eq!(all(&world.server), harmed);
}

#[test]
fn a_journal_that_cannot_be_written_stops_before_anything_is_changed() {
    struct Broken;
    impl Journal for Broken {
        fn write(&mut self, _: &Aside) -> Result<(), InPlaceError> {
            let path = "journal".to_owned();
            let source = std::io::Error::other("disk full");
            Err(InPlaceError::Journal { path, source })
        }
    }
    let world = World::new();
    let dataset = world.by_dump();
    let point = world.capture(&*dataset).unwrap();
    let before = all(&world.server);
    let (index, progress) = (world.index(), Arc::new(Progress::default()));
    let outcome = dataset.restore_in_place(&source(&world, &index, &point, &progress), &mut Broken);
    assert!(outcome.is_err());
    assert_eq!(all(&world.server), before);
}

#[test]
fn an_older_server_is_refused_before_anything_is_changed() {
    let world = World::new();
    let point = world.capture(&*world.by_dump()).unwrap();
    let home = rekindle_testing::temp_dir().unwrap();
    let options = StandInOptions {
        version: "1.9.3",
        ..StandInOptions::default()
    };
    let older = MeilisearchStandIn::start_in(home.path(), &options).unwrap();
    let world = World {
        server: older,
        ..world
    };
    let dataset = world.dataset(ADMIN, "");
    let error = restore(&world, &*dataset, &point, &mut Kept::default())
        .err()
        .unwrap();
    assert!(
        told(&error).contains("is of MeiliSearch 1.12.0, and the server is 1.9.3"),
        "{}",
        told(&error)
    );
    assert!(world.server.indexes().is_empty());
}

#[test]
fn a_rebuild_runs_the_command_and_tells_how_it_failed() {
    let world = World::new();
    let dataset = world.dataset(ADMIN, ", rebuild: 'echo $REKINDLE_SERVICE > rebuilt'");
    let point = world.capture(&*dataset).unwrap();
    restore(&world, &*dataset, &point, &mut Kept::default()).unwrap();
    let said = std::fs::read_to_string(world.place.path().join("rebuilt")).unwrap();
    assert_eq!(said, "search\n");
    let dataset = world.dataset(ADMIN, ", rebuild: 'echo no database >&2; exit 3'");
    let point = world.capture(&*dataset).unwrap();
    let error = restore(&world, &*dataset, &point, &mut Kept::default())
        .err()
        .unwrap();
    assert!(told(&error).contains("no database"), "{}", told(&error));
}
