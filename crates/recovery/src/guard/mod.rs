//! What stands in the way of a restore, found before anything is touched.
//!
//! The world is asked first, and what it says becomes data ([`ServerFacts`], [`DirectoryFacts`]);
//! judging is a pure function from there to [`GuardFinding`]s; [`permit`] lets through what a
//! person has overridden by name.

mod collation;
mod database;
mod directory;
mod facts;

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Serialize, Serializer};

pub use collation::collation_findings;
pub use database::{DatabaseNeeds, judge_database};
pub use directory::{
    DirectoryFacts, DirectoryNeeds, DirectoryPlace, guards_for_directory, judge_directory,
};
pub use facts::{AvailableExtension, ServerFacts};

use crate::RecoveryError;

/// What is looked at before a restore. Each has a name, by which it is overridden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// The major version of the server, against that of what is restored.
    ServerMajor,
    /// Whether a directory is of the cluster that it is to replace.
    SystemIdentifier,
    /// A role that owns something, or has rights, does not exist.
    MissingRole,
    /// The login may not give things to a role.
    RoleMembership,
    /// An extension is not installed on the server's machine.
    MissingExtension,
    /// An extension is there, and this login cannot create it.
    UninstallableExtension,
    /// A tablespace does not exist.
    MissingTablespace,
    /// The server's machine does not have a locale.
    Collation,
    /// The library behind a collation sorts by other rules than when indexes were built.
    CollationVersion,
    /// The encoding of the data, against that of the database.
    Encoding,
    /// Room on the disk.
    DiskSpace,
    /// Sessions that would be ended.
    ActiveConnections,
    /// A dump in which row security may have left out rows.
    RowSecurity,
    /// The client tools are older than what they have to read.
    ClientTooOld,
    /// Something of that name exists.
    TargetExists,
    /// What is to be swapped out does not exist.
    TargetMissing,
    /// A dump holds commands of psql's, which run programs and read files here.
    MetaCommands,
    /// A dump holds statements that read or write files of the server, or run programs there.
    ReachingStatements,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::ServerMajor,
        Self::SystemIdentifier,
        Self::MissingRole,
        Self::RoleMembership,
        Self::MissingExtension,
        Self::UninstallableExtension,
        Self::MissingTablespace,
        Self::Collation,
        Self::CollationVersion,
        Self::Encoding,
        Self::DiskSpace,
        Self::ActiveConnections,
        Self::RowSecurity,
        Self::ClientTooOld,
        Self::TargetExists,
        Self::TargetMissing,
        Self::MetaCommands,
        Self::ReachingStatements,
    ];

    /// The name, as in `--force NAME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerMajor => "server-major",
            Self::SystemIdentifier => "system-identifier",
            Self::MissingRole => "missing-role",
            Self::RoleMembership => "role-membership",
            Self::MissingExtension => "missing-extension",
            Self::UninstallableExtension => "uninstallable-extension",
            Self::MissingTablespace => "missing-tablespace",
            Self::Collation => "collation",
            Self::CollationVersion => "collation-version",
            Self::Encoding => "encoding",
            Self::DiskSpace => "disk-space",
            Self::ActiveConnections => "active-connections",
            Self::RowSecurity => "row-security",
            Self::ClientTooOld => "client-too-old",
            Self::TargetExists => "target-exists",
            Self::TargetMissing => "target-missing",
            Self::MetaCommands => "meta-commands",
            Self::ReachingStatements => "reaching-statements",
        }
    }

    /// Whether a person may override it. Nothing is ever replaced by a restore.
    #[must_use]
    pub const fn can_be_forced(self) -> bool {
        !matches!(self, Self::TargetExists | Self::TargetMissing)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().filter(|guard| guard.can_be_forced());
        let names = || known.clone().map(Self::name).collect::<Vec<_>>().join(", ");
        known
            .clone()
            .find(|guard| guard.name() == name)
            .ok_or_else(|| {
                format!(
                    "there is no guard of that name to override; there are {}",
                    names()
                )
            })
    }
}

impl Serialize for Guard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The restore does not begin, unless the guard is overridden.
    Refuse,
    /// A person should know.
    Warn,
}

