//! `rekindle kit`: what restores when all of this is gone.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rekindle_recovery::kit::{KitKey, KitSeal, KitSource, OpenedKit, make_kit, open_kit};
use rekindle_stack::{Secret, SecretSource};
use rekindle_vault::{age::Identity, durable};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::write_json,
    secrets,
};

const EXAMPLES: &str = "\
Examples:
  rekindle kit --out /media/usb
  rekindle kit open rekindle-kit-shop.age --identity key.txt --to kit
  rekindle --config kit/rekindle.yaml restore latest --to /srv/restored

Writes rekindle-kit-STACK.age, sealed to the recipients of `vault.escrow` or else by a passphrase, with
the vault's password, the key of the WAL archive, access keys and the configuration; and
rekindle-kit-STACK.html, a page to print, without a secret, with the commands that restore this
stack by restic, age, zstd and pg_ctl alone.";

/// Arguments of `kit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct KitArgs {
    #[command(subcommand)]
    command: Option<KitCommand>,
    /// The directory to write to; earlier kits in it are replaced
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Subcommand)]
enum KitCommand {
    /// Open a kit into a directory, ready for use
    Open(OpenArgs),
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct PassphraseArgs {
    /// A file that holds a passphrase for the kit, which counts instead of `vault.escrow`
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// An environment variable that holds one
    #[arg(long, value_name = "NAME")]
    passphrase_env: Option<String>,
}

/// Arguments of `kit open`.
#[derive(Debug, Args)]
struct OpenArgs {
    /// The kit
    kit: PathBuf,
    /// A new or empty directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A file with the secret key of a recipient of `vault.escrow`, as age-keygen writes it; without
    /// it, the passphrase is asked for
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_env"])]
    identity: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Makes a kit, or opens one.
///
/// # Errors
/// As a secret cannot be read, or a file not be written.
pub fn run(app: &App, args: &KitArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    match &args.command {
        Some(KitCommand::Open(open)) => opened(app, open, out),
        None => make(app, args, out),
    }
}

fn make(app: &App, args: &KitArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let path = app.config_path()?;
    let stack = app.stack()?;
    let config = fs::read_to_string(&path).map_err(CliError::io("read", path.display()))?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let hint =
        "`vault.escrow` names recipients of age; `--passphrase-file FILE` gives a passphrase";
    let seal = match args.passphrase.given()? {
        Some(passphrase) => KitSeal::Passphrase(passphrase),
        None if !stack.vault.escrow.is_empty() => KitSeal::Escrow,
        None => KitSeal::Passphrase(secrets::typed_twice("passphrase of the kit", hint)?),
    };
    let source = KitSource {
        stack: &stack,
        config: &config,
        vault: &vault,
        seal,
    };
    let now = Timestamp::now();
    let kit = make_kit(&source, now)?;
    let (sealed, page) = (args.out.join(&kit.file_name), args.out.join(&kit.page_name));
    write_file(&sealed, &kit.sealed, 0o600)?;
    write_file(&page, kit.page.as_bytes(), 0o644)?;
    kit.remember(&source, now)?;
    if app.is_json() {
        let value = json!({ "file": sealed, "page": page, "missing": kit.missing });
        write_json(out, &value)?;
    } else {
        writeln!(out, "wrote {}", sealed.display())?;
        writeln!(out, "wrote {}", page.display())?;
        app.note("print the page, and keep both away from this machine; try it once: `rekindle kit open`");
    }
    for missing in &kit.missing {
        app.warn(format_args!("not in the kit: {missing}"));
    }
    Ok(match kit.missing.is_empty() {
        true => Exit::Done,
        false => Exit::Partly,
    })
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    durable::replace(path, content, mode).map_err(CliError::io("write", path.display()))
}

impl PassphraseArgs {
    fn given(&self) -> Result<Option<Secret>, CliError> {
        let file = self.passphrase_file.clone().map(SecretSource::File);
        let variable = self.passphrase_env.clone().map(SecretSource::Env);
        match file.or(variable) {
            Some(source) => Ok(Some(source.read()?)),
            None => Ok(None),
        }
    }
}

fn opened(app: &App, args: &OpenArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let sealed = fs::read(&args.kit).map_err(CliError::io("read", args.kit.display()))?;
    let key = match (&args.identity, args.passphrase.given()?) {
        (Some(file), _) => KitKey::Identity(Box::new(identity(file)?)),
        (None, Some(passphrase)) => KitKey::Passphrase(passphrase),
        (None, None) => {
            let hint =
                "`--identity FILE` opens a kit of `vault.escrow`, `--passphrase-file FILE` another";
            KitKey::Passphrase(secrets::typed("passphrase of the kit", hint)?)
        }
    };
    let OpenedKit { config, files } = open_kit(sealed, &key, &args.to).map_err(failed)?;
    if app.is_json() {
        write_json(out, &json!({ "config": config, "files": files }))?;
        return Ok(Exit::Done);
    }
    writeln!(out, "opened into {}; it holds secrets", args.to.display())?;
    let config = crate::output::quoted(&config);
    app.next([
        format!("rekindle --config {config} points"),
        format!("rekindle --config {config} restore latest --to DIR"),
    ]);
    Ok(Exit::Done)
}

fn failed(error: rekindle_recovery::kit::KitError) -> CliError {
    rekindle_recovery::RecoveryError::from(error).into()
}

fn identity(file: &Path) -> Result<Identity, CliError> {
    let secret = SecretSource::File(file.to_owned()).read()?;
    Identity::find_in(secret.expose()).ok_or_else(|| {
        let text = format!("there is no secret key of age in {}", file.display());
        CliError::io("use", text)(io::ErrorKind::InvalidData.into())
    })
}
