//! Progress of long work: a bar on a terminal, else a line now and then.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rekindle_vault::Progress;

use crate::output::{self, bytes, duration};

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Before that, a rate says more about the start than about the work.
const RATE_AFTER: Duration = Duration::from_secs(1);

/// The bar on the terminal now; logs must not be written across it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// A bar that is drawn anew five times a second.
    Bar,
    /// A line every ten seconds.
    Lines,
    /// Not at all.
    Silent,
}

impl Reporting {
    /// A bar if stderr is a terminal, else lines; nothing if quiet.
    pub fn choose(is_quiet: bool) -> Self {
        match (is_quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }

    const fn interval(self) -> Duration {
        match self {
            Self::Bar => REDRAW_EVERY,
            Self::Lines | Self::Silent => LINE_EVERY,
        }
    }
}

/// Shows progress from now until it is dropped.
pub struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches `progress`; `verb` says what is done, as in `backing up`.
    pub fn start(verb: &'static str, progress: &Arc<Progress>, reporting: Reporting) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let progress = Arc::clone(progress);
        if reporting == Reporting::Silent {
            return Self {
                stop: None,
                thread: None,
            };
        }
        if reporting == Reporting::Bar {
            *lock_bar() = Some(new_bar());
        }
        let thread = thread::spawn(move || {
            let started = Instant::now();
            while stopped.recv_timeout(reporting.interval()) == Err(RecvTimeoutError::Timeout) {
                let text = line(verb, &progress, started.elapsed());
                show(reporting, &progress, text);
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that shows progress had failed");
        }
        if let Some(bar) = lock_bar().take() {
            bar.finish_and_clear();
        }
    }
}

/// Does `work`, which writes to stderr, with the bar out of the way.
pub fn around_bar<T>(work: impl FnOnce() -> T) -> T {
    let bar = lock_bar().clone();
    match bar {
        Some(bar) => bar.suspend(work),
        None => work(),
    }
}

fn lock_bar() -> MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(ProgressStyle::default_spinner());
    bar
}

fn show(reporting: Reporting, progress: &Progress, text: String) {
    let bar = lock_bar().clone();
    match bar {
        Some(bar) if reporting == Reporting::Bar => {
            if bar.length().is_none() && progress.bytes_total() > 0 {
                bar.set_style(bar_style());
            }
            if progress.bytes_total() > 0 {
                bar.set_length(progress.bytes_total());
                bar.set_position(progress.bytes_done());
            }
            bar.set_message(text);
            bar.tick();
        }
        _ => output::to_stderr(text),
    }
}

fn bar_style() -> ProgressStyle {
    // The template is a constant; if it were wrong, the plain style still shows the message.
    ProgressStyle::with_template("[{bar:30}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// `backing up: 1.2 GiB of 3.4 GiB (35 %), 210.0 MiB/s, 11 s left`.
fn line(verb: &str, progress: &Progress, elapsed: Duration) -> String {
    let (done, total) = (progress.bytes_done(), progress.bytes_total());
    let mut text = format!("{verb}: {}", bytes(done));
    if total > 0 {
        let percent = (u128::from(done.min(total)) * 100) / u128::from(total);
        text += &format!(" of {} ({percent} %)", bytes(total));
    }
    if elapsed >= RATE_AFTER {
        text += &format!(", {}", output::throughput(done, elapsed));
        if let Some(left) = remaining(done, total, elapsed) {
            text += &format!(", {} left", duration(left));
        }
    }
    text
}

/// The time left if it goes on as it went so far; `None` while that cannot be said.
fn remaining(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || total <= done {
        return None;
    }
    let left = elapsed.as_secs_f64() * ((total - done) as f64 / done as f64);
    Duration::try_from_secs_f64(left.ceil()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let progress = Progress::default();
        progress.expect_bytes(4 << 20);
        let text = line("backing up", &progress, Duration::from_millis(10));
        assert_eq!(text, "backing up: 0 B of 4.0 MiB (0 %)");
        let left = remaining(1 << 20, 4 << 20, Duration::from_secs(2));
        assert_eq!(left, Some(Duration::from_secs(6)));
        assert_eq!(remaining(0, 4, Duration::from_secs(2)), None);
        assert_eq!(remaining(4, 4, Duration::from_secs(2)), None);
    }
}
