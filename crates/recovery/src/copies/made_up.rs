//! Made-up points for the tests beside.

use rekindle_vault::{Id, Snapshot};

/// A point of this day of January.
pub(super) fn point(day: u8) -> Snapshot {
    let json = format!(
        r#"{{"time":"2026-01-{day:02}T00:00:00Z","tree":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}"#
    );
    Snapshot {
        id: Id::of(&[day]),
        stored: serde_json::from_str(&json).unwrap(),
    }
}
