//! `rekindle restore --to s3://…`: buckets brought back elsewhere; and as they were at a moment.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rekindle_recovery::{
    RecoveryError,
    buckets::{
        BucketDirectory, BucketOutcome, BucketPlan, BucketRequest, BucketTarget, restore_bucket,
        restore_bucket_to_directory,
    },
    wal::{RecoveryTarget, TimelineChoice},
};
use rekindle_stack::{SecretSource, Stack, VaultLocation};
use rekindle_vault::Progress;

use super::{
    INTERRUPTED, RestoreArgs,
    at::{Action, typed},
    point_line,
};
use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{bytes, count, duration, quoted, throughput, write_json},
    progress::Watcher,
    signals,
};

/// Arguments about buckets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Buckets elsewhere")]
pub struct BucketArgs {
    /// Access keys of `--to s3://…`, as `ACCESS:SECRET` or as AWS writes them. Default: those of the
    /// service on its own server, else `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`
    #[arg(long, value_name = "FILE", requires = "to")]
    credentials_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate, besides the system's
    #[arg(long, value_name = "FILE", requires = "to")]
    ca_file: Option<PathBuf>,
    /// Bring back older versions and delete markers, too; the target must keep versions
    #[arg(long, requires = "to")]
    with_history: bool,
}

impl BucketArgs {
    /// Refuses them where no bucket is meant.
    ///
    /// # Errors
    /// [`CliError::WrongUse`].
    pub(super) fn refuse(&self) -> Result<(), CliError> {
        if self.credentials_file.is_none() && self.ca_file.is_none() && !self.with_history {
            return Ok(());
        }
        Err(CliError::wrong_use(
            "`--credentials-file`, `--ca-file` and `--with-history` are about buckets",
            "`--to s3://BUCKET?endpoint=URL` restores to one",
        ))
    }
}

/// The target, if it is a bucket.
pub(super) fn url(to: &Path) -> Option<&str> {
    to.to_str().filter(|to| to.starts_with("s3://"))
}

/// Whether what is asked for is about buckets.
pub(super) fn is_meant(stack: &Stack, args: &RestoreArgs) -> bool {
    let service = args.service.as_deref().and_then(|name| stack.service(name));
    let has = |kind: &str| {
        service.is_some_and(|service| service.datasets.iter().any(|one| one.kind() == kind))
    };
    match args.swap.kind.as_deref() {
        Some(kind) => kind == "s3",
        None => has("s3") && !has("postgres"),
    }
}

/// The moment that is asked for, if it is not that of the capture.
///
/// # Errors
/// If it is none that anything but PostgreSQL knows.
pub(super) fn moment(args: &RestoreArgs) -> Result<Option<Timestamp>, CliError> {
    let moment = &args.moment;
    if moment.timeline != TimelineChoice::Latest || moment.action != Action::Promote {
        return Err(CliError::wrong_use(
            "`--timeline` and `--action` are about PostgreSQL",
            "leave them out, or name a PostgreSQL service",
        ));
    }
    match &moment.at {
        None | Some(RecoveryTarget::Latest | RecoveryTarget::Consistent) => Ok(None),
        Some(RecoveryTarget::Time(at)) if moment.exclusive => {
            let before = at.checked_sub(SignedDuration::from_nanos(1));
            Ok(Some(before.unwrap_or(*at)))
        }
        Some(RecoveryTarget::Time(at)) => Ok(Some(*at)),
        Some(other) => Err(CliError::wrong_use(
            format!("{other} is a moment of PostgreSQL's WAL only"),
            "write a time, as in `--at '2026-11-21 14:29:59+01'`",
        )),
    }
}

/// The moment as it is typed, for a command to run next.
pub(super) fn typed_moment(args: &RestoreArgs) -> String {
    let at = args.moment.at.as_ref();
    at.map_or_else(String::new, |target| {
        format!(" --at '{}'{}", typed(target), args.moment.typed())
    })
}

