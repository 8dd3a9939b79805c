//! Bringing a dump from elsewhere into a new database.

mod filter;
mod psql;
mod rows;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::thread;

pub use rows::row_differences;

use super::created::CreatedDatabase;
use super::foreign::DumpForm;
use super::restore::{Side, connection_string, feed};
use super::running::Running;
use super::{DatabaseInfo, DumpError, Tools};
use crate::client::{Client, Mode};
use crate::options::ConnectOptions;
use filter::Filter;

/// What of a dump is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaveOut {
    /// Owners and rights: everything belongs to the role that restores.
    pub ownership: bool,
    /// Tablespaces: everything goes to the default one.
    pub tablespaces: bool,
    /// Extensions of these names.
    pub extensions: BTreeSet<String>,
}

/// Where a dump's bytes come from.
pub enum LoadSource<'a> {
    /// A file without anything wrapped around it, or the directory of a directory archive.
    Path(&'a Path),
    /// Bare content: SQL text or an archive.
    Content(&'a mut (dyn Read + Send)),
}

/// Which database of which dump, and how it is brought back.
#[derive(Clone, Debug)]
pub struct Load {
    /// How the dump is written.
    pub form: DumpForm,
    /// Which database of the dump, from 0. Only SQL text of a cluster has more than one.
    pub section: usize,
    /// What the new database is to be like.
    pub like: Option<DatabaseInfo>,
    /// The tablespace that it lies in; the server's default if `None`.
    pub tablespace: Option<String>,
    /// Whether the dump creates the schema `public` itself.
    pub creates_public: bool,
    /// What is left out.
    pub leave_out: LeaveOut,
    /// Where the dump is from, for the comment on the new database.
    pub origin: String,
}

/// Makes the database `new_name` and fills it from a dump. `admin` is where to log in to make it,
/// with a role that may. On any failure the new database is dropped again; nothing else is ever
/// touched, whatever the dump says of other databases or of roles.
///
/// # Errors
/// [`DumpError::DatabaseExists`] before anything was changed, [`DumpError::ToolFailed`] with what
/// `psql` or `pg_restore` said, [`DumpError::NotWhole`].
pub fn load_database(
    tools: &Tools,
    admin: &ConnectOptions,
    new_name: &str,
    source: LoadSource<'_>,
    load: &Load,
) -> Result<(), DumpError> {
    let created = CreatedDatabase::create(
        admin,
        new_name,
        load.like.as_ref(),
        load.tablespace.as_deref(),
    )?;
    let options = admin
        .clone()
        .with_password_of(admin)
        .with_database(new_name);
    let mut client = Client::connect(&options, Mode::Sql)?;
    if load.creates_public {
        client.query("DROP SCHEMA public")?;
    }
    let server_major = client.major();
    let parameters = psql::parameters(&mut client)?;
    drop(client);
    let filter = Filter::new(load.section, &load.leave_out, &parameters);
    // What `pg_restore` of a newer version sets at its start, an older server does not know; and
    // it cannot leave out an extension.
    let as_text = tools.major() > server_major || !load.leave_out.extensions.is_empty();
    match (load.form.is_archive(), as_text) {
        (false, _) => match source {
            LoadSource::Path(path) => {
                let file = File::open(path).map_err(|source| DumpError::ReadArchive { source })?;
                let text = BufReader::with_capacity(256 << 10, file);
                psql::run(tools, &options, text, filter, || Ok(()))?;
            }
            LoadSource::Content(content) => {
                let text = BufReader::with_capacity(256 << 10, content);
                psql::run(tools, &options, text, filter, || Ok(()))?;
            }
        },
        (true, true) => archive_as_text(tools, &options, source, load, filter)?,
        (true, false) => {
            let database = connection_string(new_name);
            let running = start_restore(tools, &options, &source, load, |command| {
                command.args(["--exit-on-error", "--dbname", &database]);
            })?;
            finish_restore(running, source)?;
        }
    }
    created.keep(&load.origin)
}

/// `pg_restore` writes SQL text, which goes the way of a plain dump.
fn archive_as_text(
    tools: &Tools,
    options: &ConnectOptions,
    source: LoadSource<'_>,
    load: &Load,
    filter: Filter<'_>,
) -> Result<(), DumpError> {
    let mut running = start_restore(tools, options, &source, load, |command| {
        command.arg("--file=-").stdout(Stdio::piped());
    })?;
    let Some(stdout) = running.child().stdout.take() else {
        return running.finish();
    };
    let text = BufReader::with_capacity(256 << 10, stdout);
    thread::scope(|scope| {
        let restoring = scope.spawn(move || finish_restore(running, source));
        psql::run(tools, options, text, filter, || match restoring.join() {
            Ok(restored) => restored,
            Err(_) => Err(DumpError::NotWhole {
                what: "the archive".to_owned(),
                reason: "the thread that read it failed".to_owned(),
            }),
        })
    })
}

fn start_restore(
    tools: &Tools,
    options: &ConnectOptions,
    source: &LoadSource<'_>,
    load: &Load,
    configure: impl FnOnce(&mut std::process::Command),
) -> Result<Running, DumpError> {
    let stdin = match source {
        LoadSource::Path(path) if !path.is_dir() => {
            let file = File::open(path).map_err(|source| DumpError::ReadArchive { source })?;
            Stdio::from(file)
        }
        LoadSource::Path(_) => Stdio::null(),
        LoadSource::Content(_) => Stdio::piped(),
    };
    let format = match load.form {
        DumpForm::Directory => "--format=directory",
        DumpForm::Tar => "--format=tar",
        _ => "--format=custom",
    };
    Running::start(tools, "pg_restore", options, |command| {
        command.arg("--no-password").arg(format).stdin(stdin);
        if load.leave_out.ownership {
            command.args(["--no-owner", "--no-privileges"]);
        }
        if load.leave_out.tablespaces {
            command.arg("--no-tablespaces");
        }
        configure(command);
        if let LoadSource::Path(path) = source
            && load.form == DumpForm::Directory
        {
            command.arg(path);
        }
    })
}

fn finish_restore(mut running: Running, source: LoadSource<'_>) -> Result<(), DumpError> {
    let LoadSource::Content(mut content) = source else {
        return running.finish();
    };
    let fed = match running.child().stdin.take() {
        Some(stdin) => feed(&mut content, stdin),
        None => Err(Side::Tool),
    };
    match fed {
        Ok(()) | Err(Side::Tool) => running.finish(),
        // Dropping it ends the tool: it must not take the end of its input for the archive's.
        Err(Side::Archive(source)) => Err(DumpError::ReadArchive { source }),
    }
}
