//! Contents on their way into S3: small ones in one request, others in parts, a few at once, each read when its turn comes.

use std::sync::Arc;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::S3;
use crate::{Content, Error, pieces};

/// Up to this many bytes a content goes in one request.
const ONE_REQUEST: u64 = 16 << 20;
/// How many parts an upload may have.
pub(super) const PARTS: u64 = 10_000;

/// Uploads a content under a name; returns its length.
pub(super) async fn content(s3: &S3, name: &str, content: Arc<dyn Content>) -> Result<u64, Error> {
    let length = content.length();
    if length <= ONE_REQUEST {
        let _turn = s3.turns.acquire().await.expect("never closed");
        let bytes = if length == 0 { Bytes::new() } else { content.read(0..length).await? };
        s3.upload(name, bytes).await?;
        return Ok(length);
    }
    let upload = begin(s3, name, Some(ChecksumAlgorithm::Crc32C)).await?;
    let piece = pieces::LENGTH.max(length.div_ceil(PARTS));
    let parts = pieces::each(0..length, piece, |number, range| {
        let (s3, name, content, upload) = (s3.clone(), name.to_owned(), content.clone(), upload.clone());
        async move {
            let _turn = s3.turns.acquire().await.expect("never closed");
            let content = content.read(range).await?;
            part(&s3, &name, &upload, number as i32 + 1, content).await
        }
    });
    end(s3, name, &upload, parts.await, length).await?;
    Ok(length)
}

/// Begins an upload in parts: its id. Without an algorithm the store chooses how it sums up the parts.
pub(super) async fn begin(s3: &S3, name: &str, sums: Option<ChecksumAlgorithm>) -> Result<Arc<str>, Error> {
    let (encryption, secret) = s3.encryption();
    let begin = s3.client.create_multipart_upload().bucket(&s3.bucket).key(s3.key(name));
    let begin = begin.set_server_side_encryption(encryption).set_ssekms_key_id(secret);
    let begun = begin.set_checksum_algorithm(sums).send().await;
    let begun = begun.map_err(|error| s3.failure(name, "write", error))?;
    Ok(begun.upload_id.unwrap_or_default().into())
}

/// Makes an object of the parts of an upload, or gives it up if they are not all there.
pub(super) async fn end(
    s3: &S3,
    name: &str,
    upload: &str,
    parts: Result<Vec<CompletedPart>, Error>,
    length: u64,
) -> Result<(), Error> {
    let done = match parts {
        Ok(parts) => complete(s3, name, upload, parts, length).await,
        Err(error) => Err(error),
    };
    if done.is_err() {
        // What can't be taken back now, the store clears away when its rule for unfinished uploads says so.
        _ = s3.client.abort_multipart_upload().bucket(&s3.bucket).key(s3.key(name)).upload_id(upload).send().await;
    }
    done
}

async fn part(s3: &S3, name: &str, upload: &str, number: i32, content: Bytes) -> Result<CompletedPart, Error> {
    let request = s3.client.upload_part().bucket(&s3.bucket).key(s3.key(name)).upload_id(upload).part_number(number);
    let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32C).body(ByteStream::from(content));
    let sent = request.customize().disable_payload_signing().send().await;
    let sent = sent.map_err(|error| s3.failure(name, "write", error))?;
    let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
    Ok(part.set_checksum_crc32_c(sent.checksum_crc32_c).build())
}

async fn complete(s3: &S3, name: &str, upload: &str, parts: Vec<CompletedPart>, length: u64) -> Result<(), Error> {
    let (bucket, key) = (&s3.bucket, s3.key(name));
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let request = s3.client.complete_multipart_upload().bucket(bucket).key(&key).upload_id(upload);
    match request.multipart_upload(parts).send().await {
        Ok(_) => Ok(()),
        // The answer to the first sending was lost: the upload is no more, since the object is there.
        Err(error) if error.code() == Some("NoSuchUpload") => {
            let found = s3.client.head_object().bucket(bucket).key(&key).send().await;
            let whole = found.is_ok_and(|found| found.content_length == i64::try_from(length).ok());
            if whole { Ok(()) } else { Err(s3.failure(name, "write", error)) }
        }
        Err(error) => Err(s3.failure(name, "write", error)),
    }
}
