//! Servers that answer requests, and are no stores: a client for those who wait in threads.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use http::{HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use rekindle_stack::Secret;
use reqwest::Url;

use super::{CONNECT_TIMEOUT, IDLE, tls::client_config};
use crate::runtime::wait_for;

/// A server that is spoken to by requests and answers. Cheap to clone; threads may share it.
#[derive(Clone, Debug)]
pub struct HttpApi {
    client: reqwest::Client,
    base: Url,
    bearer: Option<Secret>,
    stall: Duration,
}

/// What a server answered, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status, 100 to 999.
    pub status: u16,
    /// All of the body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Whether the status is one of 200 to 299.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpApiError {
    /// The URL or a setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The connection failed, or stood still for too long. The server may have done what was asked.
    #[error("{method} {path}")]
    NoAnswer {
        /// What was asked.
        method: &'static str,
        /// Of which path.
        path: String,
        /// Why nothing came.
        source: io::Error,
    },
    /// The answer is longer than the caller takes.
    #[error("{method} {path}: the answer is longer than {most_bytes} bytes")]
    TooLong {
        /// What was asked.
        method: &'static str,
        /// Of which path.
        path: String,
        /// What the caller takes.
        most_bytes: usize,
    },
}

impl From<io::Error> for HttpApiError {
    /// The runtime could not be made.
    fn from(error: io::Error) -> Self {
        Self::Setting(error.to_string())
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// `GET`, `POST`, `PATCH`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Below the base URL, with the query; percent-encoded. Told in errors, so it holds no secret.
    pub path: &'a str,
    /// What the body is, and the body.
    pub body: Option<(&'static str, &'a [u8])>,
    /// The longest answer that is taken, in bytes.
    pub most_bytes: usize,
}

impl HttpApi {
    /// A server at `base`, an `http` or `https` URL. With `at`, connections go to that address, while the URL's
    /// host is still what the server's certificate must name.
    ///
    /// # Errors
    /// [`HttpApiError::Setting`]; nothing is sent yet.
    pub fn new(
        base: &str,
        at: Option<SocketAddr>,
        ca_file: Option<&Path>,
        stall: Duration,
    ) -> Result<Self, HttpApiError> {
        let setting = |reason: String| HttpApiError::Setting(reason);
        // Not quoted: it may hold a password.
        let mut url = Url::parse(base).map_err(|error| setting(format!("the URL: {error}")))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(ca_file).map_err(setting)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("rekindle/", env!("CARGO_PKG_VERSION")))
            // Another server than the one that was named would get the key.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(at) = at {
            let host = url.host_str().unwrap_or_default().to_owned();
            if url.set_port(Some(at.port())).is_err() || host.is_empty() {
                return Err(setting("the URL names no host".to_owned()));
            }
            // Numbers are not looked up, so they are replaced.
            match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
                Ok(_) => url.set_ip_host(at.ip()).unwrap_or_default(),
                Err(_) => builder = builder.resolve(&host, at),
            }
        }
        let client = builder
            .build()
            .map_err(|error| setting(error.to_string()))?;
        Ok(Self {
            client,
            base: url,
            bearer: None,
            stall,
        })
    }

    /// Sends this key with every request.
    #[must_use]
    pub fn with_bearer(self, key: Secret) -> Self {
        let bearer = Some(key);
        Self { bearer, ..self }
    }

    /// Asks, and waits for all of the answer. No answer is an error; a refusal is an answer.
    ///
    /// # Errors
    /// [`HttpApiError`].
    pub fn call(&self, call: HttpCall<'_>) -> Result<HttpAnswer, HttpApiError> {
        let request = self.request(call)?;
        wait_for(self.answer(request, call))
    }

    fn request(&self, call: HttpCall<'_>) -> Result<reqwest::Request, HttpApiError> {
        let setting = |reason: String| HttpApiError::Setting(reason);
        let base = self.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{}", call.path.trim_start_matches('/')))
            .map_err(|error| setting(error.to_string()))?;
        let method = call.method.parse::<Method>();
        let method = method.map_err(|error| setting(error.to_string()))?;
        let mut request = reqwest::Request::new(method, url);
        if let Some((kind, body)) = call.body {
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            *request.body_mut() = Some(body.to_vec().into());
        }
        if let Some(key) = &self.bearer {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            let mut value = value
                .map_err(|_| setting("the key has characters that no header holds".to_owned()))?;
            value.set_sensitive(true);
            let name: HeaderName = header::AUTHORIZATION;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    async fn answer(
        &self,
        request: reqwest::Request,
        call: HttpCall<'_>,
    ) -> Result<HttpAnswer, HttpApiError> {
        let path = call.path.to_owned();
        let failed = |source: io::Error| HttpApiError::NoAnswer {
            method: call.method,
            path: path.clone(),
            source,
        };
        let stood_still = || {
            let said = format!("nothing came for {} s", self.stall.as_secs());
            failed(io::Error::new(io::ErrorKind::TimedOut, said))
        };
        let answer = tokio::time::timeout(self.stall, self.client.execute(request)).await;
        let answer = answer
            .map_err(|_| stood_still())?
            .map_err(|error| failed(as_io(error)))?;
        let status = answer.status().as_u16();
        let mut pieces: reqwest::Body = http::Response::from(answer).into_body();
        let mut body = Vec::new();
        loop {
            let piece = tokio::time::timeout(self.stall, pieces.frame()).await;
            let Some(piece) = piece.map_err(|_| stood_still())? else {
                return Ok(HttpAnswer { status, body });
            };
            let piece = piece.map_err(|error| failed(as_io(error)))?;
            body.extend_from_slice(piece.data_ref().map_or(&[][..], |data| data));
            if body.len() > call.most_bytes {
                return Err(HttpApiError::TooLong {
                    method: call.method,
                    path,
                    most_bytes: call.most_bytes,
                });
            }
        }
    }
}

/// Its URL is left out: it may hold a password.
fn as_io(error: reqwest::Error) -> io::Error {
    let kind = if error.is_timeout() {
        io::ErrorKind::TimedOut
    } else if error.is_connect() {
        io::ErrorKind::ConnectionRefused
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, error.without_url())
}
