//! Files as a source, one record a line, and as a sink, one file a subtask.
//!
//! Must never hold a file whole: memory stays within the longest line that is allowed.
//!
//! - [`FileList`]: which files a source reads, found once for all its subtasks
//! - [`FilesSource`]: the lines of one subtask's share of them
//! - [`OutputDirectory`]: where a sink writes, made ready once for all its subtasks, which each open a part
//! - [`pending`]: with checkpoints, parts that get their names when their checkpoint counts

mod line_reader;
mod list;
mod pending;
mod sink;
mod source;

pub use list::FileList;
pub(crate) use list::covers;
pub use sink::OutputDirectory;
pub use source::FilesSource;
