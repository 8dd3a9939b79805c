//! Whether a server runs, and where its files lie while it does not: it cannot be asked then, and a wrong directory would
//! be somebody else's.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rekindle_runtimes::{RunState, Runtime};

use super::super::{
    RedisServer, address::Endpoint, client::Client, error::RedisError, record::RedisRecord,
};
use crate::{
    InPlaceError,
    files::in_place::{io as failed, refused},
};

impl RedisServer {
    /// Whether nobody serves there: nobody listens, or it cannot be reached because its service does not run.
    pub(in crate::redis) fn is_down(&self) -> bool {
        match Client::connect(&self.options) {
            Err(RedisError::Unreachable(error)) => is_nobody(&error) || self.rests(),
            _ => false,
        }
    }

    fn rests(&self) -> bool {
        let Some(runtime) = &self.surroundings.runtime else {
            return false;
        };
        let service = self.surroundings.service.as_str();
        let is_its_name = self.options.tls_name.as_deref() == Some(service);
        match runtime.state(service).map(|state| state.run) {
            Ok(RunState::Created | RunState::Stopped | RunState::Failed) => true,
            Ok(RunState::Absent) => is_its_name,
            _ => false,
        }
    }

    /// Where the server's files lie, which cannot be asked: as the configuration says, else where the runtime says that
    /// the directory of the captured server is, else that directory itself, if it is of this machine.
    pub(super) fn directory_without_server(
        &self,
        record: &RedisRecord,
    ) -> Result<PathBuf, InPlaceError> {
        let directory = match &self.data_directory {
            Some(directory) => directory.clone(),
            None => self.known_directory(record)?,
        };
        let found = directory.canonicalize();
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(
                format!(
                    "the server's directory {} is not there",
                    directory.display()
                ),
                Some("make it, and give it to the server's user"),
            ),
            _ => failed("look at", &directory)(error),
        })?;
        match found.is_dir() {
            true => Ok(found),
            false => Err(refused(
                format!("{} is no directory", found.display()),
                None,
            )),
        }
    }

    fn known_directory(&self, record: &RedisRecord) -> Result<PathBuf, InPlaceError> {
        let Some(dir) = record.settings.get("dir").map(Path::new) else {
            return Err(unknown("the point does not say where the server kept them"));
        };
        if let Some(runtime) = &self.surroundings.runtime
            && let Some(found) = self.by_runtime(&**runtime, dir)?
        {
            return Ok(found);
        }
        let here = dir.display();
        match &self.options.endpoint {
            Endpoint::Tcp { host, .. } if !is_this_machine(host) => Err(unknown(format!(
                "the server had them in {here}, on the machine `{host}`"
            ))),
            _ if !dir.is_dir() => Err(unknown(format!(
                "the server had them in {here}, which is no directory of this machine"
            ))),
            _ => Ok(dir.to_owned()),
        }
    }

    /// Where the runtime has them; `None` if it is an ordinary program, which sees what we see.
    fn by_runtime(
        &self,
        runtime: &dyn Runtime,
        dir: &Path,
    ) -> Result<Option<PathBuf>, InPlaceError> {
        let service = self.surroundings.service.as_str();
        let unheard = |error: rekindle_runtimes::RuntimeError| {
            unknown(format!(
                "the server had them in {}, and where that is its runtime does not say: {}",
                dir.display(),
                crate::with_causes(&error)
            ))
        };
        let storages = runtime.storage(service).map_err(unheard)?;
        let found = storages.iter().filter(|one| dir.starts_with(&one.inside));
        // Of storage in storage the inner one has it.
        if let Some(storage) = found.max_by_key(|one| one.inside.components().count()) {
            let below = dir.strip_prefix(&storage.inside).unwrap_or(Path::new(""));
            let here = storage.here.as_ref().ok_or_else(|| {
                unknown(format!(
                    "{} is storage of its runtime that cannot be seen from here",
                    storage.name
                ))
            })?;
            return Ok(Some(here.join(below)));
        }
        let state = runtime.state(service).map_err(unheard)?;
        match state.image {
            Some(_) => Err(unknown(format!(
                "the server had them in {} within its container, which is no storage that outlives it",
                dir.display()
            ))),
            None => Ok(None),
        }
    }
}

fn unknown(why: impl std::fmt::Display) -> InPlaceError {
    refused(
        format!("the server does not run, and where its files lie is not known: {why}"),
        Some(
            "start the server, which is then given the data while it runs; or set `data_directory` of the dataset to where \
             its `dir` is seen from here",
        ),
    )
}

/// Whether nobody listens where the server should.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

fn is_this_machine(host: &str) -> bool {
    let plain = host.trim_matches(['[', ']']);
    host == "localhost" || plain.parse::<IpAddr>().is_ok_and(|at| at.is_loopback())
}
