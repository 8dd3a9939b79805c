//! Makes a recovery point of dumps from elsewhere.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_datasets::{
    DatasetRecord,
    postgres::{
        DUMP, DumpToStore, DumpedDatabase, ImportedDump, LogicalRecord, PostgresRecord,
        dump_file_name, imported_database, store_dump,
    },
};
use rekindle_postgres::{
    SegmentSize, ServerIdentity, Timeline,
    dump::foreign::{DumpForm, ForeignDump, inspect},
};
use rekindle_stack::Stack;
use rekindle_vault::{
    Backup, BackupError, BackupOptions, Node, NodeKind, Progress, TreePath, Vault,
};
use serde::Serialize;

use super::watch;
use crate::{
    PointSummary, RecoveryError,
    backup::commit,
    database::cluster_of,
    guard::{Guard, GuardFinding, GuardOptions, is_refusal, permit, with_overrides},
    manifest::{DatasetEntry, Manifest},
    point::IMPORTED,
    vault::{LOCK_WAIT, compression_of},
};

/// Which dumps.
pub struct ImportRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service that they are of.
    pub service: String,
    /// Files, and directories of directory archives.
    pub files: Vec<PathBuf>,
    /// The database's name, where the one dump does not tell it.
    pub database: Option<String>,
    /// Words to find the point by.
    pub tags: Vec<String>,
    /// What a person has decided about findings.
    pub guards: GuardOptions,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// What an import would do. Nothing was changed.
#[derive(Clone, Debug, Serialize)]
pub struct ImportPlan {
    /// Each dump.
    pub files: Vec<PlannedImport>,
    /// What guards found, the gravest first.
    pub findings: Vec<GuardFinding>,
    /// Whether nothing is in the way that was not overridden.
    pub is_permitted: bool,
}

/// A dump that would be imported.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedImport {
    /// Where it lies.
    pub from: PathBuf,
    /// What it turned out to be. It is whole.
    pub dump: ForeignDump,
    /// Its name below `dump/` in the point.
    pub file: String,
    /// The databases in it, as they will be called in the point.
    pub databases: Vec<String>,
}

/// A recovery point made of dumps.
#[derive(Debug)]
pub struct ImportOutcome {
    /// As in the list.
    pub point: PointSummary,
    /// What was imported.
    pub files: Vec<PlannedImport>,
    /// What guards found and was overridden, or warned of.
    pub findings: Vec<GuardFinding>,
    /// From the first look to the commit.
    pub took: Duration,
}

/// Reads the dumps to their ends, and says what an import would do.
///
/// # Errors
/// [`RecoveryError::Foreign`] if one is not whole.
pub fn plan_import(request: &ImportRequest<'_>) -> Result<ImportPlan, RecoveryError> {
    cluster_of(request.stack, &request.service)?;
    let (mut files, mut findings) = (Vec::new(), Vec::new());
    let mut taken = BTreeSet::new();
    for from in &request.files {
        let dump = inspect(from, &watch(&request.progress))?;
        findings.extend(judge(from, &dump));
        files.push(planned(request, from, dump, &mut taken));
    }
    let findings = with_overrides(findings, &request.guards);
    Ok(ImportPlan {
        is_permitted: !findings.iter().any(is_refusal),
        files,
        findings,
    })
}

/// Makes a recovery point of the dumps: of all of them, or none at all. It is tagged `imported`, and
/// never counts as the newest state of the service.
///
/// # Errors
/// As [`plan_import`]; [`RecoveryError::Refused`]; as the vault failed.
pub fn import(vault: &Vault, request: &ImportRequest<'_>) -> Result<ImportOutcome, RecoveryError> {
    let clock = Instant::now();
    let plan = plan_import(request)?;
    let findings = permit("the import", plan.findings, &request.guards)?;
    let options = BackupOptions {
        compression: compression_of(&request.stack.vault),
        lock_wait: LOCK_WAIT,
        progress: Arc::clone(&request.progress),
        ..BackupOptions::default()
    };
    let backup = vault.start_backup(options)?;
    let mut manifest = Manifest::new(&request.stack.name, backup.started());
    let entry = store(&backup, request, &plan.files)?;
    manifest.captured = entry.captured;
    manifest.datasets.push(entry);
    manifest
        .warnings
        .extend(findings.iter().map(ToString::to_string));
    let mut tags = vec![IMPORTED.to_owned()];
    tags.extend(request.tags.iter().filter(|tag| *tag != IMPORTED).cloned());
    let snapshot = commit(backup, &manifest, tags)?;
    tracing::info!(point = %snapshot.id, "dumps imported");
    Ok(ImportOutcome {
        point: PointSummary::of(&snapshot),
        files: plan.files,
        findings,
        took: clock.elapsed(),
    })
}

