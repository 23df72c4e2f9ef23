//! Opus (RFC 6716) as MPEG-TS carries it: the control header in front of every access unit, and the channel configuration of the PMT
//! (the "Opus in MPEG-TS" mapping, ETSI TS draft 0.1.3, sections 4.2 and 4.3; what FFmpeg, GStreamer and MediaMTX write).
//!
//! A sample is one access unit with its control header, of [`crate::es::SampleMeta::header_len`] bytes, so that TS to TS is byte-exact;
//! behind it stands the Opus packet as ISO media and WebM want it.
//!
//! PreSkip of the `dOps` box is 0: a live stream is joined when the encoder's delay has long passed, and the mapping's time stamps are those
//! of the first sample that comes out of the decoder. Trims in the control header (the first packets of a file, and its last) are left to
//! decoders that read it.
//! What it deliberately does not do: decode, or look into the streams of a multistream packet behind the first one's TOC.

use super::bits::{BitReader, BitWriter};
use super::framer::audio::{Probe, SyncFrame};
use super::{AudioParams, Codec};
use bytes::Bytes;

/// Opus counts its time at this rate, whatever was encoded, Hz.
pub const SAMPLE_RATE: u32 = 48_000;
/// Longest packet: 120 ms (RFC 6716 3.2.5).
const PACKET_SAMPLES_MAX: u32 = SAMPLE_RATE * 120 / 1_000;
/// [`SyncFrame::tag`] of every access unit.
const TAG: u32 = 0x3ff;
/// channel_mapping_family of one stream, mono or stereo (RFC 7845 5.1.1.1).
const FAMILY_ONE_STREAM: u8 = 0;
/// Vorbis channel order, up to 7.1 (RFC 7845 5.1.1.2).
const FAMILY_VORBIS: u8 = 1;
/// Channels without meaning (RFC 7845 5.1.1.3).
const FAMILY_DISCRETE: u8 = 255;
/// channel_config_code that is followed by a mapping of its own.
const CONFIG_EXPLICIT: u8 = 0x81;

/// Looks for a control header at the start of `data`, which begins with 0x7f: control_header_prefix (11 bits, 0x3ff), start_trim_flag,
/// end_trim_flag, control_extension_flag, 2 reserved bits, au_size, trims and extension.
pub fn probe(data: &[u8]) -> Probe {
    let Some(&[first, second]) = data.first_chunk() else { return Probe::Short };
    if (first, second & 0xe0) != (0x7f, 0xe0) {
        return Probe::Bad;
    }
    let Some((header_bytes, au_bytes)) = control_header(second, data) else { return Probe::Short };
    let Ok(header_len) = u8::try_from(header_bytes) else { return Probe::Bad };
    let Some(toc) = data.get(header_bytes..header_bytes + 2.min(au_bytes)) else { return Probe::Short };
    let Some(samples) = packet_samples(toc) else { return Probe::Bad };
    Probe::Frame(SyncFrame {
        codec: Codec::Opus,
        len: header_bytes + au_bytes,
        header_len,
        samples,
        sample_rate: SAMPLE_RATE,
        tag: TAG,
        config: samples as u64,
        extends: false,
    })
}

/// Bytes of the control header and of the access unit behind it; `None` when `data` ends in the header. `flags`: its second byte. A header
/// longer than [`crate::es::SampleMeta::header_len`] can say is not read to its end.
fn control_header(flags: u8, data: &[u8]) -> Option<(usize, usize)> {
    let (mut position, mut au_bytes) = (2, 0);
    while position <= u8::MAX as usize {
        let part = *data.get(position)? as usize;
        position += 1;
        au_bytes += part;
        if part != 0xff {
            break;
        }
    }
    position += 2 * (flags >> 4 & 1) as usize; // start_trim: 3 reserved bits, 13 bits
    position += 2 * (flags >> 3 & 1) as usize; // end_trim
    if flags >> 2 & 1 == 1 {
        position += 1 + *data.get(position)? as usize; // control_extension_length and its bytes
    }
    Some((position, au_bytes))
}

/// Appends the control header of an access unit of `au_bytes`, without trims.
pub fn write_control_header(au_bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x7f, 0xe0]);
    out.extend(std::iter::repeat_n(0xff, au_bytes / 255));
    out.push((au_bytes % 255) as u8);
}

