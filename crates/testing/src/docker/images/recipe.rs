//! What is in each image, and how it is run.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Image;
use super::root::Root;
use super::systemd;
use crate::TestingError;
use crate::postgres::Major;
use crate::process::temp_dir;
use crate::servers::{ACCESS_KEY, SECRET_KEY, rclone_program};

const POSTGRES_ENTRYPOINT: &str = include_str!("postgres-entrypoint.sh");
const REDIS_ENTRYPOINT: &str = include_str!("redis-entrypoint.sh");
const APP_INFO: &str = include_str!("app-info.sh");

/// A file system and how it is run.
pub(super) struct Recipe {
    pub(super) root: TempDir,
    /// `config` of the image, as the OCI image specification names its fields.
    pub(super) config: Value,
}

/// Changes when any recipe does, so that a cache never has an image of another recipe.
pub(super) fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    for text in [
        POSTGRES_ENTRYPOINT,
        REDIS_ENTRYPOINT,
        APP_INFO,
        include_str!("recipe.rs"),
        include_str!("root.rs"),
        include_str!("systemd.rs"),
        include_str!("archive.rs"),
    ] {
        text.hash(&mut hasher);
    }
    hasher.finish()
}

/// Makes the file system of an image.
pub(super) fn recipe(image: Image) -> Result<Recipe, TestingError> {
    let dir = temp_dir()?;
    let root = Root::create(dir.path())?;
    let config = match image {
        Image::App => app(&root)?,
        Image::Redis => redis(&root)?,
        Image::S3 => s3(&root)?,
        Image::Postgres(major) => postgres(&root, major)?,
        Image::Systemd => systemd::fill(&root)?,
    };
    Ok(Recipe { root: dir, config })
}

fn app(root: &Root<'_>) -> Result<Value, TestingError> {
    root.directory("srv/cgi-bin")?;
    root.directory("data")?;
    root.text("srv/health", "well\n")?;
    root.script("srv/cgi-bin/info", APP_INFO)?;
    Ok(json!({
        "Cmd": ["httpd", "-f", "-p", "8080", "-h", "/srv"],
        "Env": [PATH],
        "ExposedPorts": { "8080/tcp": {} },
        "Volumes": { "/data": {} },
        "Healthcheck": health("wget -q -O /dev/null http://127.0.0.1:8080/health || { echo 'no health file'; exit 1; }"),
        "Labels": { "org.example.role": "app" },
    }))
}

fn redis(root: &Root<'_>) -> Result<Value, TestingError> {
    let programs = [installed("redis-server")?, installed("redis-cli")?];
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        root.copy(program, &format!("usr/local/bin/{name}"))?;
    }
    // Debian's server and its checkers are one program.
    let server =
        fs::canonicalize(&programs[0]).map_err(TestingError::file("look at", &programs[0]))?;
    root.copy(&server, "usr/local/bin/redis-server")?;
    root.libraries_of(&programs)?;
    root.directory("data")?;
    root.script("usr/local/bin/docker-entrypoint.sh", REDIS_ENTRYPOINT)?;
    Ok(json!({
        "Entrypoint": ["docker-entrypoint.sh"],
        // The official image is built without protected mode.
        "Cmd": ["redis-server", "--protected-mode", "no"],
        "Env": [PATH],
        "ExposedPorts": { "6379/tcp": {} },
        "Volumes": { "/data": {} },
        "WorkingDir": "/data",
        "Healthcheck": health("redis-cli ping | grep -q PONG"),
    }))
}

fn s3(root: &Root<'_>) -> Result<Value, TestingError> {
    root.copy(rclone_program()?, "usr/local/bin/rclone")?;
    root.directory("data")?;
    let keys = format!("{ACCESS_KEY},{SECRET_KEY}");
    Ok(json!({
        "Entrypoint": ["rclone"],
        "Cmd": ["serve", "s3", "--config=", "--addr", ":9000", "--auth-key", keys, "/data"],
        "Env": [PATH],
        "ExposedPorts": { "9000/tcp": {} },
        "Volumes": { "/data": {} },
        // Whoever has no keys is refused, which is an answer.
        "Healthcheck": health("wget -O /dev/null http://127.0.0.1:9000/ 2>&1 | grep -q ' 40[0-9] '"),
    }))
}

