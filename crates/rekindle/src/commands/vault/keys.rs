//! `rekindle vault keys`: the passwords of the vault.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use rekindle_stack::SecretSource;
use rekindle_vault::{Password, Vault};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, time, write_json},
    secrets::{self, NewSecretArgs},
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle vault keys
  rekindle vault keys add --new-password-file /root/second-password
  rekindle vault keys rotate             asks for the new password twice
  rekindle vault keys remove 1f0c9a --yes

Every password opens the vault, the WAL archive, and both with stock restic and age. A password that
was removed opens them no more; who copied the vault or its master key before still can.";

/// Arguments of `vault keys`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys
    List,
    /// Add a password by which the vault opens, too
    Add {
        #[command(flatten)]
        new: NewSecretArgs,
    },
    /// Remove a key: its password opens the vault no more
    Remove {
        /// The key: an id, or the beginning of one
        key: String,
        /// Also the key that the configuration's password opens
        #[arg(long)]
        even_in_use: bool,
        /// Remove; without it, only say which
        #[arg(long)]
        yes: bool,
    },
    /// Put a new password in the place of the one in use
    ///
    /// The new one is added and proven, the file of `vault.password_file` is given it, and only then
    /// the old one is removed: one of both opens the vault whenever this is interrupted.
    Rotate {
        #[command(flatten)]
        new: NewSecretArgs,
        /// The configuration is changed by somebody else, who has the new password already
        #[arg(long)]
        keep_password_file: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// As the vault does not open, or fails.
pub fn run(app: &App, args: &KeysArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    match args.command.as_ref().unwrap_or(&KeysCommand::List) {
        KeysCommand::List => list(app, &app.vault()?, out),
        KeysCommand::Add { new } => {
            // Read before the vault is opened: a misspelt name is the likelier mistake.
            let secret = secrets::new_password(new)?;
            let id = app.vault()?.add_key(&Password::new(secret.expose()))?;
            if app.is_json() {
                write_json(out, &json!({ "id": id }))?;
            } else {
                writeln!(out, "added key {}", id.short())?;
            }
            Ok(Exit::Done)
        }
        KeysCommand::Remove {
            key,
            even_in_use,
            yes,
        } => remove(app, key, *even_in_use, *yes, out),
        KeysCommand::Rotate {
            new,
            keep_password_file,
        } => rotate(app, new, *keep_password_file, out),
    }
}

fn list(app: &App, vault: &Vault, out: &mut dyn Write) -> Result<Exit, CliError> {
    let keys = vault.keys()?;
    if app.is_json() {
        write_json(out, &json!({ "keys": keys }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["ID", "MADE BY", "MADE", "IN USE"]);
    for key in keys {
        table.row([
            key.id.short(),
            format!("{}@{}", key.username, key.hostname),
            key.created.map_or_else(|| "?".to_owned(), time),
            if key.current { "yes" } else { "" }.to_owned(),
        ]);
    }
    table.write(out)?;
    Ok(Exit::Done)
}

fn remove(
    app: &App,
    wanted: &str,
    even_in_use: bool,
    yes: bool,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    let key = vault.find_key(wanted)?;
    if yes {
        signals::watch("interrupted: `vault keys` tells which keys are there");
        vault.remove_key(&key.id, even_in_use)?;
    }
    if app.is_json() {
        write_json(out, &json!({ "key": key, "removed": yes }))?;
    } else {
        let (id, who) = (key.id.short(), format!("{}@{}", key.username, key.hostname));
        let verb = if yes { "removed" } else { "would remove" };
        writeln!(out, "{verb} key {id} of {who}")?;
    }
    if yes {
        return Ok(Exit::Done);
    }
    app.next([app.command(format_args!("vault keys remove {wanted} --yes"))]);
    Ok(Exit::ApprovalNeeded)
}

fn rotate(
    app: &App,
    new: &NewSecretArgs,
    keep_password_file: bool,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let file = password_file(&stack.vault.password, keep_password_file)?;
    let secret = secrets::new_password(new)?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch("interrupted: one of both passwords opens the vault; run it again");
    let rotation = vault.begin_rotation(&Password::new(secret.expose()))?;
    if let Some(path) = &file {
        let text = format!("{}\n", secret.expose());
        let written = secrets::replace_in_place(path, text.as_bytes());
        written.map_err(|source| CliError::Step {
            doing: "give the password file the new password".to_owned(),
            source: Box::new(CliError::io("write", path.display())(source)),
            hint: "both passwords open the vault now; change the file, then remove the old key: \
                   `rekindle vault keys`"
                .to_owned(),
        })?;
    }
    let rotated = rotation.finish().map_err(|source| CliError::Step {
        doing: "remove the old password".to_owned(),
        source: Box::new(source.into()),
        hint: "the new password is in effect; `rekindle vault keys remove` ends the old one"
            .to_owned(),
    })?;
    if app.is_json() {
        write_json(out, &json!({ "new": rotated.new, "removed": rotated.old }))?;
        return Ok(Exit::Done);
    }
    let (new, old) = (rotated.new.short(), rotated.old.short());
    writeln!(out, "the password is changed: key {new} instead of {old}")?;
    match file {
        Some(path) => app.note(format_args!("{} has the new password", path.display())),
        None => app.note("the configuration must give the new password from now on"),
    }
    app.note("what holds the old one is out of date: other machines, the kit");
    app.next([app.command("kit")]);
    Ok(Exit::Done)
}

fn password_file(source: &SecretSource, keeps: bool) -> Result<Option<PathBuf>, CliError> {
    match source {
        _ if keeps => Ok(None),
        SecretSource::File(path) => Ok(Some(path.clone())),
        _ => Err(CliError::wrong_use(
            "the password of the vault is not in a file, so only you can change it",
            "`--keep-password-file` says that the configuration will have the new one",
        )),
    }
}
