//! What restores in place have set aside on this machine, or have left half done.

use super::Findings;
use crate::{replace::Held, wal::utc};

/// One that was left half done is a problem; one that stands aside costs room.
pub(super) fn look(held: Vec<Held>, findings: &mut Findings) {
    for Held {
        service,
        kind,
        since,
        is_unfinished,
        ..
    } in held
    {
        let since = utc(since);
        if is_unfinished {
            findings.problem(
                &service,
                format!("a restore in place of its {kind}, begun at {since}, did not come to its end"),
                Some(format!(
                    "`rekindle restore --undo --service {service} --kind {kind}` brings back what was there"
                )),
            );
        } else {
            findings.advice(
                &service,
                format!("what its {kind} was before the restore in place of {since} still stands aside"),
                format!(
                    "once all is well, `rekindle restore --discard --service {service} --kind {kind}` makes room"
                ),
            );
        }
    }
}
