//! Stock restic reads what we write, to the last bit, and we go on after it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use common::{AT, Place, assert_restores, assert_same, assert_whole, back_up, draft, options};
use rekindle_testing::{
    data::{Random, file_tree},
    faults::tree_digest,
};
use rekindle_vault::{
    Chunking, LocalFile, LocalTree, Node, NodeKind, SnapshotDraft, TreePath, WhenMissing,
};
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

/// The lengths at which chunks, pieces and ranges end, and one more and one less.
fn edge_lengths() -> Vec<u64> {
    let edges = [
        4096,
        8192,
        256 << 10,
        512 << 10,
        768 << 10,
        1 << 20,
        4 << 20,
        8 << 20,
        16 << 20,
    ];
    let mut lengths = vec![0, 1, 2];
    lengths.extend(edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]));
    lengths
}

/// Files of [`edge_lengths`], cut out of one random text, so that the vault stays small.
fn write_edges(dir: &Path, random: &mut Random, most: u64) {
    fs::create_dir_all(dir).unwrap();
    let content = random.bytes((16 << 20) + 1);
    for length in edge_lengths().into_iter().filter(|length| *length <= most) {
        let bytes = &content[..usize::try_from(length).unwrap()];
        fs::write(dir.join(length.to_string()), bytes).unwrap();
    }
}

fn write_big(path: &Path, random: &mut Random, parts: u32) {
    let mut file = File::create(path).unwrap();
    for number in 0..parts {
        let part = if number % 4 == 0 {
            random.bytes(4 << 20)
        } else {
            random.text(4 << 20)
        };
        file.write_all(&part).unwrap();
    }
    file.write_all(b"and an odd end").unwrap();
}

/// `user::rw-, user:1000:rwx, group::r--, mask::rwx, other::r--` in the kernel's own form
/// (linux/posix_acl_xattr.h).
fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 7, 1000),
        (0x04, 4, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 4, u32::MAX),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

const WITH_ATTRIBUTES: [(&str, &str); 4] = [
    ("attributes", "user.text"),
    ("attributes", "user.binary ünï"),
    ("attributes", "system.posix_acl_access"),
    ("owned directory", "user.of directory"),
];

fn attribute_value(name: &str) -> Vec<u8> {
    match name {
        "system.posix_acl_access" => access_list(),
        _ => [name.as_bytes(), b"\0\xff\n"].concat(),
    }
}

fn attribute(path: &Path, name: &str) -> Vec<u8> {
    let mut buffer = [0; 1000];
    let length = lgetxattr(path, name, &mut buffer[..]).unwrap();
    buffer[..length].to_vec()
}

/// Owners, attributes, modes of directories, links by name that is no text.
fn write_owned(dir: &Path) {
    fs::write(dir.join("attributes"), b"x").unwrap();
    fs::create_dir(dir.join("owned directory")).unwrap();
    fs::write(dir.join("owned directory/file"), b"owned").unwrap();
    for (name, owner) in [("owned directory/file", 999), ("owned directory", 70)] {
        chown(dir.join(name), Some(owner), Some(owner + 1)).unwrap();
    }
    for (name, attribute) in WITH_ATTRIBUTES {
        let value = attribute_value(attribute);
        lsetxattr(dir.join(name), attribute, &value, XattrFlags::empty()).unwrap();
    }
    for (name, mode) in [("closed", 0o000), ("shared", 0o3775), ("read only", 0o555)] {
        let path = dir.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("ünïcødé \"target\"\nwith a line", dir.join("odd link")).unwrap();
    rustix::fs::lsetxattr(dir, "user.of root", b"1", XattrFlags::empty()).unwrap();
    let times =
        fs::FileTimes::new().set_modified(UNIX_EPOCH - Duration::new(86_400 * 3650, 999_999_999));
    File::open(dir.join("owned directory"))
        .unwrap()
        .set_times(times)
        .unwrap();
}

#[test]
fn a_hard_tree_comes_back_by_restic_and_by_us() {
    let place = Place::new();
    let source = place.source();
    let mut random = Random::new(11);
    file_tree(&source, 11, 600).unwrap();
    write_edges(&source.join("edges"), &mut random, u64::MAX);
    write_big(&source.join("big"), &mut random, 33);
    write_owned(&source);
    let before = tree_digest(&source).unwrap();

    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let restic = place.restic();
    restic.check(true).unwrap();
    restic
        .restore(&snapshot.id.to_string(), &place.path("by restic"))
        .unwrap();
    assert_same(&before, &place.path("by restic").join(AT));
    assert_restores(&vault, &snapshot, &before, &place.path("by us"));
    for (name, attribute_name) in WITH_ATTRIBUTES {
        for by in ["by restic", "by us"] {
            let path = place.path(by).join(AT).join(name);
            let value = attribute_value(attribute_name);
            assert_eq!(
                attribute(&path, attribute_name),
                value,
                "{by} {name} {attribute_name}"
            );
        }
    }
    let sparse = fs::metadata(place.path("by us").join(AT).join("kinds/sparse")).unwrap();
    let taken = std::os::unix::fs::MetadataExt::blocks(&sparse) * 512;
    assert!(taken < 32 << 20, "holes stay holes: {taken} bytes on disk");
}

#[test]
fn a_link_whose_target_is_no_text_comes_back() {
    let place = Place::new();
    let target = std::ffi::OsStr::from_bytes(b"no text \xff\xfe/..");
    fs::create_dir(place.source()).unwrap();
    symlink(target, place.source().join("link")).unwrap();
    let before = tree_digest(&place.source()).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    assert_restores(&vault, &snapshot, &before, &place.path("restored"));
    place.restic().check(true).unwrap();
}

#[test]
fn a_part_whose_path_is_no_text_comes_back_alone() {
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"directory \xff\"");
    let part = place.source().join(name);
    fs::create_dir_all(part.join("inner")).unwrap();
    fs::write(part.join("inner/file"), b"content").unwrap();
    fs::write(place.source().join("not this"), b"").unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o1751)).unwrap();
    chown(&part, Some(999), Some(998)).unwrap();
    let before = tree_digest(&part).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    let path = TreePath::new([AT.as_bytes(), b"/", name.as_bytes()].concat()).unwrap();
    let target = place.path("part");
    vault
        .restore(&snapshot, &path, &target, &Default::default())
        .unwrap();
    assert_same(&before, &target);
}

