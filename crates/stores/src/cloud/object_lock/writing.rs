//! The HTTP client of a store that locks what it writes: it adds the headers of the lock to the very request that
//! writes an object, so that there is no moment without a lock.

use http::HeaderValue;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    },
};

use super::{
    LockMode,
    sign::{Signatures, add_md5},
};
use crate::http::Connector;

/// Says of a request that what it writes is to be locked until then.
#[derive(Clone, Debug)]
pub(in crate::cloud) struct LockUntil {
    pub mode: LockMode,
    /// As S3 writes times.
    pub end: String,
}

/// A client that adds what locks need.
#[derive(Clone, Debug)]
pub(crate) struct LockingConnector {
    pub inner: Connector,
    pub signatures: Signatures,
}

impl HttpConnector for LockingConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for LockingConnector {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let lock = request.extensions().get::<LockUntil>().cloned();
        let is_part = request
            .uri()
            .query()
            .is_some_and(|q| q.contains("partNumber="));
        if lock.is_some() || is_part {
            if let Some(lock) = lock {
                add_lock(&mut request, &lock)?;
            }
            // Parts of what is to be locked need it, too.
            if !request.body().is_empty() {
                add_md5(&mut request).await?;
            }
            self.signatures.sign_again(&mut request).await?;
        }
        self.inner.call(request).await
    }
}

fn add_lock(request: &mut HttpRequest, lock: &LockUntil) -> Result<(), HttpError> {
    let end = HeaderValue::from_str(&lock.end)
        .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
    let mode = HeaderValue::from_static(lock.mode.name());
    let headers = request.headers_mut();
    headers.insert("x-amz-object-lock-mode", mode);
    headers.insert("x-amz-object-lock-retain-until-date", end);
    Ok(())
}
