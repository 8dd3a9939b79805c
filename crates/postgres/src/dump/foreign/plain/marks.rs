//! The lines by which `pg_dump` and `pg_dumpall` mark beginning and end of what they write.

use super::super::error::Fault;
use super::super::report::DumpForm;

const DATABASE_BEGINS: &str = "PostgreSQL database dump";
const DATABASE_ENDS: &str = "PostgreSQL database dump complete";
const CLUSTER_BEGINS: &str = "PostgreSQL database cluster dump";
const CLUSTER_ENDS: &str = "PostgreSQL database cluster dump complete";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dump) enum Mark {
    DatabaseBegins,
    DatabaseEnds,
    ClusterBegins,
    ClusterEnds,
}

impl Mark {
    pub(in crate::dump) fn of(comment: &str) -> Option<Self> {
        match comment {
            DATABASE_BEGINS => Some(Self::DatabaseBegins),
            DATABASE_ENDS => Some(Self::DatabaseEnds),
            CLUSTER_BEGINS => Some(Self::ClusterBegins),
            CLUSTER_ENDS => Some(Self::ClusterEnds),
            _ => None,
        }
    }
}

/// Follows the marks: what has begun must end, and in order.
#[derive(Debug, Default)]
pub(super) struct Marks {
    is_cluster: bool,
    is_cluster_ended: bool,
    is_in_database: bool,
    databases: u64,
}

impl Marks {
    pub(super) fn is_in_database(&self) -> bool {
        self.is_in_database
    }

    pub(super) fn comment(&mut self, text: &str) -> Result<Option<Mark>, Fault> {
        let Some(mark) = Mark::of(text) else {
            return Ok(None);
        };
        let fits = match mark {
            Mark::ClusterBegins => !self.is_cluster && self.databases == 0,
            Mark::ClusterEnds => self.is_cluster && !self.is_in_database && !self.is_cluster_ended,
            Mark::DatabaseBegins => !self.is_in_database && !self.is_cluster_ended,
            Mark::DatabaseEnds => self.is_in_database,
        };
        if !fits {
            return Err(Fault::not_whole(format!(
                "the line `-- {text}` is out of place"
            )));
        }
        match mark {
            Mark::ClusterBegins => self.is_cluster = true,
            Mark::ClusterEnds => self.is_cluster_ended = true,
            Mark::DatabaseBegins => {
                self.is_in_database = true;
                self.databases += 1;
            }
            Mark::DatabaseEnds => self.is_in_database = false,
        }
        Ok(Some(mark))
    }

    /// A statement must lie in what a mark began.
    pub(super) fn statement(&self, line: u64) -> Result<(), Fault> {
        let is_inside = self.is_in_database || self.is_cluster && !self.is_cluster_ended;
        match (is_inside, self.databases > 0 || self.is_cluster) {
            (true, _) => Ok(()),
            (false, true) => Err(Fault::not_whole(format!(
                "line {line}: something follows the closing line of the dump"
            ))),
            (false, false) => Err(not_marked()),
        }
    }

    pub(super) fn finish(&self, lines: u64) -> Result<DumpForm, Fault> {
        let closing = if self.is_in_database {
            DATABASE_ENDS
        } else if self.is_cluster && !self.is_cluster_ended {
            CLUSTER_ENDS
        } else if self.is_cluster {
            return Ok(DumpForm::PlainCluster);
        } else if self.databases > 0 {
            return Ok(DumpForm::Plain);
        } else {
            return Err(not_marked());
        };
        Err(Fault::not_whole(format!(
            "it ends after {lines} lines without the closing line `-- {closing}`"
        )))
    }
}

fn not_marked() -> Fault {
    Fault::NotADump(
        "a text without the line `-- PostgreSQL database dump`, so nothing tells whether it is \
         whole"
            .to_owned(),
    )
}

/// A command of psql's and what follows it.
pub(in crate::dump) fn command(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// The database of `\connect`: `shop`, `"my db"`, or `-reuse-previous=on "dbname='my db'"`.
pub(super) fn connected_database(argument: &str) -> Option<String> {
    let argument = argument.trim();
    let argument = argument
        .strip_prefix("-reuse-previous=on")
        .unwrap_or(argument)
        .trim();
    let unquoted = argument
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let name = match unquoted {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => argument.split_whitespace().next()?.to_owned(),
    };
    match name
        .strip_prefix("dbname='")
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(inner) => Some(inner.replace("\\'", "'").replace("\\\\", "\\")),
        None => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connected_database_is_read_as_it_is_written() {
        assert_eq!(connected_database("shop").as_deref(), Some("shop"));
        assert_eq!(connected_database("\"a b\"").as_deref(), Some("a b"));
        let long = r#"-reuse-previous=on "dbname='Ünï ""quoted"" \'name\' & more'""#;
        assert_eq!(
            connected_database(long).as_deref(),
            Some("Ünï \"quoted\" 'name' & more")
        );
    }
}
