//! Restore of a server that does not run: its files are built beside the ones that are there, and change places with them
//! by renames. It loads them when it is started, whatever its settings.
//!
//! Only what is a server's own changes places: RDB and append-only files. Whatever else lies in its directory (`users.acl`,
//! `nodes.conf`, a configuration) stays.

mod build;
mod directory;
mod servers;

use std::path::{Path, PathBuf};

use super::RedisServer;
use super::error::RedisError;
use super::info::ServerVersion;
use super::prepare::FileNames;
use super::rdb::RdbFamily;
use super::record::{RedisAside, RedisRecord};
use crate::files::FilesAside;
use crate::files::in_place::{ensure_room, refused, swap_or_go_back};
use crate::{
    Aside, Candidate, DatasetRecord, InPlaceError, InPlaceSteps, Journal, PointSource,
    RestoredInPlace,
};

/// The files of a point, and where they go.
struct Plan<'a> {
    record: &'a RedisRecord,
    directory: PathBuf,
    names: FileNames,
    /// The server that will load them, as far as that is known.
    version: ServerVersion,
}

/// The Redis data of a point's record.
fn redis_of(record: &DatasetRecord) -> Result<&RedisRecord, InPlaceError> {
    match record {
        DatasetRecord::Redis(record) => Ok(record),
        _ => Err(refused("the point holds no Redis data there", None)),
    }
}

impl<'a> Plan<'a> {
    fn make(server: &RedisServer, record: &'a DatasetRecord) -> Result<Self, InPlaceError> {
        let record = redis_of(record)?;
        let directory = server.directory_without_server(record)?;
        let names = FileNames::of(record);
        let version = version(record, &directory.join(&names.append_directory))?;
        if let Some(rdb) = &record.rdb {
            let wanted = rdb.summary.version;
            let readable = version.reads(wanted);
            readable.map_err(|readable| {
                server.refused(RedisError::TooNew {
                    wanted,
                    server: version.to_string(),
                    readable,
                })
            })?;
        }
        let plan = Self {
            record,
            directory,
            names,
            version,
        };
        ensure_room(&plan.directory, plan.needed_bytes())?;
        Ok(plan)
    }

    /// Append-only files that are made of the RDB are as long as that.
    fn needed_bytes(&self) -> u64 {
        let rdb = self.record.rdb.as_ref().map_or(0, |rdb| rdb.summary.bytes);
        rdb.saturating_add(self.append_only_bytes().unwrap_or(rdb))
    }

    fn append_only_bytes(&self) -> Option<u64> {
        let aof = self.record.aof.as_ref()?;
        Some(aof.files.iter().map(|file| file.bytes).sum())
    }

    fn bytes(&self) -> u64 {
        let rdb = self.record.rdb.as_ref().map(|rdb| rdb.summary.bytes);
        rdb.or_else(|| self.append_only_bytes()).unwrap_or(0)
    }

    /// Keys of the RDB, else commands of the append-only files.
    fn entries(&self) -> u64 {
        let keys = self.record.rdb.as_ref().map(|rdb| rdb.summary.keys());
        let files = self.record.aof.iter().flat_map(|aof| &aof.files);
        keys.unwrap_or_else(|| files.map(|file| file.commands).sum())
    }

    fn aside(&self, point: String) -> Result<FilesAside, InPlaceError> {
        let names = [
            (self.names.rdb.as_str(), false),
            (self.names.append_directory.as_str(), true),
            (self.names.append_file.as_str(), false),
        ];
        FilesAside::of_names(point, &self.directory, &names)
    }

    fn warnings(&self, aside: &FilesAside) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.record.rdb.is_none() {
            warnings.push(
                "the point has append-only files and no RDB: a server with `appendonly no` would start without data"
                    .to_owned(),
            );
        }
        if self.record.server.is_empty() {
            warnings.push(format!(
                "nobody knows of which version the server is: the files are made for {}",
                self.version
            ));
        }
        let is_empty = self
            .directory
            .read_dir()
            .is_ok_and(|mut all| all.next().is_none());
        if !is_empty && aside.swaps.iter().all(|swap| swap.old_inode.is_none()) {
            warnings.push(format!(
                "{} has neither {} nor {}: is it the directory of this server?",
                self.directory.display(),
                self.names.rdb,
                self.names.append_directory
            ));
        }
        warnings
    }
}

