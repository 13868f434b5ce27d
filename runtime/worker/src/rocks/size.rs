//! How much a store holds, for who looks at it from another thread. Keeps nothing open.

use std::sync::Weak;

use rocksdb::DB;

/// A store, seen from outside.
pub struct Size(pub(super) Weak<DB>);

impl Size {
    /// Bytes and entries, by RocksDB's own estimate, which costs no reading. None once the store is closed.
    pub fn estimate(&self) -> Option<(u64, u64)> {
        let db = self.0.upgrade()?;
        // What it can't say counts as nothing: these are figures for people.
        let property = |name: &str| db.property_int_value(name).ok().flatten().unwrap_or(0);
        let bytes = property("rocksdb.estimate-live-data-size") + property("rocksdb.cur-size-all-mem-tables");
        Some((bytes, property("rocksdb.estimate-num-keys")))
    }
}

impl std::fmt::Debug for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Size").field(&self.estimate()).finish()
    }
}
