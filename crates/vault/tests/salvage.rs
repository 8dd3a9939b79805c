//! What is left of a vault can be brought out, whatever else is gone.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "common/hooked.rs"]
mod hooked;
#[path = "common/world.rs"]
mod world;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use common::{AT, Place, assert_same, assert_whole, back_up, chain, password};
use hooked::Hooked;
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, cut, delete, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{
    BlobKind, Chunking, ConfigRemade, Node, NodeKind, Password, RestoreOptions, Salvage,
    SalvagePoint, SalvagedPoint, Snapshot, SnapshotDraft, Store, Thoroughness, TreePath, Vault,
    VaultError,
    store::{LocalStore, ObjectKey},
};
use world::World;

struct Setting {
    place: Place,
    point: Snapshot,
    expected: TreeDigest,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        let folder = place.source().join("folder/deeper");
        fs::create_dir_all(&folder).unwrap();
        let mut random = Random::new(21);
        for file in 0..4 {
            fs::write(folder.join(format!("{file}")), random.bytes(90_000)).unwrap();
        }
        fs::write(place.source().join("large"), random.bytes(6 << 20)).unwrap();
        fs::hard_link(
            place.source().join("large"),
            place.source().join("second name"),
        )
        .unwrap();
        let vault = place.create();
        let point = back_up(&vault, &place.source(), None).unwrap();
        let expected = tree_digest(&place.source()).unwrap();
        Self {
            place,
            point,
            expected,
        }
    }

    fn dir(&self, folder: &str) -> std::path::PathBuf {
        self.place.vault_dir().join(folder)
    }

    fn salvage(&self) -> Salvage {
        let store = Arc::new(LocalStore::new(self.place.vault_dir()));
        Salvage::open(store, &password(), &Arc::default()).unwrap()
    }

    /// Brings the only point out.
    fn bring(&self, to: &Path) -> (SalvagePoint, SalvagedPoint) {
        let mut salvage = self.salvage();
        let [point] = &salvage.points(AT).unwrap()[..] else {
            panic!("there is one point")
        };
        let brought = salvage.bring(point, to, RestoreOptions::default());
        (point.clone(), brought.unwrap())
    }
}

#[test]
fn a_vault_of_which_only_packs_and_a_key_are_left_comes_out_whole() {
    let setting = Setting::new();
    delete(&setting.dir("config")).unwrap();
    for folder in ["index", "snapshots"] {
        fs::remove_dir_all(setting.dir(folder)).unwrap();
    }
    let target = setting.place.path("out");
    let (point, brought) = setting.bring(&target);
    assert!(point.is_found && point.has_marker, "{point:?}");
    assert!(point.name.starts_with("found-") && point.names == [AT]);
    assert!(brought.whole.is_some(), "{:?}", brought.damages);
    assert_same(&setting.expected, &target.join(AT));
}

#[test]
fn a_point_that_is_there_is_not_found_again() {
    let setting = Setting::new();
    let target = setting.place.path("out");
    let (point, brought) = setting.bring(&target);
    assert!(!point.is_found && brought.whole.is_some());
    assert_eq!(point.snapshot.id, setting.point.id);
}

#[test]
fn of_a_file_that_lost_a_piece_the_rest_comes_out_and_the_hole_is_named() {
    for how in ["flip", "cut", "delete"] {
        let setting = Setting::new();
        let vault = setting.place.open();
        let index = vault.load_index().unwrap();
        let node = vault.find_node(&index, &setting.point, format!("{AT}/large"));
        let content = node.unwrap().unwrap().content.unwrap();
        assert!(content.len() > 2);
        let place = |number: usize| index.find(BlobKind::Data, &content[number]).unwrap();
        let start: u32 = place(0).blob.plain_length();
        let lost = place(1);
        let name = lost.pack.to_string();
        let pack = setting.dir("data").join(&name[..2]).join(&name);
        match how {
            "flip" => flip_bit(&pack, u64::from(lost.blob.offset) + 30).unwrap(),
            "cut" => cut(&pack, u64::from(lost.blob.offset) + 30).unwrap(),
            _ => delete(&pack).unwrap(),
        }
        let target = setting.place.path("out");
        let (_, brought) = setting.bring(&target);
        let large = brought
            .damages
            .iter()
            .find(|d| d.path == Path::new(AT).join("large"));
        let holes = &large.unwrap().holes;
        let first = u64::from(start)..u64::from(start + lost.blob.plain_length());
        if how == "flip" {
            assert_eq!(*holes, std::slice::from_ref(&first));
            assert_eq!(brought.damages.len(), 1, "{:?}", brought.damages);
        }
        assert!(
            holes
                .iter()
                .any(|hole| hole.start <= first.start && first.end <= hole.end)
        );
        // Outside the holes, every byte is as it was.
        let mut expected = fs::read(setting.place.source().join("large")).unwrap();
        for hole in holes {
            expected[hole.start as usize..hole.end as usize].fill(0);
        }
        let found = fs::read(target.join(AT).join("large")).unwrap();
        assert!(found == expected, "{how}");
        assert!(found == fs::read(target.join(AT).join("second name")).unwrap());
        assert!(fs::exists(target.join("REKINDLE-RESTORE-UNFINISHED")).unwrap());
        for damage in &brought.damages {
            let path = damage.path.strip_prefix(AT).unwrap();
            assert!(setting.expected.0.contains_key(path));
        }
    }
}

