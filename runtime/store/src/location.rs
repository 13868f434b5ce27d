//! Where objects lie, as a user writes it: `s3://bucket/prefix`, `file:///path`, or a path.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, name};

/// Where objects lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A bucket of S3, or of what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all keys begin with, without a slash at its end; empty for the bucket itself.
        prefix: String,
    },
    /// A directory of this machine, or one that several machines share and can lock files in.
    Directory(PathBuf),
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Location, Error> {
        let wrong = |cause: &str| Error::Location { text: text.to_owned(), cause: cause.to_owned() };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_end_matches('/');
            if !is_bucket(bucket) {
                return Err(wrong(
                    "after s3:// comes the name of a bucket: lower-case letters, digits, dots and hyphens",
                ));
            }
            if !prefix.is_empty() && name::check(prefix).is_err() {
                return Err(wrong("a prefix has parts between slashes, none empty, none that begins with a dot"));
            }
            return Ok(Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(wrong("after file:// comes an absolute path, file:///path"));
            }
            return Ok(Location::Directory(path.into()));
        }
        match text.split_once("://") {
            Some(_) => Err(wrong("it begins with s3:// or file://, or is a path")),
            None if text.is_empty() || text.contains('\0') => Err(wrong("give s3://bucket/prefix or a path")),
            None => Ok(Location::Directory(text.into())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Location::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How S3 is reached. The default is Amazon's, with the region and the credentials that the environment, a profile or the
/// machine's role give. A directory needs none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region of the bucket; without it the environment or the profile says so, with an endpoint `us-east-1`.
    pub region: Option<String>,
    /// The address of another store than Amazon's: `http://minio:9000`.
    pub endpoint: Option<String>,
    /// The bucket stands in the path of requests and not in the name of the host. Without it: if an endpoint is given.
    pub path_style: Option<bool>,
    /// How the store encrypts what it keeps, other than as the bucket says.
    pub encryption: Option<Encryption>,
    /// A role to assume, by its ARN.
    pub role: Option<String>,
    /// Who asks. Without it the environment (`AWS_ACCESS_KEY_ID`), a profile, a token of Kubernetes or the machine says so.
    pub keys: Option<Keys>,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its id.
    pub id: String,
    /// What proves that one may use it.
    pub secret: String,
}

/// Without the secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How S3 encrypts what it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With a key of S3's own (SSE-S3).
    Aes256,
    /// With a key of the key service (SSE-KMS), by its id or ARN; without one with the account's own.
    Kms(Option<String>),
}

/// Amazon's rules for the names of buckets, as far as they tell a slip from a name; other stores take no more.
fn is_bucket(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&text.len())
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, shown: &str| {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), shown);
            assert_eq!(shown.parse::<Location>().expect(shown), location);
        };
        check("s3://bucket", "s3://bucket");
        check("s3://bucket/", "s3://bucket");
        check("s3://my-bucket.eu/flow/prod/", "s3://my-bucket.eu/flow/prod");
        check("file:///var/flow", "/var/flow");
        check("checkpoints", "checkpoints");
    }

    #[test]
    fn what_is_no_place_says_what_would_be() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Location>().expect_err(text).to_string();
            assert!(error.contains(part) && error.contains(text), "{error}");
        };
        check("s3://", "the name of a bucket");
        check("s3://Bucket/x", "the name of a bucket");
        check("s3://bucket/a//b", "a prefix has parts");
        check("s3://bucket/../b", "a prefix has parts");
        check("file://relative", "an absolute path");
        check("gs://bucket", "s3:// or file://");
        check("", "s3://bucket/prefix or a path");
    }
}
