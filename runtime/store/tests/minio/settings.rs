//! Settings that do not fit are told by name when the store is probed, and are not tried again and again.

use std::time::{Duration, Instant};

use flow_e2e::broker::free_port;
use flow_e2e::minio::{KEY, Minio, SECRET};
use flow_store::{Error, Keys, Settings};

use crate::{open, runtime, settings};

#[test]
fn what_does_not_fit_is_named() {
    let minio = Minio::start();
    let (bucket, right) = (minio.bucket(), settings(&minio));
    let keys = |id: &str, secret: &str| Some(Keys { id: id.to_owned(), secret: secret.to_owned() });
    let check = |bucket: &str, settings: &Settings, is: fn(&Error) -> bool, parts: &[&str]| {
        let begun = Instant::now();
        let error =
            runtime().block_on(async { open(bucket, settings).await.probe().await }).expect_err("it does not fit");
        assert!(is(&error) && !error.is_retryable(), "{error:?}");
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    };
    check(
        "no-such-bucket",
        &right,
        |error| matches!(error, Error::NoBucket { .. }),
        &["the bucket of s3://no-such-bucket/flow does not exist at http://127.0.0.1:", "create it"],
    );
    let wrong = Settings { keys: keys(KEY, "not-the-secret"), ..right.clone() };
    check(
        &bucket,
        &wrong,
        |error| matches!(error, Error::Credentials { .. }),
        &[&format!("s3://{bucket}/flow: no valid credentials: SignatureDoesNotMatch"), "AWS_ACCESS_KEY_ID"],
    );
    let unknown = Settings { keys: keys("nobody", SECRET), ..right.clone() };
    check(&bucket, &unknown, |error| matches!(error, Error::Credentials { .. }), &["InvalidAccessKeyId"]);
    runtime().block_on(async { open(&bucket, &right).await.probe().await.expect("these fit") });
}

#[test]
fn nobody_there_is_named() {
    let settings = Settings {
        endpoint: Some(format!("http://127.0.0.1:{}", free_port())),
        keys: Some(Keys { id: KEY.to_owned(), secret: SECRET.to_owned() }),
        ..Settings::default()
    };
    let error =
        runtime().block_on(async { open("bucket", &settings).await.probe().await }).expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("s3://bucket/flow can't be reached: ") && text.contains("Connection refused"), "{text}");
}
