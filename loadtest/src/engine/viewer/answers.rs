//! What comes in on a viewer's lanes: reading it, telling the player, counting, and what becomes of a request that fails.
//!
//! What it deliberately does not do: ask for anything but once more for what a stale connection lost.

use super::Viewer;
use crate::engine::connection::{Exchange, Received};
use crate::engine::io::Io;
use crate::engine::response::{Progress, Sink};
use crate::player::{Body, End, FetchKind, Head, Lane, Micros, Player};
use crate::stats::{RequestTimes, Stats};
use rustix::io::Errno;

/// Reads of a lane before others have their turn.
const READS_MAX: usize = 8;

/// Tells the player of what is read, and counts it.
struct Telling<'a> {
    player: &'a mut dyn Player,
    stats: &'a mut Stats,
    lane: Lane,
    now: Micros,
    group: usize,
    /// Whether a head of success was for a stream, which counts as a request from then on.
    counts_stream: bool,
}

impl Sink for Telling<'_> {
    fn head(&mut self, head: &Head<'_>) {
        if self.counts_stream && is_success(head.status) {
            self.stats.request(self.group, self.now, None);
        }
        self.player.on_head(self.lane, self.now, head);
    }

    fn body(&mut self, bytes: &[u8]) {
        self.stats.bytes(self.group, self.now, bytes.len() as u64);
        self.player.on_body(self.lane, self.now, Body::Bytes(bytes));
    }
}

impl Viewer {
    /// Reads what is there and may be read, up to [`READS_MAX`] times.
    pub(super) fn read_lane(&mut self, io: &mut Io, lane: u8) {
        for _ in 0..READS_MAX {
            let Some(connection) = self.lanes[usize::from(lane)].as_mut().filter(|lane| lane.readable) else { return };
            let now = io.now();
            let is_body = connection.exchange.is_some();
            let limit = if is_body { self.pace.allowance(now) } else { usize::MAX };
            if limit == 0 || is_body && !self.player.reads(now) {
                return;
            }
            let kind = connection.exchange.as_ref().map(|exchange| exchange.kind);
            let had_head = connection.response.status().is_some();
            let wants = self.player.wants_content(Lane(lane));
            let mut telling = Telling {
                player: self.player.as_mut(),
                stats: &mut io.stats,
                lane: Lane(lane),
                now,
                group: self.arrival.group,
                counts_stream: kind == Some(FetchKind::Stream),
            };
            let received = connection.receive(limit, !wants, &mut io.scratch, &mut telling);
            match received {
                Received::Blocked => return,
                Received::Bytes { count, progress, discarded } => {
                    self.received(io, lane, now, count, discarded, had_head);
                    if let Progress::Complete(_) = progress {
                        self.complete(io, lane, now);
                    }
                }
                Received::Closed => return self.closed(io, lane, now),
                Received::Failed(error) => return self.fail(io, lane, now, end_of(error), None),
                Received::Malformed(_) => return self.fail(io, lane, now, End::Short, Some("malformed")),
            }
        }
    }

    /// Counts what was read, and times the first of it.
    fn received(&mut self, io: &mut Io, lane: u8, now: Micros, count: usize, discarded: bool, had_head: bool) {
        self.pace.took(count);
        let Some(connection) = self.lanes[usize::from(lane)].as_mut() else { return };
        let has_head = connection.response.status().is_some();
        let group = self.arrival.group;
        let Some(exchange) = connection.exchange.as_mut() else { return };
        exchange.progress = now;
        if exchange.first_byte.is_none() {
            exchange.first_byte = Some(now);
            let times = RequestTimes { intended: exchange.intended, sent: exchange.sent, first_byte: now };
            io.stats.first_byte(group, exchange.kind, times);
            io.timed(now);
        }
        if io.stats.counts(now) {
            self.bytes += count as u64;
        }
        let is_stream = exchange.kind == FetchKind::Stream;
        if has_head && !had_head && is_stream {
            exchange.counted = connection.response.status().is_some_and(is_success);
            if self.is_eager && !self.player.wants_content(Lane(lane)) {
                connection.set_low_water();
            }
        }
        if discarded {
            io.stats.bytes(group, now, count as u64);
            self.player.on_body(Lane(lane), now, Body::Discarded(count));
        }
    }

