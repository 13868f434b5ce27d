//! A server of a test, with a port and a temporary directory of its own, that ends with the test process, however that ends: a
//! shell that holds a pipe to us waits for its end, kills the server, removes the directory. Or one that all tests of a run of
//! nextest share, which has a process for each test: it ends with the run.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Obeys its standard input (`kill`, `start`, or the name of a signal) and cleans up at its end.
const SHELL: &str = r#"
start() {
  "$0" run "$1" "$2" >>"$1/log" 2>&1 </dev/null &
  server=$!
}
end() {
  kill -9 $server
  wait
}
start "$@"
while read -r word; do
  case $word in
    kill) end ;;
    start) start "$@" ;;
    *) kill -s "$word" $server ;;
  esac
done
end
rm -rf "$1"
"#;

/// The same until a process ends, and removes the directory around it too.
const SHELL_OF_RUN: &str = r#"
"$0" run "$1" "$2" >>"$1/log" 2>&1 </dev/null &
while kill -0 "$3"; do sleep 0.5; done
kill -9 $!
wait
rm -rf "$(dirname "$1")"
"#;

/// The server.
pub struct Keeper {
    address: String,
    dir: PathBuf,
    /// Its standard input is the pipe. A server of a run has no pipe: no test may harm what others use.
    shell: Option<Child>,
}

impl Keeper {
    /// Starts `deployment/SCRIPT run DIR PORT`, which has to become the server. It ends with this process, or with another one where
    /// that is said.
    pub fn start(name: &str, dir: PathBuf, port: u16, until: Option<u32>) -> Keeper {
        let mut shell = Command::new("sh");
        shell.args(["-c", if until.is_none() { SHELL } else { SHELL_OF_RUN }]);
        shell.arg(script(name)).arg(&dir).arg(port.to_string()).args(until.map(|process| process.to_string()));
        shell.stdin(if until.is_none() { Stdio::piped() } else { Stdio::null() });
        let shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().expect("sh starts");
        Keeper { address: format!("127.0.0.1:{port}"), dir, shell: Some(shell) }
    }

    /// The server of a kind that all tests of this run share; the first one that wants it starts it in a new directory. Outside of
    /// nextest those of a process do.
    pub fn of_run(kind: &str, start: impl FnOnce(PathBuf, Option<u32>) -> Keeper) -> Keeper {
        let Ok(run) = env::var("NEXTEST_RUN_ID") else {
            return start(tempfile::tempdir().expect("a directory").keep(), None);
        };
        let around = env::temp_dir().join(format!("flow-{kind}-{run}"));
        fs::create_dir_all(&around).expect("a directory");
        // Given back with this process, however it ends.
        let lock = File::create(around.join("lock")).expect("a file");
        lock.lock().expect("locked");
        let said = around.join("server");
        if let Ok(text) = fs::read_to_string(&said) {
            let (address, dir) = text.split_once(' ').expect("an address and a directory were written");
            return Keeper { address: address.to_owned(), dir: dir.into(), shell: None };
        }
        // A new one: a test that was ended while it started the server may have left its.
        let dir = tempfile::tempdir_in(&around).expect("a directory").keep();
        let keeper = start(dir, Some(parent_id()));
        fs::write(said, format!("{} {}", keeper.address, keeper.dir.display())).expect("written");
        keeper
    }

    /// Its `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills it as a power cut would, without a chance to write anything.
    pub fn kill(&self) {
        self.tell("kill");
        while TcpStream::connect(&self.address).is_ok() {
            sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again with what it has on its disk.
    pub fn start_again(&self) {
        self.tell("start");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.tell(name);
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it had to say.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn tell(&self, word: &str) {
        let pipe = self.shell.as_ref().and_then(|shell| shell.stdin.as_ref());
        let mut pipe = pipe.expect("a test that harms a server starts one of its own");
        writeln!(pipe, "{word}").expect("it listens");
    }
}

/// A script of `deployment/`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deployment").join(name)
}
