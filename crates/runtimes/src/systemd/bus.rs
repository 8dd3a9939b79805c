//! Calls to systemd over its bus. Source: org.freedesktop.systemd1(5).

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::Value;
use zbus::{Connection, DynamicType, Message, MessageStream, OwnedObjectPath, Variant, connection};

use super::{
    address::Bus,
    failure::{Failure, failure},
};
use crate::{RuntimeError, net::wait_for};

/// How long an answer may take. Changes are jobs, which are answered at once and waited for by themselves.
const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const ROOT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// systemd, asked over a bus. The connection is made at the first call, and anew after it broke.
pub(super) struct Manager {
    pub bus: Bus,
    connection: Mutex<Option<Connection>>,
}

/// Something that systemd was told to do, while it does it.
pub(super) struct Job<'a> {
    manager: &'a Manager,
    ends: Option<MessageStream>,
    path: OwnedObjectPath,
}

/// Properties of a unit by name, with what they hold in the way of JSON.
pub(super) type Properties = BTreeMap<String, Value>;

/// A property that a new unit is given.
pub(super) type Property = (&'static str, Variant<'static>);

/// A unit in a list: its name, its description, its states, and what else is not asked for here.
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

impl Manager {
    pub fn new(bus: Bus) -> Self {
        Self {
            bus,
            connection: Mutex::new(None),
        }
    }

    /// Calls a method of the manager.
    pub fn call<B>(&self, method: &str, body: &B) -> Result<Message, Failure>
    where
        B: Serialize + DynamicType,
    {
        self.call_at(ROOT, MANAGER, method, body)
    }

    /// The path of a unit, also of one that is not there. It is loaded for this, if it was not.
    pub fn unit(&self, name: &str) -> Result<OwnedObjectPath, Failure> {
        let answer = self.call("LoadUnit", &(name,))?;
        self.read(&answer)
    }

    /// All properties that an interface of a unit has: `Unit`, `Service`.
    pub fn properties(&self, path: &OwnedObjectPath, of: &str) -> Result<Properties, Failure> {
        let interface = format!("{SYSTEMD}.{of}");
        let answer = self.call_at(
            path.as_str(),
            "org.freedesktop.DBus.Properties",
            "GetAll",
            &(interface,),
        )?;
        let body = answer.body();
        let all = body.deserialize::<BTreeMap<String, Variant<'_>>>();
        let all = all.map_err(|error| self.broke(error))?;
        Ok(all
            .into_iter()
            .map(|(name, value)| (name, json(&value)))
            .collect())
    }

