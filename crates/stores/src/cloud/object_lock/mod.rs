//! S3's Object Lock: what is written is locked by the request that writes it, and locks are asked for and extended.
//!
//! `object_store` knows neither locks nor lists of versions, so these requests are made here, signed by its own signer and sent
//! through our own client. The header that bypasses a lock in governance mode is never sent.

mod sign;
mod writing;
mod xml;

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use http::{Method, StatusCode};
use jiff::Timestamp;
use object_store::{
    client::{HttpResponse, HttpService},
    path::Path,
};
use rekindle_vault::store::{LockPeriod, LockSupport, PageMark, VersionsPage};

pub(super) use sign::Signatures;
pub(super) use writing::{LockUntil, LockingConnector};

use super::{Failure, name::Names};
use crate::{
    escape::escaped,
    http::{Connector, Refusal},
};

/// How a lock is meant. Source: AWS, "Object Lock retention modes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the special right `s3:BypassGovernanceRetention` may end it early.
    Governance,
    /// Nobody may, not the owner of the bucket, not the store's own support.
    Compliance,
}

impl LockMode {
    const fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let modes = [Self::Governance, Self::Compliance];
        modes.into_iter().find(|mode| mode.name() == text.trim())
    }
}

/// How objects are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// How it is meant.
    pub mode: LockMode,
    /// For how long.
    pub period: LockPeriod,
}

/// The locks of one bucket.
pub(super) struct Locks {
    connector: Connector,
    signatures: Signatures,
    pub settings: ObjectLock,
    /// Whether the bucket was seen to keep locks.
    is_kept: AtomicBool,
}

/// A lock that an object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    mode: LockMode,
    pub end: Timestamp,
}

impl Locks {
    pub fn new(connector: Connector, signatures: Signatures, settings: ObjectLock) -> Self {
        Self {
            connector,
            signatures,
            settings,
            is_kept: AtomicBool::new(false),
        }
    }

    /// What is written now is locked until then.
    pub fn until(&self, now: Timestamp) -> LockUntil {
        LockUntil {
            mode: self.settings.mode,
            end: self.settings.period.end(now).to_string(),
        }
    }

    /// Refuses where locks would be taken and not kept. Asked once, before the first write.
    pub async fn ensure_kept(&self) -> Result<(), Failure> {
        if self.is_kept.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.support().await? == LockSupport::Off {
            return Err(io::Error::new(io::ErrorKind::Unsupported, NoObjectLock).into());
        }
        self.is_kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub async fn support(&self) -> Result<LockSupport, Failure> {
        let answer = self
            .ask(Method::GET, None, "object-lock=", Vec::new())
            .await;
        let (status, body) = match answer {
            Err(Failure::Http(error)) => match super::failure::cause::<Refusal>(&error) {
                Some(refusal) if says_none(refusal) => return Ok(LockSupport::Off),
                _ => return Err(Failure::Http(error)),
            },
            answer => answer?,
        };
        let is_on = status.is_success()
            && xml::text(&body, "ObjectLockEnabled").is_some_and(|text| text.trim() == "Enabled");
        let no_bucket = xml::text(&body, "Code") == Some("NoSuchBucket");
        match (is_on, no_bucket) {
            (true, _) => Ok(LockSupport::On),
            (false, true) => Err(refusal(status, &body)),
            // Of a store that does not know the question, the answer is another one.
            (false, false) => Ok(LockSupport::Off),
        }
    }

    pub async fn lock(&self, path: &Path, version: Option<&str>) -> Result<Option<Lock>, Failure> {
        let query = match version {
            Some(version) => format!("retention=&versionId={}", escaped(version)),
            None => "retention=".to_owned(),
        };
        let (status, body) = self
            .ask(Method::GET, Some(path), &query, Vec::new())
            .await?;
        if status == StatusCode::NOT_FOUND {
            return match xml::text(&body, "Code").unwrap_or_default() {
                "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError" => {
                    Ok(None)
                }
                "NoSuchBucket" => Err(refusal(status, &body)),
                _ => Err(io::Error::from(io::ErrorKind::NotFound).into()),
            };
        }
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        let mode = xml::text(&body, "Mode").and_then(LockMode::parse);
        let mode = mode.ok_or_else(|| strange("a lock without a mode that is known"))?;
        let end = xml::time(&body, "RetainUntilDate").map_err(|reason| strange(&reason))?;
        Ok(Some(Lock { mode, end }))
    }

    /// A lock is never shortened, and never made weaker: what is there and longer stays.
    pub async fn lock_until(&self, path: &Path, end: Timestamp) -> Result<(), Failure> {
        let refused = match self.put_lock(path, self.settings.mode, end).await {
            Err(failure) if failure.is_refusal() => failure,
            other => return other,
        };
        match self.lock(path, None).await? {
            Some(lock) if lock.end >= end => Ok(()),
            Some(lock) if lock.mode != self.settings.mode => {
                self.put_lock(path, lock.mode, end).await
            }
            _ => Err(refused),
        }
    }

    /// Locks what was written with a lock, in case the store took no notice.
    pub async fn ensure_locked(&self, path: &Path) -> Result<(), Failure> {
        match self.lock(path, None).await? {
            Some(_) => Ok(()),
            None => {
                let end = self.settings.period.end(Timestamp::now());
                self.lock_until(path, end).await
            }
        }
    }

    async fn put_lock(&self, path: &Path, mode: LockMode, end: Timestamp) -> Result<(), Failure> {
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{end}</RetainUntilDate></Retention>",
            mode.name()
        );
        let (status, body) = self
            .ask(Method::PUT, Some(path), "retention=", body.into_bytes())
            .await?;
        match status {
            StatusCode::NOT_FOUND if xml::text(&body, "Code") != Some("NoSuchBucket") => {
                Err(io::Error::from(io::ErrorKind::NotFound).into())
            }
            status if status.is_success() => Ok(()),
            status => Err(refusal(status, &body)),
        }
    }

