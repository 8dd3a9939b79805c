//! Why a recovery point was not made or not brought back.

use crate::buckets::BucketError;
use crate::extract::ExtractError;
use crate::guard::{self, Guard, GuardFinding};
use crate::in_place::InPlaceError;
use crate::replace::ReplaceError;
use jiff::Timestamp;
use rekindle_datasets::{CaptureError, dump_hint, redis::RedisError, vault_hint};
use rekindle_postgres::{
    self as pg,
    dump::{DumpError, foreign::ForeignError},
};
use rekindle_runtimes::owed::OwedError;
use rekindle_stack::SecretError;
use rekindle_stores::OpenStoreError;
use rekindle_vault::{BackupError, CopyToError, Id, RestoreError, VaultError};

/// Why a recovery point was not made or not brought back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store of a vault cannot be used as it is configured.
    #[error("open the vault's store")]
    Store(#[from] OpenStoreError),
    /// The access keys of a vault's store cannot be read.
    #[error("read the access keys of the vault's store")]
    StoreCredentials(#[source] SecretError),
    /// Objects cannot be locked for so many days.
    #[error("objects cannot be locked for {days} days; 1 to 36500 are possible")]
    LockDays {
        /// What the configuration says.
        days: u16,
    },
    /// The vault's password cannot be read.
    #[error("read the vault's password")]
    VaultPassword(#[source] SecretError),
    /// The vault did not do as asked.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A copy that the configuration does not have.
    #[error("there is no copy `{name}` in the configuration; it has {known}")]
    UnknownCopy {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A copy was not opened or made.
    #[error("the copy `{name}` cannot be used")]
    Copy {
        /// Which.
        name: String,
        /// Why.
        source: Box<RecoveryError>,
    },
    /// A copy was not filled.
    #[error("fill the copy `{name}`")]
    CopyTo {
        /// Which.
        name: String,
        /// Why.
        source: Box<CopyToError>,
    },
    /// A copy that was configured and never filled.
    #[error("the copy `{name}` has not been made yet")]
    CopyNotMade {
        /// Which.
        name: String,
    },
    /// A copy that was there is there no more.
    #[error(
        "the copy `{name}` was at {location} since {since}, and is gone; nothing was made in its place"
    )]
    CopyGone {
        /// Which.
        name: String,
        /// Where it was.
        location: String,
        /// Since when it was known.
        since: Timestamp,
    },
    /// Another vault lies where a copy was.
    #[error("at {location} there is another vault than the copy `{name}` that was there")]
    CopyReplaced {
        /// Which.
        name: String,
        /// Where.
        location: String,
    },
    /// A copy in the place of the vault itself.
    #[error("the copy `{name}` lies where the vault lies, and would be lost with it")]
    CopyOfItself {
        /// Which.
        name: String,
    },
    /// A service that the configuration does not have.
    #[error("there is no service `{name}` in the configuration; it has {known}")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Nothing to back up.
    #[error("nothing to back up: {reason}")]
    NothingToDo {
        /// Why.
        reason: String,
    },
    /// A dataset was not captured, so there is no recovery point.
    #[error("back up `{service}`")]
    Capture {
        /// Whose.
        service: String,
        /// Why.
        source: Box<CaptureError>,
    },
    /// A service could not be laid to rest, so nothing was captured.
    #[error("let `{service}` rest while it is backed up")]
    Rest {
        /// Which.
        service: String,
        /// Why.
        source: OwedError,
    },
    /// A hook failed.
    #[error("run `{key}` of `{service}`: {reason}")]
    Hook {
        /// Whose.
        service: String,
        /// Its key in the configuration.
        key: &'static str,
        /// How it ended.
        reason: String,
    },
    /// The recovery point was not committed.
    #[error("write the recovery point")]
    Commit(#[from] BackupError),
    /// A file from elsewhere is not what the checksum beside it says.
    #[error("{} has the SHA-256 {found}, and the file beside it says {expected}", path.display())]
    Checksum {
        /// Which.
        path: std::path::PathBuf,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A file from elsewhere cannot be read.
    #[error("read {}", path.display())]
    ReadForeign {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An archive is damaged, or holds what it must not.
    #[error("{} is not imported: {reason}", path.display())]
    Tarball {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of an export could not be written.
    #[error("write {}", path.display())]
    Export {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has the name of one that would be exported. Nothing was written.
    #[error("{} exists", path.display())]
    ExportExists {
        /// Which.
        path: std::path::PathBuf,
    },
    /// A text that is both a tag of one point and the beginning of another one's id.
    #[error("`{wanted}` is a tag of one recovery point, and the id of another begins so")]
    TagOrId {
        /// What was asked for.
        wanted: String,
    },
    /// What stands behind `@` is no time.
    #[error("`{text}` is no time")]
    NoMoment {
        /// What was asked for.
        text: String,
    },
    /// A service that the recovery point does not have.
    #[error("recovery point {} has nothing of a service `{service}`; it has {known}", point.short())]
    ServiceNotInPoint {
        /// The point.
        point: Id,
        /// What was asked for.
        service: String,
        /// What there is.
        known: String,
    },
    /// The point was not written by this program, or its manifest is damaged.
    #[error("recovery point {} has no readable manifest", point.short())]
    NoManifest {
        /// The point.
        point: Id,
        /// Why, where there is a reason.
        source: Option<Box<VaultError>>,
    },
    /// A database that the recovery point has no dump of.
    #[error("recovery point {} has no dump of database `{database}` of `{service}`; it has {known}", point.short())]
    DatabaseNotInPoint {
        /// The point.
        point: Id,
        /// Whose.
        service: String,
        /// What was asked for.
        database: String,
        /// What there is.
        known: String,
    },
    /// The files were not restored.
    #[error("restore recovery point {} to {to}", point.short())]
    Restore {
        /// The point.
        point: Id,
        /// Where to.
        to: String,
        /// Why.
        source: Box<RestoreError>,
    },
    /// The files were restored, and the result is no data directory that a server would start on.
    #[error("{to} was restored, and is not a data directory that starts")]
    NotStartable {
        /// Where.
        to: String,
        /// Why.
        source: Box<pg::Error>,
    },
    /// The files were restored, and a server of the same settings would not load them.
    #[error("{to} was restored, and its files could not be made ready for their server")]
    NotLoadable {
        /// Where.
        to: String,
        /// Why.
        source: Box<RedisError>,
    },
    /// A moment that cannot be restored.
    #[error(transparent)]
    Target(#[from] crate::wal::TargetError),
    /// The WAL archive did not do as asked.
    #[error(transparent)]
    Archive(#[from] rekindle_vault::WalArchiveError),
    /// WAL that should be in the archive is not there, or not what it should be.
    #[error("{file} of the WAL archive: {reason}")]
    Wal {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A restored directory could not be made ready.
    #[error("make ready {path}")]
    Prepare {
        /// What in it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A service's settings cannot be used.
    #[error("use the settings of `{service}`")]
    Settings {
        /// Whose.
        service: String,
        /// Why.
        source: Box<CaptureError>,
    },
    /// The server refused or went away.
    #[error("restore database `{database}` as `{new_name}`")]
    RestoreDatabase {
        /// Which.
        database: String,
        /// Its new name.
        new_name: String,
        /// Why.
        source: Box<DumpError>,
    },
    /// Guards found something in the way, and nobody has overridden it. Nothing was touched.
    #[error("{what} was not begun: {}", refusals(findings))]
    Refused {
        /// What was to be done.
        what: String,
        /// Everything that was found, the gravest first.
        findings: Vec<GuardFinding>,
    },
    /// Something stands in the way of forgetting any recovery point. Nothing was removed.
    #[error("nothing was removed: {}", blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join("; "))]
    RetentionBlocked {
        /// What.
        blocks: Vec<crate::retention::Block>,
    },
    /// A hold was made or removed meanwhile. Nothing was removed.
    #[error("a hold was made or removed while the points were looked at; nothing was removed")]
    HoldsChanged,
    /// Guards keep points that were to be forgotten. Nothing was removed.
    #[error("nothing was forgotten: {}", refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    HeldBack {
        /// What keeps them.
        refused: Vec<crate::retention::HeldBack>,
    },
    /// A restore in place was not done, or did not succeed.
    #[error(transparent)]
    InPlace(Box<InPlaceError>),
    /// A dataset was not put in the place of the live one.
    #[error(transparent)]
    Replace(Box<ReplaceError>),
    /// A bucket was not brought back elsewhere.
    #[error(transparent)]
    Bucket(Box<BucketError>),
    /// No service streams WAL under that name.
    #[error("{}; these do: {known}", match wanted {
        Some(name) => format!("`{name}` does not stream WAL"),
        None => "it has to be said which service's WAL to stream".to_owned(),
    })]
    NotStreaming {
        /// What was asked for.
        wanted: Option<String>,
        /// What there is.
        known: String,
    },
    /// WAL is not streamed.
    #[error("stream WAL of `{service}`")]
    WalStream {
        /// Whose.
        service: String,
        /// Why.
        source: Box<crate::wal::stream::StreamError>,
    },
    /// A kit was not made, or does not open.
    #[error(transparent)]
    Kit(Box<crate::kit::KitError>),
    /// A table or database was not brought out of a physical backup.
    #[error(transparent)]
    Extract(Box<ExtractError>),
    /// A dump from elsewhere is not whole, or is none.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A dump from elsewhere does not hold what was asked for.
    #[error("{from} has {what}")]
    NotInDump {
        /// The file.
        from: String,
        /// What is missing, and what there is.
        what: String,
        /// What to do instead.
        instead: String,
    },
    /// A server did not do as asked.
    #[error("{doing} on PostgreSQL at {address}")]
    Server {
        /// What was to be done.
        doing: String,
        /// Where, without secrets.
        address: String,
        /// Why not.
        source: Box<pg::Error>,
    },
    /// There is nothing that an undo could bring back.
    #[error("no database that was set aside for `{database}` is on the server")]
    NothingSetAside {
        /// The database.
        database: String,
    },
    /// The restored database does not hold what the dump's own snapshot held.
    #[error("database `{new_name}` was restored, and {differences}")]
    RowsDiffer {
        /// Its name.
        new_name: String,
        /// Where it differs.
        differences: String,
    },
}

impl From<ExtractError> for RecoveryError {
    fn from(error: ExtractError) -> Self {
        Self::Extract(Box::new(error))
    }
}

impl From<crate::kit::KitError> for RecoveryError {
    fn from(error: crate::kit::KitError) -> Self {
        match error {
            crate::kit::KitError::Vault(error) => Self::Vault(error),
            other => Self::Kit(Box::new(other)),
        }
    }
}

impl From<ReplaceError> for RecoveryError {
    fn from(error: ReplaceError) -> Self {
        Self::Replace(Box::new(error))
    }
}

impl From<BucketError> for RecoveryError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(Box::new(error))
    }
}

impl From<InPlaceError> for RecoveryError {
    fn from(error: InPlaceError) -> Self {
        Self::InPlace(Box::new(error))
    }
}

impl RecoveryError {
    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Vault(error) => match error {
                VaultError::NoSnapshot { .. } | VaultError::AmbiguousSnapshot { .. } => {
                    Some("`rekindle points` lists them".to_owned())
                }
                VaultError::NoSuchPath { .. } => {
                    Some("`rekindle points show POINT` tells what is in it".to_owned())
                }
                VaultError::VaultExists { .. } => Some(
                    "it is kept as it is; `rekindle vault stats` tells what is in it".to_owned(),
                ),
                VaultError::NoKey { .. } | VaultError::AmbiguousKey { .. } => {
                    Some("`rekindle vault keys` lists them".to_owned())
                }
                VaultError::KeyNeeded { .. } => Some(
                    "`rekindle vault keys add` adds another password; `vault keys rotate` changes the one in use"
                        .to_owned(),
                ),
                VaultError::PasswordChanged { .. } => Some(
                    "the configuration must give the password of today; `rekindle vault keys` tells who made it"
                        .to_owned(),
                ),
                VaultError::NoHold { .. } | VaultError::HoldExists { .. } => {
                    Some("`rekindle hold list` lists them".to_owned())
                }
                error => vault_hint(error),
            },
            Self::Checksum { .. } => Some(
                "it is damaged or another file: get it again; nothing was stored".to_owned(),
            ),
            Self::Tarball { reason, .. } if reason.contains("leads out of it, to") => {
                Some("`--allow outside-links` stores such links as they are".to_owned())
            }
            Self::Tarball { reason, .. } if reason.contains("a device or a pipe") => {
                Some("`--allow devices` stores them as they are".to_owned())
            }
            Self::ExportExists { .. } => {
                Some("it is kept as it is: choose another directory, or move it away".to_owned())
            }
            Self::TagOrId { wanted } => {
                Some(format!("write `tag:{wanted}`, or more digits of the id"))
            }
            Self::NoMoment { .. } => Some(
                "write it as `@2026-11-21 14:30`, with a zone as in `+01` or in this machine's own".to_owned(),
            ),
            Self::Capture { source, .. } | Self::Settings { source, .. } => source.hint(),
            Self::Commit(BackupError::Vault(error)) => vault_hint(error),
            Self::RestoreDatabase { source, .. } => restore_database_hint(source),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::StoreCredentials(_) => Some(
                "`credentials_file` beside the vault's place names a file with its access keys"
                    .to_owned(),
            ),
            Self::VaultPassword(_) => Some(
                "`vault.password_file` names a file with the vault's password; without it nothing \
                 can be read"
                    .to_owned(),
            ),
            Self::UnknownCopy { .. } => Some("`rekindle config show` lists the copies".into()),
            Self::Copy { source, .. } => source.hint(),
            Self::CopyTo { source, .. } => source.vault_error().and_then(vault_hint),
            Self::CopyNotMade { name } => {
                Some(format!("`rekindle copy run {name}` makes and fills it"))
            }
            Self::CopyGone { name, .. } => Some(format!(
                "is its disk not mounted, or its bucket another one? If it is lost, \
                 `rekindle copy create {name} --anew` makes a new one"
            )),
            Self::CopyReplaced { name, .. } => Some(format!(
                "is another disk mounted there? If this one is to be the copy from now on, say \
                 `rekindle copy create {name} --anew`"
            )),
            Self::CopyOfItself { .. } => {
                Some("name another place in `vault.copies`, best another machine".into())
            }
            Self::UnknownService { .. } => Some("`rekindle config show` lists the services".into()),
            Self::ServiceNotInPoint { .. } | Self::DatabaseNotInPoint { .. } => {
                Some("`rekindle points` lists what each point holds".to_owned())
            }
            Self::NoManifest { .. } => Some(
                "restore its files as they lie, without --service; or `rekindle vault check`"
                    .into(),
            ),
            Self::Restore { source, .. } => restore_hint(source),
            Self::Target(error) => error.hint(),
            Self::Archive(error) => error.hint().map(str::to_owned),
            Self::Wal { .. } => Some(
                "`rekindle wal windows` lists the moments that do not need it; \
                 `rekindle vault check --read-data` looks for more damage"
                    .to_owned(),
            ),
            Self::Foreign(error) => error.hint(),
            Self::NotInDump { instead, .. } => Some(instead.clone()),
            Self::Server { source, .. } => server_hint(source),
            Self::NothingSetAside { .. } => Some(
                "`restore --from … --swap` sets the live database aside under a name with \
                 `_before_` and the time"
                    .to_owned(),
            ),
            Self::Refused { findings, .. } => refused_hint(findings),
            Self::RetentionBlocked { .. } => Some(
                "`rekindle hold list` lists the holds; `restore --in-place --undo` or `--discard` ends an \
                 open recovery"
                    .to_owned(),
            ),
            Self::HoldsChanged => Some("`rekindle retention show` looks again".to_owned()),
            Self::HeldBack { refused } => {
                let mut force: Vec<_> = refused
                    .iter()
                    .map(|held| format!("--force {}", held.guard))
                    .collect();
                force.sort();
                force.dedup();
                Some(format!("`{}` forgets it at your own risk", force.join(" ")))
            }
            Self::NotLoadable { source, .. } => source.hint(),
            Self::InPlace(error) => error.hint(),
            Self::Replace(error) => error.hint(),
            Self::Bucket(error) => error.hint(),
            Self::Rest { source, .. } => source.hint(),
            Self::NotStreaming { .. } => {
                Some("`wal: stream` at a postgres dataset turns it on".to_owned())
            }
            Self::WalStream { source, .. } => source.hint(),
            Self::Extract(error) => error.hint(),
            Self::Kit(error) => kit_hint(error),
            _ => None,
        }
    }

    /// Whether a copy is not there, and never was.
    pub(crate) fn is_absent_copy(&self) -> bool {
        match self {
            Self::Copy { source, .. } => source.is_absent_copy(),
            Self::Vault(VaultError::NoVault { .. }) => true,
            _ => false,
        }
    }

    /// Whether data that is stored turned out not to be restorable.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Vault(error) => error.is_damage_or_missing(),
            Self::Restore { source, .. } => match &**source {
                RestoreError::Incomplete { .. } => true,
                RestoreError::Vault(error) => error.is_damage_or_missing(),
                _ => false,
            },
            Self::Archive(error) => error.is_damage(),
            Self::Bucket(error) => error.is_damage(),
            Self::NotStartable { .. } | Self::NoManifest { .. } | Self::Wal { .. } => true,
            Self::Target(crate::wal::TargetError::Asking(error)) => error.is_damage(),
            Self::InPlace(error) => error.is_damage(),
            _ => false,
        }
    }
}

