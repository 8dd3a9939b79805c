//! From a recovery point to rows in the live server.

use std::{path::PathBuf, process, time::Instant};

use jiff::Timestamp;
use rekindle_datasets::postgres::PostgresCluster;
use rekindle_postgres::{
    Client, ConnectOptions, Mode,
    dump::{Dump, RestoreOptions, Tools, row_counts_in},
    server::{Scratch, ScratchOptions},
};
use rekindle_vault::Vault;

use super::{
    ExtractError, ExtractOutcome, ExtractPlan, ExtractRequest, Extracted, TableName, Wanted,
    database,
    error::Doing,
    install::{Destination, without_search_path},
    prepare::{Naming, prepare},
    table::Table,
    types,
    work::{ServerUser, WorkDirectory, choose},
};
use crate::{
    RecoveryError,
    in_place::postgres_of,
    wal::{RestoreAtPlan, RestoreAtRequest, plan_restore_at, restore_at},
};

/// A scratch server writes a little of its own: a checkpoint, the segments it begins.
const SCRATCH_BYTES: u64 = 256 << 20;

/// Says what bringing it back would do. Nothing is changed.
///
/// # Errors
/// If the moment cannot be restored, the name is taken, or there is no room.
pub fn plan_extract(
    vault: &Vault,
    request: &ExtractRequest<'_>,
) -> Result<ExtractPlan, RecoveryError> {
    let goal = Goal::find(vault, request)?;
    let work = goal.work_dir.display();
    let (what, new_name) = (request.wanted.describe(), request.wanted.new_name());
    Ok(ExtractPlan {
        steps: vec![
            format!(
                "restore the cluster of point {} below {work}",
                goal.plan.point.id.short()
            ),
            format!(
                "start a scratch server on it, and recover to {}",
                goal.target()
            ),
            format!("dump {what} from it into the live server, as {new_name}"),
            "count the rows on both sides".to_owned(),
            "stop the scratch server and remove its directory".to_owned(),
        ],
        what,
        target: goal.target(),
        bytes: goal.bytes,
        notes: goal.plan.notes.clone(),
        point: goal.plan.point,
        work_dir: goal.work_dir,
    })
}

/// Brings it back. Whatever happens, scratch server and directory are removed again.
///
/// # Errors
/// As [`plan_extract`]; [`ExtractError`] with what was being done. Nothing that existed in the live
/// server was touched, and what arrived half was removed.
pub fn extract(
    vault: &Vault,
    request: &ExtractRequest<'_>,
) -> Result<ExtractOutcome, RecoveryError> {
    let clock = Instant::now();
    let goal = Goal::find(vault, request)?;
    let work = WorkDirectory::create(&goal.work_dir)?;
    request.tell("restoring the cluster");
    restore_at(vault, &goal.restore_request(request, work.data()))?;
    work.hand_over(goal.user)?;
    request.tell("starting a scratch server; it recovers");
    let scratch = goal.start(&work, request)?;
    let mut extracted = goal.extract(&scratch, request)?;
    extracted.notes.extend_from_slice(scratch.warnings());
    request.tell("removing the scratch server");
    drop(scratch);
    drop(work);
    Ok(ExtractOutcome {
        target: goal.target(),
        point: goal.plan.point,
        extracted,
        took: clock.elapsed(),
    })
}

/// Everything that is decided before anything is written.
struct Goal {
    cluster: PostgresCluster,
    plan: RestoreAtPlan,
    user: ServerUser,
    work_dir: PathBuf,
    bytes: u64,
    tools: Tools,
}

impl Goal {
    fn find(vault: &Vault, request: &ExtractRequest<'_>) -> Result<Self, RecoveryError> {
        let (_, cluster) = postgres_of(request.stack, &request.service)?;
        let options = cluster.options();
        let mut live = Client::connect(options, Mode::Sql).doing("log in to the live server")?;
        if let Wanted::Database { new_name, .. } = &request.wanted {
            database::check_name(&mut live, new_name)?;
        }
        let data = live.show("data_directory").map(PathBuf::from).ok();
        let user = ServerUser::find(data.as_deref())?;
        let plan = plan_restore_at(vault, &request.restore_request(PathBuf::from("/")))?;
        let bytes = plan.base_bytes + plan.wal_bytes + plan.base_bytes / 20 + SCRATCH_BYTES;
        let wanted = request.work_dir.as_deref();
        let work_dir = choose(wanted, &vault.location(), bytes, user)?;
        let newest = live.major().max(plan.major);
        let tools = Tools::find(cluster.bin_dir(), newest).doing("look for pg_dump")?;
        Ok(Self {
            cluster,
            plan,
            user,
            work_dir,
            bytes,
            tools,
        })
    }

