//! Records made up at a rate.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flow_dataflow::build::Row;
use flow_dataflow::report::Place;
use flow_dataflow::source::Locator;
use flow_dataflow::{BatchBuilder, Error, Polled, Source};
use flow_model::checkpoint::snapshot::Split;
use flow_model::spec;

/// Tells the time since the Unix epoch, and never goes back.
pub type Clock = Box<dyn FnMut() -> Duration + Send>;

/// The clock of this machine, read once; from then on it goes as the processor's, so that nobody who sets it changes a rate.
pub fn clock() -> Clock {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = Instant::now();
    Box::new(move || started + since.elapsed())
}

/// Makes records `0, 1, 2, …` up to a count, shared among its subtasks: share `i` of `n` is the records `i, i + n, i + 2n, …`. There are as
/// many shares as it had subtasks when it began, and with another parallelism each subtask has several of them, or some have none.
///
/// Record `s` has the key `s % keys` in decimal digits, and the value of the template. With a rate it is due `s / rate`
/// seconds after the source was first asked, whether or not those before it could be taken in time, and that is its
/// timestamp: whoever measures latency from it counts the time that it had to wait. Without a rate the timestamp is the
/// time at which it was made. Its split is the share, its position `s`.
pub struct Generator {
    spec: spec::Generator,
    clock: Clock,
    shares: Vec<Share>,
    /// How many there are of all subtasks.
    of: u64,
    key: String,
    value: Vec<u8>,
}

/// Every `of`th record.
struct Share {
    number: u32,
    /// The next record.
    next: u64,
    /// When it was first asked.
    started: Option<Duration>,
}

impl Generator {
    /// Subtask `subtask` of `parallelism`.
    pub fn new(spec: &spec::Generator, subtask: u32, parallelism: u32, clock: Clock) -> Generator {
        Generator {
            spec: spec.clone(),
            clock,
            shares: vec![Share { number: subtask, next: subtask.into(), started: None }],
            of: parallelism.max(1).into(),
            key: String::new(),
            value: Vec::new(),
        }
    }

    /// The same, which goes on where the subtasks of an earlier one stopped, as many as there were.
    pub fn restored(self, splits: &[Split], (subtask, parallelism): (u32, u32)) -> Result<Generator, Error> {
        let wrong = |split: &str| Error::Fatal(format!("the checkpoint has no generator {split} of {}", splits.len()));
        let mut shares = Vec::new();
        for number in (subtask..splits.len() as u32).step_by(parallelism.max(1) as usize) {
            let name = number.to_string();
            let split = splits.iter().find(|split| split.split == name).ok_or_else(|| wrong(&name))?;
            let next = u64::try_from(split.next).unwrap_or(0);
            shares.push(Share { number, next, started: split.at.map(Duration::from_millis) });
        }
        Ok(Generator { shares, of: splits.len() as u64, ..self })
    }

    /// The first record, of any subtask, that is not due yet after so much time.
    fn due(&self, elapsed: Duration) -> u64 {
        let Some(rate) = self.spec.rate else { return u64::MAX };
        // Record s is due at s · 10⁹ / rate nanoseconds, so record 0 at once.
        u64::try_from(elapsed.as_nanos() * u128::from(rate) / 1_000_000_000 + 1).unwrap_or(u64::MAX)
    }

    fn scheduled(&self, sequence: u64) -> Duration {
        match self.spec.rate {
            Some(rate) => {
                let (seconds, rest) = (sequence / rate, sequence % rate);
                Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / rate)
            }
            None => Duration::ZERO,
        }
    }
}

