//! `rekindle restore` to a directory; in place, and one table or database beside the others, are in
//! files of their own.

mod at;
mod beside;
mod bucket;
mod database;
mod from;
mod in_place;
mod loss;
mod replace;

use std::{
    io::Write,
    path::{PathBuf, absolute},
    sync::Arc,
};

use clap::Args;
use rekindle_recovery::{PointSummary, RestoreOutcome, RestorePlan, RestoreRequest, RestoredKind};
use rekindle_vault::{Ownership, Progress};
use serde_json::json;

use crate::{
    app::App,
    commands::guards::GuardArgs,
    errors::{CliError, Exit},
    output::{self, bytes, count, duration, throughput, time, write_json},
    progress::Watcher,
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle restore --to /srv/all                         the newest point, everything in it
  rekindle restore latest --service postgres --to /srv/pgdata
  rekindle restore 1f0c9a --path /index/files/config --to /tmp/config
  rekindle restore --service postgres --database shop --as shop_restored
  rekindle restore pre-ingest --service index --to /srv/index
  rekindle restore --from old/shop.sql.gz --database shop --swap
  rekindle restore --at '2026-11-21 14:29:59+01' --to /srv/pgdata
  rekindle restore --table sales.orders --at '14:29' --as orders_before
  rekindle restore --service postgres --in-place --dry-run
  rekindle restore --service postgres --undo             back to what was there before
  rekindle restore --service uploads --path config --in-place
  rekindle restore --service media --path avatars --to 's3://copy?endpoint=https://s3.example:9000'
  rekindle restore --service media --at '14:29' --to s3://media-before

With --service, a PostgreSQL service with a physical backup becomes a data directory that starts as
it is; anything else is restored as it lies in the point. DIR must be empty, or hold what a restore
left unfinished: nothing is ever overwritten.";

const INTERRUPTED: &str = "\
interrupted: the directory is marked as unfinished; the same command begins again";

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RestoreArgs {
    /// An id, the beginning of one, a tag, `@` and a time, or `latest`
    #[arg(default_value = "latest")]
    point: String,
    /// Restore this service only
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Restore this file or directory only, as it lies in the point or in the service
    #[arg(long, value_name = "PATH", conflicts_with_all = ["database", "table"])]
    path: Option<String>,
    /// The directory to restore into: empty, or not there yet. Of buckets also
    /// `s3://BUCKET/PREFIX?endpoint=URL`; without an endpoint, on their own server
    #[arg(long, value_name = "DIR")]
    #[arg(required_unless_present_any = [
        "database", "table", "from", "in_place", "undo", "discard",
    ])]
    #[arg(conflicts_with_all = ["database", "table"])]
    to: Option<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Whose the files shall be: USER, USER:GROUP or UID:GID. Default: as stored, if root
    #[arg(long, value_name = "OWNER", value_parser = parse_owner)]
    #[arg(conflicts_with_all = ["database", "table"])]
    owner: Option<Owner>,
    #[command(flatten)]
    beside: beside::BesideArgs,
    #[command(flatten)]
    moment: at::MomentArgs,
    #[command(flatten)]
    swap: in_place::InPlaceArgs,
    #[command(flatten)]
    bucket: bucket::BucketArgs,
    #[command(flatten)]
    from: from::FromArgs,
    #[command(flatten)]
    guards: GuardArgs,
}

/// Restores, or shows what would be restored.
///
/// # Errors
/// As the library failed.
pub fn run(app: &App, args: &RestoreArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    if let Some(from) = &args.from.from {
        return from::run(app, args, from, out);
    }
    if let Some(database) = args
        .beside
        .database
        .as_ref()
        .filter(|_| args.swap.is_undo())
    {
        return from::undo(app, args, database, out);
    }
    if let Some(asked) = args.swap.asked() {
        args.guards.refuse()?;
        return in_place::run(app, args, asked, out);
    }
    if let Some(wanted) = args.beside.wanted() {
        return beside::run(app, args, &wanted, out);
    }
    match &args.to {
        Some(to) => {
            args.guards.refuse()?;
            if let Some(url) = bucket::url(to) {
                return bucket::run(app, args, url, out);
            }
            args.bucket.refuse()?;
            let to = absolute(to).map_err(CliError::io("find", to.display()))?;
            match &args.moment.at {
                Some(target) if bucket::is_meant(&app.stack()?, args) => {
                    bucket::to_directory(app, args, target, &to, out)
                }
                Some(target) => at::run(app, args, target, to, out),
                None => restore_directory(app, args, to, out),
            }
        }
        None => Err(CliError::wrong_use(
            "there is nowhere to restore to",
            "add `--to DIR`, `--in-place`, or `--table NAME --as NEW`",
        )),
    }
}