    fn target(&self) -> String {
        match self.plan.inclusive {
            true => self.plan.target.clone(),
            false => format!("just before {}", self.plan.target),
        }
    }

    fn restore_request(&self, request: &ExtractRequest<'_>, to: PathBuf) -> RestoreAtRequest {
        RestoreAtRequest {
            point: Some(self.plan.point.id.to_string()),
            ownership: Some(self.user.ownership()),
            ..request.restore_request(to)
        }
    }

    fn start(
        &self,
        work: &WorkDirectory,
        request: &ExtractRequest<'_>,
    ) -> Result<Scratch, ExtractError> {
        let options = ScratchOptions {
            bin_dir: self.cluster.bin_dir().map(PathBuf::from),
            users: vec![self.cluster.options().user.clone()],
            report: request.on_phase.clone(),
            ..ScratchOptions::default()
        };
        Ok(Scratch::start(&work.data(), &options)?)
    }

    fn extract(
        &self,
        scratch: &Scratch,
        request: &ExtractRequest<'_>,
    ) -> Result<Extracted, ExtractError> {
        request.tell("bringing it into the live server");
        let live = self.cluster.options();
        match &request.wanted {
            Wanted::Database { database, new_name } => {
                database::extract(scratch, live, &self.tools, database, new_name)
            }
            Wanted::Table {
                database,
                table,
                new_name,
            } => {
                let database = database.as_ref().unwrap_or(&live.database);
                self.extract_table(scratch, database, table, new_name)
            }
        }
    }

    fn extract_table(
        &self,
        scratch: &Scratch,
        database: &str,
        wanted: &TableName,
        new_name: &TableName,
    ) -> Result<Extracted, ExtractError> {
        let mut client = scratch
            .connect(database)
            .and_then(without_search_path)
            .doing(format!("open database `{database}` of the scratch server"))?;
        let table = Table::find(&mut client, wanted, database)?;
        let schema = new_name.schema.as_ref().unwrap_or(&table.root.schema);
        let mut live = Destination::connect(self.live(database), schema, &new_name.table)?;
        let mut free = live.free_names()?;
        let used = types::used_by(&mut client, &table).doing("look at the table's types")?;
        let known = types::all(&mut live.client).doing("list the live server's types")?;
        let own_types: Vec<_> = used
            .into_iter()
            .filter(|(made, definition)| known.get(made) != Some(definition))
            .map(|(made, _)| made)
            .collect();
        let staging = staging_name();
        let naming = Naming {
            staging: &staging,
            new_name: &new_name.table,
            free: &mut free,
        };
        let prepared = prepare(&mut client, &table, &own_types, naming)
            .doing("make the table ready in the scratch server")?;
        let expected = row_counts_in(&mut client, &staging).doing("count the table's rows")?;
        let missing = live.missing_roles(&table.owners())?;
        let mut options = scratch.options().clone();
        options.database = database.to_owned();
        let archive = Dump::schema(&self.tools, &options, &staging).doing("dump the table")?;
        let restore = RestoreOptions {
            no_owner: !missing.is_empty(),
            no_privileges: true,
            single_transaction: true,
            ..RestoreOptions::default()
        };
        live.install(
            &self.tools,
            archive.whole(),
            &restore,
            &staging,
            &prepared,
            &expected,
        )?;
        Ok(Extracted {
            name: format!("{schema}.{}", new_name.table),
            tables: expected.len() as u64,
            rows: expected.iter().map(|count| count.rows).sum(),
            left_out: prepared.left_out,
            notes: notes(&missing, &prepared.types, live.options.user.as_str()),
        })
    }

    fn live(&self, database: &str) -> ConnectOptions {
        let options = self.cluster.options();
        let password = options.password();
        let other = options.clone().with_database(database);
        match password {
            Some(password) => other.with_password(password.as_str()),
            None => other,
        }
    }
}

fn notes(missing: &[String], types: &[String], user: &str) -> Vec<String> {
    let mut notes = vec!["rights were not restored: only its owner can use it".to_owned()];
    if !missing.is_empty() {
        notes.push(format!(
            "its owner {} does not exist any more: it belongs to {user}",
            missing.join(", ")
        ));
    }
    if !types.is_empty() {
        notes.push(format!(
            "types that the live server does not have, or has otherwise, came along as {}",
            types.join(", ")
        ));
    }
    notes
}

/// A schema that nobody else makes at this moment.
fn staging_name() -> String {
    let now = Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string();
    format!("rekindle_{now}_{}", process::id())
}
