//! A `rekindle.yaml` to begin with.

use std::path::Path;

use crate::discover::Proposal;
use crate::location::VaultLocation;
use crate::name::Name;
use crate::url::ServiceUrl;
use crate::yaml::Yaml;

/// What the services of a new `rekindle.yaml` are made of.
pub enum TemplateServices<'a> {
    /// One PostgreSQL server, written as it is, password included.
    Postgres(&'a ServiceUrl),
    /// What was found in a project.
    Project(&'a Proposal),
    /// A made-up service of files: the directory `data` beside the file.
    Example,
}

/// Writes a commented `rekindle.yaml`: what is known filled in, what may follow as comments.
pub fn template(
    stack: &Name,
    vault: &VaultLocation,
    credentials_file: Option<&Path>,
    password_file: &Path,
    services: &TemplateServices<'_>,
) -> String {
    let at = line("at", &vault.to_string());
    let at = match credentials_file {
        Some(path) => {
            let keys = line("credentials_file", &path.display().to_string());
            format!("{at}\n  # The access keys of the store.\n  {keys}")
        }
        None => at,
    };
    let password_file = line("password_file", &password_file.display().to_string());
    let (runtime, services, more) = match services {
        TemplateServices::Postgres(url) => {
            let text = POSTGRES.replace("{url}", &line("url", url.expose()));
            (PROCESS.to_owned(), text, EXAMPLES.to_owned())
        }
        TemplateServices::Example => (PROCESS.to_owned(), FILES.to_owned(), EXAMPLES.to_owned()),
        TemplateServices::Project(proposal) => {
            let env = proposal.env_yaml().map(|env| format!("\n{env}\n"));
            (
                proposal.runtime_yaml(),
                proposal.services_yaml(),
                env.unwrap_or_default(),
            )
        }
    };
    let filled = [
        ("{stack}", line("stack", stack)),
        ("{runtime}", runtime),
        ("{at}", at),
        ("{password_file}", password_file),
        ("{services}", services),
        ("{more}", more),
    ];
    filled
        .iter()
        .fold(WHOLE.to_owned(), |text, (place, value)| {
            text.replacen(place, value, 1)
        })
}

fn line(key: &str, value: &str) -> String {
    let entry = (key.to_owned(), Yaml::text(value));
    Yaml::Map(vec![entry]).document().trim_end().to_owned()
}

const WHOLE: &str = r#"# Rekindle: what is backed up, where to, and how it comes back.
# `rekindle config check` reads this file; `rekindle config show` prints it with all defaults.

{stack}

# What runs the services: compose (with `project`), kubernetes (with `namespace`), systemd, process.
{runtime}

vault:
  # A directory; best on another disk than the data.
  {at}
  # Without this password nothing can be restored: keep a copy of it somewhere else.
  {password_file}
  # copies:
  #   - { name: offsite, at: "s3://bucket/vault?region=eu-central-1", credentials_file: s3-keys }

services:
{services}{more}
# Of the last so many days, weeks and months that have a recovery point, the newest is kept.
retention: { daily: 30, weekly: 12, monthly: 12 }

# schedule:
#   - { every: "0 2 * * *", do: backup }
#   - { every: "0 4 * * *", do: verify, level: restored }

# Questions to the restored data.
# checks:
#   - { name: there are users, service: postgres, sql: "select count(*) > 0 from users", expect: true }
"#;

const PROCESS: &str = "runtime: { kind: process }";

const EXAMPLES: &str = r#"  # Name the stateless ones, too: what is not named here is not brought back.
  # api:
  #   stateless: true
  #   depends_on: [postgres]
  #   health: { http: "http://localhost:8080/healthz", expect: { status: ok } }
"#;

const POSTGRES: &str = r"  postgres:
    datasets:
      - kind: postgres
        # The role needs REPLICATION. A password goes into `password_file` rather than here.
        {url}
        # The whole cluster as files. `logical: all` adds a dump of each database.
        physical: true
        logical: false
        # Any moment of the past: `stream` (with `rekindle wal stream` as a service) or `push`.
        wal: false
    # Targets: how much may be lost, and how long it may be down.
    rpo: 1d
    rto: 1h
    priority: critical
";

const FILES: &str = r"  files:
    datasets:
      - kind: files
        paths: [data]
    # Targets: how much may be lost, and how long it may be down.
    rpo: 1d
    rto: 1h
";
