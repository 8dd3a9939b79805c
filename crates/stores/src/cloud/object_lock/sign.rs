//! Signatures of requests that `object_store` does not make, or makes without the headers of a lock.

use std::sync::{Arc, OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use object_store::{
    aws::{AmazonS3, AwsAuthorizer},
    client::{HttpError, HttpErrorKind, HttpRequest, HttpRequestBody},
    path::Path,
    signer::Signer,
};

use std::time::Duration;

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Signs requests to one bucket. Empty until the store is built, because the store's client is built with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signatures(Arc<OnceLock<Bucket>>);

#[derive(Debug)]
struct Bucket {
    s3: AmazonS3,
    region: String,
}

impl Signatures {
    /// To be called once, when the store is built.
    pub fn are_of(&self, s3: AmazonS3, region: String) {
        // Nobody else has it yet.
        let _ = self.0.set(Bucket { s3, region });
    }

    fn bucket(&self) -> Result<&Bucket, HttpError> {
        self.0
            .get()
            .ok_or_else(|| unusable("the store is not built yet"))
    }

    /// A signed request for `path`, or for the bucket itself.
    pub async fn request(
        &self,
        method: Method,
        path: Option<&Path>,
        query: &str,
        body: Vec<u8>,
    ) -> Result<HttpRequest, HttpError> {
        let bucket = self.bucket()?;
        let some_path = Path::from("x");
        let url = bucket
            .s3
            .signed_url(
                Method::GET,
                path.unwrap_or(&some_path),
                Duration::from_secs(60),
            )
            .await
            .map_err(unusable)?;
        let url = url.as_str().split('?').next().unwrap_or_default();
        let url = match path {
            Some(_) => url,
            None => url.strip_suffix('x').unwrap_or(url),
        };
        let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{url}?{query}").parse().map_err(unusable)?;
        if !request.body().is_empty() {
            add_md5(&mut request).await?;
        }
        self.sign(&mut request, None).await?;
        Ok(request)
    }

    /// Signs a request once more, after its headers were changed. Its body is the same.
    pub async fn sign_again(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let hash = request.headers().get(&CONTENT_SHA256);
        let hash = hash.and_then(|hash| bytes_of_hex(hash.as_bytes()));
        self.sign(request, hash.as_deref()).await
    }

    async fn sign(&self, request: &mut HttpRequest, hash: Option<&[u8]>) -> Result<(), HttpError> {
        let bucket = self.bucket()?;
        let credential = bucket.s3.credentials().get_credential().await;
        let credential = credential.map_err(unusable)?;
        AwsAuthorizer::new(&credential, "s3", &bucket.region)
            .try_authorize(request, hash)
            .map_err(unusable)
    }
}

/// S3 wants the MD5 of a body that is to be locked, whatever else protects it. Source: AWS, "PutObject".
pub(super) async fn add_md5(request: &mut HttpRequest) -> Result<(), HttpError> {
    let mut md5 = Md5::new();
    // A clone shares the bytes.
    let mut body = request.body().clone();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            md5.update(&bytes);
        }
    }
    let text = BASE64.encode(md5.finalize());
    let value = HeaderValue::from_str(&text).map_err(unusable)?;
    request.headers_mut().insert(CONTENT_MD5, value);
    Ok(())
}

fn bytes_of_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let hex = std::str::from_utf8(hex)
        .ok()
        .filter(|hex| hex.len() == 64)?;
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

fn unusable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
    HttpError::new(HttpErrorKind::Unknown, error)
}
