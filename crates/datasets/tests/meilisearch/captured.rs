//! What is captured, and what is told when it is not.

use std::{fs, thread, time::Duration};

use rekindle_datasets::meilisearch::MeilisearchWay;
use rekindle_testing::meilisearch_stand_in::{MeilisearchStandIn, StandInOptions};
use rekindle_vault::TreePath;

use crate::common::{ADMIN, LIMITED, World, all, told};

#[test]
fn the_servers_own_dump_is_stored_so_that_a_server_imports_it() {
    let world = World::new();
    let point = world.capture(&*world.by_dump()).unwrap();
    let record = point.meilisearch();
    assert_eq!(record.way, MeilisearchWay::DumpDirectory);
    assert_eq!(record.server_version, "1.12.0");
    let dump = record.dump.as_ref().unwrap();
    let counts: Vec<_> = dump
        .indexes
        .iter()
        .map(|one| (&*one.uid, one.documents))
        .collect();
    assert_eq!(counts, [("movies", 250), ("users", 2)]);
    assert_eq!(dump.indexes[0].primary_key.as_deref(), Some("id"));
    assert_ne!(
        dump.indexes[0].settings_sha256,
        dump.indexes[1].settings_sha256
    );
    assert_eq!(dump.keys, 1);
    assert_eq!(
        dump.bytes,
        fs::metadata(world.dump_of(&point)).unwrap().len()
    );
    let (_home, other) = world.imported(&point);
    assert_eq!(all(&other), all(&world.server));
    assert!(point.warnings.is_empty(), "{:?}", point.warnings);
}

#[test]
fn the_dump_that_was_made_for_a_backup_does_not_fill_the_servers_disk() {
    let world = World::new();
    let of_somebody = world
        .server
        .dump_directory()
        .join("20200101-000000000.dump");
    fs::write(&of_somebody, "theirs").unwrap();
    world.capture(&*world.by_dump()).unwrap();
    let left: Vec<_> = fs::read_dir(world.server.dump_directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [of_somebody]);
}

#[test]
fn what_the_api_gives_becomes_a_dump_as_well() {
    let world = World::new();
    let point = world.capture(&*world.dataset(ADMIN, "")).unwrap();
    let record = point.meilisearch();
    assert_eq!(record.way, MeilisearchWay::Api);
    assert_eq!(world.server.tasks("dumpCreation"), 0);
    let (_home, other) = world.imported(&point);
    assert_eq!(all(&other), all(&world.server));
    assert!(point.partly.is_empty(), "{:?}", point.partly);
    // Both ways count the same.
    let by_dump = world.capture(&*world.by_dump()).unwrap();
    let (api, own) = (record.dump.as_ref(), by_dump.meilisearch().dump.as_ref());
    assert_eq!(api.unwrap().indexes, own.unwrap().indexes);
}

#[test]
fn a_key_that_may_only_read_is_enough_for_the_api_and_the_rest_is_told() {
    let world = World::new();
    let point = world.capture(&*world.dataset(LIMITED, "")).unwrap();
    assert!(
        point.warnings.iter().any(|text| text.contains("keys.get")),
        "{:?}",
        point.warnings
    );
    assert_eq!(point.meilisearch().dump.as_ref().unwrap().keys, 0);
    let (_home, other) = world.imported(&point);
    assert_eq!(all(&other), all(&world.server));
}

#[test]
fn masked_keys_of_embedders_are_not_stored_as_if_they_were_keys() {
    let world = World::new();
    let embedders = serde_json::json!({ "embedders": { "default": { "source": "openAi", "apiKey": "XXXXXX" } } });
    world.server.set_settings("movies", &embedders);
    let point = world.capture(&*world.dataset(ADMIN, "")).unwrap();
    let (_home, other) = world.imported(&point);
    let settings = other.settings("movies").unwrap();
    assert_eq!(
        settings["embedders"]["default"],
        serde_json::json!({ "source": "openAi" })
    );
    assert!(
        point.warnings.iter().any(|text| text.contains("embedders")),
        "{:?}",
        point.warnings
    );
}

