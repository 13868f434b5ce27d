//! Splits text into words: one record a word, in order.
//!
//! - config: `letters` says what a word is made of: `unicode` (the default: letters and digits of any script, with the
//!   marks that belong to them) or `ascii` (runs of A–Z and a–z, exactly as `tr -cs 'A-Za-z' '\n'` splits);
//!   `lowercase` (default false) turns words into lower case, in `ascii` those 26 letters
//! - input: text. `ascii` works on bytes and takes any; `unicode` refuses a record that is not UTF-8 with `bad-utf8`.
//!   A null value holds no words
//! - output: each word as the value; key, event time and headers are the record's
//! - state: none

use flow_sdk::prelude::*;
use serde::Deserialize;

/// What a word is made of.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Letters {
    /// Letters and digits of any script.
    #[default]
    Unicode,
    /// A–Z and a–z.
    Ascii,
}

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    #[serde(default)]
    letters: Letters,
    #[serde(default)]
    lowercase: bool,
}

impl FlatMap for Tokenizer {
    type Config = Tokenizer;

    fn new(config: Tokenizer, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn flat_map(&mut self, record: &Record, out: &mut Emitter) -> Result<()> {
        let Some(value) = record.value() else { return Ok(()) };
        match self.letters {
            Letters::Ascii => self.split_ascii(value, out),
            Letters::Unicode => self.split_unicode(std::str::from_utf8(value)?, out),
        }
    }
}
flow_sdk::export!(flat_map Tokenizer);

impl Tokenizer {
    fn split_ascii(&self, text: &[u8], out: &mut Emitter) -> Result<()> {
        for word in text.split(|b| !b.is_ascii_alphabetic()).filter(|w| !w.is_empty()) {
            if self.lowercase {
                out.record().write(|value| {
                    value.extend(word.iter().map(u8::to_ascii_lowercase));
                    Ok(())
                })?;
            } else {
                out.emit(word);
            }
        }
        Ok(())
    }

    fn split_unicode(&self, text: &str, out: &mut Emitter) -> Result<()> {
        for word in text.split(|c: char| !is_word(c)).filter(|w| !w.is_empty()) {
            if self.lowercase {
                out.emit(word.to_lowercase());
            } else {
                out.emit(word);
            }
        }
        Ok(())
    }
}

/// Letters, digits, and the marks that combine with them (the blocks of combining diacritics; others count as letters).
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};
    use serde_json::json;

    fn words(config: serde_json::Value, text: impl Into<Input>) -> Vec<String> {
        let output = Harness::<Tokenizer>::new(config).expect("a good config").run([text]).expect("no call fails");
        output.texts().into_iter().map(String::from).collect()
    }

    #[test]
    fn words_of_any_script_by_default() {
        assert_eq!(words(json!(null), "Größe: 3 naïve 東京, it's"), ["Größe", "3", "naïve", "東京", "it", "s"]);
        assert_eq!(words(json!({"lowercase": true}), "ÉTÉ Été cafe\u{301}s"), ["été", "été", "cafe\u{301}s"]);
        assert_eq!(words(json!({}), " \n\t"), [""; 0]);
    }

    #[test]
    fn ascii_splits_as_tr_does_and_takes_any_bytes() {
        let ascii = json!({"letters": "ascii", "lowercase": true});
        assert_eq!(
            words(ascii.clone(), b"It's naive, Gr\xc3\xb6sse\xff9A".as_slice()),
            ["it", "s", "naive", "gr", "sse", "a"]
        );
        assert_eq!(words(ascii, Input::default()), [""; 0]);
        assert_eq!(words(json!({"letters": "ascii"}), "--A-b--"), ["A", "b"]);
    }

    #[test]
    fn words_keep_what_their_record_had_and_bad_text_is_refused() {
        let mut harness = Harness::<Tokenizer>::new(json!({})).expect("a good config");
        let output = harness.run([Input::from("a b").key("k").timestamp(7), Input::from(b"\xff".as_slice())]);
        let output = output.expect("no call fails");
        assert_eq!(output.texts(), ["a", "b"]);
        assert!(output.records.iter().all(|r| r.key.as_deref() == Some(b"k") && r.timestamp == Some(7)));
        assert_eq!(output.codes(), ["bad-utf8"]);
    }

    #[test]
    fn a_wrong_config_names_the_field() {
        let message = |config| Harness::<Tokenizer>::new(config).expect_err("a wrong config").message;
        assert_eq!(
            message(json!({"letters": "greek"})),
            "config.letters: unknown variant `greek`, expected `unicode` or `ascii`"
        );
        assert!(message(json!({"lower": true})).contains("unknown field `lower`"));
    }
}
