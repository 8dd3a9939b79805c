//! Which recovery point is meant: `latest`, an id, a tag, or a time.

use jiff::Timestamp;
use rekindle_vault::{Id, Snapshot, Vault, VaultError};

use crate::{RecoveryError, point::IMPORTED, wal::RecoveryTarget};

/// How a point is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted<'a> {
    /// The newest.
    Latest,
    /// The newest that is not after this moment: `@2026-11-21 14:30`.
    NotAfter(Timestamp),
    /// The newest with this tag: `tag:pre-ingest`.
    Tag(&'a str),
    /// Whose id begins so, else the newest with this tag.
    IdOrTag(&'a str),
}

/// What a choice needs to know of a point.
#[derive(Clone, Debug)]
struct Candidate<'a> {
    id: Id,
    time: Timestamp,
    tags: &'a [String],
    /// Whether it has something of the service that is asked for.
    is_of_service: bool,
}

impl Candidate<'_> {
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// This one, and how many older ones have the tag, too.
    Point(Id, usize),
    /// Both a tag and the beginning of an id.
    Ambiguous,
    /// Several ids begin so.
    Several(usize),
    /// No such point.
    None,
}

/// The point that is meant. Of a service, it is one that has something of it, because the newest of all may be of
/// another one. Points that were imported count only where they are named by id or tag.
///
/// # Errors
/// If there is none, or several ids begin so, or the text is both a tag and the beginning of an id.
pub(crate) fn find_point(
    vault: &Vault,
    wanted: &str,
    service: Option<&str>,
) -> Result<Snapshot, RecoveryError> {
    let parsed = parse(wanted)?;
    if parsed == Wanted::Latest && service.is_none() {
        return Ok(vault.find_snapshot(wanted)?);
    }
    // Nobody's tag looks like this, and nothing else need be readable for it.
    if is_surely_an_id(wanted) {
        return Ok(vault.find_snapshot(wanted)?);
    }
    let (snapshots, failed) = vault.readable_snapshots()?;
    for error in failed {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a recovery point was passed over"
        );
    }
    let prefix = service.map(|service| format!("/{service}/"));
    let candidates: Vec<_> = snapshots
        .iter()
        .map(|snapshot| Candidate {
            id: snapshot.id,
            time: snapshot.stored.time,
            tags: &snapshot.stored.tags,
            is_of_service: prefix.as_ref().is_none_or(|prefix| {
                let mut paths = snapshot.stored.paths.iter();
                paths.any(|path| path.starts_with(prefix))
            }),
        })
        .collect();
    match choose(&candidates, &parsed) {
        Choice::Point(id, older) => {
            if older > 0 {
                tracing::warn!(point = %id.short(), older, "several recovery points have the tag `{wanted}`; the newest counts");
            }
            let found = snapshots.into_iter().find(|snapshot| snapshot.id == id);
            Ok(found.ok_or_else(|| none(wanted))?)
        }
        Choice::Ambiguous => Err(RecoveryError::TagOrId {
            wanted: wanted.to_owned(),
        }),
        Choice::Several(count) => Err(VaultError::AmbiguousSnapshot {
            wanted: wanted.to_owned(),
            count,
        }
        .into()),
        Choice::None => match parsed {
            // It may be one that cannot be read: then that is what is wrong.
            Wanted::IdOrTag(_) | Wanted::Latest => Ok(vault.find_snapshot(wanted)?),
            _ => Err(none(wanted).into()),
        },
    }
}

fn is_surely_an_id(wanted: &str) -> bool {
    wanted.len() >= 8 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn none(wanted: &str) -> VaultError {
    VaultError::NoSnapshot {
        wanted: wanted.to_owned(),
    }
}

fn parse(wanted: &str) -> Result<Wanted<'_>, RecoveryError> {
    if wanted == "latest" {
        return Ok(Wanted::Latest);
    }
    if let Some(tag) = wanted.strip_prefix("tag:") {
        return Ok(Wanted::Tag(tag));
    }
    let Some(time) = wanted.strip_prefix('@') else {
        return Ok(Wanted::IdOrTag(wanted));
    };
    match format!("time:{time}").parse() {
        Ok(RecoveryTarget::Time(moment)) => Ok(Wanted::NotAfter(moment)),
        _ => Err(RecoveryError::NoMoment {
            text: time.to_owned(),
        }),
    }
}

