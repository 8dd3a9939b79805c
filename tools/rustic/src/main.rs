//! rustic's engine with the few commands that tests need.
//!
//! `rustic-referee REPOSITORY COMMAND…`, the password in `RUSTIC_PASSWORD`. Ends with 1 and a reason on stderr if
//! something is wrong.

use std::{env, error::Error, path::PathBuf, sync::Arc};

use jiff::Span;
use rustic_backend::LocalBackend;
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, KeyOptions, LimitOption,
    LocalDestination, LsOptions, PathList, PruneOptions, Repository, RepositoryBackends,
    RepositoryOptions, RestoreOptions,
    repofile::SnapshotFile,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const USAGE: &str = "rustic-referee REPOSITORY init | snapshots | check | backup PATH | restore ID DIR | forget ID | \
                     prune HOURS_TO_KEEP [instant] | copy REPOSITORY";

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [at, "init"] => init(at),
        [at, "snapshots"] => snapshots(at),
        [at, "check"] => check(at),
        [at, "backup", path] => backup(at, path),
        [at, "restore", id, directory] => restore(at, id, directory),
        [at, "forget", id] => forget(at, id),
        [at, "prune", hours] => prune(at, hours, false),
        [at, "prune", hours, "instant"] => prune(at, hours, true),
        [at, "copy", to] => copy(at, to),
        _ => Err(USAGE.into()),
    }
}

fn password() -> Outcome<Credentials> {
    Ok(Credentials::password(env::var("RUSTIC_PASSWORD")?))
}

fn repository(at: &str) -> Outcome<Repository<()>> {
    let backend = LocalBackend::new(at, None)?;
    let backends = RepositoryBackends::new(Arc::new(backend), None);
    // A cache would answer in the place of the repository.
    let options = RepositoryOptions::default().no_cache(true);
    Ok(Repository::new(&options, &backends)?)
}

macro_rules! open {
    ($at:expr) => {
        repository($at)?.open(&password()?)?
    };
}

fn init(at: &str) -> Outcome {
    let (key, config) = (KeyOptions::default(), ConfigOptions::default());
    repository(at)?.init(&password()?, &key, &config)?;
    Ok(())
}

fn snapshots(at: &str) -> Outcome {
    for snapshot in open!(at).get_all_snapshots()? {
        println!("{}", snapshot.id.to_hex().as_str());
    }
    Ok(())
}

fn check(at: &str) -> Outcome {
    let found = open!(at).check(CheckOptions::default().read_data(true))?;
    for problem in &found.0 {
        eprintln!("{problem:?}");
    }
    Ok(found.is_ok()?)
}

fn backup(at: &str, path: &str) -> Outcome {
    let repository = open!(at).to_indexed_ids()?;
    let paths = PathList::from_iter(Some(PathBuf::from(path)));
    let made = repository.backup(&BackupOptions::default(), &paths, SnapshotFile::default())?;
    println!("{}", made.id.to_hex().as_str());
    Ok(())
}

fn restore(at: &str, id: &str, directory: &str) -> Outcome {
    let repository = open!(at).to_indexed()?;
    let root = repository.node_from_snapshot_path(id, |_| true)?;
    let entries = repository.ls(&root, &LsOptions::default())?;
    let to = LocalDestination::new(directory, true, false)?;
    let options = RestoreOptions::default();
    let plan = repository.prepare_restore(&options, entries.clone(), &to, false)?;
    Ok(repository.restore(plan, &options, entries, &to)?)
}

fn forget(at: &str, id: &str) -> Outcome {
    let repository = open!(at);
    let snapshot = repository.get_snapshot_from_str(id, |_| true)?;
    Ok(repository.delete_snapshots(&[snapshot.id])?)
}

fn prune(at: &str, hours: &str, instant: bool) -> Outcome {
    let repository = open!(at);
    let options = PruneOptions::default()
        .max_unused(LimitOption::Percentage(0))
        .max_repack(LimitOption::Unlimited)
        .keep_delete(Span::new().hours(hours.parse::<i64>()?))
        .instant_delete(instant);
    let plan = repository.prune_plan(&options)?;
    let stats = &plan.stats;
    println!(
        "{} {} {}",
        stats.packs_to_delete.remove, stats.packs_to_delete.keep, stats.packs_to_delete.recover
    );
    Ok(repository.prune(&options, plan)?)
}

fn copy(at: &str, to: &str) -> Outcome {
    let (source, target) = (open!(at), open!(to));
    let snapshots = source.get_all_snapshots()?;
    let (source, target) = (source.to_indexed()?, target.to_indexed_ids()?);
    Ok(source.copy(&target, &snapshots)?)
}
