//! Writes the synthetic transport stream (ISO/IEC 13818-1): packets, PAT and PMT, PES packets, PCR.
//!
//! Continuity counters come from counting what lies before, so any GOP can be written alone and follows on the one before it. The PCR
//! stands on each picture at its due time, and DTS are 200 ms behind it.
//!
//! What it deliberately does not do: null packets, constant bitrate, B-pictures (PTS alone is sent, DTS equals it).

use super::PesForm;
use super::access_unit::{AUDIO_FRAME_BYTES, AUDIO_FRAME_SAMPLES, AUDIO_HZ, FRAME_US, GOP_FRAMES, PSI_FRAMES};
use super::access_unit::{Source, audio_frames_before};

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 188;

const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
const VIDEO_STREAM_ID: u8 = 0xe0;
const AUDIO_STREAM_ID: u8 = 0xc0;
/// Offset of PES_packet_length in a PES packet.
const PES_LENGTH_AT: usize = 4;
/// program_number 1, PMT_PID.
const PAT_BODY: [u8; 4] = [0, 1, 0xf0, 0x00];
const PMT_BODY: [u8; 14] = [
    0xe1, 0x00, 0xf0, 0x00, // PCR_PID, program_info_length
    0x1b, 0xe1, 0x00, 0xf0, 0x00, // H.264
    0x0f, 0xe1, 0x01, 0xf0, 0x00, // AAC in ADTS
];
/// PCR of media time 0, 90 kHz.
const START_TICKS: u64 = 90_000;
/// DTS minus PCR, 90 kHz.
const LEAD_TICKS: u64 = 18_000;
/// The picture of a GOP that [`without_a_packet`] takes a packet from.
const DAMAGED_FRAME: u64 = GOP_FRAMES / 2;

/// What is sent at one time: an access unit with the tables before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// When it is due, microseconds of media time.
    pub due_us: u64,
    /// When the byte is due that tells a demultiplexer that the access unit is complete, microseconds of media time: its own last byte, or the first
    /// of the next picture where PES_packet_length is 0.
    pub completed_us: u64,
    /// Whole packets.
    pub bytes: Vec<u8>,
}

/// GOP `gop` of the stream: its access units, pictures and audio, in the order of their due times.
pub fn gop(source: &Source, form: PesForm, gop: u64) -> Vec<Unit> {
    let first = gop * GOP_FRAMES;
    let mut writer = Writer::at_gop(source, form, gop);
    let mut units = Vec::new();
    for frame in first..first + GOP_FRAMES {
        units.push(writer.picture(source, frame));
        let audio = audio_frames_before(frame)..audio_frames_before(frame + 1);
        units.extend(audio.map(|index| writer.audio_frame(source, index)));
    }
    units
}

/// The same with the last packet of the middle picture missing.
pub fn without_a_packet(mut units: Vec<Unit>) -> Vec<Unit> {
    let due_us = units.first().map_or(0, |unit| unit.due_us) + DAMAGED_FRAME * FRAME_US;
    // The picture comes before an AAC frame of the same time.
    if let Some(picture) = units.iter_mut().find(|unit| unit.due_us == due_us) {
        picture.bytes.truncate(picture.bytes.len() - PACKET_BYTES);
    }
    units
}

/// Writes packets with counters that go on.
struct Writer {
    form: PesForm,
    bytes: Vec<u8>,
    /// Counters of the next packets: tables (PAT and PMT alike), video, audio.
    psi_counter: u8,
    video_counter: u8,
    audio_counter: u8,
}

/// The adaptation field of a picture's first packet.
struct Adaptation {
    random_access: bool,
    /// 90 kHz
    pcr: u64,
}

impl Writer {
    fn at_gop(source: &Source, form: PesForm, gop: u64) -> Self {
        Writer {
            form,
            bytes: Vec::new(),
            psi_counter: (gop * (GOP_FRAMES / PSI_FRAMES)) as u8 & 15,
            video_counter: (gop * source.gop_packets()) as u8 & 15,
            audio_counter: audio_frames_before(gop * GOP_FRAMES) as u8 & 15,
        }
    }

