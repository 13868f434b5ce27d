//! Files on their way into S3: small ones in one request, others in parts, a few at once, each read when its turn comes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::S3;
use crate::{Error, pieces};

/// Up to this many bytes a file goes in one request.
const ONE_REQUEST: u64 = 16 << 20;
/// How many parts an upload may have.
const PARTS: u64 = 10_000;

/// Uploads a file under a name; returns its length.
pub(super) async fn file(s3: &S3, name: &str, path: &Path) -> Result<u64, Error> {
    let failed = |error| Error::of_io(&path.display(), "read", &error);
    let file = Arc::new(File::open(path).map_err(failed)?);
    let length = file.metadata().map_err(failed)?.len();
    if length <= ONE_REQUEST {
        let _turn = s3.turns.acquire().await.expect("never closed");
        s3.upload(name, read(&file, 0..length, path).await?).await?;
        return Ok(length);
    }
    let key = s3.key(name);
    let (encryption, secret) = s3.encryption();
    let begin = s3.client.create_multipart_upload().bucket(&s3.bucket).key(&key);
    let begin = begin.set_server_side_encryption(encryption).set_ssekms_key_id(secret);
    let begun = begin.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await;
    let begun = begun.map_err(|error| s3.failure(name, "write", error))?;
    let upload: Arc<str> = begun.upload_id.unwrap_or_default().into();
    let piece = pieces::LENGTH.max(length.div_ceil(PARTS));
    let parts = pieces::each(0..length, piece, |number, range| {
        let (s3, name, path) = (s3.clone(), name.to_owned(), path.to_owned());
        let (file, upload) = (file.clone(), upload.clone());
        async move {
            let _turn = s3.turns.acquire().await.expect("never closed");
            let content = read(&file, range, &path).await?;
            part(&s3, &name, &upload, number as i32 + 1, content).await
        }
    });
    let done = match parts.await {
        Ok(parts) => complete(s3, name, &upload, parts, length).await,
        Err(error) => Err(error),
    };
    if done.is_err() {
        // What can't be taken back now, the store clears away when its rule for unfinished uploads says so.
        _ = s3.client.abort_multipart_upload().bucket(&s3.bucket).key(&key).upload_id(&*upload).send().await;
    }
    done.map(|()| length)
}

async fn read(file: &Arc<File>, range: Range<u64>, path: &Path) -> Result<Bytes, Error> {
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut content, range.start).map(|()| Bytes::from(content))
    });
    reading.await.expect("reading does not panic").map_err(|error| Error::of_io(&path.display(), "read", &error))
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
