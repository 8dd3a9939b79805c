//! What a restore from a dump would do.

use std::path::PathBuf;

use jiff::Timestamp;
use rekindle_datasets::postgres::PostgresCluster;
use rekindle_postgres::{
    Client, Mode,
    dump::{
        DatabaseInfo, DumpError, LeaveOut, Selection, Tools, UnfinishedDatabase, databases,
        foreign::{DatabaseDump, DumpForm, ForeignDump, inspect},
        unfinished_databases,
    },
    quote_literal,
};
use serde::Serialize;

use super::{
    ForeignRestoreRequest,
    leave_out::{leave_out, like},
    names::{Role, is_stamped, stamped},
    sessions::{self, Sessions},
    watch,
};
use crate::{
    RecoveryError,
    database::cluster_of,
    guard::{
        DatabaseNeeds, Guard, GuardFinding, ServerFacts, is_refusal, judge_database, with_overrides,
    },
};

/// What a restore from a dump would do. Made by [`plan_foreign_restore`]; nothing was changed.
#[derive(Clone, Debug, Serialize)]
pub struct ForeignRestorePlan {
    /// The dump.
    pub from: PathBuf,
    /// What it turned out to be. It is whole.
    pub dump: ForeignDump,
    /// What would be restored.
    pub databases: Vec<PlannedDatabase>,
    /// Roles that would be created, without password and without LOGIN.
    pub creates_roles: Vec<String>,
    /// What guards found, the gravest first.
    pub findings: Vec<GuardFinding>,
    /// Whether nothing is in the way that was not overridden.
    pub is_permitted: bool,
    /// Databases that an earlier restore left half filled.
    pub unfinished: Vec<UnfinishedDatabase>,
    /// Databases that an earlier swap set aside.
    pub set_aside: Vec<String>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// A database that would be restored.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedDatabase {
    /// Its name in the dump, if it has one there.
    pub in_dump: Option<String>,
    /// The name that it gets.
    pub new_name: String,
    /// The live database that it takes the place of.
    pub swaps: Option<Swap>,
    /// Tables with data.
    pub tables: usize,
    /// Rows of those whose rows the dump tells.
    pub rows: u64,
    #[serde(skip)]
    pub(super) section: usize,
    #[serde(skip)]
    pub(super) like: Option<DatabaseInfo>,
    /// That of the live database: it has room for one like it.
    #[serde(skip)]
    pub(super) tablespace: Option<String>,
    #[serde(skip)]
    pub(super) leave_out: LeaveOut,
}

/// A change of names.
#[derive(Clone, Debug, Serialize)]
pub struct Swap {
    /// The live database.
    pub live: String,
    /// What it is called afterwards.
    pub set_aside: String,
}

/// A plan, with what is needed to do it.
pub(super) struct Prepared {
    pub(super) plan: ForeignRestorePlan,
    pub(super) cluster: PostgresCluster,
    pub(super) tools: Option<Tools>,
}

/// Reads the dump to its end, asks the server, and says what a restore would do.
///
/// # Errors
/// [`RecoveryError::Foreign`] if the dump is not whole, [`RecoveryError::NotInDump`] if it does not
/// hold what was asked for. What stands in the way on the server is in the plan.
pub fn plan_foreign_restore(
    request: &ForeignRestoreRequest<'_>,
) -> Result<ForeignRestorePlan, RecoveryError> {
    prepare(request).map(|prepared| prepared.plan)
}

