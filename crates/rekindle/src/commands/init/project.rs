//! `rekindle init` from a Compose project, or from whatever else services are found in.

use std::{
    env,
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rekindle_stack::{
    compose::{self, ComposeError, Project},
    discover::{self, Proposal, Recommendation, Unit},
};
use rekindle_vault::durable;
use serde_json::{Value, json};

use super::{
    InitArgs,
    engine::{self, Running},
    units,
};
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, count, write_json},
};

/// The name under which the patch is best kept.
const PATCH: &str = "compose.rekindle.yaml";

/// A project or units, and what was made of them.
pub(super) struct Found {
    pub source: Source,
    pub proposal: Proposal,
}

/// What services were found in.
pub(super) enum Source {
    Project(Box<Project>),
    Units(Vec<Unit>),
}

/// Reads the units that were asked for, or the project: the one that runs under the name, else the files that were named, else those in the directory of the
/// new configuration, else none.
pub(super) fn find(args: &InitArgs, folder: &Path) -> Result<Option<Found>, CliError> {
    if args.systemd || !args.unit.is_empty() {
        return units::find(&args.unit, folder).map(Some);
    }
    let (mut project, notes) = match &args.project {
        Some(name) => {
            let Running { project, notes } = engine::running(name)?;
            (project, notes)
        }
        None => match of_files(args, folder)? {
            Some(project) => (project, Vec::new()),
            None => return Ok(None),
        },
    };
    engine::locate(&mut project);
    let mut proposal = discover::propose(&project, folder);
    proposal.notes.extend(notes);
    let source = Source::Project(Box::new(project));
    Ok(Some(Found { source, proposal }))
}

fn of_files(args: &InitArgs, folder: &Path) -> Result<Option<Project>, CliError> {
    let here = env::current_dir().map_err(CliError::io("find", "the current directory"))?;
    let files: Vec<PathBuf> = args.compose.iter().map(|file| here.join(file)).collect();
    let variable = |name: &str| env::var(name).ok();
    match compose::load(folder, &files, &variable) {
        Ok(project) => Ok(Some(project)),
        Err(ComposeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

fn wrong(error: &ComposeError) -> CliError {
    let text = match error {
        ComposeError::Read { path, source } => {
            format!("{} cannot be read: {source}", path.display())
        }
        other => other.to_string(),
    };
    CliError::wrong_use(
        text,
        "`docker compose config` tells whether Docker understands it",
    )
}

/// Prints what the project lacks, as a Compose file; changes nothing.
pub(super) fn patch(app: &App, args: &InitArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let config = super::config_path(app, args)?;
    let folder = config.parent().unwrap_or(Path::new("/"));
    let Some(found) = find(args, folder)? else {
        let text = format!("there is no Compose file in {}", folder.display());
        let hint = "name it with `--compose FILE`, or a project that runs with `--project NAME`";
        return Err(CliError::wrong_use(text, hint));
    };
    let project = match &found.source {
        Source::Project(project) => project,
        Source::Units(units) => return units::patch(app, units, out),
    };
    let patch = discover::override_file(project);
    if app.is_json() {
        write_json(
            out,
            &json!({ "patch": patch, "recommendations": found.recommendations() }),
        )?;
        return Ok(Exit::Done);
    }
    for recommendation in discover::recommend(project) {
        let is_known = !matches!(
            recommendation,
            Recommendation::HealthCheck { test: None, .. }
        );
        if !is_known {
            app.note(format_args!(
                "{} {}",
                recommendation.service(),
                recommendation.text()
            ));
        }
    }
    match patch {
        Some(patch) => {
            out.write_all(patch.as_bytes())?;
            app.next([format!("rekindle init --patch > {PATCH}"), up(project)]);
        }
        None => app.note("nothing to add: restart policies and health checks are there"),
    }
    Ok(Exit::Done)
}

fn up(project: &Project) -> String {
    let files = project.files.iter().map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        format!(" -f {name}")
    });
    format!(
        "docker compose{} -f {PATCH} up -d",
        files.collect::<String>()
    )
}

/// Writes the secrets that the configuration names and that stood in the middle of Compose files; those that are
/// there are kept.
pub(super) fn write_secrets(app: &App, found: &Found, folder: &Path) -> Result<(), CliError> {
    for file in &found.proposal.secrets {
        let path = folder.join(&file.name);
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            made.map_err(CliError::io("make", directory.display()))?;
        }
        match durable::create(&path, file.content.expose().as_bytes(), 0o600) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_same =
                    fs::read_to_string(&path).is_ok_and(|text| text == file.content.expose());
                if !is_same {
                    let shown = path.display();
                    app.warn(format_args!(
                        "{shown} exists and is kept; the project says something else"
                    ));
                }
            }
            Err(error) => return Err(CliError::io("write", path.display())(error)),
        }
    }
    Ok(())
}

impl Found {
    /// For programs: no secret is in it.
    pub(super) fn to_json(&self) -> Value {
        let secrets: Vec<_> = self
            .proposal
            .secrets
            .iter()
            .map(|file| &file.name)
            .collect();
        let (name, files, units) = match &self.source {
            Source::Project(project) => (Some(&project.name), project.files.clone(), Vec::new()),
            Source::Units(units) => (None, Vec::new(), units.iter().map(|it| &it.name).collect()),
        };
        json!({ "name": name, "files": files, "units": units, "components": self.proposal.matrix(),
            "secrets": secrets, "notes": self.proposal.notes, "recommendations": self.recommendations() })
    }

    /// The Compose project, if it is one.
    pub(super) fn project(&self) -> Option<&Project> {
        match &self.source {
            Source::Project(project) => Some(project.as_ref()),
            Source::Units(_) => None,
        }
    }

    fn recommendations(&self) -> Vec<Value> {
        match &self.source {
            Source::Project(project) => discover::recommend(project)
                .iter()
                .map(|found| json!({ "service": found.service(), "text": found.text() }))
                .collect(),
            Source::Units(units) => units::recommendations(units),
        }
    }

    /// The component matrix.
    pub(super) fn write_matrix(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let mut table = Table::new([
            "SERVICE",
            "COMPONENT",
            "STATEFUL",
            "RESTORE",
            "IN A RECOVERY",
        ]);
        let yes = |answer| if answer { "yes" } else { "no" }.to_owned();
        for row in self.proposal.matrix() {
            let what = row.what_to_do.to_owned();
            table.row([
                row.service,
                row.component,
                yes(row.stateful),
                yes(row.needs_restore),
                what,
            ]);
        }
        writeln!(out)?;
        table.write(out)?;
        Ok(())
    }

    /// What a person should know of the project.
    pub(super) fn remarks(&self, app: &App) {
        for note in &self.proposal.notes {
            app.warn(note);
        }
        let missing = self.recommendations().len() as u64;
        if missing > 0 {
            let missing = count(missing, "recommendation");
            let (whom, how) = match &self.source {
                Source::Project(_) => (
                    "the project (restart policies, health checks)",
                    "rekindle init --patch".to_owned(),
                ),
                Source::Units(units) => {
                    ("the units (restart policies)", units::patch_command(units))
                }
            };
            app.note(format_args!("\n{missing} for {whom}: `{how}` prints them"));
        }
    }
}