    pub async fn versions(
        &self,
        folder: &Path,
        names: &Names,
        from: Option<&PageMark>,
    ) -> Result<VersionsPage, Failure> {
        let mut query = format!("max-keys=1000&prefix={}", escaped(folder.as_ref()));
        // In the order of their names, as a signature wants them.
        if let Some(mark) = from {
            query = format!("key-marker={}&{query}", escaped(&mark.key));
            if let Some(version) = &mark.version {
                query = format!("{query}&version-id-marker={}", escaped(version));
            }
        }
        query.push_str("&versions=");
        let (status, body) = self.ask(Method::GET, None, &query, Vec::new()).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        let (versions, next) = xml::versions(&body, names).map_err(|reason| strange(&reason))?;
        if next.is_some() && next.as_ref() == from {
            return Err(strange("the list of versions goes on where it began"));
        }
        Ok(VersionsPage { versions, next })
    }

    pub async fn remove_version(&self, path: &Path, version: &str) -> Result<(), Failure> {
        let query = format!("versionId={}", escaped(version));
        let (status, body) = self
            .ask(Method::DELETE, Some(path), &query, Vec::new())
            .await?;
        // One that is gone is what was wanted.
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refusal(status, &body))
    }

    async fn ask(
        &self,
        method: Method,
        path: Option<&Path>,
        query: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, String), Failure> {
        let request = self.signatures.request(method, path, query, body).await?;
        let answer: HttpResponse = self.connector.call(request).await?;
        let (parts, body) = answer.into_parts();
        let body = body.bytes().await?;
        Ok((parts.status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Whether a refusal says that the store or the bucket has no Object Lock.
fn says_none(refusal: &Refusal) -> bool {
    let codes = [
        "NotImplemented",
        "MethodNotAllowed",
        "InvalidRequest",
        "InvalidArgument",
        "ObjectLockConfigurationNotFoundError",
    ];
    codes.contains(&refusal.code.as_str())
        || matches!(
            refusal.status,
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED
        )
}

/// The bucket would take locks and not keep them.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the bucket keeps no object locks, and the configuration asks for them: nothing was written"
)]
pub(crate) struct NoObjectLock;

fn refusal(status: StatusCode, body: &str) -> Failure {
    io::Error::other(Refusal::read(status, body)).into()
}

fn strange(reason: &str) -> Failure {
    let said = format!("the store's answer cannot be understood: {reason}");
    io::Error::new(io::ErrorKind::InvalidData, said).into()
}