pub(super) fn prepare(request: &ForeignRestoreRequest<'_>) -> Result<Prepared, RecoveryError> {
    let cluster = cluster_of(request.stack, &request.service)?;
    let dump = inspect(&request.from, &watch(&request.progress))?;
    let chosen = choose(request, &dump)?;
    let refused = |source| RecoveryError::Server {
        doing: "look what a restore would meet".to_owned(),
        address: cluster.options().redacted(),
        source: Box::new(source),
    };
    let mut client = Client::connect(cluster.options(), Mode::Sql).map_err(refused)?;
    let tools = find_tools(&cluster, &dump, client.major());
    let look = Look {
        request,
        dump: &dump,
        tool_major: tools.as_ref().map(Tools::major),
    };
    let mut findings = Vec::new();
    let mut planned = Vec::new();
    let mut creates_roles = Vec::new();
    for section in chosen {
        let (database, found, roles) = look.at(section, &mut client).map_err(refused)?;
        planned.push(database);
        findings.extend(
            found
                .into_iter()
                .filter(|finding| !findings.contains(finding))
                .collect::<Vec<_>>(),
        );
        creates_roles.extend(roles);
    }
    creates_roles.sort();
    creates_roles.dedup();
    let findings = with_overrides(findings, &request.guards);
    let names = databases(&mut client, &Selection::All).map_err(refused)?;
    let plan = ForeignRestorePlan {
        from: request.from.clone(),
        is_permitted: !findings.iter().any(is_refusal),
        steps: steps(&planned, &creates_roles),
        unfinished: unfinished_databases(&mut client).map_err(refused)?,
        set_aside: set_aside(&planned, &names),
        databases: planned,
        creates_roles,
        findings,
        dump,
    };
    Ok(Prepared {
        plan,
        cluster,
        tools,
    })
}

/// Tools that can read it, the server's own if they can; else the newest that are here, for a
/// person who overrides.
fn find_tools(cluster: &PostgresCluster, dump: &ForeignDump, server_major: u32) -> Option<Tools> {
    let reads = dump
        .tool_major()
        .filter(|_| dump.form.is_archive())
        .unwrap_or(0);
    let wanted = server_major.max(reads);
    let found =
        Tools::find(cluster.bin_dir(), wanted).or_else(|_: DumpError| Tools::find(None, wanted));
    found.ok().or_else(|| Tools::newest(cluster.bin_dir()))
}

/// The numbers of the databases that are meant.
fn choose(
    request: &ForeignRestoreRequest<'_>,
    dump: &ForeignDump,
) -> Result<Vec<usize>, RecoveryError> {
    let not_there = |what: String, instead: &str| RecoveryError::NotInDump {
        from: request.from.display().to_string(),
        what,
        instead: instead.to_owned(),
    };
    if dump.form != DumpForm::PlainCluster {
        return Ok(vec![0]);
    }
    let named = |database: &DatabaseDump| format!("`{}`", database.name.as_deref().unwrap_or("?"));
    let known: Vec<_> = dump.databases.iter().map(named).collect();
    if let Some(wanted) = &request.database {
        let found = dump
            .databases
            .iter()
            .position(|database| database.name.as_ref() == Some(wanted));
        let what = || format!("no database `{wanted}`; it has {}", known.join(", "));
        return found
            .map(|at| vec![at])
            .ok_or_else(|| not_there(what(), "name one of those with --database"));
    }
    // What every cluster has is of interest only if there is something in it.
    let is_wanted = |database: &DatabaseDump| {
        !matches!(database.name.as_deref(), Some("template1" | "postgres"))
            || !database.tables.is_empty()
    };
    let chosen: Vec<_> = (0..dump.databases.len())
        .filter(|at| is_wanted(&dump.databases[*at]))
        .collect();
    if chosen.is_empty() {
        return Err(not_there(
            "no databases, only roles and tablespaces".to_owned(),
            "`psql -f` restores those; look at them first",
        ));
    }
    if chosen.len() > 1 && (request.swap || request.new_name.is_some()) {
        let what = format!("{} databases: {}", chosen.len(), known.join(", "));
        return Err(not_there(what, "say which with --database"));
    }
    Ok(chosen)
}

struct Look<'a> {
    request: &'a ForeignRestoreRequest<'a>,
    dump: &'a ForeignDump,
    tool_major: Option<u32>,
}