/// Chooses among all points, oldest first.
fn choose(points: &[Candidate<'_>], wanted: &Wanted<'_>) -> Choice {
    let of_service = || points.iter().rev().filter(|point| point.is_of_service);
    let own = || of_service().filter(|point| !point.has_tag(IMPORTED));
    let first = |point: Option<&Candidate<'_>>| match point {
        Some(point) => Choice::Point(point.id, 0),
        None => Choice::None,
    };
    let tagged = |tag: &str| {
        let mut having = of_service().filter(|point| point.has_tag(tag));
        match having.next() {
            Some(newest) => Choice::Point(newest.id, having.count()),
            None => Choice::None,
        }
    };
    match wanted {
        Wanted::Latest => first(own().next().or_else(|| of_service().next())),
        Wanted::NotAfter(moment) => first(own().find(|point| point.time <= *moment)),
        Wanted::Tag(tag) => tagged(tag),
        Wanted::IdOrTag("") => Choice::None,
        Wanted::IdOrTag(text) => {
            let by_id = points
                .iter()
                .filter(|point| point.id.to_string().starts_with(text));
            let by_id: Vec<_> = by_id.collect();
            match (by_id.as_slice(), tagged(text)) {
                ([], by_tag) => by_tag,
                ([only], Choice::None) => Choice::Point(only.id, 0),
                ([only], Choice::Point(id, 0)) if id == only.id => Choice::Point(id, 0),
                (several, Choice::None) => Choice::Several(several.len()),
                _ => Choice::Ambiguous,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(beginning: &str) -> Id {
        format!("{beginning:0<64}").parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tags(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Three points, oldest first, and an imported one of the far past that was added last.
    fn with_points(test: impl FnOnce(&[Candidate<'_>])) {
        let (one, two, three, old) = (
            tags("pre-ingest"),
            tags("pre-ingest nightly"),
            tags("cafe"),
            tags("imported legacy"),
        );
        let point = |beginning, time, tags, is_of_service| Candidate {
            id: id(beginning),
            time: at(time),
            tags,
            is_of_service,
        };
        test(&[
            point("aa", "2026-11-20T10:00:00Z", &one, true),
            point("ab", "2026-11-21T10:00:00Z", &two, true),
            point("cafe", "2026-11-22T10:00:00Z", &three, false),
            point("dd", "2026-11-23T10:00:00Z", &old, true),
        ]);
    }

    #[test]
    fn a_tag_means_the_newest_point_that_has_it() {
        with_points(|points| {
            let choice = choose(points, &Wanted::IdOrTag("pre-ingest"));
            assert_eq!(choice, Choice::Point(id("ab"), 1));
            assert_eq!(
                choose(points, &Wanted::Tag("nightly")),
                Choice::Point(id("ab"), 0)
            );
            assert_eq!(choose(points, &Wanted::Tag("nobody")), Choice::None);
            assert_eq!(
                choose(points, &Wanted::IdOrTag("legacy")),
                Choice::Point(id("dd"), 0)
            );
        });
    }

    #[test]
    fn a_time_means_the_newest_point_that_is_not_after_it_and_was_not_imported() {
        with_points(|points| {
            let by_time = |text| choose(points, &Wanted::NotAfter(at(text)));
            assert_eq!(by_time("2026-11-21T10:00:00Z"), Choice::Point(id("ab"), 0));
            assert_eq!(by_time("2026-11-21T09:59:59Z"), Choice::Point(id("aa"), 0));
            assert_eq!(
                by_time("2026-12-01T00:00:00Z"),
                Choice::Point(id("ab"), 0),
                "`cafe` is of another service"
            );
            assert_eq!(by_time("2026-01-01T00:00:00Z"), Choice::None);
        });
    }

    #[test]
    fn an_id_may_be_of_any_service_and_nobody_guesses_between_it_and_a_tag() {
        with_points(|points| {
            let by = |text| choose(points, &Wanted::IdOrTag(text));
            assert_eq!(by("ca"), Choice::Point(id("cafe"), 0));
            assert_eq!(by("a"), Choice::Several(2));
            assert_eq!(by("zz"), Choice::None);
            assert_eq!(by(""), Choice::None);
            let mut all = points.to_vec();
            all[2].is_of_service = true;
            assert_eq!(
                choose(&all, &Wanted::IdOrTag("cafe")),
                Choice::Point(id("cafe"), 0),
                "it is the same point"
            );
            let other = tags("dd");
            all[0].tags = &other;
            assert_eq!(choose(&all, &Wanted::IdOrTag("dd")), Choice::Ambiguous);
            assert_eq!(choose(&all, &Wanted::Tag("dd")), Choice::Point(id("aa"), 0));
        });
    }

    #[test]
    fn the_forms_are_told_apart() {
        assert_eq!(parse("latest").unwrap(), Wanted::Latest);
        assert_eq!(parse("tag:latest").unwrap(), Wanted::Tag("latest"));
        assert!(matches!(
            parse("@2026-11-21 14:30:00Z"),
            Ok(Wanted::NotAfter(_))
        ));
        assert_eq!(parse("1f0c").unwrap(), Wanted::IdOrTag("1f0c"));
        assert!(matches!(
            parse("@yesterday"),
            Err(RecoveryError::NoMoment { .. })
        ));
    }
}