#[test]
fn pieces_of_one_length_are_placed_between_lost_ones() {
    let place = Place::in_memory();
    let vault = place.create();
    let content = Random::new(4).bytes(40 * 4096 + 100);
    let backup = vault.start_backup(common::options(None)).unwrap();
    let path = TreePath::new("pages").unwrap();
    let node = Node {
        kind: NodeKind::File,
        mode: Node::go_mode(NodeKind::File, 0o600),
        ..Node::default()
    };
    let mut file = backup.file_writer(path, node, Chunking::Fixed { bytes: 4096 });
    file.write(&content).unwrap();
    file.finish().unwrap();
    let point = backup.finish(SnapshotDraft::default()).unwrap();
    let index = vault.load_index().unwrap();
    let node = vault.find_node(&index, &point, "pages").unwrap().unwrap();
    let pieces = node.content.unwrap();
    for lost in [3, 4, 20] {
        let at = index.find(BlobKind::Data, &pieces[lost]).unwrap();
        let name = at.pack.to_string();
        let pack = place.vault_dir().join("data").join(&name[..2]).join(&name);
        flip_bit(&pack, u64::from(at.blob.offset) + 20).unwrap();
    }
    // What was damaged is taken out of the index by healing, so that not even its length is known.
    vault
        .heal(&[], &rekindle_vault::HealOptions::default())
        .unwrap();
    let store = Arc::new(LocalStore::new(place.vault_dir()));
    let mut salvage = Salvage::open(store, &password(), &Arc::default()).unwrap();
    let points = salvage.points("pages").unwrap();
    let target = place.path("out");
    let brought = salvage.bring(&points[0], &target, RestoreOptions::default());
    let damages = brought.unwrap().damages;
    assert_eq!(damages[0].holes, [3 * 4096..5 * 4096, 20 * 4096..21 * 4096]);
    let mut expected = content;
    for hole in &damages[0].holes {
        expected[hole.start as usize..hole.end as usize].fill(0);
    }
    assert!(fs::read(target.join("pages")).unwrap() == expected);
}

#[test]
fn what_is_below_a_lost_root_is_found_by_its_own_roots() {
    let setting = Setting::new();
    let vault = setting.place.open();
    let index = vault.load_index().unwrap();
    let root = index
        .find(BlobKind::Tree, &setting.point.stored.tree)
        .unwrap();
    let name = root.pack.to_string();
    let pack = setting.dir("data").join(&name[..2]).join(&name);
    flip_bit(&pack, u64::from(root.blob.offset) + 20).unwrap();
    let mut salvage = setting.salvage();
    let points = salvage.points(AT).unwrap();
    assert_eq!(points.len(), 2);
    assert!(!points[0].is_found && points[0].names.is_empty());
    assert!(points[1].is_found && !points[1].has_marker);
    let target = setting.place.path("out");
    let brought = salvage.bring(&points[1], &target, RestoreOptions::default());
    assert!(brought.unwrap().whole.is_some());
    // Of the directory itself only its listing is left.
    let differences = setting.expected.differences(&tree_digest(&target).unwrap());
    assert!(differences.len() <= 1, "{differences:?}");
}

