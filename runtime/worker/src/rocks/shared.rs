//! What the stores of a worker share: memory and threads, and the settings that all of them are opened with. The figures
//! behind each setting are in `docs/adr/0005-rocksdb-settings.md`.

use std::path::Path;
use std::sync::Arc;

use flow_dataflow::Error;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, LruCacheOptions, Options, WriteBufferManager,
};

use super::runs::{Checkpoints, restore};
use super::store::RocksStore;

/// What all stores of a worker may use together.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of blocks, filters and write buffers in memory.
    pub memory: usize,
    /// Bytes of write buffers, out of `memory`.
    pub write_buffers: usize,
    /// Threads that flush and compact.
    pub threads: u8,
}

impl Default for Settings {
    /// The write-back cache holds what is hot, so this is kept small.
    fn default() -> Self {
        Settings { memory: 64 << 20, write_buffers: 32 << 20, threads: 2 }
    }
}

/// The largest write buffer of one store.
const WRITE_BUFFER: usize = 16 << 20;
/// Few shards: one task reads a store, so there is little to contend for, and a small shard has no room for a large block.
const CACHE_SHARD_BITS: i32 = 2;
const OPEN_FILES: i32 = 256;

/// Opens stores; a clone opens them with the same memory and threads.
#[derive(Clone)]
pub struct SharedRocks {
    options: Arc<Options>,
}

impl Default for SharedRocks {
    fn default() -> Self {
        SharedRocks::new()
    }
}

impl SharedRocks {
    /// With the default settings.
    pub fn new() -> SharedRocks {
        SharedRocks::with(Settings::default())
    }

    /// With these settings for all stores together.
    pub fn with(settings: Settings) -> SharedRocks {
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(settings.memory);
        cache.set_num_shard_bits(CACHE_SHARD_BITS);
        let cache = Cache::new_lru_cache_opts(&cache);
        SharedRocks { options: Arc::new(options(settings, &cache)) }
    }

    /// Opens the store of a directory, which is made if there is none. Only one store can have it open.
    pub fn open(&self, dir: &Path) -> Result<RocksStore, Error> {
        RocksStore::open(&self.options, dir)
    }

    /// Opens the store of a directory that takes part in checkpoints: anew, with what is restored and nothing else. Runs that
    /// lie there from before are used where the checkpoint names them.
    ///
    /// # Errors
    /// One that names the checkpoint and the object where one of those is missing or damaged.
    pub fn open_with(&self, dir: &Path, checkpoints: &Checkpoints) -> Result<RocksStore, Error> {
        let (db, runs, longest) = restore::open(&self.options, dir, checkpoints)?;
        RocksStore::of(db, Some(runs), longest)
    }
}

fn options(settings: Settings, cache: &Cache) -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_block_size(8 << 10);
    tables.set_bloom_filter(10.0, false);
    tables.set_format_version(6);
    // Index and filters lie in the cache, or they would be memory beside the budget; in parts, or one lookup could read a
    // megabyte that no longer fits.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    tables.set_partition_filters(true);
    tables.set_pin_top_level_index_and_filter(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::Lz4);
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(settings.write_buffers, false, cache.clone());
    options.set_write_buffer_manager(&buffers);
    options.set_write_buffer_size(WRITE_BUFFER.min(settings.write_buffers));
    // One thread writes, in order: an insert begins where the last one ended.
    options.set_allow_concurrent_memtable_write(false);
    // RocksDB has one pool of threads a process, which grows to the largest number that a store asks for.
    options.set_max_background_jobs(settings.threads.into());
    options.set_max_open_files(OPEN_FILES);
    // Its own log is of little use and grows beside every store.
    options.set_keep_log_file_num(1);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options
}
