//! Makes a looped file one endless stream: times and continuity counters go on where the loop before ended.
//!
//! All times of a loop move by one offset, a multiple of 300 PCR ticks so that PCR, PTS and DTS move alike. At the joint
//! the clock goes on by its usual step, or by more where the last sample of some PID would else overlap its first.
//! Everything is compared on the circle of 33 bits, so a file that wraps or jumps inside keeps exactly that wrap or jump.
//!
//! The last PES packet of a PID is taken to last as long as the one before it, so where several audio frames share one, the
//! joint may be some frames longer than needed: a gap, never an overlap.
//!
//! What it deliberately does not do: repair the file. Losses, jumps and garbage inside stay as they are.
#![forbid(unsafe_code)]

use super::packet::{self, WRAP_27M};
use super::reader::Packet;

/// Which times of the file its pace is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The PCRs of this PID.
    Pcr(u16),
    /// There are no PCRs: the DTSs (or PTSs) of this PID.
    Dts(u16),
    /// There are no times at all.
    None,
}

/// A clock value met in the stream, as it is sent, 27 MHz ticks below [`WRAP_27M`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub clock_27m: u64,
    /// The packet's discontinuity_indicator.
    pub discontinuity: bool,
}

/// The state that outlives a loop.
pub(super) struct Retimer {
    clock: Clock,
    offset_27m: u64,
    loops: u64,
    /// Clock values of the file itself, before they are moved.
    first_clock: Option<u64>,
    last_clock: Option<u64>,
    clock_step: u64,
    pids: Vec<PidState>,
}

/// What is known of one PID, on the file's own times (27 MHz).
#[derive(Clone, Copy, Default)]
struct PidState {
    first: Option<u64>,
    last: Option<u64>,
    /// Distance of the last two stamps, taken as the duration of the last sample.
    step: u64,
    /// Last continuity counter sent.
    counter: Option<u8>,
    /// What is added to the file's counters in this loop.
    counter_shift: u8,
    /// The loop that `counter_shift` holds for, from 1.
    joined: u64,
}

impl Retimer {
    pub fn new(clock: Clock) -> Self {
        Retimer {
            clock,
            offset_27m: 0,
            loops: 1,
            first_clock: None,
            last_clock: None,
            clock_step: STEP_DEFAULT,
            pids: vec![PidState::default(); 1 << 13],
        }
    }
    /// Moves the times and the counter of `packet` for this loop. Answers the clock value that it carries, if any.
    pub fn apply(&mut self, packet: &mut Packet) -> Option<Tick> {
        let pid = packet::pid(packet);
        if pid == NULL_PID {
            return None;
        }
        self.continue_counter(pid, packet);
        let times = packet::times(packet);
        let stamp = times.dts.or(times.pts).map(|at| packet::read_stamp(packet, at) * 300);
        if let Some(stamp) = stamp {
            self.pids[usize::from(pid)].note(stamp);
        }
        let clock = match self.clock {
            Clock::Pcr(of) if of == pid => times.pcr.map(|at| packet::read_pcr(packet, at)),
            Clock::Dts(of) if of == pid => stamp,
            _ => None,
        };
        for at in [times.pcr, times.opcr].into_iter().flatten() {
            packet::write_pcr(packet, at, packet::read_pcr(packet, at) + self.offset_27m);
        }
        for at in [times.pts, times.dts].into_iter().flatten() {
            packet::write_stamp(packet, at, packet::read_stamp(packet, at) + self.offset_27m / 300);
        }
        let clock = clock?;
        self.note_clock(clock);
        let clock_27m = (clock + self.offset_27m) % WRAP_27M;
        Some(Tick { clock_27m, discontinuity: packet::discontinuity(packet) })
    }
    /// The file begins again with the next packet.
    pub fn next_loop(&mut self) {
        self.loops += 1;
        let (Some(first), Some(last)) = (self.first_clock, self.last_clock.take()) else { return };
        let overlap = |pid: &PidState| pid.overlap(first, last);
        let joint = self.pids.iter().filter_map(overlap).fold(self.clock_step as i64, i64::max) as u64;
        // last + offset + joint is where the clock goes on, and there the file's first clock value is to stand.
        let offset = (self.offset_27m + last + joint + WRAP_27M - first) % WRAP_27M;
        self.offset_27m = offset.next_multiple_of(300) % WRAP_27M;
        for pid in &mut self.pids {
            pid.last = None;
        }
    }

