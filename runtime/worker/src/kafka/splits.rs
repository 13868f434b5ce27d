//! The partitions that a source reads, numbered in the order in which its subtasks meet them: rows carry the number, and
//! whoever has to name a place asks here. Numbers hold as long as the job runs; what must outlive it names topic and partition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use flow_dataflow::report::Place;
use flow_model::figures::PartitionFigures;

/// How far a partition was read.
#[derive(Debug)]
pub(super) struct Mark {
    topic: Arc<str>,
    partition: i32,
    /// The offset to go on with; -1 while it is unknown.
    position: AtomicI64,
    /// The offset after the last record; -1 while it is unknown.
    end: AtomicI64,
}

impl Mark {
    pub(super) fn set(&self, position: i64, end: Option<i64>) {
        self.position.store(position, Relaxed);
        if let Some(end) = end {
            self.end.store(end, Relaxed);
        }
    }
}

#[derive(Default, Debug)]
struct All {
    marks: Vec<Arc<Mark>>,
    numbers: HashMap<(Arc<str>, i32), u32>,
}

/// The partitions of a source, shared by its subtasks.
#[derive(Default, Debug)]
pub struct Splits {
    all: RwLock<All>,
}

impl Splits {
    /// The number of a partition, and its mark.
    pub(super) fn number(&self, topic: &Arc<str>, partition: i32) -> (u32, Arc<Mark>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let next = all.marks.len() as u32;
        let number = *all.numbers.entry((topic.clone(), partition)).or_insert(next);
        if number == next {
            let (position, end) = (AtomicI64::new(-1), AtomicI64::new(-1));
            all.marks.push(Arc::new(Mark { topic: topic.clone(), partition, position, end }));
        }
        (number, all.marks[number as usize].clone())
    }

    /// The name of a place: `orders[3]@17`.
    pub fn locate(&self, number: u32, offset: i64) -> Place {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        match all.marks.get(number as usize) {
            Some(mark) => Place {
                text: format!("{}[{}]@{offset}", mark.topic, mark.partition),
                fields: vec![
                    ("topic", mark.topic.to_string()),
                    ("partition", mark.partition.to_string()),
                    ("offset", offset.to_string()),
                ],
            },
            None => format!("partition number {number}, offset {offset}").into(),
        }
    }

    /// How far each partition was read, by topic and partition.
    pub fn figures(&self) -> Vec<PartitionFigures> {
        let known = |offset: &AtomicI64| Some(offset.load(Relaxed)).filter(|offset| *offset >= 0);
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let figures = |mark: &Arc<Mark>| PartitionFigures {
            topic: mark.topic.to_string(),
            partition: mark.partition,
            position: known(&mark.position),
            end: known(&mark.end),
        };
        let mut figures: Vec<PartitionFigures> = all.marks.iter().map(figures).collect();
        figures.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_partitions() {
        let splits = Splits::default();
        let (b, a): (Arc<str>, Arc<str>) = ("b".into(), "a".into());
        let numbers = [splits.number(&b, 1).0, splits.number(&a, 0).0, splits.number(&b, 1).0];
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!(splits.locate(0, 17).text, "b[1]@17");
        splits.number(&a, 0).1.set(7, Some(10));
        let figures = splits.figures();
        assert_eq!(
            figures.iter().map(|m| (m.topic.as_str(), m.lag())).collect::<Vec<_>>(),
            [("a", Some(3)), ("b", None)]
        );
    }
}