impl Look<'_> {
    fn at(
        &self,
        section: usize,
        client: &mut Client,
    ) -> Result<(PlannedDatabase, Vec<GuardFinding>, Vec<String>), rekindle_postgres::Error> {
        let (request, dump) = (self.request, &self.dump.databases[section]);
        let now = Timestamp::now();
        let live_name = request.database.clone().or_else(|| dump.name.clone());
        let new_name = request.new_name.clone().unwrap_or_else(|| {
            stamped(
                live_name.as_deref().unwrap_or("restored"),
                Role::Restored,
                now,
            )
        });
        let all = databases(client, &Selection::All)?;
        let live = all
            .iter()
            .find(|database| Some(&database.name) == live_name.as_ref());
        let needs = DatabaseNeeds::of(self.dump, dump, &new_name);
        let facts = ServerFacts {
            tool_major: self.tool_major,
            ..ServerFacts::gather(client, &needs)?
        };
        let mut findings = judge_database(&needs, &facts, &request.guards);
        let mut swaps = None;
        if request.swap {
            let live_name = live_name.unwrap_or_default();
            if live.is_some() {
                findings.extend(sessions::judge(
                    &live_name,
                    Sessions::gather(client, &live_name)?,
                ));
                let set_aside = stamped(&live_name, Role::Before, now);
                swaps = Some(Swap {
                    live: live_name,
                    set_aside,
                });
            } else {
                findings.push(no_live_database(&live_name));
            }
        }
        let findings = with_overrides(findings, &request.guards);
        let creates = request.guards.create_missing && !request.guards.forces(Guard::MissingRole);
        let roles = dump
            .roles
            .iter()
            .filter(|role| creates && !facts.roles.contains(*role));
        let planned = PlannedDatabase {
            in_dump: dump.name.clone(),
            new_name,
            swaps,
            tables: dump.tables.len(),
            rows: dump.tables.iter().filter_map(|table| table.rows).sum(),
            section,
            like: like(dump, live, &request.guards),
            tablespace: live
                .map(|live| tablespace_of(client, &live.name))
                .transpose()?,
            leave_out: leave_out(dump, &facts, &findings),
        };
        Ok((planned, findings, roles.cloned().collect()))
    }
}

fn tablespace_of(client: &mut Client, database: &str) -> Result<String, rekindle_postgres::Error> {
    let sql = format!(
        "SELECT t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace \
         WHERE d.datname = {}",
        quote_literal(database)
    );
    client.query(&sql)?.single()
}

fn no_live_database(name: &str) -> GuardFinding {
    GuardFinding::refuse(
        Guard::TargetMissing,
        if name.is_empty() {
            "nothing tells which live database it is to be swapped for".to_owned()
        } else {
            format!("there is no live database `{name}` to be swapped for")
        },
        "name the live one with --database, or leave out --swap and give the name with --as",
    )
}

fn set_aside(planned: &[PlannedDatabase], names: &[DatabaseInfo]) -> Vec<String> {
    let is_of = |name: &str, planned: &PlannedDatabase| {
        let live = planned
            .swaps
            .as_ref()
            .map(|swap| &swap.live)
            .or(planned.in_dump.as_ref());
        live.is_some_and(|live| is_stamped(name, live, Role::Before))
    };
    names
        .iter()
        .map(|database| database.name.clone())
        .filter(|name| planned.iter().any(|planned| is_of(name, planned)))
        .collect()
}

fn steps(planned: &[PlannedDatabase], roles: &[String]) -> Vec<String> {
    let mut steps = Vec::new();
    if !roles.is_empty() {
        let roles: Vec<_> = roles.iter().map(|role| format!("`{role}`")).collect();
        steps.push(format!(
            "create {} without password and without LOGIN",
            roles.join(", ")
        ));
    }
    for database in planned {
        let new = &database.new_name;
        steps.push(format!("create database `{new}`, marked as unfinished, and fill it; drop it again if that fails"));
        steps.push(format!(
            "compare its {} tables with the rows in the dump",
            database.tables
        ));
        if let Some(swap) = &database.swaps {
            steps.push(format!(
                "end the sessions of `{}`, and keep new ones waiting",
                swap.live
            ));
            steps.push(format!(
                "in one transaction: give its owner, rights and settings to `{new}`, rename `{}` to `{}` and `{new}` to `{}`",
                swap.live, swap.set_aside, swap.live
            ));
        }
    }
    steps
}
