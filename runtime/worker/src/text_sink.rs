//! A sink of lines. Rows become text in the task; a thread of the sink's own writes that text, because a disk or a terminal
//! may take as long as it likes and a slot must not wait.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;
use flow_dataflow::{Barrier, Batch, Error, Sink};
use flow_model::spec::RecordFormat;

use crate::record_text;

/// Text that is handed to the thread at once.
const CHUNK: usize = 256 << 10;
/// How long text waits for more, so that people who follow the output see it.
const LINGER: Duration = Duration::from_millis(200);
/// How long a thread that may be left has to write what waits when the sink is dropped.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// Pieces of work on their way: one that is written, and one so that the thread never waits for the task.
const IN_FLIGHT: usize = 2;

/// Where the text goes. Errors are told as they should reach the user.
pub(crate) trait Target: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, text: &[u8]) -> Result<(), Error>;

    /// Makes what was written durable, as far as the target can.
    fn sync(&mut self) -> Result<(), Error>;

    /// A barrier has passed: the same, for its checkpoint.
    fn seal(&mut self, _barrier: Barrier) -> Result<(), Error> {
        self.sync()
    }
}

/// What happens with the thread when the sink is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// It has ended before the sink is gone.
    Join,
    /// It has a moment to end, and else ends when its write does: whoever reads the other end may have stopped for good.
    Leave,
}

/// Whole lines of so many rows.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    rows: usize,
}

enum Work {
    Write(Text),
    Seal(Barrier),
    Sync,
}

/// The text that was written, whose buffer is used again, and how it went.
type Done = Result<Option<Text>, Error>;

/// Writes records as lines of text.
pub struct TextSink {
    format: RecordFormat,
    text: Text,
    /// Rows that were handed to the thread and are not written yet.
    handed: usize,
    /// Since when text waits.
    waiting: Option<Instant>,
    work: Option<Sender<Work>>,
    done: Receiver<Done>,
    in_flight: usize,
    /// A snapshot is not durable yet.
    syncing: bool,
    finishing: bool,
    spare: Vec<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    on_drop: OnDrop,
}

impl TextSink {
    /// Starts the thread. It calls `wake` whenever the sink may have become ready.
    pub(crate) fn start(
        format: RecordFormat,
        target: impl Target,
        wake: Wake,
        on_drop: OnDrop,
    ) -> Result<TextSink, Error> {
        let (work, of_thread) = channel();
        let (tell, done) = channel();
        let thread = std::thread::Builder::new()
            .name("text-sink".into())
            .spawn(move || run(target, &of_thread, &tell, &wake))
            .map_err(|e| Error::Retryable(format!("no thread for a sink: {e}")))?;
        Ok(TextSink {
            format,
            text: Text::default(),
            handed: 0,
            waiting: None,
            work: Some(work),
            done,
            in_flight: 0,
            syncing: false,
            finishing: false,
            spare: Vec::new(),
            thread: Some(thread),
            on_drop,
        })
    }

    fn hand_over(&mut self, work: Work) {
        self.in_flight += 1;
        // Where the thread is gone, `collect` says so.
        let _ = self.work.as_ref().map(|queue| queue.send(work));
    }

    fn flush(&mut self) {
        self.waiting = None;
        if !self.text.bytes.is_empty() {
            let next = Text { bytes: self.spare.pop().unwrap_or_default(), rows: 0 };
            let text = std::mem::replace(&mut self.text, next);
            self.handed += text.rows;
            self.hand_over(Work::Write(text));
        }
    }

    fn sync(&mut self, work: Work) {
        self.flush();
        self.hand_over(work);
        self.syncing = true;
    }

    /// Takes note of what is done.
    fn collect(&mut self) -> Result<(), Error> {
        while self.in_flight > 0 {
            match self.done.try_recv() {
                Ok(done) => {
                    self.in_flight -= 1;
                    if let Some(Text { mut bytes, rows }) = done? {
                        self.handed -= rows;
                        bytes.clear();
                        bytes.shrink_to(2 * CHUNK);
                        self.spare.push(bytes);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Error::Fatal("the thread that writes the output is gone".into()));
                }
            }
        }
        self.syncing &= self.in_flight > 0;
        Ok(())
    }
}

