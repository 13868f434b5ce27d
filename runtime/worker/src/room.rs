//! Whether there is room for another job: memory maps and threads, of which the system gives a process, a user or a control
//! group so many. Beyond them RocksDB ends the process, with all jobs in it, so a job that does not fit is refused before
//! anything of it starts. Must never refuse a job because a figure can't be read: then nothing is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_model::diagnostic::{Code, Diagnostic, Error as Diagnostics};
use flow_model::plan::{Head, Tail};

use crate::Error;
use crate::check::Checked;
use crate::part::Part;

/// Memory maps of a thread: its stack, what guards it, and its share of the allocator's.
const MAPS_OF_THREAD: u64 = 6;

/// Threads of a connector's subtask, as far as they are known before it is connected: librdkafka has one for itself, one for
/// the first address and one for each broker, and two of ours look after it; a sink of text has a writer.
fn threads_of(connector: &str) -> u64 {
    match connector {
        "kafka" => 6,
        "files" | "stdout" => 1,
        _ => 0,
    }
}

/// About what a job takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    maps: u64,
    threads: u64,
}

impl Need {
    fn of(checked: &Checked, part: &Part) -> Need {
        let plan = checked.plan();
        let here = |parallelism: u32| (0..parallelism).filter(|subtask| part.runs(*subtask)).count() as u64;
        // The threads that step a job's tasks.
        let slots = plan.tasks.iter().map(|task| here(task.parallelism)).max().unwrap_or(1);
        let mut need = Need { maps: 0, threads: slots };
        for task in &plan.tasks {
            let subtasks = here(task.parallelism);
            for component in task.chain.iter().filter_map(|element| checked.components.get(&element.operator)) {
                need.maps += subtasks * component.maps();
                // Each store has a thread that writes.
                need.threads += subtasks * u64::from(!component.description().states.is_empty());
            }
            if let Head::Source(source) = &task.head {
                need.threads += subtasks * threads_of(&source.connector);
            }
            if let Tail::Sink(sink) = &task.tail {
                need.threads += subtasks * threads_of(&sink.connector);
            }
        }
        need.maps += need.threads * MAPS_OF_THREAD;
        need
    }
}

/// What a process has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    counts: Counts,
    used: u64,
    most: u64,
    /// What it is called where it is raised.
    raise: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Maps,
    Threads,
}

impl Limit {
    /// Why so much more does not go in, where a fifth is kept free for what comes and goes: threads of RocksDB and of
    /// connections, instances that take the place of failed ones.
    fn refuses(&self, more: Need) -> Option<(String, String)> {
        let (what, more) = match self.counts {
            Counts::Maps => ("memory maps", more.maps),
            Counts::Threads => ("threads", more.threads),
        };
        let Limit { used, most, raise, .. } = self;
        let free = (most - most / 5).saturating_sub(*used);
        let enough = (used + more).saturating_mul(5).div_ceil(4);
        (more > free).then(|| {
            (
                format!(
                    "no room for the job: it takes about {more} {what}, and {free} can be had: {used} of {most} are in use, and \
                     a fifth is kept free"
                ),
                format!("lower its `parallelism`, cancel other jobs, or raise {raise} to {enough}"),
            )
        })
    }
}

/// What has been promised to jobs that are being made, whose maps and threads are not there to be counted yet.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<BTreeMap<u64, Need>>>);

/// A job's part of the room, while it is being made.
pub(crate) struct Promise {
    room: Room,
    number: u64,
}

impl Room {
    /// Room for a part of a job, to be held until its threads run; or the error that there is none.
    pub(crate) fn promise(&self, checked: &Checked, part: &Part) -> Result<Promise, Error> {
        let need = Need::of(checked, part);
        let mut promised = self.lock();
        let all = promised.values().fold(need, |a, b| Need { maps: a.maps + b.maps, threads: a.threads + b.threads });
        let refused = limits(Path::new("/")).iter().find_map(|limit| limit.refuses(all));
        if let Some((message, hint)) = refused {
            let pipeline = &checked.pipeline;
            let diagnostic = Diagnostic::error(Code::Room, &pipeline.file, None, message).hint(hint);
            return Err(Error::Pipeline(Diagnostics { diagnostics: vec![diagnostic] }));
        }
        let number = promised.last_key_value().map_or(0, |(last, _)| last + 1);
        promised.insert(number, need);
        Ok(Promise { room: self.clone(), number })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Need>> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.room.lock().remove(&self.number);
    }
}

/// All limits that can be read, below `root`, which is `/` but in tests.
fn limits(root: &Path) -> Vec<Limit> {
    maps(root).into_iter().chain(threads_of_user(root)).chain(threads_of_group(root)).collect()
}

fn maps(root: &Path) -> Option<Limit> {
    let used = std::fs::read(root.join("proc/self/maps")).ok()?.iter().filter(|byte| **byte == b'\n').count() as u64;
    let most = number(&root.join("proc/sys/vm/max_map_count"))?;
    Some(Limit { counts: Counts::Maps, used, most, raise: "vm.max_map_count (sysctl)".into() })
}

