//! How long to wait before something that ended is started again.

use std::time::{Duration, Instant};

/// Never longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Who ran for so long is well; the next end counts as the first.
const WELL: Duration = Duration::from_secs(60);

/// Doubles with each restart, so that a service that cannot run does not keep the machine busy.
pub(super) struct Delay {
    first: Duration,
    next: Duration,
    began: Instant,
}

impl Delay {
    pub fn new(first: Duration) -> Self {
        let began = Instant::now();
        Self {
            first,
            next: first,
            began,
        }
    }

    /// It was started now.
    pub fn began(&mut self) {
        self.began = Instant::now();
    }

    /// It ended now: how long to wait.
    pub fn next(&mut self) -> Duration {
        self.after(self.began.elapsed())
    }

    fn after(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= WELL {
            self.next = self.first;
        }
        let now = self.next;
        self.next = (now * 2).min(LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_half_a_minute_and_begins_anew_after_a_good_run() {
        let mut delay = Delay::new(Duration::from_millis(100));
        let waits: Vec<u128> = (0..11)
            .map(|_| delay.after(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [30_000, 30_000]);
        assert_eq!(delay.after(WELL).as_millis(), 100);
    }
}