impl Sink for TextSink {
    fn ready(&mut self) -> Result<bool, Error> {
        self.collect()?;
        if self.waiting.is_some_and(|since| since.elapsed() >= LINGER) && self.in_flight < IN_FLIGHT {
            self.flush();
        }
        Ok(!self.syncing && self.in_flight < IN_FLIGHT)
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        record_text::append(self.format, &batch, &mut self.text.bytes);
        self.text.rows += batch.rows();
        if self.text.bytes.len() >= CHUNK {
            self.flush();
        } else {
            self.waiting.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.sync(Work::Seal(barrier));
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.text.rows + self.handed
    }

    fn finish(&mut self) -> Result<bool, Error> {
        if !std::mem::replace(&mut self.finishing, true) {
            self.sync(Work::Sync);
        }
        self.collect()?;
        Ok(self.in_flight == 0)
    }
}

impl Drop for TextSink {
    fn drop(&mut self) {
        // A canceled job has counted these records as taken; who reads along shall see them.
        self.flush();
        self.work = None;
        let Some(thread) = self.thread.take() else { return };
        let begin = Instant::now();
        while self.on_drop == OnDrop::Leave && !thread.is_finished() {
            if begin.elapsed() >= LAST_MOMENT {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Whatever it met has been told, or nobody asks any more.
        let _ = thread.join();
    }
}

fn run(mut target: impl Target, work: &Receiver<Work>, tell: &Sender<Done>, wake: &Wake) {
    for work in work {
        let done = match work {
            Work::Write(text) => target.write(&text.bytes).map(|()| Some(text)),
            Work::Seal(barrier) => target.seal(barrier).map(|()| None),
            Work::Sync => target.sync().map(|()| None),
        };
        let failed = done.is_err();
        let heard = tell.send(done).is_ok();
        wake();
        if failed || !heard {
            return;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use flow_dataflow::BatchBuilder;
    use flow_dataflow::build::Row;

    use super::*;

    pub(crate) fn batch(values: &[&str]) -> Batch {
        let mut batch = BatchBuilder::default();
        values.iter().for_each(|v| batch.push(Row { value: Some(v.as_bytes()), ..Row::default() }));
        batch.finish()
    }

    /// Asks until the answer is yes, or an error.
    pub(crate) fn until(mut ask: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
        let begun = Instant::now();
        while !ask()? {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never happened");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn add(&self, line: String) {
            self.0.lock().expect("no test panics with it").push(line);
        }

        fn all(&self) -> Vec<String> {
            self.0.lock().expect("no test panics with it").clone()
        }
    }

    impl Target for Log {
        fn write(&mut self, text: &[u8]) -> Result<(), Error> {
            self.add(String::from_utf8_lossy(text).into_owned());
            if text.ends_with(b"full\n") { Err(Error::Retryable("no room".into())) } else { Ok(()) }
        }

        fn sync(&mut self) -> Result<(), Error> {
            self.add("sync".into());
            Ok(())
        }
    }

    fn sink(log: &Log) -> TextSink {
        TextSink::start(RecordFormat::Lines, log.clone(), Arc::new(|| {}), OnDrop::Join).expect("it starts")
    }

    #[test]
    fn text_that_waits_is_written_soon() {
        let log = Log::default();
        let mut sink = sink(&log);
        assert!(sink.ready().expect("nothing is wrong"));
        sink.write(batch(&["a", "b"])).expect("it takes a batch");
        sink.write(batch(&["c"])).expect("it takes a batch");
        assert!(sink.ready().expect("nothing is wrong"));
        until(|| sink.ready().map(|_| log.all() == ["a\nb\nc\n"])).expect("nothing is wrong");
    }

    #[test]
    fn a_snapshot_and_the_end_are_durable() {
        let log = Log::default();
        let mut sink = sink(&log);
        sink.write(batch(&["a"])).expect("it takes a batch");
        sink.snapshot(flow_dataflow::Barrier::first(flow_model::checkpoint::CheckpointId(1))).expect("it begins");
        until(|| sink.ready()).expect("nothing is wrong");
        assert_eq!(log.all(), ["a\n", "sync"]);
        sink.write(batch(&["b"])).expect("it takes a batch");
        until(|| sink.finish()).expect("nothing is wrong");
        assert_eq!(log.all(), ["a\n", "sync", "b\n", "sync"]);
    }

    #[test]
    fn a_target_that_fails_ends_the_sink() {
        let mut sink = sink(&Log::default());
        sink.write(batch(&["full"])).expect("it takes a batch");
        let error = until(|| sink.finish()).expect_err("there is no room");
        assert!(matches!(error, Error::Retryable(m) if m == "no room"));
    }

    #[test]
    fn a_slow_target_holds_the_task_back() {
        struct Held(Receiver<()>);
        impl Target for Held {
            fn write(&mut self, _: &[u8]) -> Result<(), Error> {
                self.0.recv().map_err(|e| Error::Fatal(e.to_string()))
            }
            fn sync(&mut self) -> Result<(), Error> {
                Ok(())
            }
        }
        let (go, held) = channel();
        let (ring, rung) = channel();
        let wake: Wake = Arc::new(move || ring.send(()).expect("the test listens"));
        let mut sink = TextSink::start(RecordFormat::Lines, Held(held), wake, OnDrop::Join).expect("it starts");
        let large = "x".repeat(CHUNK);
        let mut taken = 0;
        while sink.ready().expect("nothing is wrong") {
            sink.write(batch(&[&large])).expect("it takes a batch");
            taken += 1;
        }
        assert_eq!((taken, sink.unwritten()), (IN_FLIGHT, IN_FLIGHT));
        go.send(()).expect("it waits");
        rung.recv().expect("it wakes the task");
        assert!(sink.ready().expect("nothing is wrong"));
        assert_eq!(sink.unwritten(), IN_FLIGHT - 1);
        drop(go);
    }
}