/// What `ulimit -u` sets: all threads of a user count, and root's do not.
fn threads_of_user(root: &Path) -> Option<Limit> {
    let proc = root.join("proc");
    let own = std::fs::read_to_string(proc.join("self/status")).ok()?;
    let user = field(&own, "Uid:").filter(|user| *user > 0)?;
    let limits = std::fs::read_to_string(proc.join("self/limits")).ok()?;
    let most = limits.lines().find_map(|line| line.strip_prefix("Max processes"))?;
    let most = most.split_whitespace().next()?.parse().ok()?;
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let processes = std::fs::read_dir(&proc).ok()?.flatten().filter(|entry| is_process(&entry.file_name()));
    let statuses = processes.filter_map(|process| std::fs::read_to_string(process.path().join("status")).ok());
    let used =
        statuses.filter(|status| field(status, "Uid:") == Some(user)).filter_map(|s| field(&s, "Threads:")).sum();
    Some(Limit { counts: Counts::Threads, used, most, raise: "the user's limit of processes (ulimit -u)".into() })
}

/// What a container or systemd sets: the tightest of the control groups that the process is in.
fn threads_of_group(root: &Path) -> Option<Limit> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let group = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let mount = match controllers {
            "" => "sys/fs/cgroup",
            _ if controllers.split(',').any(|controller| controller == "pids") => "sys/fs/cgroup/pids",
            _ => return None,
        };
        Some((root.join(mount), PathBuf::from(path.trim_start_matches('/'))))
    };
    let limit = |directory: PathBuf| {
        let (used, most) = (number(&directory.join("pids.current"))?, number(&directory.join("pids.max"))?);
        let raise = format!("{} (systemd: TasksMax)", directory.join("pids.max").display());
        Some(Limit { counts: Counts::Threads, used, most, raise })
    };
    let all = groups.lines().filter_map(group);
    let all = all.flat_map(|(mount, path)| path.ancestors().map(|above| mount.join(above)).collect::<Vec<_>>());
    all.filter_map(limit).min_by_key(|limit| limit.most.saturating_sub(limit.used))
}

/// A file of one number; none where it says `max`.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The first number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system of these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn a_fifth_is_kept_free() {
        let limit = Limit { counts: Counts::Threads, used: 10, most: 40, raise: "it".into() };
        let threads = |threads| Need { maps: 1 << 40, threads };
        assert_eq!(limit.refuses(threads(22)), None);
        let (message, hint) = limit.refuses(threads(23)).expect("too many");
        assert_eq!(
            message,
            "no room for the job: it takes about 23 threads, and 22 can be had: 10 of 40 are in use, and a fifth is kept free"
        );
        assert_eq!(hint, "lower its `parallelism`, cancel other jobs, or raise it to 42");
        let enough = Limit { most: 42, ..limit };
        assert_eq!(enough.refuses(threads(23)), None, "what the hint says is enough");
    }

    #[test]
    fn limits_are_found() {
        let root = system(&[
            ("proc/self/maps", "a\nb\nc\n"),
            ("proc/sys/vm/max_map_count", "65530\n"),
            ("proc/self/status", "Name:\tflowd\nUid:\t1000\t0\t0\t0\nThreads:\t3\n"),
            ("proc/self/limits", "Max cpu time  unlimited  unlimited  seconds\nMax processes   40   50   processes\n"),
            ("proc/7/status", "Uid:\t1000\t0\t0\t0\nThreads:\t3\n"),
            ("proc/8/status", "Uid:\t1000\t0\t0\t0\nThreads:\t4\n"),
            ("proc/9/status", "Uid:\t1001\t0\t0\t0\nThreads:\t5\n"),
            ("proc/self/cgroup", "1:cpu,pids:/a/b\n0::/c\n"),
            ("sys/fs/cgroup/pids/a/b/pids.max", "max\n"),
            ("sys/fs/cgroup/pids/a/b/pids.current", "5\n"),
            ("sys/fs/cgroup/pids/a/pids.max", "100\n"),
            ("sys/fs/cgroup/pids/a/pids.current", "60\n"),
            ("sys/fs/cgroup/c/pids.max", "90\n"),
            ("sys/fs/cgroup/c/pids.current", "6\n"),
        ]);
        let found = limits(root.path());
        let figures: Vec<_> = found.iter().map(|limit| (limit.counts, limit.used, limit.most)).collect();
        assert_eq!(figures, [(Counts::Maps, 3, 65530), (Counts::Threads, 7, 40), (Counts::Threads, 60, 100)]);
        assert!(found[2].raise.ends_with("pids/a/pids.max (systemd: TasksMax)"), "{}", found[2].raise);
    }

    #[test]
    fn what_can_t_be_read_limits_nothing() {
        assert_eq!(limits(system(&[]).path()), []);
        let root = system(&[
            ("proc/self/status", "Uid:\t0\t0\t0\t0\n"),
            ("proc/self/limits", "Max processes   40   50   processes\n"),
            ("proc/self/cgroup", "nonsense\n0::/\n"),
        ]);
        assert_eq!(limits(root.path()), [], "root may have more");
    }
}
