//! `rekindle init`.

mod engine;
mod password;
mod project;
mod units;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf, absolute},
};

use clap::Args;
use rekindle_recovery::RecoveryError;
use rekindle_stack::{FILE_NAME, Name, ServiceUrl, Stack, TemplateServices, VaultLocation};
use rekindle_vault::{VaultError, durable};
use serde_json::json;

use self::project::Found;
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, paint, quoted, write_json},
};

const EXAMPLES: &str = "\
Examples:
  rekindle init                          in the directory of a Compose file: finds out what to back up
  rekindle init --compose /srv/shop/compose.yaml
  rekindle init --project shop           a project that runs, wherever its files are
  rekindle init --systemd                the databases that run as units of systemd
  rekindle init --unit shop --unit postgresql@15-main
  rekindle init --patch                  restart policies and health checks that the project lacks
  rekindle init --postgres postgres://backup@localhost:5432/postgres
  rekindle init /etc/rekindle --stack shop --vault /backups/vault
  rekindle init --vault \"s3://bucket/vault\" --credentials-file s3-keys
  rekindle init --dry-run                what would be written, without writing it

Nothing that exists is overwritten. A password file that exists is used as it is.";

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// The directory of the new rekindle.yaml, or the file itself. Default: the current directory
    #[arg(value_name = "DIR|FILE")]
    place: Option<PathBuf>,
    /// Name of the stack. Default: that of the directory
    #[arg(long, value_name = "NAME")]
    stack: Option<Name>,
    /// Where recovery points go; best on another disk. Default: `vault` beside the file
    #[arg(long, value_name = "PATH")]
    vault: Option<String>,
    /// The file of the access keys of the vault's store, if that is no directory
    #[arg(long, value_name = "PATH")]
    credentials_file: Option<PathBuf>,
    /// The file of the vault's password. Default: `vault-password` beside the file
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
    /// A PostgreSQL server to back up
    #[arg(long, value_name = "URL", value_parser = parse_postgres)]
    postgres: Option<ServiceUrl>,
    /// A Compose file to find out what to back up; again for each that is merged into it. Default: those that Compose
    /// finds in the directory of the new rekindle.yaml
    #[arg(long, value_name = "FILE", conflicts_with = "postgres")]
    compose: Vec<PathBuf>,
    /// A Compose project that runs, found through Docker's socket: by its Compose files if they are still there, else by what its
    /// containers tell
    #[arg(long, value_name = "NAME", conflicts_with_all = ["postgres", "compose"])]
    project: Option<String>,
    /// Units of systemd that run: those of `--unit`, else those of databases and stores that are known
    #[arg(long, conflicts_with_all = ["postgres", "compose", "project"])]
    systemd: bool,
    /// A unit of systemd to find out what to back up; again for each
    #[arg(long, value_name = "UNIT", conflicts_with_all = ["postgres", "compose", "project"])]
    unit: Vec<String>,
    /// Print a Compose file with the restart policies and health checks that the project lacks, or a drop-in with the restart
    /// policies that units lack, and write nothing
    #[arg(long, conflicts_with_all = ["postgres", "dry_run"])]
    patch: bool,
    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is to be made, with absolute paths.
struct Layout {
    config: PathBuf,
    password_file: PathBuf,
    vault: VaultLocation,
    text: String,
    /// Whether a password stands in the text, so that nobody else may read it.
    is_secret: bool,
    /// Whether the services in the text are made up.
    is_example: bool,
    /// What the services were found in.
    found: Option<Found>,
}

/// Writes the configuration and the password, and makes the vault.
///
/// # Errors
/// If the configuration exists, or something could not be written; what was written stays.
pub fn run(app: &App, args: &InitArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    if args.patch {
        return project::patch(app, args, out);
    }
    let layout = layout(app, args)?;
    refuse_to_overwrite(&layout.config)?;
    if args.dry_run {
        return dry_run(app, &layout, out);
    }
    let folder = layout.config.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(CliError::io("make", folder.display()))?;
    let is_new_password = write_password(&layout.password_file)?;
    let mode = if layout.is_secret { 0o600 } else { 0o644 };
    durable::create(&layout.config, layout.text.as_bytes(), mode)
        .map_err(CliError::io("write", layout.config.display()))?;
    if let Some(found) = &layout.found {
        project::write_secrets(app, found, folder)?;
    }
    let is_new_vault = make_vault(&layout)?;
    tell(app, &layout, is_new_password, is_new_vault, out)?;
    Ok(Exit::Done)
}

