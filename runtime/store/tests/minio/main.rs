//! S3 as it goes wrong: settings that do not fit, a way that is slow or cut, answers that are lost, a clock that is off. Against a real MinIO.

mod clock;
mod damaged;
mod failing;
mod settings;

use flow_e2e::minio::{KEY, Minio, SECRET};
use flow_store::{Keys, Location, Settings, Store};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Settings that fit.
fn settings(minio: &Minio) -> Settings {
    let keys = Some(Keys { id: KEY.to_owned(), secret: SECRET.to_owned() });
    Settings { endpoint: Some(minio.endpoint()), keys, ..Settings::default() }
}

async fn open(bucket: &str, settings: &Settings) -> Store {
    let location: Location = format!("s3://{bucket}/flow").parse().expect("a location");
    Store::open(&location, settings).await.expect("it opens")
}
