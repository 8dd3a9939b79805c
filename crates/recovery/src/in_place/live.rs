//! The live server: where its directory is, who uses it, who manages it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rekindle_datasets::{postgres::PostgresCluster, with_causes};
use rekindle_postgres::{
    self as pg, Client, Mode,
    server::{LiveServer, Postmaster, processes_on},
};
use rekindle_stack::{self as stack, Stack};
use rekindle_vault::Vault;
use serde::Serialize;

use super::{InPlaceError, Refusal, site::Site};
use crate::{
    RecoveryError, backup::names, find_point::find_point, manifest::Manifest, runtime::cluster_at,
};

/// A service's PostgreSQL dataset, and where its data directory is.
pub(super) struct Place<'a> {
    pub service: String,
    pub settings: &'a stack::PostgresDataset,
    pub cluster: PostgresCluster,
    pub site: Site,
}

impl<'a> Place<'a> {
    /// Finds it: by the configuration, else by asking the server, else by what the newest recovery
    /// point says of its source.
    pub(super) fn find(
        stack: &'a Stack,
        service: &str,
        vault: Option<&Vault>,
    ) -> Result<Self, RecoveryError> {
        let (settings, cluster) = postgres_of(stack, service)?;
        let known = cluster
            .data_directory()
            .map(Path::to_owned)
            .map_or_else(|| ask_server(&cluster), Ok)
            .or_else(|reason| of_newest_point(vault, service).ok_or(reason));
        let path = known.map_err(|reason| InPlaceError::UnknownDirectory {
            service: service.to_owned(),
            reason,
        })?;
        Ok(Self {
            service: service.to_owned(),
            settings,
            cluster,
            site: Site::of(&path)?,
        })
    }

    /// The server on the live directory.
    pub(super) fn server(&self) -> Result<LiveServer, InPlaceError> {
        Ok(LiveServer::on(self.site.pgdata(), self.cluster.bin_dir())?)
    }
}

/// The PostgreSQL dataset of a service.
pub(crate) fn postgres_of<'a>(
    stack: &'a Stack,
    service: &str,
) -> Result<(&'a stack::PostgresDataset, PostgresCluster), RecoveryError> {
    let unknown = || RecoveryError::UnknownService {
        name: service.to_owned(),
        known: names(stack),
    };
    let found = stack.service(service).ok_or_else(unknown)?;
    let settings = found.datasets.iter().find_map(|dataset| match dataset {
        stack::Dataset::Postgres(settings) => Some(settings),
        _ => None,
    });
    let settings = settings.ok_or_else(unknown)?;
    let cluster =
        cluster_at(stack, service, settings).map_err(|source| RecoveryError::Settings {
            service: service.to_owned(),
            source: Box::new(source),
        })?;
    Ok((settings, cluster))
}

fn ask_server(cluster: &PostgresCluster) -> Result<PathBuf, String> {
    let asked = Client::connect(cluster.options(), Mode::Sql)
        .and_then(|mut client| pg::identity(&mut client));
    let identity = asked.map_err(|error| with_causes(&error))?;
    identity
        .data_directory
        .ok_or_else(|| "the role may not ask the server".to_owned())
}

fn of_newest_point(vault: Option<&Vault>, service: &str) -> Option<PathBuf> {
    let vault = vault?;
    let snapshot = find_point(vault, "latest", Some(service)).ok()?;
    let (index, _) = vault.load_readable_index().ok()?;
    let manifest = Manifest::read(vault, &index, &snapshot).ok()?;
    let (_, record) = manifest.postgres(service)?;
    let path = record.identity.data_directory.clone()?;
    // It may be of another machine, or of a container.
    path.parent().is_some_and(Path::is_dir).then_some(path)
}

/// A replication slot of the live server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// `physical` or `logical`.
    pub kind: String,
    /// Whether somebody uses it now.
    pub is_active: bool,
}

/// What is known of the live server before it is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LiveFacts {
    /// Whether it runs.
    pub is_running: bool,
    /// The timeline that it writes; 0 if that is not known.
    pub timeline: u32,
    /// Sessions of clients; `None` if it could not be asked.
    pub connections: Option<u64>,
    /// Standbys and other receivers of its WAL.
    pub standbys: Vec<String>,
    /// Replication slots, which a restored directory does not have.
    pub slots: Vec<SlotFacts>,
    /// Whether it archives WAL by a command or library of its own.
    pub is_archiving: bool,
    /// The systemd unit that started it.
    pub unit: Option<String>,
    /// Why it could not be asked.
    pub not_asked: Option<String>,
}

