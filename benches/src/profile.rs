//! Where a job's CPU goes, by perf: shares by kind of work and the largest single functions. Compiled Wasm shows as one kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Samples a second and processor.
const RATE: &str = "997";
/// Functions told.
const TOP: usize = 40;

/// The same command under `perf record`.
pub fn record(command: Command, data: &Path) -> Command {
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", RATE, "-e", "cpu-clock", "-o"]).arg(data).arg("--");
    perf.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        perf.current_dir(dir);
    }
    perf
}

/// One function's part.
struct Line {
    share: f64,
    thread: String,
    object: String,
    symbol: String,
}

/// What was recorded, as text; `cpu` is what the job costs without perf, in CPU-s per million records.
pub fn report(data: &Path, cpu: f64) -> anyhow::Result<String> {
    let mut perf = Command::new("perf");
    perf.args(["report", "--stdio", "-q", "--no-children", "-g", "none", "-s", "comm,dso,sym", "-t", "|", "-i"])
        .arg(data);
    let output = perf.stderr(Stdio::null()).output().context("perf can't be run; Debian has it in linux-perf")?;
    if !output.status.success() {
        bail!("perf report failed for {}", data.display());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Line> = text.lines().filter_map(line).collect();
    let (mut kinds, mut functions) = (BTreeMap::<&str, f64>::new(), BTreeMap::<(&str, &str), f64>::new());
    for line in &lines {
        let kind = kind(line);
        *kinds.entry(kind).or_default() += line.share;
        *functions.entry((kind, line.symbol.as_str())).or_default() += line.share;
    }
    let mut out = "  share  CPU-s per million  kind\n".to_owned();
    for (kind, share) in by_share(kinds) {
        out += &format!("  {share:5.1}%  {:>17.3}  {kind}\n", cpu * share / 100.0);
    }
    out += "\n  share  function (kind)\n";
    for ((kind, symbol), share) in by_share(functions).into_iter().take(TOP) {
        let symbol: String = symbol.chars().take(100).collect();
        out += &format!("  {share:5.1}%  {symbol} ({kind})\n");
    }
    Ok(out)
}

fn by_share<K>(shares: impl IntoIterator<Item = (K, f64)>) -> Vec<(K, f64)> {
    let mut shares: Vec<(K, f64)> = shares.into_iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

fn line(text: &str) -> Option<Line> {
    let mut fields = text.splitn(4, '|').map(str::trim);
    let share = fields.next()?.strip_suffix('%')?.parse().ok()?;
    let (thread, object, symbol) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Line { share, thread: thread.to_owned(), object: object.to_owned(), symbol: symbol.to_owned() })
}

/// What kind of work a function is; the first that fits.
fn kind(line: &Line) -> &'static str {
    let (object, symbol) = (line.object.as_str(), line.symbol.trim_start_matches(['[', ']', '.', 'k', ' ']));
    let has = |parts: &[&str]| parts.iter().any(|part| symbol.contains(part));
    let broker_thread = line.thread.starts_with("rdk:");
    if object.starts_with("[kernel") || line.symbol.starts_with("[k]") {
        return if broker_thread { "kernel (network threads)" } else { "kernel (other threads)" };
    }
    let wasm =
        object.contains("[JIT]") || object.contains("anon") || object.contains(".cwasm") || object.contains("jit");
    match () {
        () if wasm || has(&["wasm["]) => "Wasm guest",
        () if has(&["LZ4", "XXH32"]) => "lz4",
        () if has(&["crc32c"]) => "crc32c",
        () if has(&["memcpy", "memmove", "memset", "memcmp"]) && broker_thread => "memcpy (network threads)",
        () if has(&["memcpy", "memmove", "memset", "memcmp"]) => "memcpy (other threads)",
        () if has(&["malloc", "free", "calloc", "realloc", "tcache", "_int_", "unlink_chunk"]) => "malloc",
        () if has(&[
            "msgset_reader",
            "rd_kafka_fetch",
            "consume",
            "op_",
            "q_serve",
            "rd_slice",
            "rd_kafka_message_",
        ]) =>
        {
            "librdkafka consume"
        }
        () if has(&[
            "msgset_writer",
            "produce",
            "msg_new",
            "msgq",
            "msg_partitioner",
            "rd_buf",
            "_dr_",
            "toppar_enq",
        ]) =>
        {
            "librdkafka produce"
        }
        () if has(&["rd_kafka", "rd_", "mtx_", "cnd_", "pthread", "rwlock"]) => "librdkafka other, locks",
        () if object.contains("rocksdb") || has(&["rocksdb"]) => "RocksDB",
        () if has(&["wasmtime", "cranelift", "regalloc"]) => "wasmtime",
        () if has(&["flow_plugin"]) => "Flow: plugin",
        () if has(&["flow_dataflow", "flow_frame"]) => "Flow: dataflow",
        () if has(&["flow_worker"]) => "Flow: worker",
        () if has(&["serde", "floor::", "end_to_end", "zmij", "ryu", "lexical"]) => "JSON and the loop itself",
        () if broker_thread => "other (network threads)",
        () => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_perf_are_read() {
        let read = line("    12.34%|rdk:broker1     |libc.so.6|[.] __memmove_avx_unaligned_erms").expect("a line");
        assert!((read.share - 12.34).abs() < 1e-9);
        assert_eq!(kind(&read), "memcpy (network threads)");
        let of = |text: &str| kind(&line(text).expect("a line"));
        assert_eq!(of("1.00%|flowd|[kernel.kallsyms]|[k] copy_user"), "kernel (other threads)");
        assert_eq!(of("1.00%|slot-0|[JIT] tid 1|[.] 0x00007f"), "Wasm guest");
        assert_eq!(of("1.00%|slot-0|flowd|[.] rd_kafka_msgset_reader_run"), "librdkafka consume");
        assert!(line("").is_none() && line("# comment").is_none());
    }
}
