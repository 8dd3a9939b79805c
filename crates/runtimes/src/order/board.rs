//! Where services that are started or stopped side by side see how far the others are.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{
    Step,
    report::{Event, Outcome, Report, ServiceReport},
};

/// How far a service is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Waiting,
    /// It runs, and is not well yet.
    Started,
    Done(Outcome),
}

#[derive(Default)]
pub(super) struct Board {
    progress: Mutex<BTreeMap<String, Progress>>,
    changed: Condvar,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tell(&self, service: &str, progress: Progress) {
        self.lock().insert(service.to_owned(), progress);
        self.changed.notify_all();
    }

    /// Waits until `judge` decides about a service. One that is not in the plan is not waited for.
    pub fn until<T>(&self, service: &str, judge: impl Fn(&Progress) -> Option<T>) -> Option<T> {
        let mut progress = self.lock();
        loop {
            if let Some(judged) = judge(progress.get(service)?) {
                return Some(judged);
            }
            let waited = self.changed.wait(progress);
            progress = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Carries out all steps side by side; each waits for others by the board as it needs.
pub(super) fn carry_out<'p>(
    steps: impl Iterator<Item = &'p Step>,
    on_event: &(dyn Fn(Event<'_>) + Sync),
    one: &(dyn Fn(&Step, &Board) -> (Outcome, Instant) + Sync),
) -> Report {
    let begun = Instant::now();
    let steps: Vec<&Step> = steps.collect();
    let board = Board::default();
    for step in &steps {
        board.tell(&step.service, Progress::Waiting);
    }
    let carried = |step: &Step| {
        let ending = Ending {
            board: &board,
            service: &step.service,
        };
        let (outcome, began) = one(step, &board);
        let report = ServiceReport {
            service: step.service.clone(),
            optional: step.optional,
            outcome: outcome.clone(),
            took: began.elapsed(),
        };
        // Told before others go on, so that what is told is in order.
        on_event(Event::Done(&report));
        board.tell(&step.service, Progress::Done(outcome));
        drop(ending);
        report
    };
    let services = thread::scope(|scope| {
        let threads: Vec<_> = steps
            .iter()
            .map(|step| scope.spawn(|| carried(step)))
            .collect();
        let joined = threads.into_iter().zip(&steps).map(|(thread, step)| {
            thread.join().unwrap_or_else(|_| ServiceReport {
                service: step.service.clone(),
                optional: step.optional,
                outcome: panicked(),
                took: begun.elapsed(),
            })
        });
        joined.collect()
    });
    Report {
        services,
        took: begun.elapsed(),
    }
}

fn panicked() -> Outcome {
    Outcome::Failed {
        why: "a mistake of Rekindle; this is a bug".to_owned(),
        log: Vec::new(),
    }
}

/// Tells the others even if the thread panics: nobody waits for ever.
struct Ending<'a> {
    board: &'a Board,
    service: &'a str,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.board.tell(self.service, Progress::Done(panicked()));
        }
    }
}