/// What the server that was captured was, unless its directory tells of a newer one. Of one whose RDB was imported nothing
/// is known but that it reads it.
fn version(record: &RedisRecord, append_directory: &Path) -> Result<ServerVersion, InPlaceError> {
    let of = |name: &str, version: &str| ServerVersion {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    if record.server.is_empty() {
        let family = record.rdb.as_ref().map(|rdb| rdb.summary.version.family);
        return Ok(match family {
            Some(RdbFamily::Valkey) => of("Valkey", "9.0"),
            _ => of("Redis", "8.4"),
        });
    }
    let known = record.server_version();
    let has_newer = append_directory
        .try_exists()
        .map_err(crate::files::in_place::io("look at", append_directory))?;
    Ok(match known.has_append_directory() || !has_newer {
        true => known,
        false => of(&known.name, "7.0"),
    })
}

impl RedisServer {
    pub(super) fn plan_files(&self, record: &DatasetRecord) -> Result<InPlaceSteps, InPlaceError> {
        let plan = Plan::make(self, record)?;
        let aside = plan.aside(String::new())?;
        let directory = plan.directory.display();
        let there: Vec<_> = aside
            .swaps
            .iter()
            .filter(|swap| swap.old_inode.is_some())
            .map(|swap| swap.live.display().to_string())
            .collect();
        let mut steps = vec![format!(
            "restore the files of {} in {directory} beside the ones that are there, such that the server loads them \
             whatever its settings",
            plan.version
        )];
        let stop_after = Some(steps.len());
        let renamed = there
            .iter()
            .map(|path| format!("set aside {path}, by renaming it"));
        steps.extend(renamed);
        steps.push(format!("give what was restored its place in {directory}"));
        Ok(InPlaceSteps {
            steps,
            warnings: plan.warnings(&aside),
            set_aside: there,
            entries: plan.entries(),
            bytes: plan.bytes(),
            stop_after,
        })
    }

    pub(super) fn prepare_files(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Box<dyn Candidate>, InPlaceError> {
        let plan = Plan::make(self, source.record)?;
        let mut aside = plan.aside(source.snapshot.id.to_string())?;
        let restored = RestoredInPlace {
            entries: plan.entries(),
            bytes: plan.bytes(),
            set_aside: Vec::new(),
            warnings: plan.warnings(&aside),
        };
        journal.write(&files(&aside))?;
        if let Err(error) = self.build(&plan, source, &mut aside) {
            crate::files::in_place::remove_candidates(&aside);
            return Err(error);
        }
        Ok(Box::new(Built {
            server: self.clone(),
            directory: plan.directory,
            aside,
            restored,
        }))
    }

    /// Nobody may write there while names change.
    pub(super) fn ensure_rests(&self, directory: &Path) -> Result<(), InPlaceError> {
        let stop = "stop the server, and try again";
        if !self.is_down() {
            let reason = format!("{} answers: the server runs", self.options.shown);
            return Err(refused(reason, Some(stop)));
        }
        match servers::in_directory(directory)? {
            Some(who) => {
                let reason = format!("{who} runs in {}", directory.display());
                Err(refused(reason, Some(stop)))
            }
            None => Ok(()),
        }
    }

    pub(super) fn undo_files(&self, aside: &FilesAside) -> Result<Vec<String>, InPlaceError> {
        if !aside.is_untouched() {
            self.ensure_rests(directory_of(aside))?;
        }
        crate::files::in_place::undo(aside)
    }
}

fn files(aside: &FilesAside) -> Aside {
    Aside::Redis(RedisAside::Files(aside.clone()))
}

fn directory_of(aside: &FilesAside) -> &Path {
    let first = aside.swaps.first().and_then(|swap| swap.live.parent());
    first.unwrap_or(Path::new("/"))
}

/// Files of a server that wait for their places.
struct Built {
    server: RedisServer,
    directory: PathBuf,
    aside: FilesAside,
    restored: RestoredInPlace,
}

impl Candidate for Built {
    fn swap(
        mut self: Box<Self>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        if let Err(error) = self.server.ensure_rests(&self.directory) {
            crate::files::in_place::remove_candidates(&self.aside);
            return Err(error);
        }
        swap_or_go_back(&mut self.aside, &mut OfRedis(journal))?;
        self.restored.set_aside = self.aside.standing();
        Ok(self.restored)
    }
}

/// A journal that says of files whose they are.
struct OfRedis<'j>(&'j mut dyn Journal);

impl Journal for OfRedis<'_> {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        match aside {
            Aside::Files(aside) => self.0.write(&files(aside)),
            other => self.0.write(other),
        }
    }
}
