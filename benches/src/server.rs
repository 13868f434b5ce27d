//! The Kafka that jobs read and write and the S3 store of their checkpoints: given, or started here and gone with this process.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::child;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(90);

/// A running server.
pub struct Server {
    /// `host:port`.
    pub address: String,
    child: Option<Child>,
}

impl Server {
    /// One that runs already.
    pub fn given(address: &str) -> Server {
        Server { address: address.to_owned(), child: None }
    }

    /// Starts a Kafka that keeps all it has in `dir`.
    pub fn kafka(dir: &Path) -> anyhow::Result<Server> {
        // The script's own options start fast and stay slow.
        Server::start("kafka.sh", dir, &[("KAFKA_HEAP", "1g"), ("KAFKA_JAVA_OPTS", "-XX:+UseSerialGC")])
    }

    /// Starts a MinIO that keeps all it has in `dir`, with a bucket of that name.
    pub fn minio(dir: &Path, bucket: &str) -> anyhow::Result<Server> {
        std::fs::create_dir_all(dir.join("data").join(bucket))?;
        Server::start("minio.sh", dir, &[])
    }

    fn start(script: &str, dir: &Path, environment: &[(&str, &str)]) -> anyhow::Result<Server> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deployment").join(script);
        let port = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deployment/kafka.sh");
        let port = Command::new(&port).arg("port").output().with_context(|| format!("{}", port.display()))?;
        let port: u16 = String::from_utf8_lossy(&port.stdout).trim().parse().context("no free port")?;
        std::fs::create_dir_all(dir)?;
        let log = log_file(dir)?;
        let mut command = Command::new(&script);
        command.arg("run").arg(dir).arg(port.to_string()).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(log.0.try_clone()?).stderr(log.0);
        let mut child = child::start(&mut command).with_context(|| format!("{} can't be started", script.display()))?;
        let (begun, address) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], port)));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            child::check_interrupted()?;
            if child.try_wait()?.is_some() || begun.elapsed() > START {
                child::stop(&mut child, Duration::ZERO);
                bail!("{} did not start; its log: {}", script.display(), log.1.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Server { address: address.to_string(), child: Some(child) })
    }

    /// Its process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child::stop(child, Duration::from_secs(10));
        }
    }
}

fn log_file(dir: &Path) -> anyhow::Result<(std::fs::File, PathBuf)> {
    let path = dir.join("log");
    Ok((std::fs::File::create(&path)?, path))
}