impl LiveFacts {
    /// Looks at the processes, and asks the server if it answers.
    pub(super) fn gather(place: &Place<'_>) -> Result<(Self, Vec<Refusal>), InPlaceError> {
        let pgdata = place.site.pgdata();
        let mut facts = Self {
            is_running: place.server()?.is_running()?,
            timeline: pg::ControlFile::read(pgdata).map_or(0, |control| control.timeline.number()),
            ..Self::default()
        };
        let mut refusals = Vec::new();
        match Client::connect(place.cluster.options(), Mode::Sql) {
            Ok(mut client) => match facts.ask(&mut client, place) {
                Ok(found) => refusals.extend(found),
                Err(error) => facts.not_asked = Some(with_causes(&error)),
            },
            Err(error) => facts.not_asked = Some(with_causes(&error)),
        }
        facts.look_at_managers(place, &mut refusals)?;
        Ok((facts, refusals))
    }

    fn ask(&mut self, client: &mut Client, place: &Place<'_>) -> Result<Vec<Refusal>, pg::Error> {
        let identity = pg::identity(client)?;
        self.timeline = identity.timeline.number();
        let found = refusals_of(place, &identity);
        let sessions = "SELECT count(*) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.connections = Some(client.query(sessions)?.single()?);
        let rows = client.query(
            "SELECT coalesce(application_name, '') || coalesce(' at ' || host(client_addr), '') AS who \
             FROM pg_stat_replication ORDER BY 1",
        )?;
        self.standbys = rows
            .iter()
            .map(|row| row.text("who").unwrap_or("unnamed").to_owned())
            .collect();
        let rows = client.query(
            "SELECT slot_name, slot_type, active FROM pg_replication_slots \
             WHERE NOT temporary ORDER BY 1",
        )?;
        self.slots = rows
            .iter()
            .map(|row| {
                Ok(SlotFacts {
                    name: row.get("slot_name")?,
                    kind: row.get("slot_type")?,
                    is_active: row.truth("active")?,
                })
            })
            .collect::<Result<_, pg::Error>>()?;
        self.is_archiving = client.show("archive_mode")? != "off";
        Ok(found)
    }

    /// A server that somebody else starts and stops must be started and stopped by that somebody.
    fn look_at_managers(
        &mut self,
        place: &Place<'_>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), InPlaceError> {
        let processes = processes_on(place.site.pgdata());
        let is_child = |parent| processes.iter().any(|process| process.pid == parent);
        let Some(main) = processes.iter().find(|process| !is_child(process.parent)) else {
            return Ok(());
        };
        self.unit = unit_of(main.pid);
        let settings = place.settings;
        if settings.stop_command.is_some() && settings.start_command.is_some() {
            return Ok(());
        }
        if let Some(unit) = &self.unit {
            refusals.push(Refusal::new(
                format!("the server is run by systemd as {unit}"),
                format!(
                    "set `stop_command: \"systemctl stop {unit}\"` and `start_command: \"systemctl \
                     start {unit}\"` for the dataset"
                ),
            ));
        }
        let named = Postmaster::read(place.site.pgdata())?.map(|postmaster| postmaster.pid);
        if named.is_some_and(|pid| pid != main.pid || pid == 1) {
            refusals.push(Refusal::new(
                "the server runs in a container",
                "set `stop_command` and `start_command` for the dataset, such as `docker stop NAME` \
                 and `docker start NAME`",
            ));
        }
        Ok(())
    }
}

/// The answering server must be the one on the directory.
fn refusals_of(place: &Place<'_>, identity: &pg::ServerIdentity) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let pgdata = place.site.pgdata();
    if let Ok(control) = pg::ControlFile::read(pgdata)
        && control.system_identifier != identity.system_identifier
    {
        refusals.push(Refusal::new(
            format!(
                "the server at {} is another cluster than the one in {}",
                place.cluster.options().address(),
                pgdata.display()
            ),
            "is `data_directory`, or the URL, right?",
        ));
    }
    if identity.is_standby {
        refusals.push(Refusal::new(
            "the server is a standby: its content is that of its primary",
            "restore the primary, or promote this one first",
        ));
    }
    refusals
}

/// The systemd unit whose main process `pid` is. A server that somebody started by hand belongs to
/// the unit of that somebody's session too, and is not its main process.
fn unit_of(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let unit = unit_in(&groups)?;
    let asked = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", &unit])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let main = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    (main == pid.to_string()).then_some(unit)
}

fn unit_in(groups: &str) -> Option<String> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let path = groups.lines().find(of_systemd)?.rsplit(':').next()?;
    let last = path.rsplit('/').next()?;
    last.ends_with(".service").then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_last_part_of_the_control_group() {
        let unit = |text: &str| unit_in(text);
        assert_eq!(
            unit("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n")
                .as_deref(),
            Some("postgresql@15-main.service")
        );
        assert_eq!(
            unit("4:memory:/x\n1:name=systemd:/system.slice/pg.service\n").as_deref(),
            Some("pg.service")
        );
        assert_eq!(unit("0::/user.slice/session-3.scope\n"), None);
        assert_eq!(unit("0::/\n"), None);
    }
}
