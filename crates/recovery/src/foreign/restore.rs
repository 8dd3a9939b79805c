//! Restores a dump beside the live databases, and swaps if that is wanted.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rekindle_postgres::{
    Client, Mode,
    dump::{
        DumpError, Load, LoadSource, Swapped, Tools,
        foreign::{self, DumpForm, ForeignDump},
        load_database, row_differences, swap_databases,
    },
};
use serde::Serialize;

use super::{
    ForeignRestoreRequest, PlannedDatabase,
    plan::{Prepared, prepare},
    watch,
};
use crate::{
    RecoveryError,
    database::create_roles,
    guard::{GuardFinding, permit},
};

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct ForeignRestoreOutcome {
    /// The dump.
    pub from: PathBuf,
    /// The databases.
    pub databases: Vec<RestoredDatabase>,
    /// Roles that were created.
    pub created_roles: Vec<String>,
    /// What guards found and was overridden, or warned of.
    pub findings: Vec<GuardFinding>,
    /// From the first look at the dump to the end.
    #[serde(skip)]
    pub took: Duration,
}

/// A database that was restored.
#[derive(Clone, Debug, Serialize)]
pub struct RestoredDatabase {
    /// Its name in the dump, if it has one there.
    pub in_dump: Option<String>,
    /// Its name on the server.
    pub name: String,
    /// Its tables that were counted.
    pub tables: usize,
    /// Rows in them.
    pub rows: u64,
    /// Tables whose rows the dump does not tell, because it holds INSERTs.
    pub tables_not_compared: usize,
    /// What was set aside for it, if it was swapped.
    pub swapped: Option<Swapped>,
}

/// Does what [`plan_foreign_restore`](super::plan_foreign_restore) says.
///
/// # Errors
/// As the plan; [`RecoveryError::Refused`] before anything was changed; [`RecoveryError::RowsDiffer`]
/// if rows are missing, and nothing is swapped then.
pub fn restore_foreign(
    request: &ForeignRestoreRequest<'_>,
) -> Result<ForeignRestoreOutcome, RecoveryError> {
    let clock = Instant::now();
    let prepared = prepare(request)?;
    let what = format!("the restore from {}", request.from.display());
    let findings = permit(what, prepared.plan.findings.clone(), &request.guards)?;
    create_roles(&prepared.cluster, &prepared.plan.creates_roles)?;
    let mut databases = Vec::new();
    for planned in &prepared.plan.databases {
        databases.push(restore_one(request, &prepared, planned)?);
    }
    Ok(ForeignRestoreOutcome {
        from: request.from.clone(),
        databases,
        created_roles: prepared.plan.creates_roles,
        findings,
        took: clock.elapsed(),
    })
}

fn server_error(
    prepared: &Prepared,
    doing: String,
    source: rekindle_postgres::Error,
) -> RecoveryError {
    RecoveryError::Server {
        doing,
        address: prepared.cluster.options().redacted(),
        source: Box::new(source),
    }
}

fn restore_one(
    request: &ForeignRestoreRequest<'_>,
    prepared: &Prepared,
    planned: &PlannedDatabase,
) -> Result<RestoredDatabase, RecoveryError> {
    let options = prepared.cluster.options();
    let dump = &prepared.plan.dump;
    let name = &planned.new_name;
    load(request, prepared, planned).map_err(|source| RecoveryError::RestoreDatabase {
        database: planned.in_dump.clone().unwrap_or_else(|| name.clone()),
        new_name: name.clone(),
        source: Box::new(source),
    })?;
    let of_dump = &dump.databases[planned.section];
    let counted = Client::connect(&options.within(name), Mode::Sql)
        .and_then(|mut client| row_differences(&mut client, of_dump));
    let (counts, differences) = counted
        .map_err(|error| server_error(prepared, format!("count the rows of `{name}`"), error))?;
    if !differences.is_empty() {
        return Err(RecoveryError::RowsDiffer {
            new_name: name.clone(),
            differences: differences.join(", "),
        });
    }
    tracing::info!(database = %name, tables = counts.len(), "restored");
    let swapped = swap(prepared, planned)?;
    Ok(RestoredDatabase {
        in_dump: planned.in_dump.clone(),
        name: swapped
            .as_ref()
            .map_or(name, |swapped| &swapped.live)
            .clone(),
        tables: counts.len(),
        rows: counts.iter().map(|count| count.rows).sum(),
        tables_not_compared: of_dump
            .tables
            .iter()
            .filter(|table| table.rows.is_none())
            .count(),
        swapped,
    })
}

fn load(
    request: &ForeignRestoreRequest<'_>,
    prepared: &Prepared,
    planned: &PlannedDatabase,
) -> Result<(), DumpError> {
    let dump = &prepared.plan.dump;
    let admin = prepared.cluster.options();
    let none_found = || Tools::find(prepared.cluster.bin_dir(), u32::MAX);
    let tools = match &prepared.tools {
        Some(tools) => tools.clone(),
        None => none_found()?,
    };
    let load = Load {
        form: dump.form,
        section: planned.section,
        like: planned.like.clone(),
        tablespace: planned.tablespace.clone(),
        creates_public: dump.databases[planned.section].creates_public,
        leave_out: planned.leave_out.clone(),
        origin: request.from.display().to_string(),
    };
    let new_name = &planned.new_name;
    if is_bare(dump) {
        return load_database(
            &tools,
            admin,
            new_name,
            LoadSource::Path(&request.from),
            &load,
        );
    }
    let mut content = foreign::open(&request.from, &watch(&request.progress))?;
    load_database(
        &tools,
        admin,
        new_name,
        LoadSource::Content(&mut content),
        &load,
    )
}

fn is_bare(dump: &ForeignDump) -> bool {
    dump.compression.is_none() || dump.form == DumpForm::Directory
}

fn swap(prepared: &Prepared, planned: &PlannedDatabase) -> Result<Option<Swapped>, RecoveryError> {
    let Some(swap) = &planned.swaps else {
        return Ok(None);
    };
    let (new, options) = (&planned.new_name, prepared.cluster.options());
    let swapped = swap_databases(options, &swap.live, new, &swap.set_aside, true);
    let swapped = swapped.map_err(|error| {
        let doing = format!(
            "put `{new}`, which is whole, in the place of `{}`",
            swap.live
        );
        server_error(prepared, doing, error)
    })?;
    tracing::info!(live = %swap.live, set_aside = %swap.set_aside, "databases swapped");
    Ok(Some(swapped))
}
