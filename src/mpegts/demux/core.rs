//! Everything behind the packet boundary: routes packets by PID, keeps the track list, delivers samples.
//!
//! What it deliberately does not do: find packets ([`super::sync`]), choose the programme ([`super::program`]) or know of one
//! PID's state ([`super::stream`]).

use super::ids::TrackIds;
use super::program::{Change, ProgramChoice};
use super::stream::{Append, Carriage, Continuity, Order, Stream};
use super::{DemuxConfig, DemuxStats, Flow, RawSample, Sink, kind};
use crate::es::framer::{Frame, PesPayload};
use crate::es::{AudioRole, Codec, Key, Track, TrackKind, TsStream};
use crate::limits::{DEMUX_BYTES_MAX, TRACKS_MAX};
use crate::mpegts::packet::{self, Adaptation, Header, PACKET_BYTES, PID_COUNT, PID_NULL};
use crate::mpegts::pes::{self, PesHeader, PesParse, STREAM_ID_PADDING, STREAM_ID_PRIVATE_1};
use crate::mpegts::psi::{Pmt, PmtStream, Section, TABLE_SCTE35, crc32};
use bytes::Bytes;

/// The PID carries nothing that we want.
const ROUTE_IGNORED: u8 = 0;
/// The PID carries the PAT or a PMT.
const ROUTE_TABLE: u8 = 1;
/// The PID carries the PCR and nothing else that we want.
const ROUTE_PCR: u8 = 2;
/// The PID of the first track; the n-th has this plus n.
const ROUTE_TRACKS: u8 = 3;

/// Why a PES packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PesEnd<'a> {
    /// It has all the bytes that it announced.
    Whole,
    /// The next one begins; this much of its payload is in its first packet.
    Followed(&'a [u8]),
    /// The input ended, or the track did.
    Cut,
}

pub(super) struct Core {
    /// What each PID is for.
    routes: Box<[u8; PID_COUNT]>,
    program: ProgramChoice,
    /// [`PID_NULL`] when the programme has no PCR.
    pcr_pid: u16,
    ids: TrackIds,
    /// One per track, in the same order.
    streams: Vec<Stream>,
    tracks: Vec<Track>,
    /// Capacity of all PES buffers and framers.
    bytes_held: usize,
    stats: DemuxStats,
}

impl Core {
    pub(super) fn new(config: DemuxConfig) -> Self {
        let mut core = Core {
            routes: Box::new([ROUTE_IGNORED; PID_COUNT]),
            program: ProgramChoice::new(config.program),
            pcr_pid: PID_NULL,
            ids: TrackIds::default(),
            streams: Vec::new(),
            tracks: Vec::new(),
            bytes_held: 0,
            stats: DemuxStats::default(),
        };
        core.route(false);
        core
    }

    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Own counters and those of the framers.
    pub(super) fn stats(&self) -> DemuxStats {
        let mut stats = self.stats.clone();
        self.streams.iter().filter_map(|s| s.framer.as_ref()).for_each(|framer| stats.add(framer.stats()));
        stats
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let streams: usize = self.streams.iter().map(|s| size_of::<Stream>() + s.memory_bytes()).sum();
        let tracks: usize = self.tracks.iter().map(|t| size_of::<Track>() + t.ts.descriptors.len()).sum();
        PID_COUNT + self.bytes_held + streams + tracks + self.program.memory_bytes()
    }

    /// Takes one packet, sync byte and all. Order of what the sink sees: the PES packet that this one ends, the PCR, the payload.
    #[inline]
    pub(super) fn packet(&mut self, packet: &[u8; PACKET_BYTES], sink: &mut impl Sink) -> Flow {
        self.stats.packets += 1;
        let header = Header::new(packet);
        let route = self.routes[header.pid() as usize];
        if header.transport_error() {
            // The PID itself may be wrong; the continuity counter will show what is missing.
            self.stats.transport_errors += 1;
            return Flow::Continue;
        }
        if route == ROUTE_IGNORED {
            return Flow::Continue;
        }
        let Some((adaptation, at)) = packet::split(packet, header) else {
            self.stats.transport_errors += 1;
            return Flow::Continue;
        };
        let payload = &packet[at..];
        let track = (route.wrapping_sub(ROUTE_TRACKS)) as usize;
        let admitted = match route {
            ROUTE_PCR => false,
            ROUTE_TABLE => {
                self.table_packet(header, adaptation, payload, sink);
                false
            }
            _ => self.admit(track, header, adaptation, payload, sink),
        };
        let flow = match adaptation.pcr_27m {
            Some(pcr) if header.pid() == self.pcr_pid => sink.pcr(pcr, adaptation.discontinuity),
            _ => Flow::Continue,
        };
        if admitted {
            self.append(track, payload, header.unit_start(), sink);
        }
        flow
    }

