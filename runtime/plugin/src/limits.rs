//! What one instance may use.

use std::time::Duration;

use flow_model::spec;
use wasmtime::ResourceLimiter;

/// Limits of one operator, per subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories of an instance.
    pub memory: usize,
    /// CPU time of one call; `init` and `describe` are calls too. Kept to within 20 ms.
    pub time_per_batch: Duration,
    /// Bytes that one answer may have, that one call may write to state, and that each of its requests may read of it.
    pub output: usize,
    /// Lines that reach the job's log; the rest is counted.
    pub log_lines_per_second: u32,
}

impl From<spec::Limits> for Limits {
    fn from(spec: spec::Limits) -> Limits {
        Limits {
            memory: spec.memory.as_usize(),
            time_per_batch: spec.time_per_batch,
            output: spec.output_per_batch.as_usize(),
            log_lines_per_second: spec.log_rate.0,
        }
    }
}

impl Default for Limits {
    /// Those of an operator whose pipeline file sets none.
    fn default() -> Limits {
        spec::Limits::default().into()
    }
}

/// Most elements of one table: functions that a guest may call indirectly. Python's largest modules have about 20,000.
const TABLE_ELEMENTS: usize = 1 << 20;

/// The guest asked for more than its limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Exceeded {
    /// Linear memory.
    #[error("it needs {} of memory, and {} is its limit", size(*needs), size(*limit))]
    Memory {
        /// Bytes that it would have had.
        needs: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// A table.
    #[error("it asks for a table of {0} elements; {TABLE_ELEMENTS} are allowed")]
    Table(usize),
}

fn size(bytes: usize) -> String {
    // Up, so that what is beyond a limit never looks like the limit.
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

/// Bytes that the host keeps for an element of a table.
const TABLE_ELEMENT: usize = 8;

/// Keeps the memory of one store under its limit, and knows how much it is.
#[derive(Debug)]
pub struct Growth {
    limit: usize,
    /// Bytes of the pages by which it is interrupted; they count for nobody.
    pages: usize,
    /// Bytes of all linear memories, pages included, and tables.
    pub memory: usize,
}

impl Growth {
    /// At most so many bytes, beside so many of pages.
    pub fn new(limit: usize, pages: usize) -> Growth {
        Growth { limit, pages, memory: 0 }
    }

    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(bytes);
        let needs = memory.saturating_sub(self.pages);
        if needs > self.limit {
            // An error traps: a guest that is told "no" mostly dies of it in a way that nobody can read.
            return Err(Exceeded::Memory { needs, limit: self.limit }.into());
        }
        self.memory = memory;
        Ok(true)
    }
}

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(Exceeded::Table(desired).into());
        }
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT))
    }

    fn memories(&self) -> usize {
        1000
    }

    fn instances(&self) -> usize {
        1000
    }

    fn tables(&self) -> usize {
        1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_tests_are_those_of_pipelines() {
        let (limits, spec) = (Limits::default(), spec::Limits::default());
        assert_eq!(limits.time_per_batch, spec.time_per_batch);
        assert_eq!((limits.memory as u64, limits.output as u64), (spec.memory.0, spec.output_per_batch.0));
    }
}