/// Something that a guard found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardFinding {
    /// Which guard.
    pub guard: Guard,
    /// How grave it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: String,
    /// Whether a person has overridden it.
    pub forced: bool,
}

impl GuardFinding {
    /// The restore does not begin.
    #[must_use]
    pub fn refuse(guard: Guard, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            guard,
            severity: Severity::Refuse,
            found: found.into(),
            advice: advice.into(),
            forced: false,
        }
    }

    /// A person should know.
    #[must_use]
    pub fn warn(guard: Guard, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warn,
            ..Self::refuse(guard, found, advice)
        }
    }
}

impl fmt::Display for GuardFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guard, self.found)
    }
}

/// What a person has decided about findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardOptions {
    /// Guards that are overridden.
    pub force: BTreeSet<Guard>,
    /// Whether roles that are missing are to be created, without password and unable to log in.
    pub create_missing: bool,
}

impl GuardOptions {
    /// Whether this guard is overridden.
    #[must_use]
    pub fn forces(&self, guard: Guard) -> bool {
        self.force.contains(&guard)
    }
}

/// Marks what is overridden.
#[must_use]
pub fn with_overrides(
    mut findings: Vec<GuardFinding>,
    options: &GuardOptions,
) -> Vec<GuardFinding> {
    for finding in &mut findings {
        finding.forced = finding.guard.can_be_forced() && options.forces(finding.guard);
    }
    findings.sort_by_key(|finding| (finding.severity, finding.guard));
    findings
}

/// Lets a restore begin if nothing refuses it that a person has not overridden.
///
/// # Errors
/// [`RecoveryError::Refused`] with all findings.
pub fn permit(
    what: impl Into<String>,
    findings: Vec<GuardFinding>,
    options: &GuardOptions,
) -> Result<Vec<GuardFinding>, RecoveryError> {
    let findings = with_overrides(findings, options);
    if findings.iter().any(is_refusal) {
        let what = what.into();
        return Err(RecoveryError::Refused { what, findings });
    }
    Ok(findings)
}

/// Whether it keeps a restore from beginning.
#[must_use]
pub fn is_refusal(finding: &GuardFinding) -> bool {
    finding.severity == Severity::Refuse && !finding.forced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_is_found_by_its_name_and_what_replaces_is_never_overridden() {
        for guard in Guard::ALL {
            let parsed = guard.name().parse::<Guard>();
            assert_eq!(parsed.ok(), guard.can_be_forced().then_some(guard));
        }
        let names: BTreeSet<_> = Guard::ALL.map(Guard::name).into();
        assert_eq!(names.len(), Guard::ALL.len());
        assert!(
            "disc-space"
                .parse::<Guard>()
                .unwrap_err()
                .contains("disk-space")
        );
    }

    #[test]
    fn only_what_is_named_is_let_through() {
        let findings = || {
            vec![
                GuardFinding::warn(Guard::DiskSpace, "", ""),
                GuardFinding::refuse(Guard::MissingRole, "", ""),
                GuardFinding::refuse(Guard::TargetExists, "", ""),
            ]
        };
        let force = |guards: &[Guard]| GuardOptions {
            force: guards.iter().copied().collect(),
            create_missing: false,
        };
        let refusals = |options: &GuardOptions| {
            let findings = with_overrides(findings(), options);
            findings
                .iter()
                .filter(|finding| is_refusal(finding))
                .count()
        };
        assert_eq!(refusals(&force(&[])), 2);
        assert_eq!(refusals(&force(&[Guard::DiskSpace])), 2);
        assert_eq!(
            refusals(&force(&[Guard::MissingRole, Guard::TargetExists])),
            1
        );
        let error = permit("x", findings(), &force(&[Guard::TargetExists])).unwrap_err();
        assert!(matches!(error, RecoveryError::Refused { .. }));
        let role_alone = vec![GuardFinding::refuse(Guard::MissingRole, "", "")];
        let allowed = permit("x", role_alone, &force(&[Guard::MissingRole])).unwrap();
        assert!(allowed[0].forced);
    }
}
