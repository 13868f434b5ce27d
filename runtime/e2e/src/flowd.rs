//! The real `flowd standalone`, or a node of a cluster, and `flowctl` against it, in a directory of their own. Both are those that lie beside the
//! test program's directory, where Cargo puts them. The daemon ends with the thread that started it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use serde_json::Value;

/// How long a job of a test may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it says where it listens.
const ADDRESS: &str = "data/flowd.address";

/// Removes a directory when its standard input ends, which it does however the test ends.
const KEEPER: &str = r#"cat >/dev/null; rm -rf "$0""#;

/// Has a data directory be a file system of its own, of so many bytes, which only the process sees and which goes with it. Takes no
/// privileges where users may have namespaces of their own.
const SMALL: &str = r#"mkdir -p "$2" && mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@""#;

/// What `unshare` is to make for a data directory of its own kind.
const NAMESPACES: &[&str] = &["--user", "--map-root-user", "--mount"];

/// A running daemon.
pub struct Flowd {
    /// Where its REST API listens.
    pub url: String,
    /// What it writes, which stdout sinks do too.
    pub stdout: BufReader<ChildStdout>,
    directory: PathBuf,
    child: Child,
    /// Its standard input is a pipe from us.
    keeper: Child,
    setting: Setting,
}

/// How it is started.
#[derive(Clone, Default)]
struct Setting {
    role: Role,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// The bytes that its data directory has room for, where that is a file system of its own.
    room: Option<u64>,
    /// The command that becomes it.
    within: Vec<String>,
}

/// What a daemon is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Coordinator and worker in one.
    #[default]
    Standalone,
    /// It leads workers, or stands by.
    Coordinator,
    /// It runs what it is given.
    Worker,
}

/// A directory, and who removes it.
fn directory() -> (PathBuf, Child) {
    let directory = tempfile::tempdir().expect("a directory").keep();
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER]).arg(&directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    (directory, keeper.process_group(0).spawn().expect("sh starts"))
}

/// Starts a daemon in a directory.
fn spawn(directory: &Path, setting: &Setting) -> (Child, BufReader<ChildStdout>) {
    let data = directory.join("data");
    let mut command = match setting.room {
        None => match setting.within.split_first() {
            None => Command::new(binary("flowd")),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary("flowd"));
                command
            }
        },
        Some(room) => {
            let mut command = Command::new("unshare");
            command.args(NAMESPACES).args(["sh", "-c", SMALL, "sh", &room.to_string()]).arg(&data).arg(binary("flowd"));
            command
        }
    };
    match setting.role {
        Role::Standalone => command.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(data),
        Role::Coordinator => command.arg("coordinator"),
        Role::Worker => command.args(["worker", "--data"]).arg(data),
    };
    command.arg("--die-with-parent").args(&setting.options).current_dir(directory);
    command.envs(setting.environment.iter().map(|(name, value)| (name, value)));
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("flowd.log")).expect("a file");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("flowd starts");
    // A small buffer, so that what is not read stays in the pipe.
    let stdout = BufReader::with_capacity(1 << 10, child.stdout.take().expect("piped"));
    (child, stdout)
}

/// The same, and waits until it says where it listens.
fn launch(directory: &Path, setting: &Setting) -> (Child, BufReader<ChildStdout>, String) {
    let (child, mut stdout) = spawn(directory, setting);
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    let url = line.trim_end().strip_prefix("flowd listens on ").and_then(|rest| rest.split(',').next());
    let log = || fs::read_to_string(directory.join("flowd.log")).unwrap_or_default();
    assert!(url.is_some() || setting.role == Role::Worker, "no line that says where: {line}{}", log());
    (child, stdout, url.unwrap_or_default().to_owned())
}

/// What a call of flowctl did.
#[derive(Debug)]
pub struct Called {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it had to say.
    pub stderr: String,
}

fn output(command: &mut Command) -> Called {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Called { code: status.code().expect("it exits by itself"), stdout: text(stdout), stderr: text(stderr) }
}

/// Calls a program in a directory.
pub fn called(directory: &Path, program: &str, arguments: &[&str]) -> Called {
    output(Command::new(binary(program)).args(arguments).current_dir(directory).stdin(Stdio::null()))
}

impl Flowd {
    /// Starts one on a free port.
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Flowd {
        Flowd::with(&[])
    }

    /// The same with more options.
    pub fn with(options: &[&str]) -> Flowd {
        Flowd::start(options, &[])
    }

    /// The same with these variables in its environment.
    pub fn with_env(environment: &[(&str, &str)]) -> Flowd {
        Flowd::start(&[], environment)
    }

    fn start(options: &[&str], environment: &[(&str, &str)]) -> Flowd {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Flowd::begin(Setting { options, environment, ..Setting::default() })
    }