    fn note_clock(&mut self, clock: u64) {
        self.first_clock.get_or_insert(clock);
        if let Some(last) = self.last_clock {
            let step = distance(clock, last);
            if (1..=STEP_MAX).contains(&step) {
                self.clock_step = step as u64;
            }
        }
        self.last_clock = Some(clock);
    }
    /// Rewrites the counter (2.4.3.3): at a PID's first packet of a loop it is one more than the last, if there is payload.
    fn continue_counter(&mut self, pid: u16, packet: &mut Packet) {
        let state = &mut self.pids[usize::from(pid)];
        let own = packet[3] & 0x0F;
        if state.joined != self.loops {
            state.joined = self.loops;
            let next = state.counter.map_or(own, |last| last.wrapping_add(u8::from(packet::has_payload(packet))));
            state.counter_shift = next.wrapping_sub(own);
        }
        let counter = own.wrapping_add(state.counter_shift) & 0x0F;
        state.counter = Some(counter);
        packet[3] = packet[3] & 0xF0 | counter;
    }
}

impl PidState {
    fn note(&mut self, stamp: u64) {
        self.first.get_or_insert(stamp);
        let Some(last) = self.last else {
            self.last = Some(stamp);
            return;
        };
        let step = distance(stamp, last);
        match step {
            1..=STEP_MAX => self.step = step as u64,
            // A little back: reordered without a DTS, the latest counts. Far off: the file jumps, go on from there.
            JUMP_BACK..=0 => return,
            _ => {}
        }
        self.last = Some(stamp);
    }
    /// How far this PID's last sample reaches behind the last clock value, less how far its first lies behind the first.
    fn overlap(&self, first_clock: u64, last_clock: u64) -> Option<i64> {
        let end = distance(self.last? + self.step, last_clock);
        let start = distance(self.first?, first_clock);
        // Stamps that far from each other have nothing to do with this clock: another programme, or garbage.
        Some(end - start).filter(|overlap| overlap.abs() <= JUMP_MIN)
    }
}

/// Shortest signed way from `from` to `to` on the circle of the PCR, 27 MHz ticks.
pub(super) fn distance(to: u64, from: u64) -> i64 {
    let forward = (to % WRAP_27M + WRAP_27M - from % WRAP_27M) % WRAP_27M;
    if forward >= WRAP_27M / 2 { forward as i64 - WRAP_27M as i64 } else { forward as i64 }
}

