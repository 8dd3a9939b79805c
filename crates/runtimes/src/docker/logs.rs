//! What services have logged.

use std::io::Write;
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::Stream;
use futures_util::stream::select_all;

use super::containers::{Container, id_of};
use super::engine::{Doing, Engine};
use super::failure::Failure;
use crate::net::wait_for;
use crate::{LogRequest, RuntimeError};

type Lines = Pin<Box<dyn Stream<Item = Result<LogOutput, Failure>> + Send>>;

/// Writes the logs of a service's containers: one after the other, or as lines come if they are followed.
pub(super) fn logs(
    engine: &Engine,
    doing: Doing<'_>,
    containers: &[Container],
    request: &LogRequest,
    out: &mut dyn Write,
) -> Result<(), RuntimeError> {
    let mut streams = Vec::new();
    for container in containers {
        streams.push(lines_of(engine, container, request)?);
    }
    if request.follow {
        return write_all(engine, doing, &mut select_all(streams), out);
    }
    for mut stream in streams {
        write_all(engine, doing, &mut stream, out)?;
    }
    Ok(())
}

fn lines_of(
    engine: &Engine,
    container: &Container,
    request: &LogRequest,
) -> Result<Lines, RuntimeError> {
    let tail = request
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = request.since.map_or(0, |time| {
        i32::try_from(time.as_second()).unwrap_or(i32::MAX)
    });
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .follow(request.follow)
        .since(since)
        .tail(&tail)
        .build();
    let client = engine.client()?;
    let id = id_of(container);
    Ok(Box::pin(client.logs(&id, Some(options))))
}

fn write_all(
    engine: &Engine,
    doing: Doing<'_>,
    lines: &mut (impl Stream<Item = Result<LogOutput, Failure>> + Unpin),
    out: &mut dyn Write,
) -> Result<(), RuntimeError> {
    loop {
        let next = wait_for(engine.next(lines));
        let Some(item) = next.map_err(|source| super::failure::threads(&engine.name(), source))?
        else {
            return Ok(());
        };
        let bytes = item
            .map_err(|failure| engine.explain(doing, failure))?
            .into_bytes();
        out.write_all(&bytes)
            .and_then(|()| out.flush())
            .map_err(|source| RuntimeError::Io {
                doing: format!("pass on the log of `{}`", doing.service),
                source,
            })?;
    }
}
