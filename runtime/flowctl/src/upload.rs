//! The body of a submission: a multipart form of known length, with progress on the terminal when it takes long.

use std::io::{self, Cursor, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ureq::unversioned::multipart::{Form, Part};

use crate::exit::Failure;
use crate::patience::Pulse;

/// Uploads that take less show nothing.
const QUIET: Duration = Duration::from_secs(2);

/// A form on its way.
pub struct Upload {
    content_type: String,
    body: Cursor<Vec<u8>>,
    started: Option<Instant>,
    bar: Option<ProgressBar>,
    shows_progress: bool,
    pulse: Pulse,
}

/// One part of the form.
pub struct Field<'a> {
    /// What the part is called.
    pub name: &'a str,
    /// The name of the file that it holds, if it is one.
    pub file: Option<&'a str>,
    /// Its content.
    pub bytes: &'a [u8],
}

impl Upload {
    /// Puts the form together; `shows_progress` on a terminal that a person looks at.
    pub fn new(fields: &[Field<'_>], shows_progress: bool) -> Result<Self, Failure> {
        let mut form = Form::new();
        for field in fields {
            let part = Part::bytes(field.bytes);
            form = form.part(field.name, if let Some(file) = field.file { part.file_name(file) } else { part });
        }
        let content_type = format!("multipart/form-data; boundary={}", form.boundary());
        let mut body = Vec::new();
        form.read_to_end(&mut body)
            .map_err(|error| Failure::failed(format!("can't put the upload together: {error}")))?;
        Ok(Self {
            content_type,
            body: Cursor::new(body),
            started: None,
            bar: None,
            shows_progress,
            pulse: Pulse::new(),
        })
    }

    /// The header with the boundary in it.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The whole length in bytes.
    pub fn len(&self) -> usize {
        self.body.get_ref().len()
    }

    /// A person looks on.
    pub fn is_watched(&self) -> bool {
        self.shows_progress
    }

    /// Beats when some of it is taken.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    fn show(&mut self) {
        let started = self.started.get_or_insert_with(Instant::now);
        if !self.shows_progress || (self.bar.is_none() && started.elapsed() < QUIET) {
            return;
        }
        let (done, all) = (self.body.position(), self.body.get_ref().len() as u64);
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(all).with_style(style()));
        bar.set_position(done);
        if done == all {
            bar.finish_and_clear();
        }
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.pulse.beat();
        self.show();
        Ok(read)
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("uploading {bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec}")
        .expect("the template is well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_has_the_length_that_it_says() {
        let field = Field { name: "./a.wasm", file: Some("./a.wasm"), bytes: b"\0asm" };
        let mut upload = Upload::new(&[field], false).expect("a form");
        let mut body = Vec::new();
        upload.read_to_end(&mut body).expect("it is in memory");
        assert_eq!(body.len(), upload.len());
        let text = String::from_utf8(body).expect("text");
        assert!(text.contains("name=\"./a.wasm\"; filename=\"./a.wasm\"") && text.contains("\0asm"), "{text}");
    }

    #[test]
    fn the_bar_can_be_drawn() {
        ProgressBar::hidden().with_style(style()).set_position(1);
    }
}