    fn picture(&mut self, source: &Source, frame: u64) -> Unit {
        if frame.is_multiple_of(PSI_FRAMES) {
            self.psi();
        }
        let picture = source.picture(frame);
        let pcr = START_TICKS + frame * FRAME_US * 9 / 100;
        let mut payload = self.form.pes(VIDEO_STREAM_ID, pcr + LEAD_TICKS, &picture.annex_b());
        let is_bounded = payload[PES_LENGTH_AT..PES_LENGTH_AT + 2] != [0, 0];
        let mut field = Adaptation { random_access: picture.is_key, pcr }.bytes();
        while !payload.is_empty() {
            let rest = payload.split_off(payload.len().min(184 - field.len()));
            packet(&mut self.bytes, VIDEO_PID, !field.is_empty(), &mut self.video_counter, &field, &payload);
            (payload, field) = (rest, Vec::new());
        }
        let due_us = frame * FRAME_US;
        self.unit(due_us, if is_bounded { due_us } else { due_us + FRAME_US })
    }

    fn audio_frame(&mut self, source: &Source, index: u64) -> Unit {
        let ticks = index * AUDIO_FRAME_SAMPLES * 90_000 / AUDIO_HZ;
        let mut adts = adts_header().to_vec();
        adts.extend(source.audio_frame(index));
        let payload = self.form.pes(AUDIO_STREAM_ID, START_TICKS + LEAD_TICKS + ticks, &adts);
        packet(&mut self.bytes, AUDIO_PID, true, &mut self.audio_counter, &[], &payload);
        let due_us = index * AUDIO_FRAME_SAMPLES * 1_000_000 / AUDIO_HZ;
        self.unit(due_us, due_us)
    }

    fn psi(&mut self) {
        for (pid, table_id, body) in [(0, 0, PAT_BODY.as_slice()), (PMT_PID, 2, &PMT_BODY)] {
            let mut counter = self.psi_counter;
            packet(&mut self.bytes, pid, true, &mut counter, &[], &section(table_id, body));
        }
        self.psi_counter = (self.psi_counter + 1) & 15;
    }

    fn unit(&mut self, due_us: u64, completed_us: u64) -> Unit {
        Unit { due_us, completed_us, bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Adaptation {
    /// The whole field with its length.
    fn bytes(&self) -> Vec<u8> {
        let [.., a, b, c, d] = (self.pcr >> 1).to_be_bytes();
        // adaptation_field_length, flags with PCR_flag, PCR base of 33 bits, six reserved bits, extension 0
        vec![7, u8::from(self.random_access) << 6 | 0x10, a, b, c, d, (self.pcr as u8 & 1) << 7 | 0x7e, 0]
    }
}

/// One packet; field and payload must fill it.
fn packet(bytes: &mut Vec<u8>, pid: u16, unit_start: bool, counter: &mut u8, field: &[u8], payload: &[u8]) {
    assert_eq!(field.len() + payload.len(), PACKET_BYTES - 4, "all sizes are made to fill packets");
    let control = if field.is_empty() { 0x10 } else { 0x30 };
    bytes.extend([0x47, u8::from(unit_start) << 6 | (pid >> 8) as u8, pid as u8, control | *counter]);
    bytes.extend_from_slice(field);
    bytes.extend_from_slice(payload);
    *counter = (*counter + 1) & 15;
}

/// pointer_field and a section that fill a packet.
fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    // pointer_field, table_id, section_length, id 1, version 0 and current_next_indicator, section_number, last_section_number
    let mut bytes = vec![0, table_id, 0xb0, body.len() as u8 + 9, 0, 1, 0xc1, 0, 0];
    bytes.extend_from_slice(body);
    let crc = crc_32(&bytes[1..]);
    bytes.extend(crc.to_be_bytes());
    bytes.resize(PACKET_BYTES - 4, 0xff);
    bytes
}

/// CRC_32 of Annex A.
fn crc_32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
    bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, shift))
}

