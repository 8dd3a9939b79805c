//! `rekindle vault parity [make|remove]`.

use std::{io::Write, sync::Arc};

use clap::{Args, Subcommand};
use rekindle_stack as stack;
use rekindle_vault::{ParityReport, ParityScheme, ParityStatus, Progress, Vault};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit, chain},
    output::{bytes, count, write_json},
    progress::Watcher,
    signals,
};

/// What `--help` shows below the options.
pub const EXAMPLES: &str = "\
Examples:
  rekindle vault parity                  how much of the vault is protected
  rekindle vault parity make             protects what is not, by the share of `vault.parity`
  rekindle vault parity make --share 20%
  rekindle vault parity remove --yes     removes all parity

Of each 20 files of about one size, as many can be lost or damaged as there are parity objects: two for 10%. Then
`rekindle vault heal` brings them back without any copy. With `vault.parity` in rekindle.yaml every backup protects
what it stored. Passwords (key files) are not protected: keep the kit.";

/// Arguments of `vault parity`.
#[derive(Debug, Args)]
pub struct ParityArgs {
    #[command(subcommand)]
    command: Option<ParityCommand>,
}

#[derive(Debug, Subcommand)]
enum ParityCommand {
    /// Protect what is not protected
    Make(MakeArgs),
    /// Remove all parity
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// Parity as a share of what it protects, 5% to 50% [default: `vault.parity`, or what there is]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    share: Option<u8>,
    /// Only show what would be read and written
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Do it; without it, only show
    #[arg(long)]
    yes: bool,
}

/// Shows, makes or removes parity.
///
/// # Errors
/// As the vault does not open, or fails.
pub fn run(app: &App, args: &ParityArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let settings = app.stack()?.vault;
    let vault = rekindle_recovery::open_vault(&settings)?;
    match &args.command {
        None => show(app, &vault, out),
        Some(ParityCommand::Make(args)) => make(app, &vault, &settings, args, out),
        Some(ParityCommand::Remove(args)) => remove(app, &vault, args, out),
    }
}

/// After a backup: protects what it stored, if the configuration says so. The recovery point is there whatever goes
/// wrong; that is told here, and is `Err`.
pub fn after_backup(
    app: &App,
    vault: &Vault,
    settings: &stack::Vault,
) -> Result<Option<ParityReport>, ()> {
    let Some(percent) = settings.parity else {
        return Ok(None);
    };
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("making parity", &progress, app.reporting());
    let made = vault.update_parity(ParityScheme::of_percent(percent), &progress);
    drop(watcher);
    match made {
        Ok(report) => {
            tell_left_out(app, &report);
            Ok(Some(report))
        }
        Err(error) => {
            let text = chain(&error).join(": ");
            app.warn(format_args!(
                "parity was not brought up to date: {text}; `rekindle vault parity make` tries again"
            ));
            Err(())
        }
    }
}

fn show(app: &App, vault: &Vault, out: &mut dyn Write) -> Result<Exit, CliError> {
    let status = vault.parity_status()?;
    if app.is_json() {
        write_json(out, &status)?;
        return Ok(Exit::Done);
    }
    write_status(&status, out)?;
    for damaged in &status.damaged {
        app.warn(damaged);
    }
    if !status.damaged.is_empty() {
        app.next([app.command("vault heal")]);
    } else if status.unprotected_files > 0 || status.weakened_groups > 0 {
        app.next([app.command("vault parity make")]);
    }
    Ok(Exit::Done)
}