#[test]
fn page_chunks_and_streams_are_ordinary_files() {
    let place = Place::new();
    let source = place.source();
    let mut random = Random::new(5);
    write_edges(&source, &mut random, (1 << 20) + 1);
    write_big(&source.join("big"), &mut random, 4);
    let before = tree_digest(&source).unwrap().without_times();
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    for name in before.0.keys().filter(|name| **name != PathBuf::new()) {
        let path = source.join(name);
        let node = Node::of_metadata(&fs::metadata(&path).unwrap());
        for (at, bytes) in [
            ("pages 8", 8 << 10),
            ("pages 64", 64 << 10),
            ("pages 1000", 1 << 20),
        ] {
            let file = LocalFile {
                source: path.clone(),
                node: node.clone(),
                most_bytes: node.size,
                chunking: Chunking::Fixed { bytes },
                when_missing: WhenMissing::Fail,
                inspect: None,
            };
            let at = TreePath::new(format!("{at}/{}", name.display())).unwrap();
            backup.add_local_file(at, file).unwrap();
        }
        let content = fs::read(&path).unwrap();
        for (at, chunking) in [
            ("stream", Chunking::ContentDefined),
            ("stream of pages", Chunking::Fixed { bytes: 64 << 10 }),
        ] {
            let at = TreePath::new(format!("{at}/{}", name.display())).unwrap();
            let mut writer = backup.file_writer(at, node.clone(), chunking);
            // Lengths that fit no chunk.
            for part in content.chunks(300_007) {
                writer.write(part).unwrap();
            }
            writer.finish().unwrap();
        }
    }
    let snapshot = backup.finish(draft()).unwrap();
    let restic = place.restic();
    restic.check(true).unwrap();
    restic
        .restore(&snapshot.id.to_string(), &place.path("by restic"))
        .unwrap();
    common::restore(&vault, &snapshot, &place.path("by us")).unwrap();
    for by in ["by restic", "by us"] {
        for at in [
            "pages 8",
            "pages 64",
            "pages 1000",
            "stream",
            "stream of pages",
        ] {
            let mut found = tree_digest(&place.path(by).join(at))
                .unwrap()
                .without_times();
            // Nobody described the directory itself.
            found
                .0
                .insert(PathBuf::new(), before.0[Path::new("")].clone());
            let differences = before.differences(&found);
            assert!(
                differences.is_empty(),
                "{by} {at}: {}",
                differences.join("\n")
            );
        }
    }
    assert_eq!(
        restic
            .dump(&snapshot.id.to_string(), Path::new("/stream/big"))
            .unwrap(),
        fs::read(source.join("big")).unwrap()
    );
}

#[test]
fn files_at_the_edge_of_a_range_are_cut_and_joined_right() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    for length in [
        (64_u64 << 20) - 1,
        64 << 20,
        (64 << 20) + 1,
        (128 << 20) + 4097,
    ] {
        use std::os::unix::fs::FileExt;
        let file = File::create(source.join(length.to_string())).unwrap();
        file.set_len(length).unwrap();
        for at in [0, (64 << 20) - 5000, length - 3] {
            let mark = format!("{at} of {length}");
            let room = usize::try_from(length - at).unwrap().min(mark.len());
            file.write_all_at(&mark.as_bytes()[..room], at).unwrap();
        }
    }
    let before = tree_digest(&source).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    assert_restores(&vault, &snapshot, &before, &place.path("by us"));
    place.restic().check(true).unwrap();
}