fn restore_directory(
    app: &App,
    args: &RestoreArgs,
    to: PathBuf,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    let progress = Arc::new(Progress::default());
    let request = RestoreRequest {
        point: args.point.clone(),
        service: args.service.clone(),
        path: args.path.clone(),
        to,
        ownership: args.owner.as_ref().map(|owner| owner.ownership),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let plan = rekindle_recovery::plan_restore(&vault, &request)?;
        write_plan(app, args, &plan, out)?;
        return Ok(Exit::Done);
    }
    signals::watch(INTERRUPTED);
    let watcher = Watcher::start("restoring", &progress, app.reporting());
    let outcome = rekindle_recovery::restore(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    write_outcome(app, &request, &outcome, out)?;
    Ok(Exit::Done)
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    plan: &RestorePlan,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    let point = &plan.point;
    let (files, size) = (count(plan.files, "file"), bytes(plan.bytes));
    writeln!(out, "would restore {}", plan.what)?;
    writeln!(out, "  from      {}", point_line(point))?;
    writeln!(out, "  part      {}", plan.tree_path)?;
    writeln!(out, "  to        {}", plan.to.display())?;
    let free = plan
        .free_bytes
        .map_or_else(String::new, |free| format!("; {} free", bytes(free)));
    writeln!(out, "  size      {files}, {size}{free}")?;
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    if plan.free_bytes.is_some_and(|free| free < plan.bytes) {
        app.warn("there is not enough room");
    }
    let mut again = format!("restore {}", point.id.short());
    if let Some(service) = &args.service {
        again += &format!(" --service {service}");
    }
    if let Some(path) = &args.path {
        again += &format!(" --path {}", output::quoted(path.as_ref()));
    }
    if let Some(Owner { text, .. }) = &args.owner {
        again += &format!(" --owner {text}");
    }
    again += &format!(" --to {}", output::quoted(&plan.to));
    app.next([app.command(again)]);
    Ok(())
}

fn write_outcome(
    app: &App,
    request: &RestoreRequest,
    outcome: &RestoreOutcome,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let RestoreOutcome {
        point, files, took, ..
    } = outcome;
    let (to, speed) = (request.to.display(), throughput(outcome.bytes, *took));
    if app.is_json() {
        return write_json(
            out,
            &json!({
                "point": point,
                "to": request.to,
                "result": outcome.kind,
                "files": files,
                "bytes": outcome.bytes,
                "took_seconds": took.as_secs_f64(),
                "left_out": outcome.left_out,
                "next": outcome.next,
            }),
        );
    }
    let what = match &outcome.kind {
        RestoredKind::PostgresDirectory { major } => format!("a PostgreSQL {major} data directory"),
        RestoredKind::RedisCluster { shards } => {
            format!("the {} shards of a Redis cluster", shards.len())
        }
        RestoredKind::AsStored => "files as they were stored".to_owned(),
    };
    writeln!(out, "restored recovery point {}", point_line(point))?;
    writeln!(out, "  to        {to}: {what}")?;
    writeln!(
        out,
        "  size      {}, {}",
        count(*files, "file"),
        bytes(outcome.bytes)
    )?;
    writeln!(out, "  took      {}, {speed}", duration(*took))?;
    for left_out in &outcome.left_out {
        app.warn(format_args!("left out: {left_out}"));
    }
    app.next(&outcome.next);
    Ok(())
}

fn point_line(point: &PointSummary) -> String {
    format!("{} of {}", point.id.short(), time(point.time))
}

/// Whose the files shall be, and how that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    text: String,
    ownership: Ownership,
}

/// `postgres`, `postgres:postgres`, `26:26`.
fn parse_owner(text: &str) -> Result<Owner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let known = uzers::get_user_by_name(user);
    let uid = match (user.parse(), &known) {
        (Ok(uid), _) => uid,
        (_, Some(user)) => user.uid(),
        _ => return Err(format!("there is no user `{user}`")),
    };
    let gid = match (group, &known) {
        (Some(group), _) => group
            .parse()
            .ok()
            .or_else(|| uzers::get_group_by_name(group).map(|group| group.gid()))
            .ok_or_else(|| format!("there is no group `{group}`"))?,
        (None, Some(user)) => user.primary_group_id(),
        (None, None) => return Err("a number needs a group, as in `26:26`".to_owned()),
    };
    Ok(Owner {
        text: text.to_owned(),
        ownership: Ownership::Of { uid, gid },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_name_or_two_numbers() {
        let ids = |text: &str| parse_owner(text).map(|owner| owner.ownership);
        let root = Ownership::Of { uid: 0, gid: 0 };
        assert_eq!(ids("root"), Ok(root));
        assert_eq!(ids("root:root"), Ok(root));
        assert_eq!(ids("26:27"), Ok(Ownership::Of { uid: 26, gid: 27 }));
        assert!(ids("26").unwrap_err().contains("26:26"));
        assert!(ids("nobody-has-this-name").is_err());
        assert!(ids("root:nobody-has-this-name").is_err());
    }
}
