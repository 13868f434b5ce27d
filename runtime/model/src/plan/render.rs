//! A plan as text for people: each task with what runs in it, what it receives and where it sends.

use std::fmt;

use super::{Exchange, Head, Partitioning, Plan, Tail, Task};

impl fmt::Display for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Hash(key) => write!(f, "hash by {key}"),
            Self::Rebalance => f.write_str("rebalance"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, subtasks) = (counted(self.tasks.len() as u64, "task"), counted(self.subtasks(), "subtask"));
        let groups = counted(self.key_groups.get().into(), "key group");
        writeln!(f, "{}: {tasks}, {subtasks}, {groups}", self.pipeline)?;
        self.tasks.iter().try_for_each(|task| self.write_task(f, task))
    }
}

impl Plan {
    fn write_task(&self, f: &mut fmt::Formatter<'_>, task: &Task) -> fmt::Result {
        writeln!(f, "\ntask {}: {} (parallelism {})", task.id, task.name, task.parallelism)?;
        match &task.head {
            Head::Source(source) => writeln!(f, "  source    {} ({})", source.name, source.connector)?,
            Head::Exchanges(inputs) => {
                for &id in inputs {
                    let Exchange { from, partitioning, dead_letters_of, .. } = self.exchange(id);
                    match dead_letters_of {
                        Some(of) => writeln!(f, "  from      task {from}, {partitioning}: dead letters of {of}")?,
                        None => writeln!(f, "  from      task {from}, {partitioning}")?,
                    }
                }
            }
        }
        for element in &task.chain {
            write!(f, "  {:<9} {}", element.kind, element.operator)?;
            match &element.key {
                Some(key) => writeln!(f, " (key {key})")?,
                None => writeln!(f)?,
            }
        }
        match &task.tail {
            Tail::Sink(sink) => writeln!(f, "  sink      {} ({})", sink.name, sink.connector)?,
            Tail::Exchanges(outputs) if outputs.is_empty() => writeln!(f, "  to        nobody")?,
            Tail::Exchanges(outputs) => outputs.iter().try_for_each(|&id| {
                let Exchange { to, partitioning, .. } = self.exchange(id);
                writeln!(f, "  to        task {to}, {partitioning}")
            })?,
        }
        self.dead_letters(task.id).try_for_each(|(of, Exchange { to, partitioning, .. })| {
            writeln!(f, "  dead      task {to}, {partitioning}: dead letters of {of}")
        })
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