    /// The connection ended.
    pub(super) fn end(&mut self, sink: &mut impl Sink) {
        for index in 0..self.streams.len() {
            self.finish_stream(index, sink);
            self.streams[index].continuity = Continuity::Fresh;
        }
        self.program.reset();
        self.pcr_pid = PID_NULL;
        self.route(false);
    }

    /// Judges a track's packet; a unit start ends the PES packet before it. Answers whether the payload is to be appended.
    #[inline]
    fn admit(
        &mut self,
        index: usize,
        header: Header,
        adaptation: Adaptation,
        payload: &[u8],
        sink: &mut impl Sink,
    ) -> bool {
        let stream = &mut self.streams[index];
        if !header.has_payload() {
            if adaptation.discontinuity {
                stream.continuity = Continuity::Fresh;
            }
            return false;
        }
        match stream.order(header.continuity_counter(), adaptation.discontinuity, payload) {
            Order::Next | Order::Jump => {}
            Order::Lost => self.stats.continuity_errors += 1,
            Order::Duplicate => {
                self.stats.duplicates += 1;
                return false;
            }
        }
        if header.scrambled() {
            self.stats.scrambled += 1;
            stream.lose();
            return false;
        }
        if header.unit_start() {
            let next = match pes::parse(payload) {
                PesParse::Header(header) => payload.get(header.header_bytes..).unwrap_or_default(),
                _ => &[],
            };
            self.end_pes(index, PesEnd::Followed(next), sink);
        }
        true
    }

    /// Appends a packet's payload to what its track has in progress, and delivers what that completes.
    #[inline]
    fn append(&mut self, index: usize, payload: &[u8], unit_start: bool, sink: &mut impl Sink) {
        let Carriage::Pes(pes) = &mut self.streams[index].carriage else {
            return self.sections(index, payload, unit_start, sink);
        };
        if unit_start {
            pes.start();
        }
        match pes.append(payload, &mut self.bytes_held, DEMUX_BYTES_MAX) {
            Append::More => {}
            Append::Complete => self.end_pes(index, PesEnd::Whole, sink),
            Append::Bad => self.stats.pes_errors += 1,
            Append::Oversized => self.stats.oversized += 1,
        }
    }

    /// Delivers the PES packet in progress, if there is one.
    fn end_pes(&mut self, index: usize, end: PesEnd<'_>, sink: &mut impl Sink) {
        let stream = &mut self.streams[index];
        let Carriage::Pes(pes) = &mut stream.carriage else { return };
        let Some((header, data, lost, short)) = pes.packet() else {
            // Begun, but not even a header: whatever it was, it is gone.
            self.stats.pes_errors += u64::from(pes.in_progress());
            return pes.done(&mut self.bytes_held);
        };
        self.stats.pes_errors += u64::from(short);
        if header.stream_id != STREAM_ID_PADDING {
            let corrupt = lost || short || (end == PesEnd::Cut && header.packet_bytes.is_none());
            let payload = PesPayload { data, pts: header.pts, dts: header.dts, aligned: header.aligned, corrupt };
            note_stream_id(&mut self.tracks, index, &header, sink);
            match &mut stream.framer {
                Some(framer) => {
                    let (shown, tracks, declared) = (&mut stream.params_version, &mut self.tracks, stream.stream_type);
                    let mut emit = |frame: Frame<'_>| deliver(frame, index, tracks, declared, shown, sink);
                    match end {
                        PesEnd::Followed(next) if !next.is_empty() => framer.push_followed(payload, next, &mut emit),
                        _ => framer.push(payload, &mut emit),
                    }
                }
                None => sink.sample(whole_payload(&self.tracks[index], payload)),
            }
        }
        pes.done(&mut self.bytes_held);
        if let Some(dropped) = stream.account_framer(&mut self.bytes_held, DEMUX_BYTES_MAX) {
            self.stats.oversized += 1;
            self.stats.add(dropped);
        }
    }