fn write_status(status: &ParityStatus, out: &mut dyn Write) -> Result<(), CliError> {
    let Some(scheme) = status.scheme else {
        let size = bytes(status.unprotected_bytes);
        writeln!(out, "no parity: {size} could be protected")?;
        return Ok(());
    };
    let (data, parity) = (scheme.data(), scheme.parity());
    writeln!(
        out,
        "groups       {} of up to {data} files, {parity} of which may be lost",
        status.groups
    )?;
    let line = |files, size| format!("{}, {}", count(files, "file"), bytes(size));
    writeln!(
        out,
        "protected    {}",
        line(status.protected_files, status.protected_bytes)
    )?;
    writeln!(
        out,
        "unprotected  {}",
        line(status.unprotected_files, status.unprotected_bytes)
    )?;
    writeln!(out, "parity       {}", bytes(status.parity_bytes))?;
    if status.weakened_groups > 0 {
        let groups = count(status.weakened_groups, "group");
        writeln!(
            out,
            "weakened     {groups}: files of theirs are gone, or parity of theirs is damaged"
        )?;
    }
    Ok(())
}

fn make(
    app: &App,
    vault: &Vault,
    settings: &stack::Vault,
    args: &MakeArgs,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let share = args.share.or(settings.parity).map(ParityScheme::of_percent);
    let scheme = match share {
        Some(scheme) => scheme,
        None => vault.parity_scheme()?.ok_or_else(no_share)?,
    };
    if args.dry_run {
        let plan = vault.plan_parity(scheme)?;
        return write_made(app, &plan, true, out);
    }
    signals::watch("interrupted: what is protected stays protected, and the next run goes on");
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("making parity", &progress, app.reporting());
    let made = vault.update_parity(scheme, &progress);
    drop(watcher);
    write_made(app, &made?, false, out)
}

fn write_made(
    app: &App,
    report: &ParityReport,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        write_json(out, &json!({ "dry_run": dry_run, "parity": report }))?;
    } else if report.is_idle() {
        writeln!(out, "all is protected")?;
    } else {
        let verb = if dry_run { "would make" } else { "made" };
        writeln!(
            out,
            "{verb} {} of {}, from {}",
            count(report.groups_made, "group"),
            bytes(report.written_bytes),
            bytes(report.read_bytes)
        )?;
        if dry_run {
            app.next([app.command("vault parity make")]);
        }
    }
    tell_left_out(app, report);
    Ok(if report.left_out.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

fn tell_left_out(app: &App, report: &ParityReport) {
    for key in &report.left_out {
        app.warn(format_args!("not protected, because it is damaged: {key}"));
    }
    for key in &report.too_long {
        app.note(format_args!("not protected, because it is too long: {key}"));
    }
    if !report.left_out.is_empty() {
        app.next([app.command("vault heal --dry-run")]);
    }
}

fn remove(
    app: &App,
    vault: &Vault,
    args: &RemoveArgs,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let status = vault.parity_status()?;
    let removed = if args.yes { vault.remove_parity()? } else { 0 };
    let size = bytes(status.parity_bytes);
    if app.is_json() {
        write_json(
            out,
            &json!({ "done": args.yes, "removed": removed, "bytes": status.parity_bytes }),
        )?;
    } else if args.yes {
        writeln!(out, "removed {size} of parity")?;
    } else {
        writeln!(
            out,
            "would remove {size} of parity in {}",
            count(status.groups, "group")
        )?;
        app.next([app.command("vault parity remove --yes")]);
    }
    Ok(if args.yes || status.parity_bytes == 0 {
        Exit::Done
    } else {
        Exit::ApprovalNeeded
    })
}

fn no_share() -> CliError {
    CliError::wrong_use(
        "nothing says how much parity to make",
        "`vault.parity: 10%` in rekindle.yaml says so, or `--share 10%`",
    )
}

fn parse_share(text: &str) -> Result<u8, String> {
    let range = ParityScheme::LEAST_PERCENT..=ParityScheme::MOST_PERCENT;
    let percent = text.strip_suffix('%').unwrap_or(text).parse().ok();
    percent
        .filter(|percent| range.contains(percent))
        .ok_or_else(|| "a share is 5% to 50%, in whole numbers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_five_to_fifty_percent() {
        assert_eq!((parse_share("10%"), parse_share("50")), (Ok(10), Ok(50)));
        for wrong in ["4%", "51%", "ten", "%", "10 %"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