fn layout(app: &App, args: &InitArgs) -> Result<Layout, CliError> {
    let config = config_path(app, args)?;
    let folder = config.parent().unwrap_or(Path::new("/")).to_owned();
    let here = env::current_dir().map_err(CliError::io("find", "the current directory"))?;
    let vault = match &args.vault {
        Some(text) => VaultLocation::parse(text, &here).map_err(|error| CliError::WrongUse {
            text: format!("--vault {text}: {error}"),
            hint: error.help().map(str::to_owned),
        })?,
        None => VaultLocation::Local(folder.join("vault")),
    };
    let password_file = match &args.password_file {
        Some(path) => here.join(path),
        None => folder.join("vault-password"),
    };
    let credentials_file = args.credentials_file.as_ref().map(|path| here.join(path));
    if let Some(missing) = credentials_file.as_ref().filter(|path| !path.exists()) {
        return Err(CliError::wrong_use(
            format!("there is no file {}", missing.display()),
            "write the access keys to it first; the guide to stores says how",
        ));
    }
    let postgres = args.postgres.as_ref();
    let found = match postgres {
        Some(_) => None,
        None => project::find(args, &folder)?,
    };
    let of_project = found
        .as_ref()
        .and_then(|found| found.project()?.name.parse().ok());
    let stack = match (&args.stack, of_project) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name,
        (None, None) => stack_name(&folder)?,
    };
    let services = match (postgres, &found) {
        (Some(url), _) => TemplateServices::Postgres(url),
        (None, Some(found)) => TemplateServices::Project(&found.proposal),
        (None, None) => TemplateServices::Example,
    };
    Ok(Layout {
        text: rekindle_stack::template(
            &stack,
            &vault,
            credentials_file.as_deref(),
            &password_file,
            &services,
        ),
        is_secret: postgres.is_some_and(|url| url.password().is_some()),
        is_example: postgres.is_none() && found.is_none(),
        found,
        config,
        password_file,
        vault,
    })
}

fn config_path(app: &App, args: &InitArgs) -> Result<PathBuf, CliError> {
    let place = match (&args.place, &app.global.config) {
        (Some(place), _) => place.clone(),
        (None, Some(config)) => return absolute_path(config),
        (None, None) => PathBuf::from("."),
    };
    let place = absolute_path(&place)?;
    let is_yaml = place
        .extension()
        .is_some_and(|end| end == "yaml" || end == "yml");
    Ok(if is_yaml && !place.is_dir() {
        place
    } else {
        place.join(FILE_NAME)
    })
}

fn absolute_path(path: &Path) -> Result<PathBuf, CliError> {
    absolute(path).map_err(CliError::io("find", path.display()))
}

/// The name of the directory, as far as it is one of a stack.
fn stack_name(folder: &Path) -> Result<Name, CliError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    name.parse().map_err(|error| {
        CliError::wrong_use(
            format!("{} gives the stack no name: {error}", folder.display()),
            "name it with `--stack NAME`",
        )
    })
}

fn refuse_to_overwrite(config: &Path) -> Result<(), CliError> {
    // A dangling link is something, too.
    if config.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(CliError::Exists {
        path: config.display().to_string(),
        hint: "it is kept as it is; `rekindle config check` reads it".to_owned(),
    })
}

fn dry_run(app: &App, layout: &Layout, out: &mut dyn Write) -> Result<Exit, CliError> {
    if app.is_json() {
        write_json(
            out,
            &json!({ "dry_run": true, "config": layout.config,
            "password_file": layout.password_file, "vault": layout.vault.to_string(),
            "content": masked(layout)?, "project": layout.found.as_ref().map(Found::to_json) }),
        )?;
        return Ok(Exit::Done);
    }
    app.note(format_args!("would write {}:\n", layout.config.display()));
    out.write_all(masked(layout)?.as_bytes())?;
    let verb = if layout.password_file.exists() {
        "use the password in"
    } else {
        "write a random password to"
    };
    app.note(format_args!(
        "\nwould {verb} {}",
        layout.password_file.display()
    ));
    app.note(format_args!("would make a vault at {}", layout.vault));
    if let Some(found) = &layout.found {
        for file in &found.proposal.secrets {
            app.note(format_args!(
                "would write a secret of the project to {}",
                file.name.display()
            ));
        }
        found.remarks(app);
    }
    if layout.is_example {
        app.note(format_args!("\n{}", looked_for(layout)));
    }
    Ok(Exit::Done)
}

