//! Files that are restored in one go come back like those that are not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use common::{AT, Place, back_up, restore};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
    hard::attributes_of,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

/// Of no content, of one piece, of a piece that is a hole, and of several.
const LENGTHS: [usize; 4] = [0, 1000, 300_000, 2_500_000];
const MODES: [u32; 7] = [0o600, 0o644, 0o400, 0o755, 0o4755, 0o2711, 0o7777];

fn populate(source: &Path) {
    let mut random = Random::new(8);
    for length in LENGTHS {
        for mode in MODES {
            for other_owner in [false, true] {
                let path = source.join(format!("{length} {mode:o} {other_owner}"));
                let is_hole = length == 300_000;
                let content = if is_hole {
                    vec![0; length]
                } else {
                    random.bytes(length)
                };
                fs::write(&path, content).unwrap();
                if other_owner && rustix::process::geteuid().is_root() {
                    chown(&path, Some(1234), Some(4321)).unwrap();
                }
                if mode == 0o755 {
                    rustix::fs::setxattr(&path, "user.note", b"kept", XattrFlags::empty()).ok();
                }
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                let long_ago = Timespec {
                    tv_sec: -5,
                    tv_nsec: 123_456_789,
                };
                let times = Timestamps {
                    last_access: long_ago,
                    last_modification: long_ago,
                };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
            }
        }
    }
}

#[test]
fn owner_mode_times_and_attributes_do_not_depend_on_the_length() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    populate(&source);
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let target = place.path("restored");
    restore(&vault, &snapshot, &target).unwrap();
    assert_same(&tree_digest(&source).unwrap(), &target.join(AT));
    let attributes = attributes_of(&source).unwrap();
    assert_eq!(attributes_of(&target.join(AT)).unwrap(), attributes);
}

#[test]
fn a_directory_that_hands_down_its_group_hands_it_to_nothing_restored() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    populate(&source);
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let target = place.path("restored");
    fs::create_dir(&target).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&target, None, Some(999)).unwrap();
    }
    fs::set_permissions(&target, Permissions::from_mode(0o2755)).unwrap();
    restore(&vault, &snapshot, &target).unwrap();
    assert_same(&tree_digest(&source).unwrap(), &target.join(AT));
}

fn assert_same(before: &TreeDigest, restored: &Path) {
    let differences = before.differences(&tree_digest(restored).unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
