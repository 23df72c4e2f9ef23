//! AAC in LOAS/LATM (ISO/IEC 14496-3 1.7: AudioSyncStream, AudioMuxElement, StreamMuxConfig), rewritten to ADTS frames.
//!
//! Supported is what broadcasters send: one programme, one layer, an audio object type that ADTS can carry (1 to 4, also
//! below an explicit SBR or PS), 1,024-sample frames and a channel configuration of 1 to 7.
//! What it deliberately does not do: everything else is counted and left out.

use super::Codec;
use super::aac::{AdtsConfig, SAMPLE_RATES};
use super::bits::BitReader;
use super::framer::audio::{Probe, SyncFrame};

/// Bytes of an AudioSyncStream header.
const HEADER_BYTES: usize = 3;
/// audioObjectTypes that only wrap another: SBR and PS.
const WRAPPERS: [u32; 2] = [5, 29];

/// Looks for an AudioSyncStream at the start of `data`, which begins with 0x56: 11 bits of 0x2b7, 13 bits of length.
pub fn probe(data: &[u8]) -> Probe {
    let Some(&[_, second, third]) = data.first_chunk::<HEADER_BYTES>() else { return Probe::Short };
    let payload = (second as usize & 0x1f) << 8 | third as usize;
    if second & 0xe0 != 0xe0 || payload == 0 {
        return Probe::Bad;
    }
    Probe::Frame(SyncFrame {
        codec: Codec::Aac,
        len: HEADER_BYTES + payload,
        header_len: 0,
        samples: 0,
        sample_rate: 0,
        tag: TAG,
        config: 0,
        extends: false,
    })
}

/// [`SyncFrame::tag`] of every AudioSyncStream.
pub const TAG: u32 = 0x2b7;

/// StreamMuxConfig in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MuxConfig {
    adts: AdtsConfig,
    /// numSubFrames: raw data blocks of one AudioMuxElement.
    sub_frames: u32,
}

/// Rewrites one LATM stream.
#[derive(Debug, Default)]
pub struct Latm {
    config: Option<MuxConfig>,
}

impl Latm {
    /// Replaces `adts` by the ADTS frames of one AudioSyncStream, header included.
    /// `None` when there is no configuration yet, or none that ADTS can carry; `adts` then holds what came before the error.
    pub fn rewrite(&mut self, sync_stream: &[u8], adts: &mut Vec<u8>) -> Option<()> {
        adts.clear();
        let mut bits = BitReader::new(sync_stream.get(HEADER_BYTES..)?);
        if !bits.flag()? {
            // useSameStreamMux 0: the configuration is here. An unsupported one must not leave an older one in force.
            self.config = None;
            self.config = Some(MuxConfig::parse(&mut bits)?);
        }
        let config = self.config?;
        for _ in 0..config.sub_frames {
            let len = payload_length(&mut bits)?;
            if bits.left() < len * 8 || !config.adts.write_adts_header(len, adts) {
                return None;
            }
            copy_bytes(&mut bits, len, adts)?;
        }
        Some(())
    }

    /// Forgets the configuration.
    pub fn reset(&mut self) {
        self.config = None;
    }
}

impl MuxConfig {
    /// StreamMuxConfig (1.7.3.1).
    fn parse(bits: &mut BitReader<'_>) -> Option<MuxConfig> {
        let version_1 = bits.flag()?;
        if version_1 && bits.flag()? {
            return None; // audioMuxVersionA 1 is reserved
        }
        if version_1 {
            latm_value(bits)?; // taraBufferFullness
        }
        let same_time_framing = bits.flag()?;
        let sub_frames = bits.bits(6)? + 1;
        let (programs, layers) = (bits.bits(4)?, bits.bits(3)?);
        if !same_time_framing || programs > 0 || layers > 0 {
            return None;
        }
        let adts = if version_1 {
            let asc_bits = latm_value(bits)? as usize;
            let start = bits.position();
            let adts = audio_specific_config(bits)?;
            bits.skip(asc_bits.checked_sub(bits.position() - start)?)?;
            adts
        } else {
            audio_specific_config(bits)?
        };
        if bits.bits(3)? != 0 {
            return None; // frameLengthType: only variable length
        }
        bits.skip(8)?; // latmBufferFullness
        skip_other_data(bits, version_1)?;
        if bits.flag()? {
            bits.skip(8)?; // crcCheckSum
        }
        Some(MuxConfig { adts, sub_frames })
    }
}

/// otherDataPresent and its length.
fn skip_other_data(bits: &mut BitReader<'_>, version_1: bool) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    if version_1 {
        latm_value(bits)?;
        return Some(());
    }
    while bits.flag()? {
        bits.skip(8)?;
    }
    bits.skip(8)
}

/// AudioSpecificConfig (1.6.2.1) with GASpecificConfig (4.4.1); `None` when ADTS cannot say it.
fn audio_specific_config(bits: &mut BitReader<'_>) -> Option<AdtsConfig> {
    let mut object_type = audio_object_type(bits)?;
    let rate_index = rate_index(bits)?;
    let channels = bits.bits(4)?;
    if WRAPPERS.contains(&object_type) {
        self::rate_index(bits)?; // extensionSamplingFrequencyIndex
        object_type = audio_object_type(bits)?;
    }
    let short_frames = bits.flag()?;
    if bits.flag()? {
        bits.skip(14)?; // coreCoderDelay
    }
    let extension = bits.flag()?;
    let fits = (1..=4).contains(&object_type) && (1..=7).contains(&channels) && !short_frames && !extension;
    fits.then_some(AdtsConfig {
        audio_object_type: object_type as u8,
        rate_index: rate_index?,
        channels: channels as u8,
    })
}