    /// Starts a node of a cluster.
    pub fn node(role: Role, options: &[String], environment: &[(&str, &str)]) -> Flowd {
        Flowd::node_within(&[], role, options, environment)
    }

    /// The same by a command that becomes the daemon, whose words follow its own.
    pub fn node_within(within: &[String], role: Role, options: &[String], environment: &[(&str, &str)]) -> Flowd {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (options, within) = (options.to_vec(), within.to_vec());
        Flowd::begin(Setting { role, options, environment, room: None, within })
    }

    /// Starts one whose data directory has room for so many bytes. None, and a line that says why, where that may not be.
    pub fn with_room(bytes: u64) -> Option<Flowd> {
        let tried = Command::new("unshare").args([NAMESPACES, &["true"]].concat()).output();
        if let Ok(output) = &tried
            && output.status.success()
        {
            return Some(Flowd::begin(Setting { room: Some(bytes), ..Setting::default() }));
        }
        let said = tried.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        eprintln!("SKIPPED: no full disk without namespaces of users and mounts, which this machine refuses: {said:?}");
        None
    }

    fn begin(setting: Setting) -> Flowd {
        let (directory, keeper) = directory();
        let (child, stdout, url) = launch(&directory, &setting);
        Flowd { url, stdout, directory, child, keeper, setting }
    }

    /// Kills it as a power cut would, without a chance to write anything.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it was killed");
    }

    /// Starts it again, on another port, with what it has on its disk.
    pub fn start_again(&mut self) {
        (self.child, self.stdout, self.url) = launch(&self.directory, &self.setting);
    }

    /// Sets a variable of its environment, from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.setting.environment.retain(|(other, _)| other != name);
        self.setting.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it again and waits for nothing: it may die or stop before it listens.
    pub fn launch_again(&mut self) {
        _ = fs::remove_file(self.path(ADDRESS));
        self.url.clear();
        (self.child, self.stdout) = spawn(&self.directory, &self.setting);
    }

    /// A second daemon, as on another machine: it knows of the jobs what it takes to let them go on, and has none of their state.
    /// Waits for nothing.
    pub fn twin(&self) -> Flowd {
        let (directory, keeper) = directory();
        let (from, to) = (self.path("data/jobs"), directory.join("data/jobs"));
        for job in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("a job")) {
            fs::create_dir_all(to.join(job.file_name())).expect("a directory");
            for file in fs::read_dir(job.path()).expect("a directory").map(|entry| entry.expect("a file")) {
                if file.path().is_file() {
                    fs::copy(file.path(), to.join(job.file_name()).join(file.file_name())).expect("copied");
                }
            }
        }
        fs::write(directory.join("data/flowd.lock"), "").expect("a file");
        let (child, stdout) = spawn(&directory, &self.setting);
        Flowd { url: String::new(), stdout, directory, child, keeper, setting: self.setting.clone() }
    }

    /// Whether one that was not waited for listens: from then on it can be asked.
    pub fn listens(&mut self) -> bool {
        if let Ok(address) = fs::read_to_string(self.path(ADDRESS)) {
            self.url = format!("http://{}", address.trim());
        }
        !self.url.is_empty()
    }

    /// Whether its process has ended.
    pub fn is_dead(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Whether SIGSTOP has stopped its process.
    pub fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Removes the keyed state that it has on its disk, as if it came back on another one.
    pub fn lose_state(&self) {
        for job in fs::read_dir(self.path("data/jobs")).into_iter().flatten().flatten() {
            _ = fs::remove_dir_all(job.path().join("state"));
        }
    }

    /// A path in the directory that pipelines lie in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The same as the daemon sees it, whose data directory may be a file system of its own.
    pub fn path_inside(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let path = path.strip_prefix("/").expect("it is absolute");
        Path::new("/proc").join(self.child.id().to_string()).join("root").join(path)
    }

    /// Writes a file there.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    /// All lines that a files sink wrote into a directory, subtask by subtask.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let mut parts: Vec<PathBuf> =
            fs::read_dir(self.path(name)).expect("a directory").map(|entry| entry.expect("a file").path()).collect();
        parts.sort();
        let text = |part| fs::read(part).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).expect("a file");
        parts.iter().map(text).flat_map(|part| part.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Calls flowctl in that directory.
    pub fn ctl(&self, arguments: &[&str]) -> Called {
        let token = self.token();
        let token = token.as_deref().map(|token| ("FLOW_TOKEN", token));
        self.ctl_with(
            arguments,
            &[Some(("FLOW_SERVER", self.url.as_str())), token].into_iter().flatten().collect::<Vec<_>>(),
        )
    }

    /// The token that it wants, if it was started with one.
    pub fn token(&self) -> Option<String> {
        let at = self.setting.options.iter().position(|option| option == "--token-file")?;
        fs::read_to_string(self.setting.options.get(at + 1)?).ok()
    }

    /// The same with these variables in its environment, and none that says where the daemon is.
    pub fn ctl_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Called {
        let mut command = Command::new(binary("flowctl"));
        command.args(arguments).current_dir(&self.directory).env_remove("FLOW_SERVER");
        command.envs(environment.iter().copied());
        output(&mut command)
    }

    /// Calls it with arguments by which it can't begin.
    pub fn refused(arguments: &[&str]) -> Called {
        output(Command::new(binary("flowd")).args(arguments).stdin(Stdio::null()))
    }

    /// Calls flowctl, which has to succeed, and reads its JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let called = self.ctl(&[arguments, &["-o", "json"]].concat());
        assert_eq!(called.code, 0, "{arguments:?}: {}", called.stderr);
        serde_json::from_str(&called.stdout).expect("JSON")
    }

    /// What the daemon answers to `GET path`, without the head.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    /// Deploys a pipeline, whose operators take their components from `{plugins}`, and returns the job's id.
    #[track_caller]
    pub fn deploy(&self, name: &str, pipeline: &str) -> String {
        let file = self.pipeline(name, pipeline);
        let job = self.json(&["deploy", &file]);
        job["id"].as_str().expect("an id").to_owned()
    }

    /// Writes a pipeline file with its head and returns its name.
    pub fn pipeline(&self, name: &str, body: &str) -> String {
        let file = format!("{name}.yaml");
        let head = format!("apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\n");
        self.write(&file, head + &body.replace("{plugins}", &plugins().display().to_string()));
        file
    }

    /// The description of a job.
    #[track_caller]
    pub fn describe(&self, job: &str) -> Value {
        self.json(&["describe", job])
    }

    /// Waits until the description of a job is as it should be.
    #[track_caller]
    pub fn until(&self, job: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let description = self.describe(job);
            if is(&description) {
                return description;
            }
            if begun.elapsed() > PATIENCE {
                let told = self.ctl(&["logs", job]).stdout;
                panic!("{description:#}\n{}\n{told}", self.log());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the end of a job.
    #[track_caller]
    pub fn ended(&self, job: &str) -> Value {
        self.until(job, |d| ["finished", "failed", "canceled"].contains(&state(d)))
    }

    /// Waits for the end of a job, which must be that it finished.
    #[track_caller]
    pub fn finished(&self, job: &str) -> Value {
        let description = self.ended(job);
        assert_eq!(state(&description), "finished", "{description:#}");
        description
    }

    /// Sends the daemon a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "SIG{name}");
    }

    /// The most memory that was resident at once, in bytes.
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that is resident now, in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// The CPU time that it has used, in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // The name of the program may have spaces; behind it come the fields from the third on.
        let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
        let ticks =
            |field: usize| fields.split_whitespace().nth(field).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("flowd.log")).unwrap_or_default()
    }
}

