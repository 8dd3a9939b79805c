//! The process that watches one service; see `rekindle_runtimes::process`.

use std::{env, process::Command};

use super::SuperviseArgs;
use crate::errors::{CliError, Exit};

pub(super) fn run(args: &SuperviseArgs) -> Result<Exit, CliError> {
    let failed = CliError::io("watch a service, with its state in", args.folder.display());
    if args.detached {
        rekindle_runtimes::process::supervise(args.folder.clone()).map_err(failed)?;
    } else {
        let program = env::current_exe().map_err(CliError::io("find", "this program"))?;
        let mut command = Command::new(program);
        command
            .args(["service", "supervise", "--detached"])
            .arg(&args.folder);
        rekindle_runtimes::process::detach(command).map_err(failed)?;
    }
    Ok(Exit::Done)
}