#[test]
fn without_a_key_or_with_a_wrong_password_nothing_can_be_done_and_that_is_said() {
    let setting = Setting::new();
    let open = |words: &str| {
        let store = Arc::new(LocalStore::new(setting.place.vault_dir()));
        Salvage::open(store, &Password::new(words), &Arc::default()).unwrap_err()
    };
    delete(&setting.dir("config")).unwrap();
    let error = open("wrong");
    assert!(matches!(error, VaultError::WrongPassword { .. }), "{error}");
    fs::remove_dir_all(setting.dir("keys")).unwrap();
    let said = chain(&open(common::PASSWORD));
    assert!(
        said.contains("key") && said.contains("no password opens"),
        "{said}"
    );
}

#[test]
fn a_lost_configuration_is_made_anew_and_nothing_else_changes() {
    for damaged in [false, true] {
        let setting = Setting::new();
        let config = setting.dir("config");
        let original = fs::read(&config).unwrap();
        let damage = || {
            if damaged {
                cut(&config, 40).unwrap();
            } else {
                delete(&config).unwrap();
            }
        };
        let remake = |sources: &[Vault]| {
            let store = Arc::new(LocalStore::new(setting.place.vault_dir()));
            Vault::remake_config(store, &password(), sources).unwrap()
        };
        assert_eq!(remake(&[]), ConfigRemade::WasWhole);
        damage();
        assert_eq!(remake(&[]), ConfigRemade::New);
        let vault = setting.place.open();
        assert_whole(&vault);
        assert!(common::check(&vault, Thoroughness::AllData).snapshots == 1);
        setting.place.restic().check(true).unwrap();
        back_up(&vault, &setting.place.source(), None).unwrap();
        // A copy of the files has it byte for byte; a vault of its own has the way it cuts files.
        let other = place_of_other(&setting);
        damage();
        assert_eq!(remake(std::slice::from_ref(&other)), ConfigRemade::LikeCopy);
        let now = setting.place.open();
        assert_eq!(
            now.config().chunker_polynomial,
            other.config().chunker_polynomial
        );
        assert_ne!(now.config().id, other.config().id);
        let mirror = setting.place.path("mirror");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(setting.place.vault_dir())
            .arg(&mirror)
            .status();
        assert!(copied.unwrap().success());
        fs::remove_file(mirror.join("config")).unwrap();
        fs::write(mirror.join("config"), &original).unwrap();
        let mirror = Vault::open(Arc::new(LocalStore::new(&mirror)), &password()).unwrap();
        damage();
        assert_eq!(remake(&[mirror]), ConfigRemade::Same);
        assert_eq!(fs::read(&config).unwrap(), original);
        let aside = files_below(&setting.dir("rekindle/set-aside"));
        assert_eq!(aside.is_ok_and(|files| !files.is_empty()), damaged);
    }
}

#[test]
fn of_two_who_make_a_lost_configuration_anew_only_one_does() {
    let world = World::new();
    world::back_up(&world.vault, &[("file".to_owned(), vec![7; 300])].into()).unwrap();
    let damaged = || {
        let here = world.copy();
        here.store
            .overwrite(&ObjectKey::config(), b"damaged".to_vec());
        here.store as Arc<dyn Store>
    };
    for at in (0..).step_by(2) {
        let (store, theirs) = (damaged(), Arc::new(Mutex::new(None)));
        let (others, result) = (Arc::clone(&store), Arc::clone(&theirs));
        let action = Box::new(move || {
            let made = Vault::remake_config(others, &password(), &[]);
            *result.lock().unwrap() = Some(made);
        });
        let hooked = Hooked::before(Arc::clone(&store), at, action);
        let ours = Vault::remake_config(Arc::clone(&hooked) as Arc<dyn Store>, &password(), &[]);
        if hooked.is_left() {
            assert!(at > 8, "it was tried at {at} moments");
            return;
        }
        let outcomes = [Some(ours), theirs.lock().unwrap().take()];
        let made = outcomes.iter().flatten();
        let made = made.filter(|made| matches!(made, Ok(ConfigRemade::New)));
        assert_eq!(made.count(), 1, "at {at}: {outcomes:?}");
        assert_whole(&Vault::open(store, &password()).unwrap());
    }
}

fn place_of_other(setting: &Setting) -> Vault {
    let store = Arc::new(LocalStore::new(setting.place.path("other")));
    Vault::create(store, &Password::new("other")).unwrap()
}
