//! Stock restic looks at a vault of the model.

use std::fs;

use crate::{common::Place, side::Side, world::objects};

/// Writes the vault to a directory.
fn written(side: &Side) -> Place {
    let place = Place::in_memory();
    for (key, content) in objects(&*side.world.store) {
        let path = place.vault_dir().join(key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    place
}

/// It finds the vault whole, and every point as it was. Locks of those who crashed are in nobody's way.
pub fn assert_read_by_restic(side: &Side) {
    let place = written(side);
    let restic = place.restic();
    restic.run(["check", "--read-data", "--no-lock"]).unwrap();
    for (number, (point, files)) in side.points.iter().enumerate() {
        let target = place.path(&format!("restored {number}"));
        let (id, at) = (point.to_string(), target.to_str().unwrap());
        restic
            .run(["restore", "--no-lock", &id, "--target", at])
            .unwrap();
        for (path, content) in files {
            assert!(fs::read(target.join(path)).unwrap() == *content, "{path}");
        }
    }
}
