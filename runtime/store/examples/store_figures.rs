//! What the store costs: CPU-seconds of this process per GB up and down, and how long small requests take. Against a MinIO of its
//! own and a directory: `cargo run --release -p flow-store --example store_figures`.

use std::time::{Duration, Instant};
use std::{fs, process};

use flow_e2e::minio::{KEY, Minio, SECRET};
use flow_store::{Keys, Settings, Store, Swap};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How many contents of [`LENGTH`] go up and down.
const COUNT: usize = 128;
const LENGTH: usize = 8 << 20;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let minio = Minio::start();
    let keys = Some(Keys { id: KEY.to_owned(), secret: SECRET.to_owned() });
    let settings = Settings { endpoint: Some(minio.endpoint()), keys, ..Settings::default() };
    let bucket = format!("s3://{}", minio.bucket());
    for location in [directory.path().join("store").to_str().expect("text"), &bucket] {
        let location = location.parse().expect("a location");
        let store = runtime.block_on(Store::open(&location, &settings)).expect("it opens");
        println!("{location}");
        figures(&runtime, &store, directory.path());
    }
}

fn figures(runtime: &Runtime, store: &Store, directory: &std::path::Path) {
    let bytes = (COUNT * LENGTH) as u64;
    let content: Vec<u8> = (0..LENGTH).map(|at| (at * 31 / 8) as u8).collect();
    let file = directory.join("file");
    fs::write(&file, content.repeat(COUNT)).expect("written");
    let content = bytes::Bytes::from(content);
    measure(runtime, "put", bytes, async {
        let mut all = JoinSet::new();
        for number in 0..COUNT {
            let (store, content) = (store.clone(), content.clone());
            all.spawn(async move { store.put(&format!("{number}"), content).await });
        }
        all.join_all().await.into_iter().for_each(|done| done.expect("written"));
    });
    measure(runtime, "get", bytes, async {
        let mut all = JoinSet::new();
        for number in 0..COUNT {
            let store = store.clone();
            all.spawn(async move { store.get(&format!("{number}")).await.map(|content| content.len()) });
        }
        all.join_all().await.into_iter().for_each(|done| assert_eq!(done.expect("read"), LENGTH));
    });
    measure(runtime, "put_file", bytes, async {
        store.put_file("file", &file).await.expect("written");
    });
    let to = directory.join("to");
    measure(runtime, "get_file", bytes, async { store.get_file("file", 0..bytes, &to).await.expect("read") });
    let small = 500;
    measure(runtime, "500 × put of 1 kB", 0, async {
        for number in 0..small {
            store.put(&format!("small/{number}"), vec![1; 1000]).await.expect("written");
        }
    });
    measure(runtime, "500 × swap", 0, async {
        let mut version = None;
        for number in 0..small {
            let swap = store.swap("HEAD", version.as_ref(), format!("{number}")).await.expect("it answers");
            let Swap::Done(next) = swap else { panic!("{swap:?}") };
            version = Some(next);
        }
    });
    measure(runtime, "probe", 0, async { store.probe().await.expect("it is fit") });
    fs::remove_file(to).expect("it exists");
}

fn measure(runtime: &Runtime, what: &str, bytes: u64, work: impl Future<Output = ()>) {
    let (begun, before) = (Instant::now(), cpu());
    runtime.block_on(work);
    let (took, cpu) = (begun.elapsed(), cpu() - before);
    let gigabytes = bytes as f64 / 1e9;
    let each = if bytes == 0 {
        String::new()
    } else {
        format!("{:>8.0} MB/s {:>6.2} CPU-s/GB", bytes as f64 / 1e6 / took.as_secs_f64(), cpu.as_secs_f64() / gigabytes)
    };
    println!("  {what:<20} {:>7.0} ms {:>6.0} ms CPU {each}", took.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3);
}

/// The CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process::id())).expect("Linux says so");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
