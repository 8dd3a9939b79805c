//! Options and words of guards, shared by all commands that restore.

use clap::Args;
use rekindle_recovery::guard::{Guard, GuardFinding, GuardOptions, Severity};

use crate::{app::App, errors::CliError};

/// What a person decides about findings.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Go on though this guard refuses; repeat for several. A refusal names its guard
    #[arg(long = "force", value_name = "GUARD")]
    force: Vec<Guard>,
    /// Create roles that are missing, without password and without LOGIN
    #[arg(long)]
    create_missing: bool,
}

impl GuardArgs {
    /// Refuses options that would have no effect.
    ///
    /// # Errors
    /// [`CliError::WrongUse`] if one is given.
    pub fn refuse(&self) -> Result<(), CliError> {
        if self.force.is_empty() && !self.create_missing {
            return Ok(());
        }
        Err(CliError::wrong_use(
            "`--force` and `--create-missing` are about databases restored into a running server",
            "leave them out: what stands in the way of a data directory is not to be overridden",
        ))
    }

    /// As the library takes it.
    pub fn options(&self) -> GuardOptions {
        GuardOptions {
            force: self.force.iter().copied().collect(),
            create_missing: self.create_missing,
        }
    }
}

/// Tells what guards found.
pub fn tell(app: &App, findings: &[GuardFinding]) {
    for finding in findings {
        let note = match (finding.severity, finding.forced) {
            (Severity::Refuse, true) => " (overridden)",
            (Severity::Refuse, false) => " (refuses the restore)",
            (Severity::Warn, _) => "",
        };
        app.warn(format_args!("{finding}{note}: {}", finding.advice));
    }
}