#[test]
fn restic_works_on_after_us_and_we_after_restic() {
    let place = Place::new();
    let source = place.source();
    file_tree(&source, 3, 200).unwrap();
    // Times this young tell nothing, and a file of such a time is read anew.
    std::thread::sleep(Duration::from_millis(2500));
    let vault = place.create();
    let first = back_up(&vault, &source, None).unwrap();
    fs::write(source.join("kinds/large"), Random::new(9).bytes(3 << 20)).unwrap();
    fs::remove_dir_all(source.join("3")).unwrap();
    let middle = tree_digest(&source).unwrap();
    let second = back_up(&vault, &source, Some(first.clone())).unwrap();

    let restic = place.restic();
    let listed = restic.snapshots().unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    restic
        .run(["forget", "--prune", &first.id.to_string()])
        .unwrap();
    restic.check(true).unwrap();
    restic.backup(&[&source]).unwrap();
    restic.check(true).unwrap();

    assert_whole(&vault);
    assert_eq!(vault.snapshots().unwrap().len(), 2);
    assert_restores(&vault, &second, &middle, &place.path("second"));
    fs::write(source.join("new"), b"new").unwrap();
    let after = tree_digest(&source).unwrap();
    let third = back_up(&vault, &source, Some(second)).unwrap();
    let summary = third.stored.summary.clone().unwrap();
    assert!(summary.files_unmodified > 100, "{summary:?}");
    assert!(summary.data_added < 2 << 20, "{summary:?}");
    assert_restores(&vault, &third, &after, &place.path("third"));
    // And once more with everything repacked.
    restic.run(["prune", "--max-unused", "0"]).unwrap();
    assert_restores(&vault, &third, &after, &place.path("third again"));
    assert_whole(&vault);
    restic.check(true).unwrap();
}

#[test]
fn restic_finds_the_tags_that_we_set() {
    let place = Place::new();
    fs::create_dir(place.source()).unwrap();
    fs::write(place.source().join("x"), b"x").unwrap();
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: place.source(),
            at: TreePath::new(AT).unwrap(),
            leave_out: &|_| false,
        })
        .unwrap();
    let snapshot = backup
        .finish(SnapshotDraft {
            tags: vec!["daily".to_owned()],
            ..draft()
        })
        .unwrap();
    let tagged = vault
        .set_tags(&snapshot, vec!["held".to_owned(), "ünï".to_owned()])
        .unwrap();
    let restic = place.restic();
    let listed = restic.snapshots().unwrap();
    let [only] = &listed.as_array().unwrap()[..] else {
        panic!("{listed}")
    };
    assert_eq!(only["id"], tagged.id.to_string());
    assert_eq!(only["original"], snapshot.id.to_string());
    assert_eq!(only["tags"][1], "ünï");
    let found = restic
        .run(["snapshots", "--json", "--tag", "held"])
        .unwrap();
    assert!(found.contains(&tagged.id.to_string()));
    // restic's own change of tags is ours to read.
    restic.run(["tag", "--add", "by restic"]).unwrap();
    let ours = vault.snapshots().unwrap();
    assert_eq!(ours.len(), 1);
    assert!(ours[0].stored.tags.contains(&"by restic".to_owned()));
    assert_eq!(ours[0].stored.original, Some(snapshot.id));
}

#[test]
fn nodes_that_are_no_files_keep_their_kind() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let node = |name: &str, kind, device| {
        mknodat(
            CWD,
            source.join(name),
            kind,
            Mode::from_raw_mode(0o620),
            device,
        )
    };
    node("fifo", FileType::Fifo, 0).unwrap();
    if node("null", FileType::CharacterDevice, makedev(1, 3)).is_err() {
        rekindle_testing::skip::record("devices cannot be made here");
        return;
    }
    node("loop", FileType::BlockDevice, makedev(7, 200)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    drop(socket);
    let report = common::restore(&vault, &snapshot, &place.path("by us")).unwrap();
    assert_eq!(report.left_out.len(), 1, "{:?}", report.left_out);
    assert!(report.left_out[0].contains("socket"));
    let restic = place.restic();
    restic.check(true).unwrap();
    restic
        .restore(&snapshot.id.to_string(), &place.path("by restic"))
        .unwrap();
    for by in ["by us", "by restic"] {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let look = |name: &str| fs::symlink_metadata(place.path(by).join(AT).join(name)).unwrap();
        assert!(look("fifo").file_type().is_fifo());
        assert!(look("null").file_type().is_char_device());
        assert_eq!(look("null").rdev(), makedev(1, 3), "{by}");
        assert_eq!(look("loop").rdev(), makedev(7, 200), "{by}");
        assert_eq!(
            look("loop").mode() & 0o7777,
            fs::metadata(source.join("loop")).unwrap().mode() & 0o7777
        );
    }
    let kinds = NodeKind::Socket;
    let index = vault.load_index().unwrap();
    let found = vault
        .find_node(&index, &snapshot, "source/socket")
        .unwrap()
        .unwrap();
    assert_eq!(found.kind, kinds, "it is in the listing all the same");
}
