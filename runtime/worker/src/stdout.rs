//! The standard output of the worker as a sink.

use std::io::{self, ErrorKind, Write};

use flow_dataflow::Error;
use flow_dataflow::exchange::Wake;
use flow_model::spec::RecordFormat;

use crate::text_sink::{OnDrop, Target, TextSink};

/// Opens the sink of one subtask. Subtasks write whole lines, in no order among each other.
pub fn open(format: RecordFormat, wake: Wake) -> Result<TextSink, Error> {
    // Behind a pager the reader may never take another byte, so nobody waits for the thread.
    TextSink::start(format, Lines(io::stdout), wake, OnDrop::Leave)
}

/// Locks what it writes to for as long as it writes whole lines.
struct Lines<F>(F);

impl<F: FnMut() -> W + Send + 'static, W: Write> Target for Lines<F> {
    fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        let mut out = (self.0)();
        out.write_all(text).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => {
                Error::Closed("nobody reads the standard output any more; the job ends here".into())
            }
            _ => Error::Retryable(format!("writing to the standard output: {e}")),
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.write(b"")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use flow_dataflow::Sink;

    use super::*;
    use crate::text_sink::tests::{batch, until};

    fn over_a_pipe() -> (io::PipeReader, TextSink) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let target = Lines(move || writer.try_clone().expect("another handle"));
        let sink = TextSink::start(RecordFormat::Lines, target, Arc::new(|| {}), OnDrop::Leave);
        (reader, sink.expect("it starts"))
    }

    #[test]
    fn lines_come_out() {
        let (mut reader, mut sink) = over_a_pipe();
        sink.write(batch(&["a", "b"])).expect("it takes a batch");
        until(|| sink.finish()).expect("it finishes");
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert_eq!(text, "a\nb\n");
    }

    #[test]
    fn what_waits_for_more_comes_out_when_the_sink_is_dropped() {
        let (mut reader, mut sink) = over_a_pipe();
        sink.write(batch(&["a"])).expect("it takes a batch");
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert_eq!(text, "a\n");
    }

    #[test]
    fn a_closed_pipe_ends_the_job_with_a_reason() {
        let (reader, mut sink) = over_a_pipe();
        drop(reader);
        sink.write(batch(&["a"])).expect("it takes a batch");
        let error = until(|| sink.finish()).expect_err("nobody reads");
        assert!(matches!(error, Error::Closed(_)), "{error:?}");
        assert_eq!(error.to_string(), "nobody reads the standard output any more; the job ends here");
    }

    #[test]
    fn a_reader_that_stopped_does_not_hold_up_a_cancel() {
        let (_reader, mut sink) = over_a_pipe();
        // More than a pipe holds, and nobody takes it.
        sink.write(batch(&[&"x".repeat(1 << 20)])).expect("it takes a batch");
        assert!(!sink.finish().expect("nothing is wrong"));
        drop(sink);
    }
}
