//! Objects on their way up: in one piece, or in parts when they are large.

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::Extensions;
use object_store::{
    Attributes, MultipartUpload, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    path::Path,
};

use super::Failure;

/// Above this an object goes in parts, several at a time: the loss of a connection costs a part.
const LARGE: usize = 32 << 20;
/// S3 takes 10,000 parts of at least 5 MiB, so this is good for 156 GiB.
const PART: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;
/// Handed to the socket in pieces, so that a transfer that moves can be told from one that does not.
const PIECE: usize = 64 << 10;

pub(super) fn is_large(content: &[u8]) -> bool {
    content.len() > LARGE
}

/// Writes one object; `extensions` tell our client more about the request. A large one is written whatever `mode` says: parts have no condition.
pub(super) async fn put(
    objects: &dyn ObjectStore,
    path: &Path,
    content: &[u8],
    mode: PutMode,
    attributes: Attributes,
    extensions: Extensions,
) -> Result<(), Failure> {
    if is_large(content) {
        let options = PutMultipartOptions {
            attributes,
            extensions,
            ..PutMultipartOptions::default()
        };
        return put_parts(objects, path, content, options).await;
    }
    let options = PutOptions {
        mode,
        attributes,
        extensions,
        ..PutOptions::default()
    };
    objects.put_opts(path, payload(content), options).await?;
    Ok(())
}

fn payload(content: &[u8]) -> PutPayload {
    let whole = Bytes::copy_from_slice(content);
    let pieces = (0..whole.len()).step_by(PIECE);
    pieces
        .map(|start| whole.slice(start..whole.len().min(start + PIECE)))
        .collect()
}

async fn put_parts(
    objects: &dyn ObjectStore,
    path: &Path,
    content: &[u8],
    options: PutMultipartOptions,
) -> Result<(), Failure> {
    let mut upload = objects.put_multipart_opts(path, options).await?;
    if let Err(error) = send_parts(&mut *upload, content).await {
        // What is left of it costs money until the bucket's own rules remove it.
        if let Err(left) = upload.abort().await {
            tracing::warn!(%path, error = %left, "an unfinished upload was not removed");
        }
        return Err(error);
    }
    Ok(())
}

async fn send_parts(upload: &mut dyn MultipartUpload, content: &[u8]) -> Result<(), Failure> {
    let parts: Vec<_> = content
        .chunks(PART)
        .map(|part| Ok(upload.put_part(payload(part))))
        .collect();
    stream::iter(parts)
        .try_for_each_concurrent(PARTS_AT_ONCE, |part| part)
        .await?;
    upload.complete().await?;
    Ok(())
}
