//! Looks whether a server's `archive_command` is ours, and works.

use std::{env, path::Path};

use rekindle_postgres::{Client, Error};
use rekindle_stack as stack;

use super::Findings;
use crate::wal::push::last_failure;

/// More files than this wait only where archiving is slower than the server, or stands still.
const MANY_WAITING: u64 = 16;

/// What the server tells about its archiver.
struct Archiver {
    failed: Option<String>,
    is_failing: bool,
    archived: Option<String>,
}

pub(super) fn look(
    service: &stack::Service,
    config: &Path,
    data_directory: Option<&Path>,
    client: &mut Client,
    findings: &mut Findings,
) {
    let subject = service.name.as_str();
    let settings = settings(config);
    let show = |client: &mut Client, name: &str| client.show(name).unwrap_or_default();
    let command = show(client, "archive_command");
    if show(client, "archive_mode") == "off" {
        let text = "archive_mode is off: WAL is not archived";
        return findings.problem(subject, text, Some(settings));
    }
    if !show(client, "archive_library").is_empty() {
        let text = "archive_library is set, so that archive_command is not called";
        return findings.problem(subject, text, Some(settings));
    }
    if !(command.contains("rekindle") && command.contains("wal push")) {
        let text = format!("archive_command is `{command}`, which does not archive here");
        return findings.problem(subject, text, Some(settings));
    }
    match archiver(client) {
        Ok(archiver) => look_at_archiver(subject, &archiver, data_directory, findings),
        Err(error) => tracing::debug!(%error, "the archiver's statistics cannot be read"),
    }
    look_at_backlog(subject, client, findings);
    look_at_timeout(service, client, findings);
}

/// What belongs into `postgresql.conf`, to be copied as it is.
fn settings(config: &Path) -> String {
    let program = env::current_exe().unwrap_or_else(|_| "rekindle".into());
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    format!(
        "put into postgresql.conf and restart the server:\n\
         archive_mode = on\n\
         archive_command = '{} --config {} wal push %p'\n\
         archive_timeout = 60s",
        quoted(&program),
        quoted(&config),
    )
}

/// Quoted for the shell that runs the command, and then for the file that it stands in.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        // Double quotes, since PostgreSQL's own are single ones. A percent sign is its own, too.
        false => {
            let mut word = String::from("\"");
            for c in text.chars() {
                match c {
                    '"' | '\\' | '$' | '`' => word.extend(['\\', c]),
                    '\'' | '%' => word.extend([c, c]),
                    c => word.push(c),
                }
            }
            word + "\""
        }
    }
}

fn archiver(client: &mut Client) -> Result<Archiver, Error> {
    let rows = client.query(
        "SELECT last_failed_wal || ' at ' || last_failed_time AS failed,
                last_archived_wal || ' at ' || last_archived_time AS archived,
                coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
                  AS failing
         FROM pg_stat_archiver",
    )?;
    let row = rows.first()?;
    Ok(Archiver {
        failed: row.text("failed").map(str::to_owned),
        is_failing: row.truth("failing")?,
        archived: row.text("archived").map(str::to_owned),
    })
}

fn look_at_archiver(
    subject: &str,
    archiver: &Archiver,
    data_directory: Option<&Path>,
    findings: &mut Findings,
) {
    let Archiver {
        failed, archived, ..
    } = archiver;
    if archiver.is_failing {
        let what = failed.as_deref().unwrap_or("a file");
        let why = data_directory.and_then(last_failure);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        findings.problem(
            subject,
            format!("archiving fails: {what}{why}"),
            Some("the server's log tells it as well; it tries again by itself".to_owned()),
        );
    } else if let Some(archived) = archived {
        findings.fine(subject, format!("WAL is archived: {archived}"));
    } else {
        findings.advice(
            subject,
            "nothing was archived yet",
            "`select pg_switch_wal()` makes the server try",
        );
    }
}

fn look_at_backlog(subject: &str, client: &mut Client, findings: &mut Findings) {
    let waiting = client
        .query("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")
        .and_then(|rows| rows.single::<u64>());
    // Without the right to look (pg_monitor) there is nothing to say.
    if let Ok(waiting @ MANY_WAITING..) = waiting {
        findings.problem(
            subject,
            format!("{waiting} WAL files wait to be archived"),
            Some("until they are, the server keeps them, and its disk fills".to_owned()),
        );
    }
}

fn look_at_timeout(service: &stack::Service, client: &mut Client, findings: &mut Findings) {
    let seconds = client
        .query("SELECT setting FROM pg_settings WHERE name = 'archive_timeout'")
        .and_then(|rows| rows.single::<u64>());
    let Ok(seconds) = seconds else { return };
    let rpo = service.rpo.map(|rpo| rpo.as_secs());
    let subject = service.name.as_str();
    match (seconds, rpo) {
        (0, _) => findings.advice(
            subject,
            "archive_timeout is 0: what a quiet server wrote is archived when a segment is full",
            "archive_timeout = 60s bounds the loss; `wal: stream` bounds it to seconds",
        ),
        (seconds, Some(rpo)) if seconds > rpo => findings.advice(
            subject,
            format!("archive_timeout of {seconds} s is longer than the RPO of {rpo} s"),
            format!("archive_timeout = {rpo}s, or `wal: stream`"),
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_configuration_file_and_the_shell() {
        assert_eq!(
            quoted(Path::new("/etc/rekindle.yaml")),
            "/etc/rekindle.yaml"
        );
        assert_eq!(quoted(Path::new("/a b/100%'s")), "\"/a b/100%%''s\"");
        assert_eq!(quoted(Path::new("/a\"$b")), "\"/a\\\"\\$b\"");
    }
}
