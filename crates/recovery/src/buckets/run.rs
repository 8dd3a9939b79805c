//! Finds what is meant, plans, and does it if whoever asked agrees to the plan.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rekindle_datasets::{
    DatasetRecord, PointSource,
    s3::{
        part_of,
        restore::{
            BucketInPoint, Choice, RestorePlan, RestoreReport, S3RestoreError, Scope, plan,
            plan_directory,
        },
    },
};
use rekindle_vault::{BackupError, Index, Snapshot, TreePath, Vault};
use serde::Serialize;

use super::{BucketError, BucketRequest, BucketTarget, choose::point_of_moment, target::target};
use crate::{
    PointSummary, RecoveryError,
    manifest::{DatasetEntry, Manifest},
    runtime::runtime_of,
};

/// What a restore of a bucket would do.
#[derive(Clone, Debug, Serialize)]
pub struct BucketPlan {
    /// The point.
    pub point: PointSummary,
    /// The service.
    pub service: String,
    /// The bucket in the point.
    pub bucket: String,
    /// What would be done.
    #[serde(flatten)]
    pub restore: RestorePlan,
    /// Why it would be refused.
    pub refusal: Option<String>,
    /// What to do about that.
    pub refusal_hint: Option<String>,
}

/// What a restore of a bucket did.
#[derive(Clone, Debug, Serialize)]
pub struct BucketOutcome {
    /// As it was planned.
    pub plan: BucketPlan,
    /// What was done.
    pub report: RestoreReport,
    /// From the first look to the end.
    #[serde(skip)]
    pub took: Duration,
}

/// What a restore of a bucket to a directory would write, or has written.
#[derive(Clone, Debug, Serialize)]
pub struct BucketDirectory {
    /// The point.
    pub point: PointSummary,
    /// The service.
    pub service: String,
    /// The bucket.
    pub bucket: String,
    /// The directory; the objects lie below the bucket's name in it.
    pub to: PathBuf,
    /// Objects, each a file.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Restores a bucket to another one, if `approve` says so of the plan; `None` if it does not.
///
/// # Errors
/// [`BucketError`]; before anything is changed, where it is refused.
pub fn restore_bucket(
    vault: &Vault,
    request: &BucketRequest<'_>,
    to: &BucketTarget,
    approve: impl FnOnce(&BucketPlan) -> Result<bool, RecoveryError>,
) -> Result<Option<BucketOutcome>, RecoveryError> {
    let clock = Instant::now();
    let goal = goal(vault, request)?;
    let runtime = runtime_of(request.stack);
    let target = target(request, to, runtime.as_ref())?;
    let source = goal.source(vault, request);
    let choice = Choice {
        scope: goal.scope.clone(),
        at: request.at,
        with_history: to.with_history,
    };
    let failed = |source| goal.failed(&to.to.to_string(), source);
    let restore =
        plan(BucketInPoint::new(&source, &goal.bucket), target, &choice).map_err(failed)?;
    let refusal = restore.plan.refusal();
    let plan = BucketPlan {
        point: PointSummary::of(&goal.snapshot),
        service: request.service.clone(),
        bucket: goal.bucket.clone(),
        restore: restore.plan.clone(),
        refusal_hint: refusal.as_ref().and_then(S3RestoreError::hint),
        refusal: refusal.map(|refusal| refusal.to_string()),
    };
    if !approve(&plan)? {
        return Ok(None);
    }
    let report = restore.run().map_err(failed)?;
    Ok(Some(BucketOutcome {
        plan,
        report,
        took: clock.elapsed(),
    }))
}

/// Restores a bucket as it was at a moment to a directory; only says what it would write if `does` is false.
///
/// # Errors
/// [`BucketError`]; the directory stays marked as unfinished.
pub fn restore_bucket_to_directory(
    vault: &Vault,
    request: &BucketRequest<'_>,
    to: &Path,
    does: bool,
) -> Result<BucketDirectory, RecoveryError> {
    let goal = goal(vault, request)?;
    let source = goal.source(vault, request);
    let failed = |source| goal.failed(&to.display().to_string(), source);
    let point = BucketInPoint::new(&source, &goal.bucket);
    let restore = plan_directory(point, &goal.scope, request.at, to).map_err(failed)?;
    if does {
        restore.run().map_err(failed)?;
    }
    let plan = restore.plan;
    Ok(BucketDirectory {
        point: PointSummary::of(&goal.snapshot),
        service: request.service.clone(),
        bucket: goal.bucket.clone(),
        to: plan.to,
        objects: plan.objects,
        bytes: plan.bytes,
        warnings: plan.warnings,
    })
}

/// What is meant, found in the point.
struct Goal {
    snapshot: Snapshot,
    index: Index,
    entry: DatasetEntry,
    bucket: String,
    scope: Scope,
}

fn goal(vault: &Vault, request: &BucketRequest<'_>) -> Result<Goal, RecoveryError> {
    let service = &request.service;
    let snapshot = point_of_moment(vault, request.point.as_deref(), service, request.at)?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let path = format!("{service}/s3");
    let entry = manifest.dataset_at(&path).cloned();
    let entry = entry.ok_or_else(|| RecoveryError::ServiceNotInPoint {
        point: snapshot.id,
        service: path,
        known: manifest.services(),
    })?;
    let (bucket, scope) = which(request, &entry)?;
    Ok(Goal {
        snapshot,
        index,
        entry,
        bucket,
        scope,
    })
}

fn which(
    request: &BucketRequest<'_>,
    entry: &DatasetEntry,
) -> Result<(String, Scope), RecoveryError> {
    let buckets: &[_] = match &entry.record {
        DatasetRecord::S3(record) => &record.buckets,
        _ => &[],
    };
    let part = request.part.as_deref().map(|part| part.trim_matches('/'));
    match (part.filter(|part| !part.is_empty()), buckets) {
        (None, [only]) => Ok((only.name.clone(), Scope::All)),
        (None, _) => {
            let names: Vec<_> = buckets.iter().map(|b| format!("`{}`", b.name)).collect();
            let known = names.join(", ");
            let service = request.service.clone();
            Err(BucketError::WhichBucket { service, known }.into())
        }
        (Some(part), _) => {
            let path = TreePath::new(part).map_err(BackupError::from)?;
            let failed = |source| BucketError::Restore {
                bucket: part.to_owned(),
                to: "its target".to_owned(),
                source: Box::new(source),
            };
            Ok(part_of(&path).map_err(failed)?)
        }
    }
}

impl Goal {
    fn source<'s>(&'s self, vault: &'s Vault, request: &'s BucketRequest<'_>) -> PointSource<'s> {
        PointSource {
            vault,
            index: &self.index,
            snapshot: &self.snapshot,
            // A path that the manifest names is one.
            at: TreePath::new(&self.entry.path).unwrap_or_else(|_| TreePath::root()),
            record: &self.entry.record,
            part: None,
            progress: &request.progress,
        }
    }

    fn failed(&self, to: &str, source: S3RestoreError) -> BucketError {
        BucketError::Restore {
            bucket: self.bucket.clone(),
            to: to.to_owned(),
            source: Box::new(source),
        }
    }
}
