//! Amazon's client, set up as [`Settings`] say.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

use super::connection::Connections;
use crate::{Error, Settings};

/// How often a request is sent, at most, with growing pauses in between.
const ATTEMPTS: u32 = 10;
/// The pauses: at random up to the first, twice as much each time, up to the second. Ten attempts take 13 seconds then, if each
/// fails at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long a request may take with all its repetitions.
const WHOLE: Duration = Duration::from_secs(120);
/// The region of stores that have none.
const ANY_REGION: &str = "us-east-1";

/// A client of the store at `place`. Asks the environment, and perhaps the machine's metadata service for the region.
pub(super) async fn client(place: &str, settings: &Settings) -> Result<Client, Error> {
    let wrong = |cause: String| Error::Location { text: place.to_owned(), cause };
    let connections = Connections::new(place).map_err(|error| wrong(format!("OpenSSL does not start: {error}")))?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(connections)
        .retry_config(
            RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(PAUSE.0).with_max_backoff(PAUSE.1),
        )
        .timeout_config(TimeoutConfig::builder().operation_timeout(WHOLE).build());
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let region = settings.region.clone().or_else(|| settings.endpoint.as_ref().map(|_| ANY_REGION.to_owned()));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(keys) = &settings.keys {
        loader = loader.credentials_provider(Credentials::new(&keys.id, &keys.secret, None, None, "flow"));
    }
    let common = loader.load().await;
    if common.region().is_none() {
        return Err(wrong("which region is the bucket in? Give the setting region, or AWS_REGION".to_owned()));
    }
    // Amazon's client has a budget of repetitions for a process, which an outage uses up and only many successes fill again: after
    // that nothing was repeated any more. What is under way is bounded here, so that repetitions are too.
    let unbounded = RetryPartition::custom("flow").token_bucket(TokenBucket::unlimited()).build();
    // An endpoint may also be named by the environment or a profile.
    let path_style = settings.path_style.unwrap_or(common.endpoint_url().is_some());
    let mut config = aws_sdk_s3::config::Builder::from(&common).retry_partition(unbounded).force_path_style(path_style);
    if let Some(role) = &settings.role {
        let assumed = AssumeRoleProvider::builder(role).session_name("flow").configure(&common).build().await;
        config = config.credentials_provider(SharedCredentialsProvider::new(assumed));
    }
    Ok(Client::from_conf(config.build()))
}