fn store(
    backup: &Backup,
    request: &ImportRequest<'_>,
    files: &[PlannedImport],
) -> Result<DatasetEntry, RecoveryError> {
    let started = Timestamp::now();
    let path = format!("{}/postgres", request.service);
    let at = TreePath::new(format!("{path}/{DUMP}")).map_err(BackupError::from)?;
    let directory = Node {
        kind: NodeKind::Dir,
        mode: Node::go_mode(NodeKind::Dir, 0o700),
        mtime: started,
        ..Node::default()
    };
    backup.add_node(&at, directory)?;
    let mut databases = Vec::new();
    for planned in files {
        let item = DumpToStore {
            from: &planned.from,
            dump: &planned.dump,
            file: planned.file.clone(),
        };
        let bytes =
            store_dump(backup, &at, &item, &watch(&request.progress)).map_err(|source| {
                RecoveryError::Capture {
                    service: request.service.clone(),
                    source: Box::new(source),
                }
            })?;
        let names = planned.databases.iter().enumerate();
        databases
            .extend(names.map(|(section, name)| imported_database(name, section, &item, bytes)));
    }
    let record = PostgresRecord {
        identity: identity(files),
        physical: None,
        logical: Some(logical(files, databases)),
        imported: files.iter().map(imported).collect(),
    };
    Ok(DatasetEntry {
        service: request.service.clone(),
        path,
        started,
        captured: Timestamp::now(),
        as_of: None,
        tripwire: None,
        record: DatasetRecord::Postgres(record),
    })
}

fn logical(files: &[PlannedImport], databases: Vec<DumpedDatabase>) -> LogicalRecord {
    let majors = files.iter().filter_map(|file| file.dump.tool_major());
    LogicalRecord {
        tool_major: majors.max().unwrap_or(0),
        databases,
    }
}

/// Dumps do not say which cluster they are of: 0 stands for that.
fn identity(files: &[PlannedImport]) -> ServerIdentity {
    let of = |file: &PlannedImport| file.dump.server_version.clone();
    let major = files
        .iter()
        .filter_map(|file| file.dump.server_major())
        .max()
        .unwrap_or(0);
    ServerIdentity {
        system_identifier: 0,
        version_num: major * 10_000,
        version: files
            .iter()
            .find_map(of)
            .unwrap_or_else(|| "unknown".to_owned()),
        major,
        timeline: Timeline::FIRST,
        wal_segment_size: SegmentSize::DEFAULT,
        block_size: 8192,
        data_checksums: false,
        data_directory: None,
        is_standby: false,
        encoding: None,
    }
}

fn imported(planned: &PlannedImport) -> ImportedDump {
    let dump = &planned.dump;
    ImportedDump {
        file: planned.file.clone(),
        from: planned.from.clone(),
        format: dump.form,
        server_version: dump.server_version.clone(),
        tool_version: dump.tool_version.clone(),
        made_at_local_time: dump.made_at_local_time.clone(),
    }
}

fn planned(
    request: &ImportRequest<'_>,
    from: &Path,
    dump: ForeignDump,
    taken: &mut BTreeSet<String>,
) -> PlannedImport {
    let stem = from
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    // `shop.sql.gz` is of `shop`, should nothing else tell its name.
    let stem = stem.map(|stem| {
        stem.trim_end_matches(".sql")
            .trim_end_matches(".dump")
            .to_owned()
    });
    let fallback = request
        .database
        .clone()
        .or(stem)
        .unwrap_or_else(|| "database".to_owned());
    let is_single = dump.form != DumpForm::PlainCluster;
    let databases: Vec<String> = dump
        .databases
        .iter()
        .map(|database| {
            let given = request
                .database
                .clone()
                .filter(|_| is_single && request.files.len() == 1);
            given
                .or_else(|| database.name.clone())
                .unwrap_or_else(|| fallback.clone())
        })
        .collect();
    let name = match (&databases[..], is_single) {
        ([only], true) => only.clone(),
        _ => fallback,
    };
    PlannedImport {
        from: std::path::absolute(from).unwrap_or_else(|_| from.to_owned()),
        file: free_name(&name, dump.form, taken),
        databases,
        dump,
    }
}

/// `shop.dump`, `shop.sql`, and `shop-2.sql` if that is taken.
fn free_name(name: &str, form: DumpForm, taken: &mut BTreeSet<String>) -> String {
    let suffix = match form {
        DumpForm::Plain | DumpForm::PlainCluster => ".sql",
        DumpForm::Custom => ".dump",
        DumpForm::Directory => ".dir",
        DumpForm::Tar => ".tar",
    };
    let escaped = |name: &str| dump_file_name(name).trim_end_matches(".dump").to_owned() + suffix;
    let numbered = (1_u32..).map(|number| match number {
        1 => escaped(name),
        number => escaped(&format!("{name}-{number}")),
    });
    let free = numbered
        .into_iter()
        .find(|file| !taken.contains(file))
        .unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// What is stored runs nothing; what may be missing from it is another matter.
fn judge(from: &Path, dump: &ForeignDump) -> Vec<GuardFinding> {
    let from = from.display();
    let mut findings = Vec::new();
    if dump.is_under_row_security {
        findings.push(GuardFinding::refuse(
            Guard::RowSecurity,
            format!("{from} was made with --enable-row-security: rows that the dumping role may not see are missing"),
            "make the dump again as a role with BYPASSRLS, without that option",
        ));
    }
    let suspects = [
        (
            Guard::MetaCommands,
            "commands of psql's",
            &dump.meta_commands,
        ),
        (
            Guard::ReachingStatements,
            "statements that reach files or programs of the server",
            &dump.reaching_statements,
        ),
    ];
    for (guard, what, found) in suspects {
        if let Some(first) = found.first() {
            findings.push(GuardFinding::warn(
                guard,
                format!(
                    "{from} holds {what}, as on line {}: {}",
                    first.line, first.text
                ),
                "it is stored as it is; a restore will refuse it",
            ));
        }
    }
    findings
}
