//! What a restore to a bucket would do. Changes nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use rekindle_stores::s3::{ListedVersion, Versioning};
use serde::Serialize;

use super::{
    BucketInPoint, MOST_NAMED, S3RestoreError, S3Target, Scope, State,
    compare::{Likeness, begun, has_same_content, is_beginning, likeness},
    each, few,
    mark::{self, Mark},
    state_at,
};
use crate::s3::{BucketSettings, ObjectEntry, VersioningRecord};

/// What of a bucket comes back.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Which objects.
    pub scope: Scope,
    /// As they were then; as they were captured if `None`.
    pub at: Option<Timestamp>,
    /// With their older versions and delete markers, in their order; they get new names and times. The target must keep
    /// versions. With `at`, none that is later.
    pub with_history: bool,
}

/// What a restore to a bucket would do.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The target, as a URL.
    pub target: String,
    /// Whether the bucket would be made, with its settings.
    pub makes_bucket: bool,
    /// Whether an earlier run made the bucket for this restore and did not come to its end.
    pub goes_on: bool,
    /// Objects that would be written where there is none, or only their beginning.
    pub creates: u64,
    /// Objects that would be written over others.
    pub replaces: u64,
    /// Some of those.
    pub replaced: Vec<String>,
    /// Whether the target keeps what is replaced, as older versions. Otherwise nothing is replaced: it is refused.
    pub has_way_back: bool,
    /// Objects that are there with the same content, and stay as they are.
    pub there: u64,
    /// Other objects of the target, which stay as they are: the point does not have them.
    pub leaves: u64,
    /// Older versions and delete markers that would be written besides.
    pub history: u64,
    /// Bytes that would be written.
    pub bytes: u64,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// A restore that is planned and can be run.
pub struct BucketRestore<'a> {
    /// What it will do.
    pub plan: RestorePlan,
    pub(super) point: BucketInPoint<'a>,
    pub(super) target: S3Target,
    pub(super) settings: BucketSettings,
    pub(super) mark: Mark,
    /// Of each object, what is written, oldest first.
    pub(super) objects: Vec<Vec<ObjectEntry>>,
}

/// Looks at the point and at the target, and says what a restore would do.
///
/// # Errors
/// [`S3RestoreError::Refused`] if it would not be done, unless only what it would replace stands in the way: that is in
/// the plan.
pub fn plan<'a>(
    point: BucketInPoint<'a>,
    target: S3Target,
    choice: &Choice,
) -> Result<BucketRestore<'a>, S3RestoreError> {
    point.record()?;
    let settings = point.settings()?;
    let entries = point.entries()?;
    point.ensure_known(&entries, choice.at)?;
    let state = state_at(&point.bucket, &entries, &choice.scope, choice.at);
    let mark = Mark::new(&point, &target, choice);
    let makes_bucket = !target.client.has_bucket(&target.bucket)?;
    let goes_on = !makes_bucket && mark.is_there(&target)?;
    let mut look = Look {
        point: &point,
        target: &target,
        keeps_versions: match makes_bucket || goes_on {
            true => settings.versioning != VersioningRecord::Off,
            false => keeps_versions(&target)?,
        },
        plan: RestorePlan {
            target: target.to_string(),
            makes_bucket,
            goes_on,
            creates: 0,
            replaces: 0,
            replaced: Vec::new(),
            has_way_back: false,
            there: 0,
            leaves: 0,
            history: 0,
            bytes: 0,
            warnings: Vec::new(),
        },
    };
    let objects = match choice.with_history {
        true => look.histories(&entries, choice)?,
        false => look.objects(&state)?,
    };
    let mut plan = look.plan;
    plan.warnings.splice(0..0, state.unknown);
    if !makes_bucket && !goes_on && !settings.settings.is_empty() {
        plan.warnings.push(format!(
            "bucket `{}` is there already: its settings stay as they are; those of the point are in `.rekindle/{}/bucket.json`",
            target.bucket, point.bucket
        ));
    }
    plan.bytes = objects.iter().flatten().map(|entry| entry.size).sum();
    Ok(BucketRestore {
        plan,
        point,
        target,
        settings,
        mark,
        objects,
    })
}

impl RestorePlan {
    /// Why it would not be done: something would be lost by it.
    #[must_use]
    pub fn refusal(&self) -> Option<S3RestoreError> {
        if self.replaces == 0 || self.has_way_back {
            return None;
        }
        let named = few(&self.replaced);
        let count = self.replaces;
        let more = match count > self.replaced.len() as u64 {
            true => ", and others",
            false => "",
        };
        Some(S3RestoreError::refused(
            format!(
                "{count} objects of {} have another content than in the point, and the bucket would not keep it: {named}{more}",
                self.target
            ),
            "restore to another bucket or below a prefix (`s3://BUCKET/PREFIX`), turn versioning on there, or restore `--in-place`, \
             which sets aside what it replaces",
        ))
    }

    fn replaces(&mut self, key: &str) {
        self.replaces += 1;
        if self.replaced.len() < MOST_NAMED {
            self.replaced.push(key.to_owned());
        }
    }
}

