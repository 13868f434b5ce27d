//! The input of every job: orders as JSON, the same ones for the same number of records, and what a job has to make of them.
//! Must never be told by a job what is right: the expected output is computed from the orders themselves.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use clap::ValueEnum;
use flow_benches::random::{Random, Zipf};
use serde::{Deserialize, Serialize};

/// Distinct customers, which are the keys.
pub const CUSTOMERS: u32 = 1_000_000;

/// What a doubled amount must be at least to pass: nine of ten do.
pub const LEAST: f64 = 20.0;

/// The highest amount before it is doubled, in cents.
const CENTS: u64 = 10_000;

const WORDS: [&str; 16] = [
    "gate",
    "blue",
    "fragile",
    "ring",
    "twice",
    "neighbour",
    "left",
    "stairs",
    "monday",
    "gift",
    "before",
    "noon",
    "paid",
    "cash",
    "second",
    "floor",
];

/// One order, about 100 bytes of JSON.
#[derive(Debug, Deserialize, Serialize)]
pub struct Order<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub customer: Cow<'a, str>,
    pub amount: f64,
    #[serde(borrow)]
    pub note: Cow<'a, str>,
}

/// How often each customer orders.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Skew {
    /// All alike.
    Uniform,
    /// As zipf with an exponent of 0.99: the most frequent one makes every fifteenth order.
    Zipf,
}

impl Skew {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Skew::Uniform => "uniform",
            Skew::Zipf => "zipf",
        }
    }
}

/// Makes up orders by a generator of fixed seed.
pub struct Orders {
    random: Random,
    zipf: Option<Zipf>,
    next: u64,
    end: u64,
    customer: String,
    note: String,
}

impl Orders {
    /// So many orders.
    pub fn new(count: u64, skew: Skew) -> Orders {
        let zipf = (skew == Skew::Zipf).then(|| Zipf::new(CUSTOMERS.into(), 0.99));
        Orders { random: Random(0x5eed), zipf, next: 0, end: count, customer: String::new(), note: String::new() }
    }

    /// The next order with the number of its customer, none after the last.
    pub fn next(&mut self) -> Option<(u32, Order<'_>)> {
        if self.next == self.end {
            return None;
        }
        let (id, random, mut words) = (self.next, self.random.next(), self.random.next());
        self.next += 1;
        let customer = match &self.zipf {
            Some(zipf) => zipf.key(random) as u32,
            None => (random % u64::from(CUSTOMERS)) as u32,
        };
        let cents = (random >> 32) % CENTS + 1;
        self.customer.clear();
        push_customer(&mut self.customer, customer);
        self.note.clear();
        while self.note.len() < 40 {
            self.note.push_str(WORDS[(words % 16) as usize]);
            self.note.push(' ');
            words >>= 4;
        }
        let order = Order {
            id,
            customer: Cow::Borrowed(&self.customer),
            amount: cents as f64 / 100.0,
            note: Cow::Borrowed(self.note.trim_end()),
        };
        Some((customer, order))
    }
}

fn push_customer(out: &mut String, customer: u32) {
    use std::fmt::Write;
    // Writing to a string does not fail.
    let _ = write!(out, "c-{customer:06}");
}

/// A set of records whose order does not matter: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Contents {
    pub records: u64,
    pub digest: u64,
}

impl Contents {
    /// Adds a record.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        hasher.write_u8(0);
        hasher.write(value);
        self.records += 1;
        self.digest = self.digest.wrapping_add(hasher.finish());
    }
}

/// What parse → double the amount → keep what is at least [`LEAST`] makes of so many orders.
pub fn simple(count: u64) -> serde_json::Result<Contents> {
    let (mut orders, mut contents, mut value) = (Orders::new(count, Skew::Uniform), Contents::default(), Vec::new());
    while let Some((_, mut order)) = orders.next() {
        order.amount *= 2.0;
        if order.amount >= LEAST {
            value.clear();
            serde_json::to_writer(&mut value, &order)?;
            contents.add(order.customer.as_bytes(), &value);
        }
    }
    Ok(contents)
}

/// What a count by customer that tells every update makes of so many orders.
pub fn keyed_count(count: u64, skew: Skew) -> Contents {
    let (mut orders, mut contents) = (Orders::new(count, skew), Contents::default());
    let mut counts = vec![0_u32; CUSTOMERS as usize];
    while let Some((customer, order)) = orders.next() {
        let count = &mut counts[customer as usize];
        *count += 1;
        let value = format!("{{\"key\":\"{}\",\"count\":{count}}}", order.customer);
        contents.add(order.customer.as_bytes(), value.as_bytes());
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_the_promised_size_and_spread() {
        let (mut orders, mut bytes, mut passing) = (Orders::new(10_000, Skew::Uniform), 0, 0);
        let mut customers = std::collections::HashSet::new();
        while let Some((customer, order)) = orders.next() {
            bytes += serde_json::to_vec(&order).expect("an order is JSON").len();
            passing += u64::from(order.amount * 2.0 >= LEAST);
            customers.insert(customer);
        }
        assert!((95..=105).contains(&(bytes / 10_000)), "{bytes}");
        assert!((8_900..=9_100).contains(&passing), "{passing}");
        assert!(customers.len() > 9_900, "{}", customers.len());
        assert_eq!(simple(10_000).expect("orders are JSON").records, passing);
    }

    #[test]
    fn contents_depend_on_records_and_not_on_their_order() {
        let of = |records: &[(&str, &str)]| {
            let mut contents = Contents::default();
            records.iter().for_each(|(key, value)| contents.add(key.as_bytes(), value.as_bytes()));
            contents
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "2"), ("b", "1")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a", "1"), ("a", "1")]));
    }
}