/// PCM samples at 48 kHz of an Opus packet without its control header; of a multistream packet, those of its first stream, which the others
/// equal. `None` for an empty packet, one of no frames, and one over 120 ms (RFC 6716 3.1, 3.2).
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => *packet.get(1)? as u32 & 0x3f,
    };
    let samples = frames * frame_samples(toc >> 3);
    (samples > 0 && samples <= PACKET_SAMPLES_MAX).then_some(samples)
}

/// PCM samples of one frame by the TOC's configuration number (RFC 6716 table 2): SILK of 10 to 60 ms, hybrid of 10 or 20 ms, CELT of 2.5 to
/// 20 ms.
fn frame_samples(config: u8) -> u32 {
    const MS: u32 = SAMPLE_RATE / 1_000;
    match config {
        0..12 => [10, 20, 40, 60][config as usize % 4] * MS,
        12..16 => [10, 20][config as usize % 2] * MS,
        _ => (5 << (config % 4)) * MS / 2,
    }
}

/// How the streams of a packet become channels: channel_config_code of the PMT's opus_audio_descriptor, or a mapping of a file or encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelMapping {
    /// OutputChannelCount, 1 ..= 255.
    pub channels: u8,
    /// ChannelMappingFamily of RFC 7845 5.1.1.
    pub family: u8,
    /// Opus streams of a packet, and how many of them, the first ones, are stereo.
    pub streams: u8,
    pub coupled: u8,
    /// Stream channel of each output channel, `channels` entries; 255 is silence. Empty for family 0.
    pub mapping: Vec<u8>,
}

impl Default for ChannelMapping {
    /// Stereo in one stream, which a decoder also makes of mono.
    fn default() -> Self {
        ChannelMapping { channels: 2, family: FAMILY_ONE_STREAM, streams: 1, coupled: 1, mapping: Vec::new() }
    }
}

impl ChannelMapping {
    /// From the opus_audio_descriptor (an extension descriptor, 0x7f, of descriptor_tag_extension 0x80) behind its
    /// descriptor_tag_extension. `None` when it is cut short or reserved.
    pub fn of_descriptor(body: &[u8]) -> Option<ChannelMapping> {
        match *body.first()? {
            0 => Some(ChannelMapping { family: FAMILY_DISCRETE, mapping: vec![0, 1], ..ChannelMapping::default() }), // dual mono
            channels @ 1..=2 => Some(ChannelMapping { channels, coupled: channels - 1, ..ChannelMapping::default() }),
            channels @ 3..=8 => Some(ChannelMapping::vorbis(channels)),
            CONFIG_EXPLICIT => ChannelMapping::explicit(body.get(1..)?),
            // 0x82 to 0x88: so many streams of one channel each.
            code @ 0x82..=0x88 => Some(ChannelMapping {
                channels: code & 0x0f,
                family: FAMILY_DISCRETE,
                streams: code & 0x0f,
                coupled: 0,
                mapping: (0..code & 0x0f).collect(),
            }),
            _ => None,
        }
    }

    /// The streams that encoders make of 3 to 8 channels in Vorbis order (RFC 7845 5.1.1.2).
    fn vorbis(channels: u8) -> ChannelMapping {
        let (streams, coupled, mapping): (u8, u8, &[u8]) = match channels {
            ..=3 => (2, 1, &[0, 2, 1]),
            4 => (2, 2, &[0, 1, 2, 3]),
            5 => (3, 2, &[0, 4, 1, 2, 3]),
            6 => (4, 2, &[0, 4, 1, 2, 3, 5]),
            7 => (4, 3, &[0, 4, 1, 2, 3, 5, 6]),
            _ => (5, 3, &[0, 6, 1, 2, 3, 4, 5, 7]),
        };
        ChannelMapping { channels, family: FAMILY_VORBIS, streams, coupled, mapping: mapping.to_vec() }
    }