    /// Has systemd do something with a unit: `StartUnit`, `StopUnit`.
    pub fn job(&self, method: &str, unit: &str, mode: &str) -> Result<Job<'_>, Failure> {
        self.job_by(unit, || self.call(method, &(unit, mode)))
    }

    /// Has systemd make a unit that no file describes, and start it.
    pub fn start_transient(&self, unit: &str, properties: &[Property]) -> Result<Job<'_>, Failure> {
        let no_others: [(&str, Vec<(&str, Variant<'_>)>); 0] = [];
        let body = (unit, "fail", properties, &no_others[..]);
        self.job_by(unit, || self.call("StartTransientUnit", &body))
    }

    /// Loaded units whose names fit a pattern, each with its description.
    pub fn loaded(&self, pattern: &str) -> Result<Vec<(String, String)>, Failure> {
        let no_states: [&str; 0] = [];
        let answer = self.call("ListUnitsByPatterns", &(&no_states[..], &[pattern][..]))?;
        let all: Vec<Listed> = self.read(&answer)?;
        Ok(all.into_iter().map(|unit| (unit.0, unit.1)).collect())
    }

    /// What a call makes systemd do with a unit.
    fn job_by(
        &self,
        unit: &str,
        call: impl FnOnce() -> Result<Message, Failure>,
    ) -> Result<Job<'_>, Failure> {
        let connection = self.connection()?;
        // Before the job, so that its end is not missed.
        let ends = self.wait(async {
            let rule = zbus::MatchRule::builder()
                .msg_type(zbus::message::Type::Signal)
                .sender(SYSTEMD)
                .interface(MANAGER)
                .member("JobRemoved")
                // Of other units there may be many, and nobody takes them while something else is asked.
                .arg(2, unit)
                .build()?;
            MessageStream::for_match_rule(rule, &connection, None).await
        })?;
        let mut job = Job {
            manager: self,
            ends: Some(ends),
            path: OwnedObjectPath::default(),
        };
        match self.call("Subscribe", &()) {
            Err(Failure::Refused { name, .. }) if name.ends_with(".AlreadySubscribed") => {}
            other => drop(other?),
        }
        let answer = call()?;
        job.path = self.read(&answer)?;
        Ok(job)
    }

    fn call_at<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Failure>
    where
        B: Serialize + DynamicType,
    {
        let connection = self.connection()?;
        self.wait(async {
            connection
                .call_method(Some(SYSTEMD), path, Some(interface), method, body)
                .await
        })
    }

    fn read<T>(&self, answer: &Message) -> Result<T, Failure>
    where
        T: serde::de::DeserializeOwned + zbus::Type,
    {
        let body = answer.body();
        let read = body.deserialize::<T>();
        read.map_err(|error| self.broke(error))
    }

    fn connection(&self) -> Result<Connection, Failure> {
        let mut kept = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = kept.as_ref().filter(|kept| !kept.is_closed()) {
            return Ok(connection.clone());
        }
        let builder = match &self.bus {
            Bus::System => connection::Builder::system(),
            Bus::User => connection::Builder::session(),
            Bus::At(address) => connection::Builder::address(address.as_str()),
        };
        let made = wait_for(async {
            let connect = builder.method_timeout(PATIENCE).build();
            let late = || zbus::Error::from(io::Error::from(io::ErrorKind::TimedOut));
            tokio::time::timeout(PATIENCE, connect)
                .await
                .map_err(|_| late())?
        });
        let made = made.map_err(threads)?.map_err(|error| self.broke(error))?;
        *kept = Some(made.clone());
        Ok(made)
    }

    /// Waits for an answer; a connection that broke is not used again.
    fn wait<T>(&self, answer: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
        let answer = wait_for(answer).map_err(threads)?;
        answer.map_err(|error| {
            let failure = self.broke(error);
            if matches!(failure, Failure::Unreachable(_)) {
                self.forget();
            }
            failure
        })
    }

    fn forget(&self) {
        let mut kept = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = None;
    }

    fn broke(&self, error: zbus::Error) -> Failure {
        failure(&self.bus, error)
    }
}

impl Job<'_> {
    /// Waits for its end, `limit` at most; `None` if it is not over by then. How it ended: `done`, `failed`, `dependency`,
    /// `timeout`, `canceled`, `skipped`.
    pub fn end(&mut self, limit: Duration) -> Result<Option<String>, Failure> {
        let Some(ends) = self.ends.as_mut() else {
            return Ok(None);
        };
        let path = &self.path;
        self.manager.wait(async {
            let found = tokio::time::timeout(limit, end_of(ends, path)).await;
            found.map_or(Ok(None), |found| found.map(Some))
        })
    }
}

impl Drop for Job<'_> {
    /// The library ends what listens by a task, and so it has to be let go of where tasks run.
    fn drop(&mut self) {
        let ends = self.ends.take();
        drop(wait_for(async move { drop(ends) }));
    }
}

/// Listens until a job is removed.
async fn end_of(ends: &mut MessageStream, job: &OwnedObjectPath) -> zbus::Result<String> {
    while let Some(signal) = ends.next().await {
        let body = signal?.body();
        let (_, path, _, result) = body.deserialize::<(u32, OwnedObjectPath, String, String)>()?;
        if path == *job {
            return Ok(result);
        }
    }
    Err(io::Error::from(io::ErrorKind::ConnectionAborted).into())
}

fn threads(source: io::Error) -> Failure {
    Failure::Unreachable(RuntimeError::Io {
        doing: "wait for systemd".to_owned(),
        source,
    })
}

/// What a value holds; what none of us asks for is null.
fn json(value: &Variant<'_>) -> Value {
    let list = |values: &[Variant<'_>]| Value::Array(values.iter().map(json).collect());
    match value {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(flag) => (*flag).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::Str(text) => text.as_str().into(),
        Variant::ObjectPath(path) => path.as_str().into(),
        Variant::Variant(inner) => json(inner),
        Variant::Array(array) => list(array.inner()),
        Variant::Structure(structure) => list(structure.fields()),
        _ => Value::Null,
    }
}