    fn complete(&mut self, io: &mut Io, lane: u8, now: Micros) {
        let slot = &mut self.lanes[usize::from(lane)];
        let Some(connection) = slot.as_mut() else { return };
        let Some(exchange) = connection.exchange.take() else { return };
        let status = connection.response.status();
        connection.answers += 1;
        if connection.response.closes() || connection.has_low_water {
            *slot = None;
        }
        self.report(io, lane, now, &exchange, End::Complete, status);
    }

    /// The peer sends no more.
    fn closed(&mut self, io: &mut Io, lane: u8, now: Micros) {
        let ends = self.lanes[usize::from(lane)]
            .as_ref()
            .is_some_and(|lane| lane.exchange.is_some() && lane.response.ends_with_connection());
        if !ends {
            return self.fail(io, lane, now, End::Short, None);
        }
        self.complete(io, lane, now);
        self.lanes[usize::from(lane)] = None;
    }

    /// The lane's connection is of no more use.
    pub(super) fn fail(&mut self, io: &mut Io, lane: u8, now: Micros, end: End, error: Option<&str>) {
        let Some(mut connection) = self.lanes[usize::from(lane)].take() else { return };
        let Some(mut exchange) = connection.exchange.take() else {
            if self.held & (1 << lane) != 0 {
                let error = if end == End::ConnectFailed { "connect" } else { "closed" };
                io.stats.error(self.arrival.group, now, error);
                self.player.on_end(Lane(lane), now, end);
            }
            return;
        };
        // RFC 9112, 9.3.1: a kept-alive connection may be closed at any time; then the request was not seen.
        let is_stale = connection.answers > 0 && !connection.response.is_begun() && !exchange.retried;
        if is_stale && matches!(end, End::Short | End::Reset) && error.is_none() {
            exchange.retried = true;
            drop(connection);
            return self.send(io, lane, exchange);
        }
        let status = connection.response.status();
        match error {
            Some(error) => self.report_as(io, lane, now, &exchange, end, Some(error)),
            None => self.report(io, lane, now, &exchange, end, status),
        }
    }

    /// Counts the end of a request and tells it, by how it ended.
    pub(super) fn report(
        &mut self,
        io: &mut Io,
        lane: u8,
        now: Micros,
        exchange: &Exchange,
        end: End,
        status: Option<u16>,
    ) {
        let bad_status = status.filter(|status| !is_success(*status)).map(|status| format!("status {status}"));
        let error = match end {
            _ if bad_status.is_some() => bad_status.as_deref(),
            End::Complete if exchange.kind == FetchKind::Stream => Some("ended"),
            End::Complete => None,
            End::Short => Some("short body"),
            End::Reset => Some("reset"),
            End::ConnectFailed => Some("connect"),
            End::TimedOut => Some("timeout"),
        };
        self.report_as(io, lane, now, exchange, end, error);
    }

    /// Counts the end of a request and tells it.
    fn report_as(&mut self, io: &mut Io, lane: u8, now: Micros, exchange: &Exchange, end: End, error: Option<&str>) {
        let group = self.arrival.group;
        match error {
            Some(error) if exchange.counted => io.stats.error(group, now, error),
            _ if exchange.counted => {}
            _ => io.stats.request(group, now, error),
        }
        if error.is_none() {
            io.stats.complete(group, exchange.kind, exchange.intended, now);
        }
        io.timed(now);
        self.player.on_end(Lane(lane), now, end);
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status) || status == 304
}

pub(super) fn end_of(error: Errno) -> End {
    match error {
        Errno::TIMEDOUT => End::TimedOut,
        Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH => End::ConnectFailed,
        _ => End::Reset,
    }
}
