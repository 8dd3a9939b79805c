//! What to fetch before it is asked for.

use rekindle_postgres::layout::SegmentName;

/// How many segments ahead are fetched at first.
const FIRST: u64 = 2;

/// How many at most.
const MOST: u64 = 16;

/// How many bytes at most, however large the segments are.
const MOST_BYTES: u64 = 512 << 20;

/// Replay reads segments in order, so the next ones are fetched ahead of it: more, the longer it
/// keeps to the order. A jump begins again with few.
#[derive(Debug, Default)]
pub(crate) struct Window {
    last: Option<SegmentName>,
    length: u64,
}

impl Window {
    /// The server asked for `segment`, of `segment_bytes`: the segments to have ready after it.
    pub(crate) fn asked(&mut self, segment: SegmentName, segment_bytes: u64) -> Vec<SegmentName> {
        let most = (MOST_BYTES / segment_bytes.max(1)).clamp(1, MOST);
        self.length = match self.last {
            Some(last) if last == segment => self.length,
            Some(last) if last.next() == segment => self.length * 2,
            _ => FIRST,
        }
        .clamp(1, most);
        self.last = Some(segment);
        let after = std::iter::successors(Some(segment.next()), |segment| Some(segment.next()));
        after
            .take(usize::try_from(self.length).unwrap_or(1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_postgres::layout::SegmentSize;

    fn segment(name: &str) -> SegmentName {
        SegmentName::parse(name, SegmentSize::DEFAULT).unwrap()
    }

    fn ahead(window: &mut Window, name: &str) -> Vec<String> {
        let names = window.asked(segment(name), SegmentSize::DEFAULT.bytes());
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn it_grows_while_the_order_is_kept_and_not_beyond_its_bound() {
        let mut window = Window::default();
        let mut name = segment("0000000100000000000000FE");
        let mut lengths = Vec::new();
        for _ in 0..6 {
            lengths.push(ahead(&mut window, &name.to_string()).len());
            name = name.next();
        }
        assert_eq!(lengths, [2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn it_goes_on_into_the_next_log_file() {
        let names = ahead(&mut Window::default(), "0000000100000000000000FE");
        assert_eq!(
            names,
            ["0000000100000000000000FF", "000000010000000100000000"]
        );
    }

    #[test]
    fn a_jump_or_another_timeline_begins_again() {
        let mut window = Window::default();
        for name in ["000000010000000000000001", "000000010000000000000002"] {
            ahead(&mut window, name);
        }
        assert_eq!(ahead(&mut window, "000000010000000000000009").len(), 2);
        assert_eq!(ahead(&mut window, "00000001000000000000000A").len(), 4);
        assert_eq!(ahead(&mut window, "00000001000000000000000A").len(), 4);
        assert_eq!(ahead(&mut window, "00000002000000000000000B").len(), 2);
    }

    #[test]
    fn huge_segments_are_fetched_one_at_a_time() {
        let size = SegmentSize::new(1 << 30).unwrap();
        let segment = SegmentName::parse("000000010000000000000001", size).unwrap();
        assert_eq!(Window::default().asked(segment, size.bytes()).len(), 1);
    }
}
