//! A server of a test, with a port and a temporary directory of its own, that ends with the test process, however that ends: a
//! shell that holds a pipe to us waits for its end, kills the server, removes the directory.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
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

/// The server.
pub struct Keeper {
    address: String,
    dir: PathBuf,
    /// Its standard input is the pipe.
    shell: Child,
}

impl Keeper {
    /// Starts `deployment/SCRIPT run DIR PORT`, which has to become the server.
    pub fn start(name: &str, dir: PathBuf, port: u16) -> Keeper {
        let shell = Command::new("sh")
            .args(["-c", SHELL])
            .arg(script(name))
            .arg(&dir)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Keeper { address: format!("127.0.0.1:{port}"), dir, shell }
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
        let mut pipe = self.shell.stdin.as_ref().expect("it has a pipe");
        writeln!(pipe, "{word}").expect("it listens");
    }
}

/// A script of `deployment/`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deployment").join(name)
}