/// Why the services are made up.
fn looked_for(layout: &Layout) -> String {
    engine::looked_for(layout.config.parent().unwrap_or(Path::new("/")))
}

/// The text to show: a password in a URL must not end up in somebody's scrollback.
fn masked(layout: &Layout) -> Result<String, CliError> {
    if !layout.is_secret {
        return Ok(layout.text.clone());
    }
    let loaded = Stack::parse(&layout.text, &layout.config)?;
    Ok(rekindle_stack::show(&loaded.stack))
}

/// Whether the password is a new one.
fn write_password(path: &Path) -> Result<bool, CliError> {
    let mut text = password::random()?;
    text.push('\n');
    match durable::create(path, text.as_bytes(), 0o600) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(CliError::io("write", path.display())(error)),
    }
}

/// Whether the vault is a new one. One that is there must open with the password.
fn make_vault(layout: &Layout) -> Result<bool, CliError> {
    let stack = Stack::load(&layout.config)?.stack;
    let made = match rekindle_recovery::create_vault(&stack.vault) {
        Err(RecoveryError::Vault(VaultError::VaultExists { .. })) => {
            rekindle_recovery::open_vault(&stack.vault).map(|_| false)
        }
        other => other.map(|_| true),
    };
    made.map_err(|source| CliError::Step {
        doing: format!(
            "{} was written, and the vault was not made",
            layout.config.display()
        ),
        hint: source.hint().unwrap_or_default()
            + "\n      then `rekindle vault init` makes it, with the files that are there now",
        source: Box::new(source.into()),
    })
}

fn tell(
    app: &App,
    layout: &Layout,
    is_new_password: bool,
    is_new_vault: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (config, password) = (layout.config.display(), layout.password_file.display());
    if app.is_json() {
        write_json(
            out,
            &json!({ "config": layout.config, "password_file": layout.password_file,
            "vault": layout.vault.to_string(), "new_password": is_new_password,
            "new_vault": is_new_vault, "project": layout.found.as_ref().map(Found::to_json) }),
        )?;
    } else {
        let made = |is_new| if is_new { "made" } else { "kept" };
        writeln!(out, "wrote  {config}")?;
        writeln!(out, "{}   {password}", made(is_new_password))?;
        writeln!(
            out,
            "{}   the vault at {}",
            made(is_new_vault),
            layout.vault
        )?;
        if let Some(found) = &layout.found {
            found.write_matrix(out)?;
        }
    }
    if let Some(found) = &layout.found {
        found.remarks(app);
    }
    if layout.is_example && !app.is_json() {
        app.note(format_args!("\n{}", looked_for(layout)));
    }
    let label = paint(
        &app.global,
        Paint::Yellow,
        "KEEP THE PASSWORD SOMEWHERE ELSE, TOO:",
    );
    app.note(format_args!(
        "\n{label} print {password}, or put it\ninto a password manager. \
         Without it, nobody can restore anything from this vault.\n"
    ));
    if layout.is_secret {
        app.warn(format_args!(
            "the database password stands in {config}; `password_file` keeps it out"
        ));
    }
    let prefix = match env::current_dir() {
        Ok(here) if here.join(FILE_NAME) == layout.config => "rekindle".to_owned(),
        _ => format!("rekindle --config {}", quoted(&layout.config)),
    };
    let describe = format!("say in {config} what your services are");
    let commands =
        ["config check", "doctor", "backup"].map(|command| format!("{prefix} {command}"));
    app.next(
        layout
            .is_example
            .then_some(describe)
            .into_iter()
            .chain(commands),
    );
    Ok(())
}

fn parse_postgres(text: &str) -> Result<ServiceUrl, String> {
    ServiceUrl::parse(text, &["postgres", "postgresql"]).map_err(|error| error.to_string())
}
