//! How a dump from elsewhere is described.

use std::io::Write;

use rekindle_recovery::foreign::{Compression, DumpForm, ForeignDump};

use crate::{errors::CliError, output::bytes};

/// What it is, in two or three lines.
///
/// # Errors
/// As the output fails.
pub fn write_description(dump: &ForeignDump, out: &mut dyn Write) -> Result<(), CliError> {
    let form = match dump.form {
        DumpForm::Plain => "SQL text of a database",
        DumpForm::PlainCluster => "SQL text of a cluster (pg_dumpall)",
        DumpForm::Custom => "a custom archive (-Fc)",
        DumpForm::Directory => "a directory archive (-Fd)",
        DumpForm::Tar => "a tar archive (-Ft)",
    };
    let wrapped = match dump.compression {
        Some(Compression::Gzip) => " in gzip",
        Some(Compression::Zstd) => " in zstd",
        Some(Compression::Lz4) => " in lz4",
        None => "",
    };
    let size = bytes(dump.plain_bytes);
    writeln!(
        out,
        "  what      {form}{wrapped}; whole, {size} read to its end"
    )?;
    let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "?".to_owned());
    let (server, tool) = (version(&dump.server_version), version(&dump.tool_version));
    let made = match &dump.made_at_local_time {
        Some(time) => format!(", at {time} by its own clock"),
        None => String::new(),
    };
    writeln!(
        out,
        "  made by   pg_dump {tool} of PostgreSQL {server}{made}"
    )?;
    Ok(())
}
