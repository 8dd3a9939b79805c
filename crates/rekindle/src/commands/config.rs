//! `rekindle config check|show|schema`.

use std::io::Write;

use clap::Subcommand;
use rekindle_stack::{ConfigErrors, Loaded, Problem};
use serde_json::{Value, json};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, count, paint_stdout, problems_json, write_json},
};

const CHECK_EXAMPLES: &str = "\
Examples:
  rekindle config check
  rekindle --config staging.yaml config check --json | jq '.problems[].message'

Secrets are looked at, too: one that cannot be read is an error here. Exit code 2 on errors.";

const SCHEMA_EXAMPLES: &str = "\
Example:
  rekindle config schema > rekindle.schema.json

An editor that speaks YAML checks and completes, given this first line of rekindle.yaml:
  # yaml-language-server: $schema=./rekindle.schema.json";

/// Commands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report everything that is wrong with rekindle.yaml
    #[command(after_help = CHECK_EXAMPLES)]
    Check,
    /// Print what is in effect: defaults filled in, secrets masked
    Show,
    /// Print the JSON Schema of rekindle.yaml
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
}

/// Runs the command.
///
/// # Errors
/// As the configuration cannot be found or, but for `check`, is wrong.
pub fn run(app: &App, command: &ConfigCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Check => check(app, out),
        ConfigCommand::Show => show(app, out),
        ConfigCommand::Schema => {
            write_json(out, &rekindle_stack::json_schema())?;
            Ok(Exit::Done)
        }
    }
}

fn check(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let path = app.config_path()?;
    let (errors, warnings, summary) = match app.load() {
        Ok(loaded) => {
            let summary = summary(&loaded);
            (loaded.unreadable_secrets, loaded.warnings, summary)
        }
        Err(CliError::Config(ConfigErrors::Invalid(problems))) => {
            (problems, Vec::new(), String::new())
        }
        Err(other) => return Err(other),
    };
    if app.is_json() {
        write_json(
            out,
            &json!({
                "file": path.display().to_string(),
                "ok": errors.is_empty(),
                "problems": problems_json(&errors),
                "warnings": problems_json(&warnings),
            }),
        )?;
    } else {
        for warning in &warnings {
            write_problem(app, out, Paint::Yellow, "warning:", warning)?;
        }
        for error in &errors {
            write_problem(app, out, Paint::Red, "error:", error)?;
        }
        let verdict = if errors.is_empty() {
            format!("is fine: {summary}")
        } else {
            format!("has {}", count(errors.len() as u64, "error"))
        };
        let warned = match warnings.len() {
            0 => String::new(),
            number => format!(", {}", count(number as u64, "warning")),
        };
        writeln!(out, "{} {verdict}{warned}", path.display())?;
    }
    Ok(if errors.is_empty() {
        Exit::Done
    } else {
        Exit::WrongUse
    })
}

fn write_problem(
    app: &App,
    out: &mut dyn Write,
    paint: Paint,
    label: &str,
    problem: &Problem,
) -> Result<(), CliError> {
    let label = paint_stdout(&app.global, paint, label);
    Ok(writeln!(out, "{label} {problem}\n")?)
}

fn summary(loaded: &Loaded) -> String {
    let services = &loaded.stack.services;
    let datasets: usize = services.iter().map(|service| service.datasets.len()).sum();
    let (services, datasets) = (
        count(services.len() as u64, "service"),
        count(datasets as u64, "dataset"),
    );
    format!("{services}, {datasets}")
}

fn show(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let text = rekindle_stack::show(&app.stack()?);
    if app.is_json() {
        let value: Value = serde_saphyr::from_str(&text).map_err(|error| CliError::Internal {
            text: format!("the configuration shown is no YAML: {error}"),
        })?;
        write_json(out, &value)?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(Exit::Done)
}
