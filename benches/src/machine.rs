//! What else the machine did meanwhile: a figure taken beside other work is a worse one, and says so.

use std::fs;

use serde::Serialize;

/// The machine, for those who compare two result files.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub memory_kib: u64,
    pub kernel: String,
}

/// Reads what the system says of itself.
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(':').nth(1)).map(|value| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    Machine {
        processor: field(&read("/proc/cpuinfo"), "model name"),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        memory_kib: memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// Seconds of CPU since some moment: of the whole machine, and of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    all: f64,
    broker: f64,
}

impl Clock {
    /// Now.
    pub fn read(broker: Option<u32>) -> Clock {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        // cpu user nice system idle iowait irq softirq steal …, all but idle and iowait.
        let fields: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        let busy = fields.iter().take(8).enumerate().filter(|(at, _)| !(3..=4).contains(at)).map(|(_, ticks)| ticks);
        Clock { all: busy.sum::<f64>() / TICKS, broker: broker.map_or(0.0, of_process) }
    }

    /// Seconds of CPU since then of the broker, and of what is neither the broker nor the process that used `measured`.
    pub fn since(self, before: Clock, measured: f64) -> (f64, f64) {
        let broker = self.broker - before.broker;
        (broker, (self.all - before.all - broker - measured).max(0.0))
    }
}

/// Linux counts for user space in hundredths of a second on every platform.
const TICKS: f64 = 100.0;

fn of_process(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may have spaces; after its bracket come state and then numbers, user and system time as the 12th and 13th.
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}