impl Source for Generator {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        let count = self.spec.count.unwrap_or(u64::MAX);
        if self.spec.count.is_some() && self.shares.iter().all(|share| share.next >= count) {
            return Ok(Polled::End);
        }
        let now = (self.clock)();
        let mut batch = BatchBuilder::with_capacity(max_rows.min(1024), 0);
        for at in 0..self.shares.len() {
            let started = *self.shares[at].started.get_or_insert(now);
            let until = count.min(self.due(now.saturating_sub(started)));
            let made = if self.spec.rate.is_some() { started } else { now };
            // What one has too much of waits for the next time, when the one behind it comes first.
            let rows = max_rows * (at + 1) / self.shares.len();
            while self.shares[at].next < until
                && batch.rows() < rows
                && (batch.rows() == 0 || batch.bytes() < max_bytes)
            {
                use std::fmt::Write;
                let Share { number, next, .. } = self.shares[at];
                self.key.clear();
                write!(self.key, "{}", next % self.spec.keys.max(1)).expect("text takes every write");
                self.value.clear();
                self.spec.value.fill(next, &self.key, &mut self.value);
                batch.push(Row {
                    key: Some(self.key.as_bytes()),
                    value: Some(&self.value),
                    timestamp: Some((made + self.scheduled(next)).as_millis() as i64),
                    split: number,
                    position: next as i64,
                    ..Row::default()
                });
                self.shares[at].next = next.saturating_add(self.of);
            }
        }
        if self.shares.len() > 1 {
            self.shares.rotate_left(1);
        }
        Ok(if batch.rows() > 0 { Polled::Batch(batch.finish()) } else { Polled::Idle })
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        self.shares.iter().map(|share| (share.number, share.next as i64)).collect()
    }

    fn splits(&self) -> Vec<Split> {
        let of_share = |share: &Share| Split {
            split: share.number.to_string(),
            next: share.next as i64,
            at: share.started.map(|started| started.as_millis() as u64),
            until: self.spec.count.map(|count| count as i64),
            id: None,
            ended: self.spec.count.is_some_and(|count| share.next >= count),
        };
        self.shares.iter().map(of_share).collect()
    }

    fn locator(&self) -> Locator {
        Arc::new(|subtask, sequence| Place {
            text: format!("generator[{subtask}]@{sequence}"),
            fields: vec![("partition", subtask.to_string()), ("offset", sequence.to_string())],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use flow_frame::layout::id;

    use super::*;

    /// Milliseconds at which the test began.
    const START: u64 = 1_700_000_000_000;

    fn generator(count: Option<u64>, rate: Option<u64>, subtask: u32, parallelism: u32) -> (Generator, Arc<AtomicU64>) {
        let value = r#"{"id": {{seq}}, "key": "{{key}}"}"#.parse().expect("a template");
        let spec = spec::Generator { count, rate, keys: 3, value };
        let micros = Arc::new(AtomicU64::new(START * 1000));
        let read = micros.clone();
        let clock = Box::new(move || Duration::from_micros(read.load(Relaxed)));
        (Generator::new(&spec, subtask, parallelism, clock), micros)
    }

    /// The positions and timestamps (after the start) of what there is now; none at the end.
    fn take(generator: &mut Generator, max_rows: usize) -> Option<Vec<(i64, i64)>> {
        match generator.poll(max_rows, 1 << 20).expect("it never fails") {
            Polled::Batch(batch) => {
                let row = |r| Some((batch.origin(r)?.1, batch.i64(id::TIMESTAMP, r)? - START as i64));
                Some((0..batch.rows()).map(|r| row(r).expect("both are there")).collect())
            }
            Polled::Idle => Some(Vec::new()),
            Polled::End => None,
        }
    }

    #[test]
    fn records_are_as_the_template_says() {
        let (mut generator, _) = generator(Some(5), None, 1, 2);
        let Ok(Polled::Batch(batch)) = generator.poll(10, 1 << 20) else { panic!("records") };
        let text = |column, row| batch.bytes(column).and_then(|c| c.get(row)).map(String::from_utf8_lossy);
        assert_eq!(batch.rows(), 2);
        assert_eq!(text(id::KEY, 0).as_deref(), Some("1"));
        assert_eq!(text(id::VALUE, 0).as_deref(), Some(r#"{"id": 1, "key": "1"}"#));
        assert_eq!(text(id::VALUE, 1).as_deref(), Some(r#"{"id": 3, "key": "0"}"#));
        assert_eq!(batch.origin(1), Some((1, 3)));
        assert_eq!(generator.locator()(1, 3).text, "generator[1]@3");
    }

    #[test]
    fn subtasks_share_the_count_exactly() {
        let check = |count: u64, parallelism: u32| {
            let mut all = Vec::new();
            for subtask in 0..parallelism {
                let (mut generator, _) = generator(Some(count), None, subtask, parallelism);
                while let Some(rows) = take(&mut generator, 4) {
                    assert!(!rows.is_empty());
                    all.extend(rows.into_iter().map(|(position, _)| position));
                }
                assert!(take(&mut generator, 4).is_none());
            }
            all.sort_unstable();
            assert_eq!(all, (0..count as i64).collect::<Vec<_>>(), "{count} over {parallelism}");
        };
        check(0, 1);
        check(1, 3);
        check(10, 3);
        check(12, 4);
        check(2, 5);
    }

    #[test]
    fn any_number_of_subtasks_goes_on_where_others_stopped() {
        let all = |parallelism: u32, splits: &[Split], polls: usize| {
            let (mut rows, mut stopped) = (Vec::new(), Vec::new());
            for subtask in 0..parallelism {
                let (made, _) = generator(Some(100), None, subtask, parallelism);
                let mut made = if splits.is_empty() {
                    made
                } else {
                    made.restored(splits, (subtask, parallelism)).expect("it goes on")
                };
                let polled = std::iter::from_fn(|| take(&mut made, 7)).take(polls).flatten();
                rows.extend(polled.map(|(position, _)| position));
                stopped.extend(made.splits());
            }
            (rows, stopped)
        };
        for path in [[3, 1, 3], [3, 2, 5], [1, 4, 2], [4, 4, 1]] {
            let (mut rows, splits) = all(path[0], &[], 1);
            let (more, splits) = all(path[1], &splits, 2);
            assert_eq!(splits.len(), path[0] as usize, "{path:?}: none gets lost");
            rows.extend(more);
            let (rest, splits) = all(path[2], &splits, 200);
            rows.extend(rest);
            rows.sort_unstable();
            assert_eq!(rows, (0..100).collect::<Vec<i64>>(), "{path:?}");
            assert!(splits.iter().all(|split| split.ended), "{path:?}");
        }
        let (made, _) = generator(None, None, 0, 1);
        let split = Split { split: "7".into(), ..all(1, &[], 1).1.remove(0) };
        let wrong = made.restored(&[split], (0, 1)).err().expect("it is no share");
        assert!(wrong.to_string().contains("no generator 0 of 1"), "{wrong}");
    }

    #[test]
    fn a_rate_is_a_schedule() {
        // 2000 a second over two subtasks: this one has every other half millisecond.
        let (mut generator, micros) = generator(None, Some(2000), 1, 2);
        let at = |millis: f64| micros.store(((START as f64 + millis) * 1000.0) as u64, Relaxed);
        assert_eq!(take(&mut generator, 100), Some(vec![]));
        at(0.4);
        assert_eq!(take(&mut generator, 100), Some(vec![]));
        at(0.5);
        assert_eq!(take(&mut generator, 100), Some(vec![(1, 0)]));
        at(0.9);
        assert_eq!(take(&mut generator, 100), Some(vec![]));
        // Held up: what was due meanwhile comes with the times at which it was due.
        at(3.6);
        assert_eq!(take(&mut generator, 2), Some(vec![(3, 1), (5, 2)]));
        assert_eq!(take(&mut generator, 2), Some(vec![(7, 3)]));
        assert_eq!(take(&mut generator, 2), Some(vec![]));
        assert_eq!(generator.positions(), [(1, 9)]);
    }

    #[test]
    fn no_rate_is_as_fast_as_it_goes() {
        let (mut generator, micros) = generator(None, None, 0, 1);
        assert_eq!(take(&mut generator, 3), Some(vec![(0, 0), (1, 0), (2, 0)]));
        micros.store((START + 7) * 1000, Relaxed);
        assert_eq!(take(&mut generator, 2), Some(vec![(3, 7), (4, 7)]));
    }

    #[test]
    fn schedules_hold_at_the_ends_of_their_range() {
        let (fast, _) = generator(None, Some(1_000_000_000), 0, 1);
        assert_eq!(fast.due(Duration::from_nanos(5)), 6);
        assert_eq!(fast.due(Duration::MAX), u64::MAX);
        let (slow, _) = generator(None, Some(7), 0, 1);
        for sequence in [0, 1, 6, 7, 8, 1_000_000_000_007] {
            let at = slow.scheduled(sequence);
            // Times are cut to nanoseconds.
            assert!(slow.due(at + Duration::from_nanos(1)) > sequence, "{sequence}");
            assert!(slow.due(at.saturating_sub(Duration::from_nanos(1))) <= sequence.max(1), "{sequence}");
        }
    }

    #[test]
    fn the_clock_goes_on() {
        let mut clock = clock();
        let (first, second) = (clock(), clock());
        assert!(first <= second && first > Duration::from_millis(START));
    }
}
