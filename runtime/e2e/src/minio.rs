//! A real S3 store for tests: MinIO, on a free port, in a temporary directory. It ends when the test process does, however that
//! ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::broker::free_port;
use crate::keeper::Keeper;

/// The id of the access key.
pub const KEY: &str = "flow";
/// What belongs to it.
pub const SECRET: &str = "flow-secret";

/// A running MinIO.
pub struct Minio {
    /// `host:port`; it speaks plain HTTP.
    pub address: String,
    keeper: Keeper,
}

impl Minio {
    /// The one that all tests of a process share.
    pub fn shared() -> &'static Minio {
        static SHARED: OnceLock<Minio> = OnceLock::new();
        SHARED.get_or_init(Minio::start)
    }

    /// One of its own.
    pub fn start() -> Minio {
        let (port, dir) = (free_port(), tempfile::tempdir().expect("a temporary directory").keep());
        let minio = Minio { address: format!("127.0.0.1:{port}"), keeper: Keeper::start("minio.sh", dir, port, None) };
        minio.wait_until_it_answers();
        minio
    }

    /// What [`address`](Minio::address) is as the setting `endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables with which a process has access.
    pub fn environment() -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)]
    }

    /// A new bucket.
    pub fn bucket(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", NUMBER.fetch_add(1, SeqCst));
        // A directory among its data is one.
        fs::create_dir(self.keeper.dir().join("data").join(&name)).expect("a directory");
        name
    }

    /// Where it keeps its files: those of an object lie in `data/BUCKET/KEY`, in its own format.
    pub fn dir(&self) -> &Path {
        self.keeper.dir()
    }

    /// Kills it as a power cut would.
    pub fn kill(&self) {
        self.keeper.kill();
    }

    /// Starts it again with what it has on its disk.
    pub fn start_again(&self) {
        self.keeper.start_again();
        self.wait_until_it_answers();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.keeper.signal(name);
    }

    fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while !self.is_ready() {
            assert!(begun.elapsed() < Duration::from_secs(60), "MinIO does not answer:\n{}", self.keeper.log());
            sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(&self.address) else { return false };
        let mut answer = String::new();
        let asked = socket.write_all(b"GET /minio/health/cluster HTTP/1.1\r\nhost: minio\r\nconnection: close\r\n\r\n");
        asked.and_then(|()| socket.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }
}
