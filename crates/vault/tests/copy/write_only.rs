//! Credentials that can only add: a copy needs no more.

use std::io::ErrorKind::PermissionDenied;

use super::{hooked::Hooked, *};
use rekindle_vault::store::Operation;

#[test]
fn a_copy_is_made_without_the_right_to_delete_or_to_read_packs() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let (store, healthy) = in_memory(&other_password());
    let only_adding = Hooked::store(&store, |operation, key| {
        let is_refused = match operation {
            Operation::Delete | Operation::Replace => true,
            Operation::Read => key.starts_with("data/"),
            Operation::Create | Operation::List | Operation::Lock => false,
        };
        is_refused.then_some(PermissionDenied)
    });
    let to = Vault::open(only_adding, &other_password()).unwrap();
    for (round, (snapshot, _)) in points.iter().enumerate() {
        let report = copy(&from, &to, std::slice::from_ref(snapshot)).unwrap();
        assert_eq!(report.copied.len(), 1);
        let left = report.lock_left.unwrap();
        assert!(left.contains("made-up refusal"), "{left}");
        assert_eq!(
            store.list("locks").unwrap().len(),
            round + 1,
            "locks stay, shared ones"
        );
    }
    assert_copied(&healthy, &points, &place);
    // Whoever may delete takes them away.
    assert_eq!(healthy.unlock_stale().unwrap().len(), 3);
}