/// PID of null packets.
const NULL_PID: u16 = 0x1FFF;
/// 40 ms: the step of a clock that was seen only once.
const STEP_DEFAULT: u64 = 27_000_000 / 25;
/// 0.5 s: a longer distance of two stamps is no sample's duration (subtitles, losses).
const STEP_MAX: i64 = 27_000_000 / 2;
/// 10 s: stamps farther apart than this are on different timelines.
const JUMP_MIN: i64 = 10 * 27_000_000;
const JUMP_BACK: i64 = -JUMP_MIN;

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{read_pcr, read_stamp, times};

    const VIDEO: u16 = 0x100;
    const AUDIO: u16 = 0x101;
    /// 40 ms of 27 MHz.
    const FRAME: u64 = 1_080_000;

    /// A packet that starts a PES with a PTS, and carries a PCR when it is given.
    fn pes(pid: u16, counter: u8, pcr: Option<u64>, pts_90k: u64) -> Packet {
        let mut packet = [0xFF; 188];
        packet[..6].copy_from_slice(&[0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x30 | counter, 7, 0]);
        if let Some(pcr) = pcr {
            packet[5] = 0x10;
            packet::write_pcr(&mut packet, 6, pcr);
        }
        // start code, stream id, length, '10', PTS only, 5 bytes of header, '0010' of the PTS
        packet[12..22].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21]);
        packet::write_stamp(&mut packet, 21, pts_90k);
        packet
    }

    /// `frames` video packets of 40 ms from `start_27m` on, counters from 0.
    fn video(start_27m: u64, frames: u64) -> Vec<Packet> {
        let clock = |frame: u64| (start_27m + frame * FRAME) % WRAP_27M;
        (0..frames).map(|n| pes(VIDEO, n as u8 & 15, Some(clock(n)), clock(n) / 300 + 9_000)).collect()
    }

    /// (clock, PTS in 27 MHz, counter) of every packet of `loops` loops.
    fn play(file: &[Packet], loops: usize) -> Vec<(Option<u64>, u64, u8)> {
        let mut retimer = Retimer::new(Clock::Pcr(VIDEO));
        let mut sent = Vec::new();
        for _ in 0..loops {
            for packet in file {
                let mut packet = *packet;
                let tick = retimer.apply(&mut packet);
                let found = times(&packet);
                assert_eq!(tick.map(|tick| tick.clock_27m), found.pcr.map(|at| read_pcr(&packet, at)));
                let pts = read_stamp(&packet, found.pts.expect("every packet has one")) * 300;
                sent.push((tick.map(|tick| tick.clock_27m), pts, packet[3] & 15));
            }
            retimer.next_loop();
        }
        sent
    }

    #[test]
    fn clock_stamps_and_counters_go_on_over_three_loops() {
        let sent = play(&video(5_000_000, 10), 3);
        for pair in sent.windows(2) {
            let clock_step = distance(pair[1].0.expect("PCR"), pair[0].0.expect("PCR"));
            assert!((0..300).contains(&(clock_step - FRAME as i64)), "{pair:?}");
            assert_eq!(distance(pair[1].1, pair[0].1), clock_step, "PTS and PCR move alike");
            assert_eq!(pair[1].2, (pair[0].2 + 1) & 15, "{pair:?}");
        }
    }

    #[test]
    fn a_file_that_wraps_inside_goes_on_as_well() {
        let sent = play(&video(WRAP_27M - 5 * FRAME, 10), 4);
        for pair in sent.windows(2) {
            assert!(distance(pair[1].0.expect("PCR"), pair[0].0.expect("PCR")) >= FRAME as i64);
            assert!(distance(pair[1].1, pair[0].1) > 0, "{pair:?}");
        }
    }

    #[test]
    fn the_joint_waits_for_the_longer_stream() {
        let mut file = video(0, 10);
        // Sound from 0 to 600 ms in frames of 20 ms, though the picture ends at 400 ms.
        file.extend((0..30).map(|n| pes(AUDIO, n as u8 & 15, None, 9_000 + n * 1_800)));
        let sent = play(&file, 3);
        let audio: Vec<u64> = sent.iter().filter(|sent| sent.0.is_none()).map(|sent| sent.1).collect();
        assert!(audio.windows(2).all(|pair| (540_000..541_000).contains(&distance(pair[1], pair[0]))), "{audio:?}");
    }

    #[test]
    fn a_jump_inside_stays_and_does_not_stretch_the_joint() {
        let mut file = video(0, 5);
        file.extend(video(100 * 27_000_000, 5));
        let sent = play(&file, 2);
        let step = |index: usize| distance(sent[index].0.expect("PCR"), sent[index - 1].0.expect("PCR"));
        assert!(step(5) > 90 * 27_000_000, "the file's own jump");
        assert!((0..300).contains(&(step(10) - FRAME as i64)), "{}", step(10));
    }

    #[test]
    fn a_file_with_one_clock_value_has_a_frame_per_loop() {
        let sent = play(&video(0, 1), 3);
        assert!(sent.windows(2).all(|pair| distance(pair[1].1, pair[0].1) >= FRAME as i64), "{sent:?}");
    }

    #[test]
    fn losses_inside_stay_losses() {
        let mut file = video(0, 10);
        file.remove(4);
        let counters: Vec<u8> = play(&file, 2).iter().map(|sent| sent.2).collect();
        assert_eq!(counters[..9], [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        assert_eq!(counters[9..], [10, 11, 12, 13, 15, 0, 1, 2, 3]);
    }
}