    /// channel_count, mapping_family, and then in just enough bits each: stream_count_minus_one, coupled_stream_count and the mapping.
    fn explicit(bytes: &[u8]) -> Option<ChannelMapping> {
        let mut bits = BitReader::new(bytes);
        let channels = bits.bits(8).filter(|&count| count > 0)? as u8;
        let family = bits.bits(8)? as u8;
        if family == FAMILY_ONE_STREAM {
            return (channels <= 2).then(|| ChannelMapping {
                channels,
                coupled: channels - 1,
                ..ChannelMapping::default()
            });
        }
        let streams = bits.bits(bits_for(channels as u32))? + 1;
        let coupled = bits.bits(bits_for(streams + 1))?;
        let mapping: Option<Vec<u8>> =
            (0..channels).map(|_| bits.bits(bits_for(streams + coupled + 1)).map(|index| index as u8)).collect();
        // The last value of the field stands for silence, which is 255 in ISO media.
        let mapping = mapping?.into_iter().map(|index| if index as u32 == streams + coupled { 255 } else { index });
        let fits = coupled <= streams && streams + coupled <= 255;
        fits.then(|| ChannelMapping {
            channels,
            family,
            streams: streams as u8,
            coupled: coupled as u8,
            mapping: mapping.collect(),
        })
    }

    /// The body of OpusSpecificBox (`dOps`, "Encapsulation of Opus in ISO Base Media File Format" 4.3.2), 11 bytes and the mapping table.
    pub fn dops(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(13 + self.mapping.len());
        let mut bits = BitWriter::new(&mut bytes);
        bits.bits(0, 8); // Version
        bits.bits(self.channels as u32, 8); // OutputChannelCount
        bits.bits(0, 16); // PreSkip
        bits.bits(SAMPLE_RATE, 32); // InputSampleRate, for information
        bits.bits(0, 16); // OutputGain
        bits.bits(self.family as u32, 8); // ChannelMappingFamily
        if self.family != FAMILY_ONE_STREAM {
            bits.bits(self.streams as u32, 8); // StreamCount
            bits.bits(self.coupled as u32, 8); // CoupledCount
            self.mapping.iter().for_each(|&index| bits.bits(index as u32, 8));
        }
        Bytes::from(bytes)
    }

    /// Parameters of a packet without its control header.
    pub fn params(&self, packet: &[u8]) -> Option<AudioParams> {
        Some(AudioParams {
            sample_rate: SAMPLE_RATE,
            channels: self.channels,
            frame_samples: packet_samples(packet)?,
            // Players compare it without case or know this one alone; RFC 7845 and the sample entry say `Opus`.
            rfc6381: "opus".to_owned(),
            config: self.dops(),
        })
    }
}

