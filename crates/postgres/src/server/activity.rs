//! Whether anything happens on a data directory.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Process, Report, processes_on};
use crate::control_file::ControlFile;

/// Watches a server that does not answer yet: the length of its log, its control file, what its
/// processes say they do, and the processor time they use. Recovery may take hours; a server that
/// changes none of these is stuck.
pub(super) struct Activity {
    seen: Option<(u64, Vec<u8>, Vec<Process>)>,
    changed: Instant,
    report: Option<Report>,
    told: String,
}

impl Activity {
    /// Tells `report` what recovery is doing, whenever that changes.
    pub(super) fn new(report: Option<Report>) -> Self {
        Self {
            seen: None,
            changed: Instant::now(),
            report,
            told: String::new(),
        }
    }

    /// Looks at everything; returns whether the server has a process.
    pub(super) fn look(&mut self, pgdata: &Path, log_bytes: u64) -> bool {
        let processes = processes_on(pgdata);
        let has_process = !processes.is_empty();
        self.tell(&processes);
        let control = ControlFile::read(pgdata).map_or_else(|_| Vec::new(), |file| file.bytes);
        let now = Some((log_bytes, control, processes));
        if now != self.seen {
            self.seen = now;
            self.changed = Instant::now();
        }
        has_process
    }

    /// For how long nothing has happened.
    pub(super) fn idle_for(&self) -> Duration {
        self.changed.elapsed()
    }

    fn tell(&mut self, processes: &[Process]) {
        let doing = processes
            .iter()
            .find_map(|process| process.title.split_once("startup "))
            .map(|(_, doing)| doing.trim().to_owned());
        if let (Some(doing), Some(report)) = (doing, &self.report)
            && doing != self.told
        {
            report(&doing);
            self.told = doing;
        }
    }
}