#[test]
fn a_small_change_is_stored_as_one_although_the_servers_dump_is_compressed() {
    let world = World::new();
    let mut random = rekindle_testing::data::Random::new(7);
    let mut long = |id: u64| {
        let title: String = (0..64)
            .map(|_| format!("{:016x}", random.number()))
            .collect();
        serde_json::json!({ "id": id, "title": title })
    };
    // Of about 26 chunks four differ: that of the dump's date, of each document, and of the tasks.
    let many: Vec<_> = (0..25_000).map(&mut long).collect();
    world.server.put("movies", "id", &many);
    world.capture(&*world.by_dump()).unwrap();
    world.server.put("movies", "id", &[long(5), long(30_001)]);
    let second = world.capture(&*world.by_dump()).unwrap();
    let summary = second.snapshot.stored.summary.unwrap();
    let (added, all) = (summary.data_added, summary.total_bytes_processed);
    assert!(added * 2 < all, "{added} of {all} bytes were stored again");
}

#[test]
fn a_failed_dump_is_told_in_the_servers_words() {
    let world = World::new();
    world
        .server
        .fail_next("dumpCreation", "No space left on device");
    let error = world.capture(&*world.by_dump()).err().unwrap();
    let text = told(&error);
    assert!(
        text.contains("(dumpCreation) of MeiliSearch failed: No space left on device"),
        "{text}"
    );
}

#[test]
fn a_dump_that_hangs_is_not_waited_for_without_end() {
    let world = World::new();
    world.server.hang("dumpCreation");
    let dumps = world.server.dump_directory();
    let more = format!(", dump_directory: {}, task_limit: 1s", dumps.display());
    let error = world.capture(&*world.dataset(ADMIN, &more)).err().unwrap();
    let text = told(&error);
    assert!(text.contains("is still processing after 1 s"), "{text}");
    assert!(error.hint().unwrap().contains("task_limit"));
}

#[test]
fn a_server_that_is_restarted_in_the_middle_is_asked_again() {
    let world = World::new();
    world.server.hang("dumpCreation");
    let dataset = world.by_dump();
    let point = thread::scope(|scope| {
        let capture = scope.spawn(|| world.capture(&*dataset));
        while world.server.tasks("dumpCreation") == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        world.server.go_down();
        thread::sleep(Duration::from_millis(300));
        world.server.go_on();
        world.server.come_back();
        capture.join().unwrap().unwrap()
    });
    assert_eq!(point.meilisearch().dump.as_ref().unwrap().indexes.len(), 2);
}

#[test]
fn half_a_dump_is_no_dump() {
    let world = World::new();
    for bytes in [1, 20, 4000] {
        world.server.cut_dumps(bytes);
        let text = told(&world.capture(&*world.by_dump()).err().unwrap());
        assert!(text.contains("is no whole dump"), "{bytes}: {text}");
    }
}

#[test]
fn a_missing_or_wrong_key_and_a_server_that_is_not_there_get_a_hint() {
    let world = World::new();
    let error = world
        .capture(&*world.dataset("wrong-key", ""))
        .err()
        .unwrap();
    assert!(told(&error).contains("403"), "{}", told(&error));
    assert!(!told(&error).contains("wrong-key"));
    assert!(error.hint().unwrap().contains("guide to search"));
    world.server.go_down();
    let error = world.capture(&*world.dataset(ADMIN, "")).err().unwrap();
    assert!(
        error.hint().unwrap().contains("running"),
        "{}",
        told(&error)
    );
}

#[test]
fn with_a_rebuild_command_nothing_is_captured_and_the_point_says_how_it_comes_back() {
    let world = World::new();
    let point = world
        .capture(&*world.dataset(ADMIN, ", rebuild: make reindex"))
        .unwrap();
    let record = point.meilisearch();
    assert_eq!(record.way, MeilisearchWay::Rebuild);
    assert_eq!(record.rebuild.as_deref(), Some("make reindex"));
    let (index, path) = (
        world.index(),
        TreePath::new("search/meilisearch/rebuild.txt").unwrap(),
    );
    let node = world
        .vault
        .find_node(&index, &point.snapshot, path.as_bytes())
        .unwrap()
        .unwrap();
    let mut text = Vec::new();
    world.vault.copy_file(&index, &node, &mut text).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("make reindex"));
    assert_eq!(world.server.tasks("dumpCreation"), 0);
}

#[test]
fn a_dump_is_imported_only_where_there_is_no_database() {
    let world = World::new();
    let point = world.capture(&*world.by_dump()).unwrap();
    let (home, other) = world.imported(&point);
    drop(other);
    let options = StandInOptions {
        import_dump: Some(world.dump_of(&point)),
        ..StandInOptions::default()
    };
    // What a restart policy does to a service that keeps its import option.
    let refused = MeilisearchStandIn::start_in(home.path(), &options)
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains("database already exists"),
        "{refused}"
    );
}