    /// Delivers everything that a track has in progress: its end, or the end of the input.
    fn finish_stream(&mut self, index: usize, sink: &mut impl Sink) {
        self.end_pes(index, PesEnd::Cut, sink);
        let stream = &mut self.streams[index];
        if let Some(framer) = &mut stream.framer {
            let shown = &mut stream.params_version;
            let (tracks, declared) = (&mut self.tracks, stream.stream_type);
            framer.flush(&mut |frame| deliver(frame, index, tracks, declared, shown, sink));
        }
        if let Some(dropped) = stream.account_framer(&mut self.bytes_held, DEMUX_BYTES_MAX) {
            self.stats.add(dropped);
        }
        match &mut stream.carriage {
            Carriage::Pes(pes) => pes.drop_packet(&mut self.bytes_held),
            Carriage::Sections(sections) => sections.reset(),
        }
    }

    /// Sections that are samples: SCTE 35.
    fn sections(&mut self, index: usize, payload: &[u8], unit_start: bool, sink: &mut impl Sink) {
        let Carriage::Sections(sections) = &mut self.streams[index].carriage else { return };
        let (track, errors) = (&self.tracks[index], &mut self.stats.psi_errors);
        let whole = sections.push(payload, unit_start, |section| {
            if section[0] != TABLE_SCTE35 {
                return;
            }
            if crc32(section) != 0 {
                *errors += 1;
                return;
            }
            let payload = PesPayload { data: section, pts: None, dts: None, aligned: true, corrupt: false };
            sink.sample(whole_payload(track, payload));
        });
        *errors += u64::from(!whole);
    }

    fn table_packet(&mut self, header: Header, adaptation: Adaptation, payload: &[u8], sink: &mut impl Sink) {
        if !header.has_payload() {
            return;
        }
        match self.program.packet(header, adaptation.discontinuity, payload, &mut self.stats.psi_errors) {
            Change::None => {}
            Change::Pids { gone } => {
                if gone {
                    self.replace_streams(Vec::new(), sink);
                    self.pcr_pid = PID_NULL;
                }
                self.route(!self.streams.is_empty());
            }
            Change::Pmt(section) => self.apply_pmt(&section, sink),
        }
    }