fn postgres(root: &Root<'_>, major: Major) -> Result<Value, TestingError> {
    let installation = major.installation()?;
    let bin_dir = installation.bin_dir();
    let place = match major {
        Major::V15 => debian_postgres(root, bin_dir)?,
        _ => relocatable_postgres(root, bin_dir)?,
    };
    root.libraries_of(&programs_below(bin_dir.parent().unwrap_or(bin_dir))?)?;
    for dir in [
        "var/lib/postgresql/data",
        "run/postgresql",
        "docker-entrypoint-initdb.d",
    ] {
        root.directory(dir)?;
    }
    root.copy_tree(
        Path::new("/usr/lib/locale/C.utf8"),
        "usr/lib/locale/C.utf8",
        &[],
    )?;
    if Path::new("/usr/share/zoneinfo").exists() {
        root.copy_tree(
            Path::new("/usr/share/zoneinfo"),
            "usr/share/zoneinfo",
            &["right", "posix"],
        )?;
    }
    root.script("usr/local/bin/docker-entrypoint.sh", POSTGRES_ENTRYPOINT)?;
    Ok(json!({
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres"],
        "Env": [
            format!("PATH=/usr/local/bin:{place}/bin:/usr/bin:/bin"),
            "PGDATA=/var/lib/postgresql/data",
            // Clients of some builds look in /tmp.
            "PGHOST=/var/run/postgresql",
            format!("PG_MAJOR={}", major.number()),
        ],
        "ExposedPorts": { "5432/tcp": {} },
        "Volumes": { "/var/lib/postgresql/data": {} },
        "StopSignal": "SIGINT",
    }))
}

/// Debian's programs find their files at fixed places.
fn debian_postgres(root: &Root<'_>, bin_dir: &Path) -> Result<String, TestingError> {
    let place = bin_dir.parent().unwrap_or(bin_dir);
    let inside = place.to_string_lossy().into_owned();
    let heavy = ["lib/pgxs", "lib/bitcode", "lib/llvmjit*"];
    root.copy_tree(place, &inside, &heavy)?;
    root.copy_tree(
        Path::new("/usr/share/postgresql/15"),
        "usr/share/postgresql/15",
        &["man"],
    )?;
    Ok(inside)
}

/// The others find theirs beside themselves. Some look for the socket in /tmp.
fn relocatable_postgres(root: &Root<'_>, bin_dir: &Path) -> Result<String, TestingError> {
    let tree = bin_dir.parent().unwrap_or(bin_dir);
    root.copy_tree(tree, "opt/postgresql", &["include"])?;
    Ok("/opt/postgresql".into())
}

/// Programs and modules, of which the libraries are wanted.
fn programs_below(dir: &Path) -> Result<Vec<PathBuf>, TestingError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(TestingError::file("list", dir))? {
        let path = entry.map_err(TestingError::file("list", dir))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !["pgxs", "bitcode", "include", "share"].contains(&name.as_str()) {
            found.extend(programs_below(&path)?);
        } else if path.is_file()
            && !name.starts_with("llvmjit")
            && (is_program(dir) || name.contains(".so"))
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_program(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name == "bin")
}

fn installed(program: &str) -> Result<PathBuf, TestingError> {
    let path = Path::new("/usr/bin").join(program);
    if path.exists() {
        return Ok(path);
    }
    Err(TestingError::Unavailable {
        what: "an image of Redis".into(),
        why: format!("there is no {}; `make deps` installs it", path.display()),
    })
}

const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";

/// Every second, and unwell after three failures.
fn health(command: &str) -> Value {
    const SECOND: u64 = 1_000_000_000;
    json!({
        "Test": ["CMD-SHELL", command],
        "Interval": SECOND,
        "Timeout": 5 * SECOND,
        "Retries": 3,
    })
}
