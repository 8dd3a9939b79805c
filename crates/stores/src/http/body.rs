//! Bodies that are watched: one that no longer moves is an error, not a wait without end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use object_store::client::{HttpError, HttpRequestBody, HttpResponseBody};

use super::{failed, transport};

/// How much of a request has left us.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn sent(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body that counts what was taken of it.
pub(super) struct Watched {
    body: HttpRequestBody,
    progress: Arc<Progress>,
}

impl Watched {
    pub(super) fn new(body: HttpRequestBody, progress: &Arc<Progress>) -> Self {
        let progress = Arc::clone(progress);
        Self { body, progress }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.progress.0.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, of which each piece must come within `stall`.
pub(super) fn until_stalled(body: reqwest::Body, stall: Duration) -> HttpResponseBody {
    let pieces = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(stall, body.frame()).await {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(error))) => Some((Err(transport(error)), None)),
            Err(_) => {
                let said = format!("the answer stood still for {} s", stall.as_secs());
                Some((Err(failed(std::io::ErrorKind::TimedOut, &said)), None))
            }
        }
    });
    HttpResponseBody::new(StreamBody::new(Box::pin(pieces.fuse())))
}
