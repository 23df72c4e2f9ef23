//! How a run goes, second by second, on standard error: a view redrawn in place where that is a terminal, else a line.
//!
//! What it deliberately does not do: lay out ([`super::view`]) or measure.

use super::Publish;
use super::screen::Screen;
use super::view::{self, GroupView, ServerView, Snapshot};
use crate::procfs::SecondSample;
use crate::scenario::Scenario;
use crate::stats::{Live, LiveGroup};
use std::io::{IsTerminal, Stderr, Write, stderr};

/// Shows a run.
pub struct Progress {
    /// `None`: a line a second.
    screen: Option<Screen<Stderr>>,
    before: Live,
    snapshot: Snapshot,
}

impl Progress {
    /// Of a run that begins.
    pub fn new(scenario: &Scenario) -> Progress {
        let group = |group: &crate::scenario::Group| GroupView {
            name: group.name.clone(),
            viewers_in_all: u64::from(group.viewers),
            ..GroupView::default()
        };
        Progress {
            screen: stderr().is_terminal().then(|| Screen::new(stderr())),
            before: Live::new(scenario.group.len()),
            snapshot: Snapshot {
                name: scenario.name.clone(),
                warmup_s: scenario.warmup_s,
                duration_s: scenario.duration_s,
                groups: scenario.group.iter().map(group).collect(),
                ..Snapshot::default()
            },
        }
    }

    /// A second is over. What cannot be shown is not: a terminal that is gone ends no run.
    pub fn second(&mut self, second: u64, publish: &[Publish], sample: &SecondSample) {
        let mut now = Live::default();
        for thread in publish {
            // A thread that panicked ends the run elsewhere.
            let Ok(live) = thread.lock() else { continue };
            now.add(&live);
        }
        update(&mut self.snapshot, &self.before, &now, publish.len());
        self.before = now;
        self.snapshot.elapsed_s = second;
        let server = sample.server_cpu_s.zip(sample.server_rss_bytes);
        self.snapshot.server = server.map(|(cores, rss_bytes)| ServerView { cores, rss_bytes });
        self.snapshot.cores_busy.clone_from(&sample.machine_cores_busy);
        self.snapshot.tcp_memory_bytes = sample.tcp_memory_bytes;
        let _ = match &mut self.screen {
            Some(screen) => {
                let (columns, rows) = screen.size();
                screen.draw(&view::lines(&self.snapshot, columns, rows))
            }
            None => writeln!(stderr(), "{}", view::line(&self.snapshot)),
        };
    }
}

impl Drop for Progress {
    /// The report takes the view's place.
    fn drop(&mut self) {
        if let Some(screen) = &mut self.screen {
            let _ = screen.clear();
        }
    }
}

/// Brings a snapshot from one reading of so many threads to the next.
fn update(snapshot: &mut Snapshot, before: &Live, now: &Live, threads: usize) {
    // Threads publish at times of their own; what lies between their readings is taken over the time between them.
    let span_s = now.at.saturating_sub(before.at) as f64 / threads.max(1) as f64 / 1e6;
    let per_second =
        |now: u64, before: u64| if span_s > 0.0 { now.saturating_sub(before) as f64 / span_s } else { 0.0 };
    let none = LiveGroup::default();
    for (index, view) in snapshot.groups.iter_mut().enumerate() {
        let [now, before] = [now, before].map(|live| live.groups.get(index).unwrap_or(&none));
        let first_byte = now.first_byte.since(&before.first_byte);
        view.viewers = now.viewers;
        view.gbit_s = per_second(now.bytes, before.bytes) * 8e-9;
        view.requests_s = per_second(now.requests, before.requests);
        view.first_byte_ms = first_byte.quantile_ms(0.5).zip(first_byte.quantile_ms(0.99));
        (view.rebuffers, view.stalls, view.errors) = (now.rebuffers, now.stalls, now.errors);
    }
    snapshot.gbit_s.push(snapshot.groups.iter().map(|group| group.gbit_s).sum());
    snapshot.harness_cores = per_second(now.cpu, before.cpu) / 1e6;
    snapshot.threads = threads;
    snapshot.lag_p99_ms = now.lag.since(&before.lag).quantile_ms(0.99);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between_readings() {
        let mut snapshot = Snapshot { groups: vec![GroupView::default()], ..Snapshot::default() };
        let mut before = Live::new(1);
        // Two threads, a second and a half apart each.
        (before.at, before.groups[0].bytes, before.cpu) = (2_000_000, 1_000, 0);
        let mut now = before.clone();
        (now.at, now.cpu) = (5_000_000, 750_000);
        (now.groups[0].bytes, now.groups[0].requests, now.groups[0].errors) = (1_000 + 375_000_000, 300, 2);
        now.groups[0].first_byte.record(1_000);
        update(&mut snapshot, &before, &now, 2);
        let group = &snapshot.groups[0];
        assert_eq!((group.gbit_s, group.requests_s, group.errors), (2.0, 200.0, 2));
        assert_eq!((snapshot.harness_cores, snapshot.gbit_s.as_slice()), (0.5, [2.0].as_slice()));
        assert!(group.first_byte_ms.is_some_and(|(p50, p99)| p50 >= 1.0 && p99 < 1.2));
        update(&mut snapshot, &now, &now, 2);
        assert_eq!((snapshot.groups[0].gbit_s, snapshot.groups[0].first_byte_ms), (0.0, None));
    }
}
