//! Databases and files that are hard to bring back, on purpose.

mod files;

pub use files::{Attributes, SOCKET, attributes_of, is_one_file, populate_files};

use crate::TestingError;
use crate::postgres::Postgres;

/// How much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of the larger tables; the others have a share of it. At least 100 make sense.
    pub rows: u32,
    /// At least so many MiB in the one table `big.relation`; above 1024 it has more than one file.
    /// 0 for no such table.
    pub big_relation_mb: u32,
}

impl Default for Size {
    /// A few MiB, made in seconds.
    fn default() -> Self {
        Self {
            rows: 2_000,
            big_relation_mb: 0,
        }
    }
}

/// The database in which most of it is.
pub const SHOP: &str = "shop";

/// A database whose name has to be quoted everywhere: in SQL, in a shell, in a URL, in a path.
pub const ODD: &str = "Ünï \"quoted\" 'name' & more";

/// The password of role [`OWNER`].
pub const PASSWORD: &str = "S3cret 'pass\\word";

/// A role that may log in, owns things, and has a password.
pub const OWNER: &str = "app owner";

/// Fills the server with databases [`SHOP`], [`ODD`] and `empty`.
///
/// In them: a second tablespace, as a table's place and as a database's default; unlogged,
/// partitioned, inherited, empty and column-less tables; large objects; roles with passwords,
/// memberships, privileges and settings; row security; the extensions of [`extensions`] that this
/// build has; names with spaces, quotes and unicode; sequences and identity columns; functions and
/// triggers; views and materialized views; foreign keys; toast-heavy rows, compressed and not;
/// dead rows; expression, partial and other kinds of indexes; types and domains; comments.
///
/// # Errors
/// [`TestingError`] from the statement that failed.
pub fn populate(postgres: &Postgres, size: Size) -> Result<(), TestingError> {
    let place = postgres.new_tablespace_dir("hard")?;
    let place = place.display().to_string().replace('\'', "''");
    postgres.try_psql(&format!(
        "create tablespace \"disk two\" location '{place}'"
    ))?;
    postgres.try_psql(include_str!("cluster.sql"))?;
    let run = |database: &str, sql: &str| {
        let sql = sql.replace(":rows", &size.rows.max(1).to_string());
        postgres.client().try_psql(database, &sql)
    };
    run(SHOP, include_str!("shop.sql"))?;
    run(ODD, include_str!("odd.sql"))?;
    for extension in extensions(postgres)? {
        run(
            SHOP,
            &format!("create extension {extension} schema extensions;"),
        )?;
        run(SHOP, use_of(&extension))?;
    }
    if size.big_relation_mb > 0 {
        let rows = u64::from(size.big_relation_mb) * 128 * 4;
        run(
            SHOP,
            &include_str!("big.sql").replace(":big_rows", &rows.to_string()),
        )?;
    }
    // So that what lies on disk is what was written, not what is still in memory.
    postgres.try_psql("checkpoint").map(drop)
}

/// Those of pgcrypto, hstore, pg_trgm, btree_gist and vector that this build has.
///
/// # Errors
/// [`TestingError`] if the query fails.
pub fn extensions(postgres: &Postgres) -> Result<Vec<String>, TestingError> {
    let names = postgres.try_psql(
        "select name from pg_available_extensions
         where name in ('pgcrypto', 'hstore', 'pg_trgm', 'btree_gist', 'vector') order by name",
    )?;
    Ok(names.lines().map(Into::into).collect())
}

/// Puts the extension to use, so that data and indexes depend on it.
fn use_of(extension: &str) -> &'static str {
    match extension {
        "pgcrypto" => {
            "create table of_pgcrypto as select n, extensions.digest(n::text, 'sha256') as sum
             from generate_series(1, 100) n"
        }
        "hstore" => {
            "create table of_hstore (n int primary key, h extensions.hstore);
             insert into of_hstore select n, extensions.hstore('key ' || n, 'a \"value\"')
             from generate_series(1, 100) n;
             create index on of_hstore using gin (h)"
        }
        "pg_trgm" => {
            "create index orders_note_trgm on orders using gin (note extensions.gin_trgm_ops)"
        }
        "btree_gist" => {
            "create table of_btree_gist (room int, during tstzrange,
             exclude using gist (room with =, during with &&))"
        }
        "vector" => {
            "create table of_vector as select n, array[n, 1, 2]::real[]::extensions.vector(3) as v
             from generate_series(1, 100) n"
        }
        _ => "",
    }
}
