//! What the examples that take figures share: numbers that are the same in every run, and CPU time.

/// splitmix64: the same numbers in every run.
pub fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// CPU seconds of this thread so far.
pub fn thread_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("it begins with a number");
    nanoseconds as f64 / 1e9
}

/// CPU seconds of all threads of this process so far, those that have ended included.
pub fn process_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // User and system time are the 14th and 15th field, in hundredths of a second; the 2nd is in brackets.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
