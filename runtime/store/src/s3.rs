//! Objects in S3, or in a store that speaks its protocol, by Amazon's own client.
//!
//! What the requests have in common: a payload is not signed but has a CRC-32C that the store checks, since SHA-256 would cost
//! as much CPU as the rest of an upload; requests that may be repeated are, with backoff and jitter; conditional writes go out
//! once. Requests are signed by the store's clock, which its answers tell: that of this machine may be wrong. How many large requests are under way is bounded for the whole store; small ones, which a commit waits for, are not
//! held up by them.

mod client;
mod connection;
mod copy;
mod failure;
mod skew;
mod upload;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, Delete, ObjectIdentifier, ServerSideEncryption};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::{Content, Encryption, Error, Listed, Objects, Origin, Page, Settings, Swap, Version};

/// How many requests with large contents are under way at once.
const WIDE: usize = 8;
/// How many names one request deletes, at most.
const DELETED: usize = 1000;
/// How often a download is begun, if it breaks.
const ATTEMPTS: u32 = 5;
/// How often a write that is denied is tried again.
const DENIED: u32 = 3;
/// How long an answer to a conditional write is waited for: the caller sends it again.
const SWAP: Duration = Duration::from_secs(10);

/// A bucket, and what all keys in it begin with.
#[derive(Clone)]
pub(crate) struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    place: String,
    /// ` at ENDPOINT`, for people, if it is not Amazon's.
    at: String,
    encryption: Option<Encryption>,
    /// That of the store, if it is not Amazon's.
    endpoint: Option<String>,
    turns: Arc<Semaphore>,
}

/// Where an object lies, as another client of the same store finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    endpoint: Option<String>,
    bucket: String,
    key: String,
}

impl S3 {
    /// Nothing is asked of the store yet.
    pub(crate) async fn open(bucket: &str, prefix: &str, settings: &Settings) -> Result<S3, Error> {
        let separated = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let place = format!("s3://{bucket}{}", separated(prefix));
        let client = client::client(&place, settings).await?;
        Ok(S3 {
            client,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            place,
            at: settings.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default(),
            encryption: settings.encryption.clone(),
            endpoint: settings.endpoint.clone(),
            turns: Arc::new(Semaphore::new(WIDE)),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// How the store is to encrypt: what the request says of it.
    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms(key)) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    /// A whole object or some bytes of it, with its version.
    async fn download(&self, name: &str, range: Option<Range<u64>>) -> Result<(Bytes, Version), Error> {
        let object = || format!("{}/{name}", self.place);
        let mut attempt = 1;
        loop {
            let request = self.client.get_object().bucket(&self.bucket).key(self.key(name));
            let request = match &range {
                Some(range) => request.range(format!("bytes={}-{}", range.start, range.end - 1)),
                None => request,
            };
            let output = match request.send().await {
                Ok(output) => output,
                Err(error) if error.code() == Some("InvalidRange") => return Err(self.short(name, range).await),
                Err(error) => return Err(self.failure(name, "read", error)),
            };
            let version = Version(output.e_tag.unwrap_or_default());
            let announced = output.content_length.and_then(|length| u64::try_from(length).ok());
            if let (Some(range), Some(announced)) = (&range, announced)
                && announced < range.end - range.start
            {
                return Err(Error::Short { object: object(), length: range.start + announced, wanted: range.end });
            }
            let cause = match output.body.collect().await {
                Ok(body) => {
                    let content = body.into_bytes();
                    if announced.is_none_or(|announced| announced == content.len() as u64) {
                        return Ok((content, version));
                    }
                    format!("{} bytes instead of {}", content.len(), announced.unwrap_or_default())
                }
                Err(error) => failure::causes(&error),
            };
            if attempt == ATTEMPTS {
                return Err(Error::Broken { object: object(), cause });
            }
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..100) << attempt)).await;
        }
    }

    /// The error for a range that begins behind an object's end.
    async fn short(&self, name: &str, range: Option<Range<u64>>) -> Error {
        let asked = self.client.head_object().bucket(&self.bucket).key(self.key(name)).send().await;
        match asked {
            Ok(found) => Error::Short {
                object: format!("{}/{name}", self.place),
                length: found.content_length.unwrap_or_default().unsigned_abs(),
                wanted: range.map_or(0, |range| range.end),
            },
            Err(error) => self.failure(name, "read", error),
        }
    }

    async fn upload(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.not_denied(|| self.upload_once(name, content.clone())).await
    }

    /// Writes, again if that is denied.
    async fn not_denied<F: Future<Output = Result<(), Error>>>(&self, write: impl Fn() -> F) -> Result<(), Error> {
        let mut left = DENIED;
        loop {
            match write().await {
                // MinIO says so of a name whose folder it is just removing, since the last object in it was deleted.
                Err(Error::Denied { .. }) if left > 0 => left -= 1,
                done => return done,
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..50))).await;
        }
    }

    async fn upload_once(&self, name: &str, content: Bytes) -> Result<(), Error> {
        let (encryption, key) = self.encryption();
        let request = self.client.put_object().bucket(&self.bucket).key(self.key(name));
        let request = request.set_server_side_encryption(encryption).set_ssekms_key_id(key);
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32C).body(ByteStream::from(content));
        let sent = request.customize().disable_payload_signing().send().await;
        sent.map(drop).map_err(|error| self.failure(name, "write", error))
    }
}

