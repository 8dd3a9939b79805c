//! Who wants which file, and what has become of it: shared by the fetcher's threads.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rekindle_postgres::layout::{SegmentName, SegmentSize, WalFileKind};

use super::{protocol::Answer, window::Window};
use crate::wal::names::WalName;

/// Files wanted, being fetched, and here.
pub(super) struct Board {
    segment_size: SegmentSize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    slots: HashMap<String, Slot>,
    wanted: VecDeque<String>,
    ahead: VecDeque<String>,
    window: Window,
    last_use: Instant,
    asking: usize,
    is_ending: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Slot {
    /// In one of the queues.
    Queued,
    /// A thread is at it. `asked` tells whether somebody waits for it, `ahead` whether it was begun
    /// before anybody asked.
    Fetching { ahead: bool, asked: bool },
    /// It lies in the folder.
    Here,
    /// It does not, for whoever asked.
    Answered(Answer),
}

/// A file to fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) name: String,
    /// Nobody asked for it yet.
    pub(super) is_ahead: bool,
}

impl Board {
    pub(super) fn new(segment_size: SegmentSize) -> Self {
        let state = State {
            slots: HashMap::new(),
            wanted: VecDeque::new(),
            ahead: VecDeque::new(),
            window: Window::default(),
            last_use: Instant::now(),
            asking: 0,
            is_ending: false,
        };
        Self {
            segment_size,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is known what becomes of the file. `forget` is called for files that nobody
    /// will ask for any more.
    pub(super) fn ask(&self, name: &WalName, forget: impl Fn(&str)) -> Answer {
        let mut state = self.state();
        state.asking += 1;
        state.want(&name.text);
        if name.kind == WalFileKind::Segment
            && let Ok(segment) = SegmentName::parse(&name.text, self.segment_size)
        {
            let ahead = state.window.asked(segment, self.segment_size.bytes());
            let names: Vec<String> = ahead.iter().map(ToString::to_string).collect();
            state.plan(&name.text, names, forget);
        }
        self.changed.notify_all();
        let answer = loop {
            if let Some(answer) = state.answer(&name.text) {
                break answer;
            }
            if state.want(&name.text) {
                self.changed.notify_all();
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        state.asking -= 1;
        state.last_use = Instant::now();
        answer
    }

    /// The next file to fetch; waits for one. `None` when all is over.
    pub(super) fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.is_ending {
                return None;
            }
            if let Some(job) = state.take_job() {
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells how a job went. Returns whether the file is to be kept.
    pub(super) fn finish(&self, job: &Job, answer: Answer) -> bool {
        let mut state = self.state();
        let is_kept = state.finish(job, answer);
        self.changed.notify_all();
        is_kept
    }

    /// Whether nobody has asked for so long.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let state = self.state();
        state.asking == 0 && state.last_use.elapsed() >= time
    }

    /// Sends the threads home.
    pub(super) fn end(&self) {
        self.state().is_ending = true;
        self.changed.notify_all();
    }
}

impl State {
    /// Puts a file first, unless it is here or on its way. Returns whether there is a new job.
    fn want(&mut self, name: &str) -> bool {
        match self.slots.get_mut(name) {
            Some(Slot::Fetching { asked, .. }) => {
                *asked = true;
                return false;
            }
            Some(Slot::Here | Slot::Answered(_)) => return false,
            Some(Slot::Queued) => self.ahead.retain(|queued| queued != name),
            None => {}
        }
        if self.wanted.iter().any(|wanted| wanted == name) {
            return false;
        }
        self.wanted.push_back(name.to_owned());
        self.slots.insert(name.to_owned(), Slot::Queued);
        true
    }

    /// Replaces what was to be fetched ahead.
    fn plan(&mut self, asked: &str, names: Vec<String>, forget: impl Fn(&str)) {
        let ahead = std::mem::take(&mut self.ahead);
        for name in ahead {
            self.slots.remove(&name);
        }
        self.slots.retain(|name, slot| {
            let is_of_use = name == asked || names.contains(name) || *slot != Slot::Here;
            if !is_of_use {
                forget(name);
            }
            is_of_use
        });
        for name in names {
            if !self.slots.contains_key(&name) {
                self.slots.insert(name.clone(), Slot::Queued);
                self.ahead.push_back(name);
            }
        }
    }

    /// The answer for somebody who asked. A file is given away once: then it is not here any more.
    fn answer(&mut self, name: &str) -> Option<Answer> {
        match self.slots.remove(name) {
            Some(Slot::Here) => Some(Answer::Here),
            Some(Slot::Answered(answer)) => Some(answer),
            // Somebody else asked for the same file, and took it.
            None => self.is_ending.then_some(Answer::Failed),
            Some(other) => {
                self.slots.insert(name.to_owned(), other);
                self.is_ending.then_some(Answer::Failed)
            }
        }
    }

    fn take_job(&mut self) -> Option<Job> {
        let wanted = self.wanted.pop_front().map(|name| Job {
            name,
            is_ahead: false,
        });
        let job = wanted.or_else(|| {
            let name = self.ahead.pop_front()?;
            Some(Job {
                name,
                is_ahead: true,
            })
        })?;
        let (ahead, asked) = (job.is_ahead, !job.is_ahead);
        self.slots
            .insert(job.name.clone(), Slot::Fetching { ahead, asked });
        Some(job)
    }

    fn finish(&mut self, job: &Job, answer: Answer) -> bool {
        let Some(Slot::Fetching { ahead, asked }) = self.slots.remove(&job.name) else {
            return false;
        };
        let is_here = answer == Answer::Here;
        match (is_here, ahead, asked) {
            (true, _, _) => drop(self.slots.insert(job.name.clone(), Slot::Here)),
            // It may have come into the archive after we looked and before it was asked for.
            (false, true, true) => drop(self.want(&job.name)),
            (false, false, _) => {
                self.slots.insert(job.name.clone(), Slot::Answered(answer));
            }
            // The archive ends here, or is in trouble: that is for whoever asks to find out.
            (false, true, false) => {
                for name in std::mem::take(&mut self.ahead) {
                    self.slots.remove(&name);
                }
            }
        }
        is_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, thread};

    fn name(number: u64) -> WalName {
        WalName::parse(&format!("0000000100000000{number:08X}")).unwrap()
    }

    /// Without it a failing test would wait for its thread for ever.
    struct End<'a>(&'a Board);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    /// A board, and one thread that fetches from an archive of the segments 1 to `last`.
    fn with_archive<T>(last: u64, work: impl FnOnce(&Board, &Mutex<BTreeSet<String>>) -> T) -> T {
        let board = Board::new(SegmentSize::DEFAULT);
        let files = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(job) = board.next_job() {
                    let number = u64::from_str_radix(&job.name[16..], 16).unwrap();
                    let is_there = (1..=last).contains(&number);
                    if is_there {
                        files.lock().unwrap().insert(job.name.clone());
                    }
                    board.finish(
                        &job,
                        if is_there {
                            Answer::Here
                        } else {
                            Answer::Absent
                        },
                    );
                }
            });
            let _end = End(&board);
            work(&board, &files)
        })
    }

    fn take(board: &Board, files: &Mutex<BTreeSet<String>>, number: u64) -> Answer {
        let name = name(number);
        let answer = board.ask(&name, |old| {
            files.lock().unwrap().remove(old);
        });
        if answer == Answer::Here {
            assert!(
                files.lock().unwrap().remove(&name.text),
                "{} is not here",
                name.text
            );
        }
        answer
    }

    #[test]
    fn every_order_of_asking_gets_every_file_and_no_other() {
        with_archive(40, |board, files| {
            let order = (1..=10).chain([10, 3, 3, 40, 41, 39, 0, 1]).chain(12..=45);
            for number in order {
                let expected = match number {
                    1..=40 => Answer::Here,
                    _ => Answer::Absent,
                };
                assert_eq!(take(board, files, number), expected, "{number}");
            }
        });
    }

    #[test]
    fn two_who_want_the_same_file_both_get_it() {
        with_archive(5, |board, _| {
            thread::scope(|scope| {
                let asks: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| board.ask(&name(5), |_| {})))
                    .collect();
                for ask in asks {
                    assert_eq!(ask.join().unwrap(), Answer::Here);
                }
            });
        });
    }

    #[test]
    fn a_file_that_was_not_there_ahead_of_time_is_looked_for_again() {
        let board = Board::new(SegmentSize::DEFAULT);
        thread::scope(|scope| {
            let _end = End(&board);
            let first = scope.spawn(|| board.ask(&name(1), |_| {}));
            let job = board.next_job().unwrap();
            assert_eq!(
                job,
                Job {
                    name: name(1).text,
                    is_ahead: false
                }
            );
            board.finish(&job, Answer::Here);
            assert_eq!(first.join().unwrap(), Answer::Here);
            let ahead = board.next_job().unwrap();
            assert_eq!(
                ahead,
                Job {
                    name: name(2).text,
                    is_ahead: true
                }
            );
            // Asked for while we look, and found to be absent: it may be there by now.
            let second = scope.spawn(|| board.ask(&name(2), |_| {}));
            while board.state().asking == 0 {
                thread::yield_now();
            }
            board.finish(&ahead, Answer::Absent);
            let again = board.next_job().unwrap();
            assert_eq!(
                again,
                Job {
                    name: name(2).text,
                    is_ahead: false
                }
            );
            board.finish(&again, Answer::Here);
            assert_eq!(second.join().unwrap(), Answer::Here);
        });
    }
}
