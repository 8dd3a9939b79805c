//! Sizes and times for people.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `17 B`, `1.5 KiB`, `312.4 MiB`: binary units, as vaults and disks count.
pub fn bytes(size: u64) -> String {
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 is 1.0 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `210.0 MiB/s`.
pub fn throughput(done_bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    format!("{}/s", bytes((done_bytes as f64 / seconds) as u64))
}

/// `40 ms`, `1.4 s`, `11 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`: two units at most.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..10 => format!("{:.1} s", length.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// A moment in this machine's time zone, which is named.
pub fn time(moment: Timestamp) -> String {
    let zoned = moment.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// How long ago a moment was; a clock that went backwards makes it no time at all.
pub fn age(moment: Timestamp) -> Duration {
    let past = Timestamp::now().duration_since(moment);
    Duration::from_secs(u64::try_from(past.as_secs()).unwrap_or(0))
}

/// `1 file`, `2 files`; `2 entries`.
pub fn count(number: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{number} {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, (1 << 30) - 1, u64::MAX].map(bytes);
        let expected = [
            "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB", "16.0 EiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn nouns_have_their_plural() {
        let shown = [(1, "entry"), (2, "entry"), (0, "key"), (3, "file")];
        let shown = shown.map(|(number, noun)| count(number, noun));
        assert_eq!(shown, ["1 entry", "2 entries", "0 keys", "3 files"]);
    }

    #[test]
    fn times_have_two_units_at_most() {
        let shown = [0, 9, 59, 60, 125, 12_000, 86_400, 352_800].map(Duration::from_secs);
        let expected = [
            "0 ms",
            "9.0 s",
            "59 s",
            "1 min",
            "2 min 5 s",
            "3 h 20 min",
            "1 d",
            "4 d 2 h",
        ];
        assert_eq!(shown.map(duration), expected);
    }
}
