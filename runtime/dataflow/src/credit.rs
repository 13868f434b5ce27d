//! Credit: how many bytes may be on their way on the channels into one worker, as bookkeeping alone. A channel's sender sends batches
//! while its credit is above zero, so one batch may bring it below: records larger than all credit pass. The receiver owes credit for
//! what was read. Must never know how bytes travel, or read a clock: who keeps the books calls [`Books::turn`] now and then.
//!
//! Each channel has a window: what it may have on its way and unread. A **minimum** is its own, so each channel goes on whatever the
//! others do: the channel whose barrier is awaited never waits for those that it blocks. What is beyond that comes out of a **pool** that
//! bounds the sum. A channel gets as much of it as its reader takes in a short time ([`Terms::lead`] of a turn): so a channel that
//! is blocked by alignment gets nothing, a slow reader has little in front of it when a barrier comes, and a fast one never waits for an
//! answer of the other side.

use std::collections::BTreeMap;

/// A sender's side of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    credit: i64,
    minimum: u64,
    /// Something was sent since the last turn.
    used: bool,
}

impl Allowance {
    /// A channel's first credit, which is its minimum.
    pub fn open(minimum: u64) -> Allowance {
        Allowance { credit: signed(minimum), minimum, used: true }
    }

    /// Whether a batch may be sent.
    pub fn may_send(&self) -> bool {
        self.credit > 0
    }

    /// Bytes that may be sent; below zero if a batch was larger.
    pub fn credit(&self) -> i64 {
        self.credit
    }

    /// A batch of so many bytes was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(signed(bytes as u64));
        self.used = true;
    }

    /// The receiver gave more.
    pub fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(signed(bytes));
    }

    /// A turn is over. What a channel that has sent nothing in it has beyond its minimum goes back: how much.
    pub fn turn(&mut self) -> u64 {
        let beyond = self.credit.saturating_sub(signed(self.minimum));
        if std::mem::take(&mut self.used) || beyond <= 0 {
            return 0;
        }
        self.credit -= beyond;
        beyond.unsigned_abs()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How credit is dealt out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Bytes of each channel's own, at least one.
    pub minimum: u64,
    /// Bytes that all channels share beyond that.
    pub pool: u64,
    /// How much a channel may have in front of its reader, as a part of what that one takes in a turn.
    pub lead: f64,
}

/// A channel in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry(u64);

/// How a channel stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Bytes that its sender may send; below zero if a batch was larger.
    pub granted: i64,
    /// Bytes that have come and were not read.
    pub unread: u64,
    /// Bytes that it may have on its way and unread.
    pub window: u64,
}

/// The receiver's side of one channel.
#[derive(Debug, Clone, Default)]
struct Account {
    /// What the sender may send. Together with `unread` at most the window.
    granted: i64,
    /// Has come and was not read.
    unread: u64,
    /// The channel's part of the pool.
    lent: u64,
    /// Read in this turn.
    taken: u64,
}

impl Account {
    fn window(&self, terms: &Terms) -> i64 {
        signed(terms.minimum.max(1).saturating_add(self.lent))
    }

    /// What was promised or is there.
    fn bound(&self) -> i64 {
        self.granted.saturating_add(signed(self.unread))
    }

    /// Gives what the window has room for, unless it is too little to be worth a message. With all read that is never too little.
    fn grant(&mut self, terms: &Terms) -> u64 {
        let room = self.window(terms) - self.bound();
        if room < signed(self.worth(terms)) {
            return 0;
        }
        self.granted += room;
        room.unsigned_abs()
    }

    fn worth(&self, terms: &Terms) -> u64 {
        (self.window(terms) / 4).max(1).unsigned_abs()
    }

    /// How much of the pool can't be taken back now.
    fn held(&self, terms: &Terms) -> u64 {
        self.bound().saturating_sub(signed(terms.minimum.max(1))).max(0).unsigned_abs()
    }

    /// What a batch has brought beyond the window.
    fn overdrawn(&self) -> u64 {
        self.granted.min(0).unsigned_abs()
    }
}