fn audio_object_type(bits: &mut BitReader<'_>) -> Option<u32> {
    match bits.bits(5)? {
        31 => Some(32 + bits.bits(6)?),
        object_type => Some(object_type),
    }
}

/// samplingFrequencyIndex, also for an explicit rate that the table has. The inner `None`: a rate that it has not.
fn rate_index(bits: &mut BitReader<'_>) -> Option<Option<u8>> {
    let index = match bits.bits(4)? {
        15 => {
            let rate = bits.bits(24)?;
            SAMPLE_RATES.iter().position(|&known| known == rate)
        }
        index => Some(index as usize).filter(|&index| index < SAMPLE_RATES.len()),
    };
    Some(index.map(|index| index as u8))
}

/// LatmGetValue (1.7.3.1).
fn latm_value(bits: &mut BitReader<'_>) -> Option<u32> {
    let bytes = bits.bits(2)? + 1;
    bits.bits(bytes * 8)
}

/// PayloadLengthInfo for one layer of variable length, bytes.
fn payload_length(bits: &mut BitReader<'_>) -> Option<usize> {
    let mut len = 0;
    loop {
        let part = bits.bits(8)? as usize;
        len += part;
        if part != 255 {
            return Some(len);
        }
    }
}

/// Appends `len` bytes from any bit position.
fn copy_bytes(bits: &mut BitReader<'_>, len: usize, out: &mut Vec<u8>) -> Option<()> {
    for _ in 0..len {
        out.push(bits.bits(8)? as u8);
    }
    Some(())
}

/// An AudioSyncStream with its own configuration (LC, stereo, `rate_index`) around raw data blocks, for tests.
#[cfg(test)]
pub fn sync_stream(rate_index: u32, blocks: &[&[u8]]) -> Vec<u8> {
    let mut element = Vec::new();
    let mut bits = super::bits::BitWriter::new(&mut element);
    bits.bits(0, 1); // useSameStreamMux
    bits.bits(0, 1); // audioMuxVersion
    bits.bits(1, 1); // allStreamsSameTimeFraming
    bits.bits(blocks.len() as u32 - 1, 6);
    bits.bits(0, 4 + 3); // numProgram, numLayer
    bits.bits(2, 5); // AAC LC
    bits.bits(rate_index, 4);
    bits.bits(2, 4); // stereo
    bits.bits(0, 3); // GASpecificConfig
    bits.bits(0, 3); // frameLengthType
    bits.bits(0xff, 8); // latmBufferFullness
    bits.bits(0, 1 + 1); // otherDataPresent, crcCheckPresent
    for block in blocks {
        let mut left = block.len() as u32;
        while left >= 255 {
            bits.bits(255, 8);
            left -= 255;
        }
        bits.bits(left, 8);
        for &byte in *block {
            bits.bits(byte as u32, 8);
        }
    }
    let mut stream = vec![0x56, 0xe0 | (element.len() >> 8) as u8, element.len() as u8];
    stream.extend_from_slice(&element);
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sub_frames_become_two_adts_frames() {
        let stream = sync_stream(3, &[&[1, 2, 3], &[7; 300]]);
        let (mut latm, mut adts) = (Latm::default(), Vec::new());
        assert_eq!(latm.rewrite(&stream, &mut adts), Some(()));
        assert_eq!(adts.len(), 7 + 3 + 7 + 300);
        assert_eq!(adts[..10], [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x5f, 0xfc, 1, 2, 3]);
        assert_eq!(adts[17..], [7; 300]);
    }

    #[test]
    fn nothing_before_a_configuration_and_after_an_unsupported_one() {
        let (mut latm, mut adts) = (Latm::default(), Vec::new());
        // useSameStreamMux 1, one byte of payload
        let same = [0x56, 0xe0, 3, 0x80, 0x80, 0x80];
        assert_eq!(latm.rewrite(&same, &mut adts), None);
        assert_eq!(latm.rewrite(&sync_stream(3, &[&[1]]), &mut adts), Some(()));
        assert_eq!(latm.rewrite(&same, &mut adts), Some(()));
        assert_eq!(latm.rewrite(&sync_stream(13, &[&[1]]), &mut adts), None, "rate index 13 is reserved");
        assert_eq!(latm.rewrite(&same, &mut adts), None);
    }

    #[test]
    fn the_framer_puts_out_adts_and_counts_time_over_sub_frames() {
        use crate::es::framer::{Framer, PesPayload};
        use crate::time::Ts33;
        let stream = sync_stream(3, &[&[1, 2, 3], &[4; 50]]);
        let (mut framer, mut found) = (Framer::new(Codec::Aac), Vec::new());
        let mut emit = |frame: crate::es::framer::Frame<'_>| {
            found.push((frame.data.len(), frame.pts.map(Ts33::ticks), frame.header_len));
        };
        let pts = Some(Ts33::new(900));
        let data = [stream.clone(), stream].concat();
        framer.push(PesPayload { data: &data, pts, dts: pts, aligned: true, corrupt: false }, &mut emit);
        let expected = [(10, 900), (57, 2_820), (10, 4_740), (57, 6_660)].map(|(len, pts)| (len, Some(pts), 7));
        assert_eq!(found, expected);
        assert_eq!(framer.codec(), Codec::Aac);
    }
}
