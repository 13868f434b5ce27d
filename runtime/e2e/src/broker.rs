//! A real Kafka for tests: one broker for all tests of a run, on a free port, in a temporary directory. It ends when the run does,
//! or the process of a test that started one of its own, however that ends.

use std::future::Future;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::keeper::{self, Keeper};
use crate::names;

/// A running Kafka.
pub struct Broker {
    /// `host:port`.
    pub address: String,
    keeper: Keeper,
}

impl Broker {
    /// The one that all tests share.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Broker::of_run("kafka", free_port(), |_| String::new(), |_| ()))
    }

    /// The one of a kind that all tests of a run share. The first one starts it as [`Broker::with`] does, and makes it `ready`.
    pub fn of_run(kind: &str, port: u16, extra: impl FnOnce(&Path) -> String, ready: impl FnOnce(&Broker)) -> Broker {
        Broker::of(Keeper::of_run(kind, |dir, until| {
            let broker = Broker::run(dir, port, extra, until);
            ready(&broker);
            broker.keeper
        }))
    }

    /// A broker of its own.
    pub fn start(port: u16) -> Broker {
        Broker::with(port, |_| String::new())
    }

    /// A broker of its own, with settings that go over the usual ones: `extra` gets the directory of the broker, and may put
    /// files there.
    pub fn with(port: u16, extra: impl FnOnce(&Path) -> String) -> Broker {
        Broker::run(tempfile::tempdir().expect("a temporary directory").keep(), port, extra, None)
    }

    fn run(dir: PathBuf, port: u16, extra: impl FnOnce(&Path) -> String, until: Option<u32>) -> Broker {
        let extra = extra(&dir);
        if !extra.is_empty() {
            std::fs::write(dir.join("extra.properties"), extra).expect("written");
        }
        let broker = Broker::of(Keeper::start("kafka.sh", dir, port, until));
        broker.wait_until_it_answers();
        broker
    }

    fn of(keeper: Keeper) -> Broker {
        Broker { address: keeper.address().to_owned(), keeper }
    }

    /// Kills it as a power cut would, without a chance to write anything.
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
        while TcpStream::connect(&self.address).is_err() || self.admin().inner().fetch_metadata(None, TEN).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "Kafka does not answer:\n{}", self.keeper.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        self.keeper.dir()
    }

    /// Runs one of Kafka's own commands against it.
    pub fn tool(&self, name: &str, arguments: &[&str]) {
        let to = ["tool", name, "--bootstrap-server", &self.address];
        let out = Command::new(script()).args(to).args(arguments).output().expect("the script starts");
        assert!(out.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A client of rdkafka's own.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    /// Settings of a client of rdkafka's own, which judges what Flow's module did.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// A new topic with a name of its own, see [`names::own`].
    pub fn topic(&self, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = names::own("topic");
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = wait(self.admin().create_topics([&topic], &AdminOptions::new())).expect("the broker answers");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        name
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        let deleted = wait(self.admin().delete_topics(&[topic], &AdminOptions::new())).expect("the broker answers");
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    }
}

/// Long enough for anything that a broker does.
pub const TEN: Duration = Duration::from_secs(10);

fn script() -> PathBuf {
    keeper::script("kafka.sh")
}

/// A port that nobody takes meanwhile.
pub fn free_port() -> u16 {
    let out = Command::new(script()).arg("port").output().expect("the script starts");
    String::from_utf8_lossy(&out.stdout).trim().parse().expect("the script prints a port")
}

/// Runs a future of rdkafka's, which wakes from its own thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
