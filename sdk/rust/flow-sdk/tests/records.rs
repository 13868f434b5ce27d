//! Parts of records through the native harness: what an operator takes away or sets is what comes out.

use flow_sdk::prelude::*;
use flow_sdk::testing::{Harness, Input};

/// Changes records by their value, and never the value.
struct Parts;

impl Map for Parts {
    type Config = ();
    const READS: &'static [Column] = &[Column::Key, Column::Value, Column::Timestamp, Column::Headers];

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(Parts)
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        match record.json()? {
            0 => out.no_key(),
            1 => out.key("one"),
            2 => out.timestamp(2),
            3 => out.headers([("h", Some(b"3".as_slice()))]),
            4 => out.topic("four"),
            5 => out.partition(5),
            _ => {}
        }
        Ok(())
    }
}

/// Emits each number up to the record's: even ones without a key.
struct Count;

impl FlatMap for Count {
    type Config = ();
    const READS: &'static [Column] = &[Column::Key, Column::Value];

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(Count)
    }

    fn flat_map(&mut self, record: &Record, out: &mut Emitter) -> Result<()> {
        for number in 0..record.json::<u32>()? {
            match number % 2 {
                0 => out.record().no_key().topic("even").partition(number).json(&number)?,
                _ => out.json(&number)?,
            }
        }
        Ok(())
    }
}

flow_sdk::export!(map Parts);
flow_sdk::export!(flat_map Count);

fn keys(output: &flow_sdk::testing::Output) -> Vec<Option<&str>> {
    output.records.iter().map(|r| r.key.as_deref().map(|key| std::str::from_utf8(key).expect("text"))).collect()
}

#[test]
fn a_map_may_change_all_but_the_value() {
    for batch in [1, 2, 100] {
        let mut harness = Harness::<Parts>::new(()).expect("no config");
        harness.batch(batch);
        let record = |value: &str| Input::from(value).key("k").timestamp(9).header("h", None);
        let output = harness.run(["9", "0", "9", "1", "2", "3", "x", "9"].map(record)).expect("no call fails");
        assert_eq!(output.jsons::<u32>(), [9, 0, 9, 1, 2, 3, 9], "batch {batch}");
        assert_eq!(output.codes(), ["bad-json"]);
        let k = Some("k");
        assert_eq!(keys(&output), [k, None, k, Some("one"), k, k, k]);
        let times: Vec<_> = output.records.iter().map(|r| r.timestamp).collect();
        assert_eq!(times, [9, 9, 9, 9, 2, 9, 9].map(Some));
        let headers: Vec<_> = output.records.iter().map(|r| r.headers[0].1.as_deref()).collect();
        assert_eq!(headers, [None, None, None, None, None, Some(b"3".as_slice()), None]);
    }
}

#[test]
fn a_record_goes_where_it_is_sent() {
    for batch in [1, 2, 100] {
        let mut harness = Harness::<Parts>::new(()).expect("no config");
        harness.batch(batch);
        let output = harness.run(["9", "4", "x", "5", "9"]).expect("no call fails");
        let places: Vec<_> = output.records.iter().map(|r| (r.topic.as_deref(), r.partition)).collect();
        assert_eq!(places, [(None, None), (Some("four"), None), (None, Some(5)), (None, None)], "batch {batch}");
    }
    let output = Harness::<Count>::new(()).expect("no config").run([Input::from("3").key("a")]).expect("no call fails");
    let places: Vec<_> = output.records.iter().map(|r| (r.topic.as_deref(), r.partition)).collect();
    assert_eq!(places, [(Some("even"), Some(0)), (None, None), (Some("even"), Some(2))]);
}

#[test]
fn an_emitted_record_without_a_key_has_none_and_the_next_has_its_own() {
    let mut harness = Harness::<Count>::new(()).expect("no config");
    let output = harness.run([Input::from("3").key("a"), Input::from("2").key("b")]).expect("no call fails");
    assert_eq!(output.jsons::<u32>(), [0, 1, 2, 0, 1]);
    assert_eq!(keys(&output), [None, Some("a"), None, None, Some("b")]);
}

#[test]
#[should_panic(expected = "expected a string at line 1 column 2 in 10")]
fn values_that_do_not_fit_are_told() {
    let mut harness = Harness::<Parts>::new(()).expect("no config");
    harness.run(["10"]).expect("no call fails").jsons::<String>();
}