/// The books of one receiving worker, over all channels that lead into it.
#[derive(Debug)]
pub struct Books {
    terms: Terms,
    accounts: BTreeMap<Entry, Account>,
    next: u64,
}

impl Books {
    /// Books without channels.
    pub fn new(terms: Terms) -> Books {
        Books { terms, accounts: BTreeMap::new(), next: 0 }
    }

    /// A channel begins: its first credit goes to the sender.
    pub fn open(&mut self) -> (Entry, u64) {
        let entry = Entry(self.next);
        self.next += 1;
        let mut account = Account::default();
        let first = account.grant(&self.terms);
        self.accounts.insert(entry, account);
        (entry, first)
    }

    /// A channel is over: what it had goes back to the pool.
    pub fn close(&mut self, entry: Entry) {
        self.accounts.remove(&entry);
    }

    /// A batch of so many bytes has come. False if the sender had no credit for one.
    #[must_use]
    pub fn received(&mut self, entry: Entry, bytes: usize) -> bool {
        let Some(account) = self.accounts.get_mut(&entry) else { return true };
        let allowed = account.granted > 0;
        account.granted = account.granted.saturating_sub(signed(bytes as u64));
        account.unread = account.unread.saturating_add(bytes as u64);
        allowed
    }

    /// The channel's reader has taken so many bytes. The credit that goes to the sender for it, if it is time.
    pub fn taken(&mut self, entry: Entry, bytes: u64) -> u64 {
        let Some(account) = self.accounts.get_mut(&entry) else { return 0 };
        account.unread = account.unread.saturating_sub(bytes);
        account.taken = account.taken.saturating_add(bytes);
        account.grant(&self.terms)
    }

    /// The sender has no use for so much of its credit. False if it did not have it.
    #[must_use]
    pub fn gave_back(&mut self, entry: Entry, bytes: u64) -> bool {
        let Some(account) = self.accounts.get_mut(&entry) else { return true };
        if account.granted < signed(bytes) {
            return false;
        }
        account.granted -= signed(bytes);
        true
    }

    /// How many bytes have to be taken of a channel until credit is due for them.
    pub fn worth(&self, entry: Entry) -> u64 {
        self.accounts.get(&entry).map_or(u64::MAX, |account| account.worth(&self.terms))
    }

    /// Deals the pool out anew, by what was taken since the last turn; `granted` hears which channels get more credit at once.
    pub fn turn(&mut self, mut granted: impl FnMut(Entry, u64)) {
        let terms = self.terms;
        let (mut kept, mut wanted) = (0u64, 0u64);
        for account in self.accounts.values_mut() {
            let held = account.held(&terms);
            account.lent = held;
            kept = kept.saturating_add(held).saturating_add(account.overdrawn());
            account.taken = (account.taken as f64 * terms.lead) as u64;
            wanted = wanted.saturating_add(account.taken.saturating_sub(held));
        }
        let free = terms.pool.saturating_sub(kept);
        let share = if wanted > free { free as f64 / wanted as f64 } else { 1.0 };
        let mut left = free;
        for (entry, account) in &mut self.accounts {
            let more = (std::mem::take(&mut account.taken).saturating_sub(account.lent) as f64 * share) as u64;
            let more = more.min(left);
            left -= more;
            account.lent += more;
            let credit = account.grant(&terms);
            if credit > 0 {
                granted(*entry, credit);
            }
        }
    }

    /// How a channel stands; nothing of one that is over.
    pub fn standing(&self, entry: Entry) -> Standing {
        let of = |account: &Account| Standing {
            granted: account.granted,
            unread: account.unread,
            window: account.window(&self.terms).unsigned_abs(),
        };
        self.accounts.get(&entry).map(of).unwrap_or_default()
    }

    /// Bytes of the pool that are dealt out.
    pub fn lent(&self) -> u64 {
        self.accounts.values().map(|account| account.lent).sum()
    }
}