impl PesForm {
    /// A PES packet with PTS alone; PES_packet_length is 0 where it does not fit, which 2.4.3.7 allows for video.
    fn pes(self, stream_id: u8, pts: u64, payload: &[u8]) -> Vec<u8> {
        let is_unbounded = self == PesForm::Unbounded && stream_id == VIDEO_STREAM_ID;
        let length = if is_unbounded { 0 } else { u16::try_from(payload.len() + 8).unwrap_or(0) };
        let [length_high, length_low] = length.to_be_bytes();
        let data_alignment_indicator = u8::from(self == PesForm::Aligned) << 2;
        let bits = |shift: u32| (pts >> shift) as u8;
        // packet_start_code_prefix, stream_id, length, marker and flags, PTS_DTS_flags 2, header length
        let flags = 0x80 | data_alignment_indicator;
        let mut bytes = vec![0, 0, 1, stream_id, length_high, length_low, flags, 0x80, 5];
        // prefix 2, then 3, 15 and 15 bits of the PTS, each with a marker bit
        bytes.extend([0x20 | (bits(30) & 7) << 1 | 1, bits(22), bits(14) | 1, bits(7), bits(0) << 1 | 1]);
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// adts_fixed_header and adts_variable_header: AAC-LC, 48 kHz, stereo, no CRC, buffer fullness "variable", one frame.
fn adts_header() -> [u8; 7] {
    let length = 7 + AUDIO_FRAME_BYTES;
    [0xff, 0xf1, 0x4c, 0x80 | (length >> 11) as u8, (length >> 3) as u8, (length << 5) as u8 | 0x1f, 0xfc]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tscheck::{Checker, Report, Rule};

    fn check(units: &[Unit]) -> Report {
        let mut checker = Checker::new();
        units.iter().for_each(|unit| checker.push(&unit.bytes));
        checker.finish_whole()
    }

    #[test]
    fn gops_are_clean_alone_and_in_a_row_at_any_bitrate() {
        for kbps in [200, 997, 1_000, 20_000] {
            let source = Source::new(1, kbps, 0);
            let gops: Vec<Vec<Unit>> = (11..17).map(|n| gop(&source, PesForm::Unmarked, n)).collect();
            for units in &gops {
                assert!(check(units).is_clean(), "{}", check(units));
            }
            let report = check(&gops.concat());
            assert!(report.is_clean(), "{report}");
            let bits = report.packets * 188 * 8;
            assert!(bits.abs_diff(u64::from(kbps) * 12_000) < 16_000, "{bits} bits in 12 s for {kbps} kb/s");
        }
    }

    #[test]
    fn units_are_in_the_order_of_their_times_and_pictures_carry_the_wall_clock() {
        let units = gop(&Source::new(1, 1_000, 5_000_000_000), PesForm::Unmarked, 3);
        assert!(units.windows(2).all(|pair| pair[0].due_us <= pair[1].due_us));
        assert_eq!(units.len(), 50 + 93);
        let stamps: Vec<u64> = units.iter().filter_map(|unit| super::super::made_us(&unit.bytes)).collect();
        assert_eq!(stamps, (150..200).map(|frame| 5_000_000_000 + frame * 40_000).collect::<Vec<u64>>());
    }

    #[test]
    fn a_picture_is_complete_with_its_last_byte_where_its_length_is_told() {
        // Key pictures of 3 Mb/s are longer than PES_packet_length can tell, those of 1 Mb/s are not.
        for (kbps, form, unbounded) in
            [(1_000, PesForm::Aligned, 0), (3_000, PesForm::Aligned, 1), (1_000, PesForm::Unbounded, 50)]
        {
            let units = gop(&Source::new(1, kbps, 0), form, 3);
            let late: Vec<u64> =
                units.iter().map(|unit| unit.completed_us - unit.due_us).filter(|us| *us > 0).collect();
            assert_eq!(late, vec![FRAME_US; unbounded], "{kbps} kb/s {form:?}");
            assert!(check(&units).is_clean(), "{}", check(&units));
        }
    }

    #[test]
    fn a_missing_packet_breaks_the_count_once() {
        let report = check(&without_a_packet(gop(&Source::new(1, 1_000, 0), PesForm::Unmarked, 3)));
        assert_eq!(report.violation_counts.get(&Rule::ContinuityCounter), Some(&1), "{report}");
    }

    #[test]
    fn the_clock_goes_on_over_the_33_bit_wrap() {
        // 95443 s
        let source = Source::new(1, 1_000, 0);
        let report = check(&(47_719..47_723).flat_map(|n| gop(&source, PesForm::Unmarked, n)).collect::<Vec<Unit>>());
        assert!(report.is_clean(), "{report}");
    }
}
