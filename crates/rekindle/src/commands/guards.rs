//! Options and words of guards, shared by all commands that restore.

use clap::Args;
use rekindle_recovery::guard::{Guard, GuardFinding, GuardOptions, Severity};

use crate::app::App;

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
