//! `rekindle vault init|stats|unlock`; the others are in files of their own.

mod check;
mod heal;
mod keys;
mod object_lock;
pub mod parity;
mod prune;
mod rebuild_index;
mod salvage;

use std::io::Write;

use clap::Subcommand;
use rekindle_vault::{FoundLock, LockInfo, LockOwner, Vault};
use serde_json::{Value, json};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{bytes, time, write_json},
};

const CHECK_EXAMPLES: &str = "\
Examples:
  rekindle vault check                   structure: every recovery point has all it needs
  rekindle vault check --read-data       reads and verifies every stored byte, too
  rekindle vault check --budget 10GiB    as much as that each day, what was verified longest ago first

Damage is told by what it hits. Exit code 4 if something cannot be restored, 0 if all is whole.";

const HEAL_EXAMPLES: &str = "\
Examples:
  rekindle vault heal --dry-run          what is damaged, and what of it parity or a copy has
  rekindle vault heal                    brings it back, from parity and all copies of rekindle.yaml
  rekindle vault heal --from offsite     from this one only

Damaged files are set aside in the vault, never deleted. Exit code 4 if something stays lost.";

const SALVAGE_EXAMPLES: &str = "\
Examples:
  rekindle vault salvage --list          recovery points, and what is left of others
  rekindle vault salvage --to /srv/out   everything that can still be read

For a vault that cannot be healed: packs, recovery points, the index or the configuration may be gone.
Needs a key file and its password. Exit code 5 if something came out with holes.";

const REBUILD_EXAMPLES: &str = "\
Examples:
  rekindle vault rebuild-index           what is wrong with the index
  rekindle vault rebuild-index --yes     makes it right, from what the packs say of themselves

Exit code 7 if there is something to do and --yes was not given.";

/// Commands of `vault`.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Make the vault that rekindle.yaml names
    Init,
    /// Check that every recovery point can be restored
    #[command(after_help = CHECK_EXAMPLES)]
    Check(check::CheckArgs),
    /// Remove what no recovery point needs
    #[command(after_help = prune::EXAMPLES)]
    Prune(prune::PruneArgs),
    /// Show, make or remove the parity that brings back damaged files
    #[command(after_help = parity::EXAMPLES)]
    Parity(parity::ParityArgs),
    /// Store anew what is damaged or missing, from parity and from copies of the vault
    #[command(after_help = HEAL_EXAMPLES)]
    Heal(heal::HealArgs),
    /// Make the index anew from the packs
    #[command(after_help = REBUILD_EXAMPLES)]
    RebuildIndex(rebuild_index::RebuildIndexArgs),
    /// Bring out what can still be read of a vault that is beyond healing
    #[command(after_help = SALVAGE_EXAMPLES)]
    Salvage(salvage::SalvageArgs),
    /// Print counts and sizes of what is stored
    Stats,
    /// List, add, remove and change the passwords that open the vault
    Keys(keys::KeysArgs),
    /// Look after the locks that keep objects of a bucket from being deleted
    #[command(subcommand)]
    ObjectLock(object_lock::ObjectLockCommand),
    /// Remove locks that nobody can be behind
    Unlock,
}

/// Runs the command.
///
/// # Errors
/// As the vault does not open, or fails.
pub fn run(app: &App, command: &VaultCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        VaultCommand::Init => init(app, out),
        VaultCommand::Check(args) => check::run(app, args, out),
        VaultCommand::Prune(args) => prune::run(app, args, out),
        VaultCommand::Parity(args) => parity::run(app, args, out),
        VaultCommand::Heal(args) => heal::run(app, args, out),
        VaultCommand::RebuildIndex(args) => rebuild_index::run(app, args, out),
        VaultCommand::Salvage(args) => salvage::run(app, args, out),
        VaultCommand::Stats => stats(app, &app.vault()?, out),
        VaultCommand::Keys(args) => keys::run(app, args, out),
        VaultCommand::ObjectLock(command) => object_lock::run(app, command, out),
        VaultCommand::Unlock => unlock(app, &app.vault()?, out),
    }
}

fn init(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = rekindle_recovery::create_vault(&app.stack()?.vault)?;
    let (location, id) = (vault.location(), &vault.config().id);
    if app.is_json() {
        write_json(out, &json!({ "location": location, "id": id }))?;
        return Ok(Exit::Done);
    }
    writeln!(out, "made a vault at {location}")?;
    app.note("keep its password somewhere else, too: without it nothing can be restored");
    app.next([app.command("doctor"), app.command("backup")]);
    Ok(Exit::Done)
}

fn stats(app: &App, vault: &Vault, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stats = vault.stats()?;
    if app.is_json() {
        write_json(out, &stats)?;
        return Ok(Exit::Done);
    }
    writeln!(out, "vault            {}", vault.location())?;
    writeln!(out, "recovery points  {}", stats.snapshots)?;
    writeln!(out, "stored           {}", bytes(stats.stored_bytes))?;
    writeln!(out, "uncompressed     {}", bytes(stats.unique_bytes))?;
    writeln!(out, "packs            {}", stats.packs)?;
    writeln!(out, "blobs            {}", stats.blobs)?;
    Ok(Exit::Done)
}

fn unlock(app: &App, vault: &Vault, out: &mut dyn Write) -> Result<Exit, CliError> {
    let removed = vault.unlock_stale()?;
    let remaining = vault.locks()?;
    if app.is_json() {
        let value = json!({ "removed": locks_json(&removed), "remaining": locks_json(&remaining) });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    if removed.is_empty() {
        writeln!(out, "no abandoned lock")?;
    }
    for lock in &removed {
        writeln!(out, "removed lock {} {}", lock.id.short(), owner(lock))?;
    }
    for lock in &remaining {
        let is_what = match &lock.owner {
            LockOwner::Known(_) => "is alive",
            LockOwner::Unreadable { .. } => {
                "is not known to be 30 minutes old: somebody may be behind it"
            }
        };
        app.note(format_args!(
            "lock {} {} {is_what}",
            lock.id.short(),
            owner(lock)
        ));
    }
    Ok(Exit::Done)
}

fn owner(lock: &FoundLock) -> String {
    let info = match &lock.owner {
        LockOwner::Known(info) => info,
        LockOwner::Unreadable { reason } => return format!("that cannot be read ({reason})"),
    };
    let LockInfo {
        username,
        hostname,
        pid,
        ..
    } = info;
    let since = time(info.time);
    format!("of {username} on {hostname} (process {pid}) since {since}")
}

fn locks_json(locks: &[FoundLock]) -> Value {
    let json = |lock: &FoundLock| match &lock.owner {
        LockOwner::Known(info) => json!({ "id": lock.id, "lock": info }),
        LockOwner::Unreadable { reason } => {
            json!({ "id": lock.id, "lock": null, "unreadable": reason })
        }
    };
    Value::Array(locks.iter().map(json).collect())
}