/// Only where versions are on is nothing lost: where they are suspended, what is written replaces the version `null`.
fn keeps_versions(target: &S3Target) -> Result<bool, S3RestoreError> {
    match target.client.versioning(&target.bucket) {
        Ok(versioning) => Ok(versioning == Versioning::On),
        Err(error) if error.is_unsupported() || error.is_denied() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What is found at the target.
struct Look<'a> {
    point: &'a BucketInPoint<'a>,
    target: &'a S3Target,
    keeps_versions: bool,
    plan: RestorePlan,
}

impl Look<'_> {
    /// The objects that must be written.
    fn objects(&mut self, state: &State) -> Result<Vec<Vec<ObjectEntry>>, S3RestoreError> {
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        let listed = match self.plan.makes_bucket {
            true => Vec::new(),
            false => client.list_objects(bucket, &self.target.prefix)?,
        };
        let there: HashMap<&str, &ListedVersion> = listed
            .iter()
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let others = AtomicU64::default();
        let (looked, ended) = each(&state.objects, |entry| {
            let there = there.get(self.target.key(&entry.key).as_str());
            match self.look_closer(entry, there.copied(), &others) {
                // A server that remembers listings has listed what is not there.
                Err(S3RestoreError::S3(error)) if error.is_missing() => Ok(Found::Nothing),
                found => found,
            }
        });
        ended?;
        let mut write = Vec::new();
        for (entry, found) in state.objects.iter().zip(looked.into_iter().flatten()) {
            match found {
                Found::Same => self.plan.there += 1,
                Found::Nothing | Found::Beginning => self.plan.creates += 1,
                Found::Other => self.plan.replaces(&self.target.key(&entry.key)),
            }
            if found != Found::Same {
                write.push(vec![entry.clone()]);
            }
        }
        let wanted: HashSet<String> = state
            .objects
            .iter()
            .map(|entry| self.target.key(&entry.key))
            .collect();
        self.plan.leaves = left(listed.iter().map(|listed| listed.key.as_str()), &wanted);
        self.plan.has_way_back = self.keeps_versions;
        self.warn_of(others);
        Ok(write)
    }

    fn look_closer(
        &self,
        entry: &ObjectEntry,
        there: Option<&ListedVersion>,
        others: &AtomicU64,
    ) -> Result<Found, S3RestoreError> {
        let Some(there) = there else {
            return Ok(Found::Nothing);
        };
        let (client, bucket, key) = (&self.target.client, &self.target.bucket, &there.key);
        let is_same = match likeness(entry, there) {
            Likeness::Same => true,
            Likeness::Doubtful => has_same_content(client, bucket, key, self.point, entry)?,
            Likeness::Other => false,
        };
        if !is_same {
            return Ok(
                match is_beginning(client, bucket, there, self.point, entry)? {
                    true => Found::Beginning,
                    false => Found::Other,
                },
            );
        }
        let head = client.head(bucket, key, None)?;
        let (then, now) = (&entry.attributes, &head.attributes);
        if then.headers != now.headers || then.metadata != now.metadata {
            others.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Found::Same)
    }

    fn warn_of(&mut self, others: AtomicU64) {
        let others = others.into_inner();
        if others > 0 {
            self.plan.warnings.push(format!(
                "{others} objects are there with the same content and with other metadata or headers, which stay as they are"
            ));
        }
    }

    /// All versions of each object that must be written, oldest first. Contents that are not in the point are left out; the
    /// state says which.
    fn histories(
        &mut self,
        entries: &[ObjectEntry],
        choice: &Choice,
    ) -> Result<Vec<Vec<ObjectEntry>>, S3RestoreError> {
        let bucket = &self.target.bucket;
        if !self.keeps_versions {
            return Err(S3RestoreError::refused(
                format!("bucket `{bucket}` keeps no versions, so older ones cannot come back"),
                "turn versioning on there, or restore without the history",
            ));
        }
        let listed = match self.plan.makes_bucket {
            true => Vec::new(),
            false => self
                .target
                .client
                .list_versions(bucket, &self.target.prefix)?,
        };
        let mut there: HashMap<&str, Vec<&ListedVersion>> = HashMap::new();
        for version in listed.iter().rev() {
            there.entry(&version.key).or_default().push(version);
        }
        let (mut write, mut wanted) = (Vec::new(), HashSet::new());
        for mut versions in histories(entries, choice) {
            let Some(first) = versions.first() else {
                continue;
            };
            let key = self.target.key(&first.key);
            let present = there.get(key.as_str()).map_or(&[][..], Vec::as_slice);
            let begun = begun(&versions, present);
            match begun {
                Some(count) if count == versions.len() => self.plan.there += 1,
                Some(_) => self.plan.creates += 1,
                None => self.plan.replaces(&key),
            }
            versions.drain(..begun.unwrap_or_default());
            self.plan.history += (versions.len() as u64).saturating_sub(1);
            wanted.insert(key);
            write.push(versions);
        }
        write.retain(|versions| !versions.is_empty());
        self.plan.leaves = left(there.keys().copied(), &wanted);
        self.plan.has_way_back = true;
        Ok(write)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Nothing but the beginning of what the point has.
    Beginning,
    Same,
    Other,
}

fn left<'a>(there: impl Iterator<Item = &'a str>, wanted: &HashSet<String>) -> u64 {
    let others = there.filter(|key| !wanted.contains(*key) && *key != mark::key());
    others.count() as u64
}

fn histories(entries: &[ObjectEntry], choice: &Choice) -> Vec<Vec<ObjectEntry>> {
    let is_meant = |entry: &&ObjectEntry| {
        choice.scope.has(&entry.key)
            && choice.at.is_none_or(|at| entry.modified <= at)
            && (entry.deleted || entry.path.is_some())
    };
    let of_each = entries.chunk_by(|a, b| a.key == b.key);
    of_each
        .map(|versions| versions.iter().rev().filter(is_meant).cloned().collect())
        .filter(|versions: &Vec<_>| !versions.is_empty())
        .collect()
}
