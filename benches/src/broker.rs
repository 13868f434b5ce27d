//! The Kafka that jobs read and write: one that was given, or one started here that ends with this process.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::child;

/// How long a broker may take to start.
const START: Duration = Duration::from_secs(90);

/// A running Kafka.
pub struct Broker {
    /// `host:port`.
    pub address: String,
    child: Option<Child>,
}

impl Broker {
    /// One that runs already.
    pub fn given(address: &str) -> Broker {
        Broker { address: address.to_owned(), child: None }
    }

    /// Starts one that keeps all it has in `dir`.
    pub fn start(dir: &Path) -> anyhow::Result<Broker> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deployment/kafka.sh");
        let port = Command::new(&script).arg("port").output().with_context(|| format!("{}", script.display()))?;
        let port: u16 = String::from_utf8_lossy(&port.stdout).trim().parse().context("no free port for Kafka")?;
        std::fs::create_dir_all(dir)?;
        let log = log_file(dir)?;
        let mut command = Command::new(&script);
        command.arg("run").arg(dir).arg(port.to_string());
        // The script's own options start fast and stay slow.
        command.env("KAFKA_HEAP", "1g").env("KAFKA_JAVA_OPTS", "-XX:+UseSerialGC");
        command.stdin(Stdio::null()).stdout(log.0.try_clone()?).stderr(log.0);
        let mut child = child::start(&mut command).context("Kafka can't be started")?;
        let (begun, address) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], port)));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            child::check_interrupted()?;
            if child.try_wait()?.is_some() || begun.elapsed() > START {
                child::stop(&mut child, Duration::ZERO);
                bail!("Kafka did not start; its log: {}", log.1.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Broker { address: address.to_string(), child: Some(child) })
    }

    /// Its process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child::stop(child, Duration::from_secs(10));
        }
    }
}

fn log_file(dir: &Path) -> anyhow::Result<(std::fs::File, PathBuf)> {
    let path = dir.join("kafka.log");
    Ok((std::fs::File::create(&path)?, path))
}
