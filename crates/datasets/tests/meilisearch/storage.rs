//! Dumps that are found in what the service keeps, by path or as a stream.

use std::sync::Arc;

use rekindle_datasets::meilisearch::MeilisearchWay;
use rekindle_runtimes::{RunState, Runtime};

use crate::common::{ADMIN, LIMITED, World, all};
use crate::keeper::{Keeper, Reach};

fn keeper(reach: Reach) -> Option<Arc<dyn Runtime>> {
    Some(Arc::new(Keeper {
        service: "search",
        run: RunState::Running,
        image: None,
        volume: Some(("/meili_data", reach)),
    }))
}

#[test]
fn a_dump_is_found_in_what_the_service_keeps() {
    let world = World::new();
    let root = world.server.dump_directory().parent().unwrap().to_owned();
    for (by_path, reach) in [
        (true, Reach::Path(root.clone())),
        (false, Reach::Streams(root)),
    ] {
        let dataset = world.dataset_in(ADMIN, "", keeper(reach));
        let point = world.capture(&*dataset).unwrap();
        assert_eq!(point.meilisearch().way, MeilisearchWay::Storage);
        let (_home, other) = world.imported(&point);
        assert_eq!(all(&other), all(&world.server));
        let stays = point
            .warnings
            .iter()
            .any(|text| text.contains("stays where it is"));
        assert_eq!(stays, !by_path, "{:?}", point.warnings);
    }
}

#[test]
fn where_no_dump_is_found_or_may_be_made_the_api_is_read_and_that_is_told() {
    let world = World::new();
    let elsewhere = rekindle_testing::temp_dir().unwrap();
    for (key, said) in [(ADMIN, "dump_directory"), (LIMITED, "dumps.create")] {
        let reach = Reach::Path(elsewhere.path().to_owned());
        let dataset = world.dataset_in(key, "", keeper(reach));
        let point = world.capture(&*dataset).unwrap();
        assert_eq!(point.meilisearch().way, MeilisearchWay::Api);
        assert!(
            point.warnings.iter().any(|text| text.contains(said)),
            "{:?}",
            point.warnings
        );
    }
}