impl Drop for Flowd {
    fn drop(&mut self) {
        // It ends with this thread at the latest.
        _ = self.child.kill();
        _ = self.child.wait();
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
    }
}

/// The state in a description.
pub fn state(description: &Value) -> &str {
    description["state"].as_str().expect("a state")
}

/// A counter of an operator in a description.
#[track_caller]
pub fn counter(description: &Value, operator: &str, counter: &str) -> u64 {
    let all = description["operators"].as_array().expect("a list");
    let one = all.iter().find(|one| one["operator"] == operator).expect("an operator of the job");
    one[counter].as_u64().expect("a number")
}

/// The same of an operator that is not there before the first attempt of its job.
pub fn counted(description: &Value, operator: &str, name: &str) -> u64 {
    let there =
        description["operators"].as_array().is_some_and(|all| all.iter().any(|one| one["operator"] == operator));
    if there { counter(description, operator, name) } else { 0 }
}

/// Where the built components lie.
pub fn plugins() -> PathBuf {
    let cache = || env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    env::var_os("FLOW_PLUGINS").map_or_else(|| cache().join("flow/plugins"), PathBuf::from)
}

fn home() -> PathBuf {
    env::var_os("HOME").expect("a home").into()
}

/// The program of that name.
pub fn binary(name: &str) -> PathBuf {
    let own = env::current_exe().expect("a test program has a path");
    // A program of Cargo's lies beside it, a test program one directory below.
    let beside = own.parent().expect("it lies in a directory");
    let path = if beside.ends_with("deps") { beside.parent().expect("it has one") } else { beside }.join(name);
    assert!(path.is_file(), "{} is missing: cargo build --release --workspace --bins", path.display());
    path
}
