//! Times and durations for people. Only arithmetic: it never asks a clock or a time zone, everything is UTC.

/// `2026-11-23 09:13:02.123Z` from milliseconds since the Unix epoch.
pub fn utc(ms: u64) -> String {
    let (day, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, date) = calendar(day);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, milli) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of the month of a number of days since 1970-01-01 in the Gregorian calendar.
fn calendar(days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    let mut left = days;
    // 400 years have always the same number of days, so this ends soon whatever comes.
    year += left / 146_097 * 400;
    left %= 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// A duration with the two units that matter: `3.2s`, `4m 10s`, `2h 5m`, `3d 4h`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {}s", ms / 60_000, ms / 1000 % 60),
        3_600_000..86_400_000 => format!("{}h {}m", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{}d {}h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// A short time with two or three digits: `85µs`, `1.2ms`, `340ms`, `2.5s`.
pub fn brief(us: f64) -> String {
    let (value, unit) = match us {
        ..1e3 => (us, "µs"),
        ..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times() {
        let check = |us: f64, expect: &str| assert_eq!(brief(us), expect);
        check(0.0, "0.0µs");
        check(7.25, "7.2µs");
        check(85.4, "85µs");
        check(1234.0, "1.2ms");
        check(340_000.0, "340ms");
        check(2.5e6, "2.5s");
    }

    #[test]
    fn times() {
        let check = |ms: u64, expect: &str| assert_eq!(utc(ms), expect);
        check(0, "1970-01-01 00:00:00.000Z");
        check(951_782_400_000, "2000-02-29 00:00:00.000Z");
        check(951_868_799_999, "2000-02-29 23:59:59.999Z");
        check(951_868_800_000, "2000-03-01 00:00:00.000Z");
        check(1_795_425_182_123, "2026-11-23 09:13:02.123Z");
        check(4_107_542_400_000, "2100-03-01 00:00:00.000Z");
        // No panic at the end of the numbers.
        utc(u64::MAX);
    }

    #[test]
    fn durations() {
        let check = |ms: u64, expect: &str| assert_eq!(duration(ms), expect);
        check(0, "0ms");
        check(999, "999ms");
        check(3_299, "3.2s");
        check(60_000, "1m 0s");
        check(3_661_000, "1h 1m");
        check(90_000_000, "1d 1h");
    }
}
