//! HTTP for the cloud stores: our own TLS settings, transfers that stand still noticed, and refusals
//! kept as what the server said.

mod api;
mod body;
mod refusal;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    },
};

pub use api::{HttpAnswer, HttpApi, HttpApiError, HttpCall};
pub(crate) use refusal::Refusal;
pub(crate) use tls::client_config;

use body::{Progress, Watched};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that were idle for longer are often closed by the other side without a word.
const IDLE: Duration = Duration::from_secs(20);

/// Makes the client of one store.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: reqwest::Client,
    stall: Duration,
}

impl Connector {
    /// With these TLS settings; a transfer that moves no byte for `stall` is given up.
    pub(crate) fn new(tls: rustls::ClientConfig, stall: Duration) -> Result<Self, String> {
        Self::resolving(tls, stall, None)
    }

    /// As [`Connector::new`]; a host of that name is reached at that address. The port of the URL counts.
    pub(crate) fn resolving(
        tls: rustls::ClientConfig,
        stall: Duration,
        resolved: Option<(&str, SocketAddr)>,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder();
        if let Some((host, address)) = resolved {
            builder = builder.resolve(host, address);
        }
        let client = builder
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("rekindle/", env!("CARGO_PKG_VERSION")))
            // A redirect would be followed without a signature that fits.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, stall })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let is_listing = parts.uri.query().is_some_and(|q| q.contains("list-type=2"));
        let url = parts.uri.to_string().parse();
        let url = url.map_err(|_| failed(io::ErrorKind::InvalidInput, "the URL is none"))?;
        let progress = Arc::new(Progress::default());
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(reqwest::Body::wrap(Watched::new(body, &progress)));
        let response = self.answer(request, &progress).await?;
        let (parts, body) = response.into_parts();
        let body = body::until_stalled(body, self.stall);
        if refusal::is_one(parts.status) {
            return refusal::pass_or_fail(HttpResponse::from_parts(parts, body)).await;
        }
        if is_listing && parts.status.is_success() {
            let page = body.bytes().await?;
            refuse_cut_listing(&page)?;
            return Ok(HttpResponse::from_parts(parts, page.into()));
        }
        Ok(HttpResponse::from_parts(parts, body))
    }
}

impl Connector {
    /// The head of the answer. Waits as long as the request's body moves, and at least `stall` longer, twice
    /// that at most: what the kernel has of a body may need a while on a slow line.
    async fn answer(
        &self,
        request: reqwest::Request,
        progress: &Progress,
    ) -> Result<http::Response<reqwest::Body>, HttpError> {
        let mut answer = std::pin::pin!(self.client.execute(request));
        let (mut seen, mut is_second) = (progress.sent(), false);
        loop {
            match tokio::time::timeout(self.stall, &mut answer).await {
                Ok(answer) => return answer.map(Into::into).map_err(transport),
                Err(_) if progress.sent() != seen => (seen, is_second) = (progress.sent(), false),
                Err(_) if !is_second => is_second = true,
                Err(_) => {
                    let said = format!("no answer for {} s", self.stall.as_secs());
                    return Err(failed(io::ErrorKind::TimedOut, &said));
                }
            }
        }
    }
}

/// A page that says there is more and not how to get it would pass for the last one, and whoever
/// deletes what a listing does not name would delete the rest.
fn refuse_cut_listing(page: &[u8]) -> Result<(), HttpError> {
    let page = String::from_utf8_lossy(page);
    if page.contains("<IsTruncated>true<") && !page.contains("<NextContinuationToken>") {
        let said = "the listing goes on, but the store does not say where";
        return Err(failed(io::ErrorKind::InvalidData, said));
    }
    Ok(())
}

fn failed(kind: io::ErrorKind, said: &str) -> HttpError {
    let http = match kind {
        io::ErrorKind::TimedOut => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Request,
    };
    HttpError::new(http, io::Error::new(kind, said.to_owned()))
}

/// An error of the connection itself. Its URL is left out: some stores sign in it.
fn transport(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_goes_on_without_saying_where_is_refused() {
        let page = |text: &str| refuse_cut_listing(text.as_bytes());
        assert!(page("<IsTruncated>true</IsTruncated>").is_err());
        let with_token =
            "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>";
        assert!(page(with_token).is_ok());
        assert!(page("<IsTruncated>false</IsTruncated>").is_ok());
    }
}