    /// Puts a PMT in force.
    fn apply_pmt(&mut self, section: &[u8], sink: &mut impl Sink) {
        let pmt = Section::parse(section).ok().and_then(|s| Pmt::parse(s.body));
        let Some(pmt) = pmt else {
            self.stats.psi_errors += 1;
            return;
        };
        let mut entries: Vec<(PmtStream<'_>, Codec)> = Vec::new();
        for stream in pmt.streams() {
            let known = entries.iter().any(|(s, _)| s.pid == stream.pid);
            if let Some(codec) = kind::codec(stream.stream_type, stream.descriptors, pmt.descriptors)
                && (0x10..PID_NULL).contains(&stream.pid)
                && !known
                && entries.len() < TRACKS_MAX
            {
                entries.push((stream, codec));
            }
        }
        self.pcr_pid = pmt.pcr_pid;
        self.replace_streams(entries, sink);
        self.route(true);
    }

    /// Makes the track list that of `entries`. Streams that stay keep their state, those that go are finished first.
    fn replace_streams(&mut self, entries: Vec<(PmtStream<'_>, Codec)>, sink: &mut impl Sink) {
        let stays = |s: &Stream| entries.iter().any(|(e, codec)| (e.pid, *codec) == (s.pid, s.codec));
        for index in 0..self.streams.len() {
            if !stays(&self.streams[index]) {
                self.finish_stream(index, sink);
            }
        }
        let mut old: Vec<(Stream, Track)> =
            std::mem::take(&mut self.streams).into_iter().zip(self.tracks.iter().cloned()).collect();
        let before = std::mem::take(&mut self.tracks);
        self.ids.begin();
        for (entry, codec) in entries {
            let Some(id) = self.ids.assign(entry.pid, codec.kind()) else { continue };
            let kept = old.iter().position(|(s, _)| (s.pid, s.codec) == (entry.pid, codec));
            let (mut stream, mut track) = match kept {
                Some(at) => old.swap_remove(at),
                None => (Stream::new(entry.pid, codec), new_track(id, &entry, codec)),
            };
            stream.stream_type = entry.stream_type;
            if let Some(framer) = &mut stream.framer {
                framer.set_opus_mapping(kind::opus_mapping(entry.descriptors));
            }
            describe(&mut track, &entry);
            self.streams.push(stream);
            self.tracks.push(track);
        }
        for (stream, framer) in old.iter().filter_map(|(s, _)| Some((s, s.framer.as_ref()?))) {
            self.bytes_held -= stream.framer_bytes;
            self.stats.add(framer.stats());
        }
        if self.tracks != before {
            sink.tracks(&self.tracks);
        }
    }

    /// Rebuilds the PID table. `tracks`: whether the track list is in force.
    fn route(&mut self, tracks: bool) {
        self.routes.fill(ROUTE_IGNORED);
        if tracks {
            if self.pcr_pid != PID_NULL {
                self.routes[self.pcr_pid as usize] = ROUTE_PCR;
            }
            for (route, stream) in (ROUTE_TRACKS..).zip(&self.streams) {
                self.routes[stream.pid as usize] = route;
            }
        }
        for pid in self.program.pids() {
            self.routes[pid as usize] = ROUTE_TABLE;
        }
    }
}

/// Hands one access unit out, and before it the track list when the frame's codec or parameters are new.
fn deliver(frame: Frame<'_>, index: usize, tracks: &mut [Track], declared: u8, shown: &mut u32, sink: &mut impl Sink) {
    if frame.params_version != *shown {
        *shown = frame.params_version;
        let track = &mut tracks[index];
        track.codec = frame.codec;
        track.ts.stream_type = kind::output_stream_type(frame.codec, declared);
        track.params = frame.params.cloned();
        sink.tracks(tracks);
    }
    let Frame { data, pts, dts, key, header_len, corrupt, .. } = frame;
    sink.sample(RawSample { track: tracks[index].id, pts, dts, key, header_len, corrupt, data });
}

/// A data track's sample: the payload as it is.
fn whole_payload<'a>(track: &Track, payload: PesPayload<'a>) -> RawSample<'a> {
    let PesPayload { data, pts, dts, corrupt, .. } = payload;
    RawSample { track: track.id, pts, dts, key: Key::Idr, header_len: 0, corrupt, data }
}

/// The PES header's stream_id belongs to the description; it is known with the first packet only.
fn note_stream_id(tracks: &mut [Track], index: usize, header: &PesHeader, sink: &mut impl Sink) {
    if tracks[index].ts.stream_id != header.stream_id {
        tracks[index].ts.stream_id = header.stream_id;
        sink.tracks(tracks);
    }
}

fn new_track(id: crate::es::TrackId, entry: &PmtStream<'_>, codec: Codec) -> Track {
    let stream_id = match (codec.kind(), entry.stream_type) {
        (TrackKind::Video, _) => 0xe0,
        (TrackKind::Audio, 0x03 | 0x04 | 0x0f | 0x11) => 0xc0,
        _ => STREAM_ID_PRIVATE_1,
    };
    let ts = TsStream { pid: entry.pid, stream_type: 0, descriptors: Bytes::new(), stream_id };
    Track { id, codec, language: None, role: AudioRole::Main, ts, params: None }
}

/// Takes over what the PMT says of a track.
fn describe(track: &mut Track, entry: &PmtStream<'_>) {
    track.language = kind::language(entry.descriptors);
    track.role = match track.kind() {
        TrackKind::Audio => kind::audio_role(entry.descriptors),
        _ => AudioRole::Main,
    };
    track.ts.stream_type = kind::output_stream_type(track.codec, entry.stream_type);
    if track.ts.descriptors != entry.descriptors {
        track.ts.descriptors = Bytes::copy_from_slice(entry.descriptors);
    }
}
