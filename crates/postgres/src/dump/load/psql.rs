//! SQL text into a database, by psql.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::process::Stdio;

use super::filter::Filter;
use crate::dump::foreign::plain::items::Items;
use crate::dump::restore::connection_string;
use crate::dump::running::Running;
use crate::dump::{DumpError, Tools};
use crate::options::ConnectOptions;

/// Passes the text through `filter` to psql, as one transaction. psql sees the end of its input,
/// and commits, only after the closing line of the dump has been met and `before_commit` is well.
pub(super) fn run(
    tools: &Tools,
    options: &ConnectOptions,
    text: impl BufRead,
    mut filter: Filter<'_>,
    before_commit: impl FnOnce() -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let key = restriction_key(tools);
    let mut psql = Running::start(tools, "psql", options, |command| {
        command
            .args(["-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1"])
            .args(["--single-transaction", "--file=-", "--dbname"])
            .arg(connection_string(&options.database))
            .stdin(Stdio::piped());
    })?;
    let Some(stdin) = psql.child().stdin.take() else {
        return psql.finish();
    };
    match pump(text, &mut filter, stdin, key.as_deref())? {
        Pumped::HungUp => psql.finish(),
        Pumped::All(stdin) => {
            if !filter.is_complete() {
                // Dropping psql ends it before it could take the end of its input for ours.
                return Err(DumpError::NotWhole {
                    what: "the dump".to_owned(),
                    reason: "its closing line is missing".to_owned(),
                });
            }
            before_commit()?;
            drop(stdin);
            psql.finish()
        }
    }
}

enum Pumped<W> {
    /// Everything is written, and psql waits for more.
    All(W),
    /// psql has ended; it says why.
    HungUp,
}

fn pump<W: Write>(
    text: impl BufRead,
    filter: &mut Filter<'_>,
    stdin: W,
    key: Option<&str>,
) -> Result<Pumped<W>, DumpError> {
    let mut out = std::io::BufWriter::with_capacity(256 << 10, stdin);
    if let Some(key) = key
        && writeln!(out, "\\restrict {key}").is_err()
    {
        return Ok(Pumped::HungUp);
    }
    let mut items = Items::new(text);
    let mut raw = Vec::new();
    let in_dump = |fault: crate::dump::foreign::Fault| fault.of("the dump".as_ref());
    while let Some(item) = items.next(&mut raw).map_err(in_dump)? {
        if filter.passes(&item) && out.write_all(&raw).is_err() {
            return Ok(Pumped::HungUp);
        }
    }
    match out.into_inner() {
        Ok(stdin) => Ok(Pumped::All(stdin)),
        Err(_) => Ok(Pumped::HungUp),
    }
}

/// Until psql is given this key back, it obeys none of its own commands, whatever hides in a dump
/// (CVE-2025-8714). The dump's own pair of `\restrict` and `\unrestrict` is replaced by it: who
/// wrote the dump knows that key. `None` if this psql is too old to know the command.
fn restriction_key(tools: &Tools) -> Option<String> {
    /// The first minor version of each major one that knows it; later ones all do.
    const SINCE: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];
    let (major, minor) = tools.psql_version()?;
    let since = SINCE.iter().find(|(known, _)| *known == major);
    let knows_it = since.map_or(major > 17, |(_, since)| minor >= *since);
    if !knows_it {
        tracing::warn!(
            major,
            minor,
            "this psql cannot be restricted; a newer minor version can"
        );
        return None;
    }
    let mut bytes = [0; 24];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names of the server's parameters.
pub(super) fn parameters(
    client: &mut crate::client::Client,
) -> Result<BTreeSet<String>, crate::error::Error> {
    let rows = client.query("SELECT lower(name) AS name FROM pg_settings")?;
    rows.iter().map(|row| row.get("name")).collect()
}