fn request<'a>(
    args: &RestoreArgs,
    stack: &'a Stack,
    progress: &Arc<Progress>,
) -> Result<BucketRequest<'a>, CliError> {
    Ok(BucketRequest {
        stack,
        service: services::the_one_of(stack, "s3", args.service.as_deref())?,
        point: Some(args.point.clone()).filter(|point| point != "latest"),
        at: moment(args)?,
        part: args.path.clone(),
        progress: Arc::clone(progress),
    })
}

/// Restores to a bucket, or shows what would be done.
///
/// # Errors
/// As the library failed.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    url: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if args.owner.is_some() {
        return Err(CliError::wrong_use(
            "objects have no owner",
            "leave `--owner` out",
        ));
    }
    let to = target(args, url)?;
    let stack = app.stack()?;
    let progress = Arc::new(Progress::default());
    let request = request(args, &stack, &progress)?;
    let vault = app.vault()?;
    let mut shown = Ok(());
    let mut exit = Exit::Done;
    let mut watcher = None;
    let approve = |plan: &BucketPlan| -> Result<bool, RecoveryError> {
        let needs_yes = plan.restore.replaces > 0 && !args.swap.yes && plan.refusal.is_none();
        if args.dry_run || needs_yes {
            shown = write_plan(app, args, plan, out);
            exit = match (&plan.refusal, args.dry_run) {
                (Some(_), _) => Exit::Failed,
                (None, true) => Exit::Done,
                (None, false) => Exit::ApprovalNeeded,
            };
            return Ok(false);
        }
        signals::watch("interrupted: what was written stays; the same command goes on from there");
        watcher = Some(Watcher::start("restoring", &progress, app.reporting()));
        Ok(true)
    };
    let outcome = restore_bucket(&vault, &request, &to, approve);
    drop(watcher);
    shown?;
    match outcome? {
        None => Ok(exit),
        Some(outcome) => write_outcome(app, &outcome, out),
    }
}

fn target(args: &RestoreArgs, url: &str) -> Result<BucketTarget, CliError> {
    let to = VaultLocation::parse(url, Path::new(".")).map_err(|error| {
        let help = error
            .help()
            .unwrap_or("write it as `s3://BUCKET/PREFIX?endpoint=https://HOST:PORT`");
        CliError::wrong_use(format!("`--to`: {error}"), help)
    })?;
    let file = args.bucket.credentials_file.clone();
    let credentials = file
        .map(|file| SecretSource::File(file).read())
        .transpose()?;
    Ok(BucketTarget {
        to,
        credentials,
        ca_file: args.bucket.ca_file.clone(),
        with_history: args.bucket.with_history,
    })
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    plan: &BucketPlan,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    let restore = &plan.restore;
    writeln!(
        out,
        "would restore bucket {} of {}",
        plan.bucket, plan.service
    )?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    let made = match (restore.makes_bucket, restore.goes_on) {
        (true, _) => ", which would be made",
        (_, true) => ", which an interrupted run has made",
        _ => "",
    };
    writeln!(out, "  to        {}{made}", restore.target)?;
    writeln!(out, "  new       {}", count(restore.creates, "object"))?;
    writeln!(out, "  changed   {}", count(restore.replaces, "object"))?;
    writeln!(
        out,
        "  there     {}, with the same content",
        count(restore.there, "object")
    )?;
    writeln!(
        out,
        "  extra     {}, which stay",
        count(restore.leaves, "object")
    )?;
    if restore.history > 0 {
        writeln!(
            out,
            "  history   {}",
            count(restore.history, "older version")
        )?;
    }
    writeln!(out, "  size      {}", bytes(restore.bytes))?;
    for key in &restore.replaced {
        writeln!(out, "  replaces  {}", key.escape_debug())?;
    }
    restore
        .warnings
        .iter()
        .for_each(|warning| app.warn(warning));
    if let Some(refusal) = &plan.refusal {
        let hint = plan.refusal_hint.as_deref().unwrap_or_default();
        app.warn(format_args!("cannot be done: {refusal}; {hint}"));
        return Ok(());
    }
    app.next([app.command(again(args, plan))]);
    Ok(())
}