fn kit_hint(error: &crate::kit::KitError) -> Option<String> {
    use crate::kit::KitError;
    Some(match error {
        KitError::Recipient(_) | KitError::NoEscrow => {
            "`age-keygen -y KEYFILE` prints the recipient of a secret key".to_owned()
        }
        KitError::Seal { .. } => {
            "`--identity FILE` gives the secret key of a recipient, `--passphrase-file FILE` a passphrase".to_owned()
        }
        _ => return None,
    })
}

fn server_hint(error: &pg::Error) -> Option<String> {
    let refusal = error.server_error();
    if refusal.is_some_and(|refusal| refusal.sqlstate == "55006") {
        return Some(
            "a session did not end, or a prepared transaction waits (`SELECT * FROM \
             pg_prepared_xacts`); nothing was changed"
                .to_owned(),
        );
    }
    match error.root() {
        pg::Error::NotPermitted { .. } => Some(
            "the role must own both databases and have CREATEDB, or be superuser; nothing was \
             changed"
                .to_owned(),
        ),
        _ => error.hint().map(str::to_owned),
    }
}

fn refusals(findings: &[GuardFinding]) -> String {
    let refusals = findings.iter().filter(|finding| guard::is_refusal(finding));
    refusals
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// How to go on all the same, where that can be.
fn refused_hint(findings: &[GuardFinding]) -> Option<String> {
    let refusals = || findings.iter().filter(|finding| guard::is_refusal(finding));
    let mut force: Vec<_> = refusals()
        .filter(|finding| finding.guard.can_be_forced())
        .map(|finding| format!("--force {}", finding.guard))
        .collect();
    force.dedup();
    if let Some(fixed) = refusals().find(|finding| !finding.guard.can_be_forced()) {
        return Some(match fixed.guard {
            Guard::TargetExists => "choose another name; nothing was touched".to_owned(),
            _ => fixed.advice.clone(),
        });
    }
    Some(format!(
        "nothing was touched; `{}` goes on at your own risk",
        force.join(" ")
    ))
}

/// What a server's refusal means here is not what it means to a backup.
fn restore_database_hint(error: &DumpError) -> Option<String> {
    match error {
        DumpError::Postgres(error) if matches!(error.root(), pg::Error::NotPermitted { .. }) => {
            Some(
                "the role needs CREATEDB, and to be superuser where tables belong to other roles"
                    .to_owned(),
            )
        }
        error => dump_hint(error),
    }
}

fn restore_hint(error: &RestoreError) -> Option<String> {
    Some(match error {
        RestoreError::TargetNotEmpty { .. } => {
            "name an empty or new directory; nothing was touched".to_owned()
        }
        RestoreError::TargetBusy { .. } => "wait for it, or name another directory".to_owned(),
        RestoreError::NoSpace { .. } => "name a directory on a larger disk".to_owned(),
        RestoreError::Incomplete { .. } => {
            "`rekindle vault check --read-data` tells which recovery points are whole; restore one \
             of those"
                .to_owned()
        }
        RestoreError::Vault(error) => return vault_hint(error),
        RestoreError::Target { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            "the target's disk is full: make room and run the same command again".to_owned()
        }
        RestoreError::Target { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            "only root gives files to other users: run it as root, or without --owner".to_owned()
        }
        _ => return None,
    })
}
