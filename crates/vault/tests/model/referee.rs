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

/// It finds the vault whole, and a point as it was. Locks of those who crashed are in nobody's way.
pub fn assert_read_by_restic(side: &Side) {
    let place = written(side);
    let restic = place.restic();
    restic.run(["check", "--read-data", "--no-lock"]).unwrap();
    let Some((point, files)) = side.points.iter().next() else {
        return;
    };
    let target = place.path("restored");
    let (id, at) = (point.to_string(), target.to_str().unwrap());
    let restore = ["restore", "--no-lock", &id, "--target", at];
    restic.run(restore).unwrap();
    for (path, content) in files {
        assert!(fs::read(target.join(path)).unwrap() == *content, "{path}");
    }
}