#[async_trait]
impl Objects for S3 {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        let _turn = self.turns.acquire().await.expect("never closed");
        self.upload(name, content).await
    }

    async fn put_content(&self, name: &str, content: Arc<dyn Content>) -> Result<u64, Error> {
        upload::content(self, name, content).await
    }

    fn origin(&self, name: &str) -> Origin {
        Origin::S3(Address { endpoint: self.endpoint.clone(), bucket: self.bucket.clone(), key: self.key(name) })
    }

    async fn copy(&self, from: &Origin, name: &str, length: u64) -> Result<bool, Error> {
        let from = match from {
            Origin::S3(from) if from.endpoint == self.endpoint => from,
            Origin::S3(_) | Origin::File(_) => return Ok(false),
        };
        match copy::object(self, from, name, length).await {
            Ok(()) => Ok(true),
            // Who may write here may not be allowed to read there, and not every store can copy.
            Err(Error::Denied { .. } | Error::Refused { .. } | Error::Region { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, Error> {
        let _turn = self.turns.acquire().await.expect("never closed");
        self.download(name, None).await.map(|(content, _)| content)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let _turn = self.turns.acquire().await.expect("never closed");
        self.download(name, Some(range)).await.map(|(content, _)| content)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.key(prefix));
        let request = request.set_start_after(after.map(|after| self.key(after)));
        let output = request.send().await.map_err(|error| self.failure(prefix, "list", error))?;
        let listed = output.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let name = object.key?.strip_prefix(&self.prefix)?.to_owned();
            Some(Listed { name, size: object.size.unwrap_or_default().unsigned_abs() })
        });
        Ok(Page { objects: listed.collect(), more: output.is_truncated.unwrap_or_default() })
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        for names in names.chunks(DELETED) {
            let keys = names.iter().map(|name| ObjectIdentifier::builder().key(self.key(name)).build());
            let keys: Vec<_> = keys.collect::<Result<_, _>>().expect("they have keys");
            let delete = Delete::builder().set_objects(Some(keys)).quiet(true).build().expect("it has objects");
            let request = self.client.delete_objects().bucket(&self.bucket).delete(delete);
            let output = request.send().await.map_err(|error| self.failure(&names[0], "delete", error))?;
            if let Some(failed) = output.errors.unwrap_or_default().into_iter().next() {
                let name = failed.key.unwrap_or_default();
                let name = name.strip_prefix(&self.prefix).unwrap_or(&name);
                return Err(self.refusal(name, "delete", failed.code.as_deref(), failed.message.as_deref(), None));
            }
        }
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, Error> {
        match self.download(name, None).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn swap(&self, name: &str, from: Option<&Version>, content: Bytes) -> Result<Swap, Error> {
        let send = || {
            let (encryption, key) = self.encryption();
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(name));
            let request = request.set_server_side_encryption(encryption).set_ssekms_key_id(key);
            let body = ByteStream::from(content.clone());
            let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32C).body(body);
            let request = match from {
                None => request.if_none_match("*"),
                Some(Version(tag)) => request.if_match(tag),
            };
            let once = aws_sdk_s3::Config::builder()
                .retry_config(RetryConfig::disabled())
                .timeout_config(TimeoutConfig::builder().operation_timeout(SWAP).build());
            request.customize().disable_payload_signing().config_override(once).send()
        };
        let mut sent = send().await;
        if let Err(error) = &sent
            && error.code() == Some(skew::REFUSED)
        {
            // Nothing was done, and the answer has told the client the store's time.
            sent = send().await;
        }
        let error = match sent {
            Ok(output) => {
                let tag = output.e_tag.ok_or_else(|| Error::Unfit {
                    place: self.place.clone(),
                    cause: "it gives an object that was written no version (no ETag)".to_owned(),
                })?;
                return Ok(Swap::Done(Version(tag)));
            }
            Err(error) => error,
        };
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        match status {
            412 => Ok(Swap::Conflict),
            409 => Ok(Swap::Retry),
            404 if from.is_some() && error.code() == Some("NoSuchKey") => Ok(Swap::Conflict),
            _ => match self.failure(name, "write", error) {
                // No answer, or one that does not say what became of the request.
                failure if failure.is_retryable() => Ok(Swap::Unknown(failure)),
                failure => Err(failure),
            },
        }
    }

    fn place(&self) -> &str {
        &self.place
    }
}