/// ceil(log2(`values`)): bits of a field that tells so many values apart.
fn bits_for(values: u32) -> u32 {
    values.next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::framer::{Frame, Framer, PesPayload};
    use crate::time::Ts33;
    use proptest::prelude::*;

    /// A control header of no flags, and an access unit of 20 ms CELT, fullband (config 31), one frame, mono.
    fn unit(bytes: usize) -> Vec<u8> {
        let mut unit = vec![0x7f, 0xe0];
        unit.extend(std::iter::repeat_n(0xff, bytes / 255));
        unit.push((bytes % 255) as u8);
        unit.push(31 << 3);
        unit.resize(unit.len() + bytes - 1, 0x55);
        unit
    }

    fn frame(data: &[u8]) -> Option<SyncFrame> {
        match probe(data) {
            Probe::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    #[test]
    fn control_headers() {
        let found = frame(&unit(300)).unwrap();
        assert_eq!((found.header_len, found.len, found.samples), (4, 304, 960));
        // start_trim, end_trim and control_extension; au_size 2; trims 312 and 1; 1 byte of extension; config 3 (60 ms), two frames
        let all = [0x7f, 0xfc, 2, 1, 0x38, 0, 1, 1, 0xaa, 3 << 3 | 1, 0];
        let found = frame(&all).unwrap();
        assert_eq!((found.header_len, found.len, found.samples), (9, 11, 5_760));
        for end in 0..all.len() - 1 {
            assert!(matches!(probe(&all[..end]), Probe::Short), "{end} bytes");
        }
        assert_eq!(frame(&[0x7f, 0xc0, 1, 0]), None, "prefix");
        assert_eq!(frame(&[0x7f, 0xe0, 0, 0x7f, 0xe0]), None, "an empty access unit");
        let endless = [&[0x7f, 0xe0][..], &[0xff; 254]].concat();
        assert!(matches!((probe(&endless[..255]), probe(&endless)), (Probe::Short, Probe::Bad)), "a size without end");
    }

    #[test]
    fn durations_of_rfc_6716_table_2() {
        // SILK 10, 20, 40, 60 ms; hybrid 10, 20; CELT 2.5, 5, 10, 20; then codes 1, 2 and 3 with 6 frames, and with 0 and too many
        let toc = |config: u8, code: u8| [config << 3 | code, 6];
        let ms = [
            (0, 480),
            (1, 960),
            (2, 1_920),
            (7, 2_880),
            (12, 480),
            (15, 960),
            (16, 120),
            (29, 240),
            (30, 480),
            (31, 960),
        ];
        for (config, samples) in ms {
            assert_eq!(packet_samples(&toc(config, 0)), Some(samples), "config {config}");
        }
        assert_eq!(packet_samples(&toc(2, 1)), Some(3_840));
        assert_eq!(packet_samples(&toc(2, 2)), Some(3_840));
        assert_eq!(packet_samples(&toc(31, 3)), Some(5_760));
        assert_eq!(packet_samples(&[31 << 3 | 3, 0x80]), None, "no frames");
        assert_eq!(packet_samples(&toc(2, 3)), None, "240 ms");
        assert_eq!(packet_samples(&[31 << 3 | 3]), None);
        assert_eq!(packet_samples(&[]), None);
    }

    #[test]
    fn channel_configurations() {
        let stereo = ChannelMapping::of_descriptor(&[2]).unwrap();
        assert_eq!(stereo, ChannelMapping::default());
        // Version 0, 2 channels, PreSkip 0, 48000 Hz, OutputGain 0, family 0
        assert_eq!(stereo.dops()[..], [0, 2, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0]);
        let surround = ChannelMapping::of_descriptor(&[6]).unwrap();
        // ... family 1, 4 streams of which 2 coupled, L C R Ls Rs LFE
        assert_eq!(surround.dops()[..], [0, 6, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5]);
        let dual_mono = ChannelMapping::of_descriptor(&[0]).unwrap();
        assert_eq!((dual_mono.channels, dual_mono.family, dual_mono.coupled), (2, 255, 1));
        assert_eq!(ChannelMapping::of_descriptor(&[0x83]).unwrap().mapping, [0, 1, 2]);
        // 4 channels, family 255; 2 bits: 2 streams (01); 2 bits: 1 coupled (01); 2 bits each of 0 to 2 and silence (11): 0, 1, 2, silence
        let explicit = ChannelMapping::of_descriptor(&[0x81, 4, 255, 0b0101_0001, 0b1011_0000]).unwrap();
        assert_eq!((explicit.streams, explicit.coupled, &explicit.mapping[..]), (2, 1, &[0, 1, 2, 255][..]));
        for bad in [&[][..], &[9], &[0x81], &[0x81, 0, 0], &[0x81, 3, 0], &[0x81, 4, 255, 0b0111_0001, 0xff], &[0x89]] {
            assert_eq!(ChannelMapping::of_descriptor(bad), None, "{bad:02x?}");
        }
    }

    #[test]
    fn access_units_that_share_a_pes_packet_are_counted_on() {
        let (mut framer, mut found) = (Framer::new(Codec::Opus), Vec::new());
        framer.set_opus_mapping(ChannelMapping::of_descriptor(&[1]));
        let mut emit = |frame: Frame<'_>| {
            let channels = frame.params.map(|params| match params {
                crate::es::Params::Audio(audio) => (audio.channels, audio.frame_samples),
                crate::es::Params::Video(_) => panic!("audio"),
            });
            found.push((frame.data.len(), frame.pts.map(Ts33::ticks), frame.header_len, channels));
        };
        let pts = Some(Ts33::new(900));
        let data = [unit(10), unit(260), unit(20)].concat();
        framer.push(PesPayload { data: &data, pts, dts: pts, aligned: true, corrupt: false }, &mut emit);
        framer.flush(&mut emit);
        let expected = [(13, 900, 3), (264, 2_700, 4), (23, 4_500, 3)];
        assert_eq!(found, expected.map(|(len, pts, header)| (len, Some(pts), header, Some((1, 960)))));
    }

    proptest! {
        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..64), descriptor in proptest::collection::vec(any::<u8>(), 0..40)) {
            let headed = [&[0x7f, 0xe0 | data.len() as u8 & 0x1f][..], &data].concat();
            if let Some(found) = frame(&headed) {
                prop_assert!(found.len > found.header_len as usize && found.samples <= PACKET_SAMPLES_MAX);
            }
            packet_samples(&data);
            if let Some(mapping) = ChannelMapping::of_descriptor(&descriptor) {
                prop_assert!(mapping.dops().len() >= 11 && mapping.params(&[31 << 3]).is_some());
            }
        }
    }
}