fn again(args: &RestoreArgs, plan: &BucketPlan) -> String {
    let mut again = format!(
        "restore {} --service {}",
        plan.point.id.short(),
        plan.service
    );
    let mut add = |name: &str, value: Option<&Path>| {
        if let Some(value) = value {
            again += &format!(" {name} {}", quoted(value));
        }
    };
    add("--path", args.path.as_deref().map(Path::new));
    add("--to", args.to.as_deref());
    add(
        "--credentials-file",
        args.bucket.credentials_file.as_deref(),
    );
    add("--ca-file", args.bucket.ca_file.as_deref());
    again += &typed_moment(args);
    if args.bucket.with_history {
        again += " --with-history";
    }
    if plan.restore.replaces > 0 {
        again += " --yes";
    }
    again
}

fn write_outcome(
    app: &App,
    outcome: &BucketOutcome,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let (plan, report) = (&outcome.plan, &outcome.report);
    let exit = match (report.failed, report.is_damaged) {
        (0, _) => Exit::Done,
        (_, true) => Exit::NotRestorable,
        _ => Exit::Partly,
    };
    if app.is_json() {
        let mut value = serde_json::to_value(outcome)?;
        value["took_seconds"] = outcome.took.as_secs_f64().into();
        write_json(out, &value)?;
        return Ok(exit);
    }
    writeln!(out, "restored bucket {} of {}", plan.bucket, plan.service)?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    writeln!(out, "  to        {}", plan.restore.target)?;
    let (written, there) = (count(report.written, "object"), plan.restore.there);
    let there = match there {
        0 => String::new(),
        there => format!("; {there} were there already"),
    };
    writeln!(out, "  written   {written}, {}{there}", bytes(report.bytes))?;
    if report.delete_markers > 0 {
        writeln!(
            out,
            "  deleted   {}",
            count(report.delete_markers, "delete marker")
        )?;
    }
    let speed = throughput(report.bytes, outcome.took);
    writeln!(out, "  took      {}, {speed}", duration(outcome.took))?;
    for warning in plan.restore.warnings.iter().chain(&report.warnings) {
        app.warn(warning);
    }
    for failure in &report.failures {
        app.warn(format_args!("not restored: {failure}"));
    }
    if report.failed > report.failures.len() as u64 {
        app.warn(format_args!(
            "{} were not restored in all",
            count(report.failed, "object")
        ));
    }
    Ok(exit)
}

/// Restores to a directory as of a moment, or shows what would be written.
///
/// # Errors
/// As the library failed.
pub(super) fn to_directory(
    app: &App,
    args: &RestoreArgs,
    at: &RecoveryTarget,
    to: &Path,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let progress = Arc::new(Progress::default());
    let request = request(args, &stack, &progress)?;
    if args.owner.is_some() {
        return Err(CliError::wrong_use(
            "objects have no owner",
            "leave `--owner` out",
        ));
    }
    let vault = app.vault()?;
    if !args.dry_run {
        signals::watch(INTERRUPTED);
    }
    let watcher = Watcher::start("restoring", &progress, app.reporting());
    let restored = restore_bucket_to_directory(&vault, &request, to, !args.dry_run);
    drop(watcher);
    write_directory(app, args, at, &restored?, out)?;
    Ok(Exit::Done)
}

fn write_directory(
    app: &App,
    args: &RestoreArgs,
    at: &RecoveryTarget,
    restored: &BucketDirectory,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, restored);
    }
    let verb = if args.dry_run {
        "would restore"
    } else {
        "restored"
    };
    writeln!(
        out,
        "{verb} bucket {} of {}",
        restored.bucket, restored.service
    )?;
    writeln!(out, "  from      {}", point_line(&restored.point))?;
    writeln!(out, "  as of     {at}")?;
    writeln!(
        out,
        "  to        {}",
        restored.to.join(&restored.bucket).display()
    )?;
    let (objects, size) = (count(restored.objects, "object"), bytes(restored.bytes));
    writeln!(out, "  size      {objects}, {size}")?;
    restored
        .warnings
        .iter()
        .for_each(|warning| app.warn(warning));
    Ok(())
}
