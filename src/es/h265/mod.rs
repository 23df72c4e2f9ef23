//! H.265 access units (ISO/IEC 23008-2 7.4.2.4.4): where a sample begins, how it may be entered, its parameters.
//!
//! What it deliberately does not do: pair fields (each is a sample, as in ISO/IEC 14496-15), or split layers.

pub(crate) mod sps;

use super::bits::BitReader;
use super::framer::video::{AccessUnits, Role};
use super::nal;
use super::picture::ParameterSets;
use super::{Codec, Key, Params, VideoParams};
use sps::Sps;

/// nal_unit_type of table 7-1.
mod unit_type {
    pub const VCL_LAST: u8 = 31;
    pub const BLA_FIRST: u8 = 16;
    pub const IDR_LAST: u8 = 20;
    pub const IRAP_LAST: u8 = 23;
    pub const VPS: u8 = 32;
    pub const SPS: u8 = 33;
    pub const PPS: u8 = 34;
    pub const DELIMITER: u8 = 35;
    pub const PREFIX_SEI: u8 = 39;
}

/// Parsed parameter set.
#[derive(Debug)]
enum ParameterSet {
    Vps,
    Sps(Box<Sps>),
    Pps { sps_id: u32 },
}

/// Tells where H.265 access units begin.
#[derive(Debug)]
pub struct H265 {
    sets: ParameterSets<ParameterSet>,
    /// Parameter sets changed since `params` was made of them.
    sets_changed: bool,
    /// seq_parameter_set_id that `params` was made of.
    active_sps: Option<u32>,
    /// nal_unit_type and slice_pic_parameter_set_id of the newest picture's first slice segment.
    picture: Option<(u8, Option<u32>)>,
    /// AUD, parameter set or SEI came after the newest slice.
    led: bool,
    key: Key,
    params: Option<Params>,
    params_version: u32,
    rbsp: Vec<u8>,
}

impl H265 {
    pub fn new() -> Self {
        H265 {
            sets: ParameterSets::default(),
            sets_changed: false,
            active_sps: None,
            picture: None,
            led: false,
            key: Key::None,
            params: None,
            params_version: 0,
            rbsp: Vec::new(),
        }
    }

    fn begin_slice(&mut self, kind: u8, prefix: &[u8]) -> Role {
        let Some(&first) = prefix.get(2) else { return Role::Within };
        let led = std::mem::take(&mut self.led);
        // A picture whose first slice was lost still begins where its delimiter stood.
        let first_slice_segment_in_pic = first & 0x80 != 0;
        if !first_slice_segment_in_pic && !led {
            return Role::Continues;
        }
        self.picture = Some((kind, first_slice_segment_in_pic.then(|| pps_id(kind, prefix)).flatten()));
        Role::NewSample
    }

    fn take_set(&mut self, kind: u8, unit: &[u8], corrupt: bool) {
        if unit.len() < 2 {
            return;
        }
        self.rbsp.clear();
        nal::unescape(&unit[2..], &mut self.rbsp);
        let Some((id, set)) = parse_set(kind, &self.rbsp) else { return };
        if self.sets.wants(kind, id, unit, corrupt) {
            self.sets.insert(kind, id, unit, set);
            self.sets_changed = true;
        }
    }

    fn update_params(&mut self, pps_id: u32) {
        let Some(&ParameterSet::Pps { sps_id }) = self.sets.find(unit_type::PPS, pps_id) else { return };
        if !self.sets_changed && self.active_sps == Some(sps_id) {
            return;
        }
        self.sets_changed = false;
        self.active_sps = Some(sps_id);
        let params = self.describe(sps_id);
        if params.is_some() && params != self.params {
            self.params = params;
            self.params_version += 1;
        }
    }

    fn describe(&self, sps_id: u32) -> Option<Params> {
        let ParameterSet::Sps(sps) = self.sets.find(unit_type::SPS, sps_id)? else { return None };
        let vps = self.sets.of_kind(unit_type::VPS).filter(|&(id, ..)| id == sps.vps_id);
        let own_sps = self.sets.of_kind(unit_type::SPS).filter(|&(id, ..)| id == sps_id);
        let own_pps = self
            .sets
            .of_kind(unit_type::PPS)
            .filter(|(_, _, set)| matches!(set, ParameterSet::Pps { sps_id: of } if *of == sps_id));
        Some(Params::Video(VideoParams {
            width: sps.width,
            height: sps.height,
            sar: sps.sar,
            frame_rate: sps.frame_rate,
            interlaced: sps.fields,
            rfc6381: sps.profile.rfc6381(),
            parameter_sets: vps.chain(own_sps).chain(own_pps).map(|(_, unit, _)| unit.clone()).collect(),
        }))
    }
}

impl Default for H265 {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessUnits for H265 {
    const CODEC: Codec = Codec::H265;
    const ZERO_BYTE: bool = true;

    fn begin(&mut self, prefix: &[u8]) -> Role {
        let Some((kind, layer)) = header(prefix) else { return Role::Within };
        match kind {
            // Higher layers (SHVC, MV-HEVC) share the base layer's access unit.
            _ if layer > 0 => Role::Within,
            0..=unit_type::VCL_LAST => self.begin_slice(kind, prefix),
            unit_type::VPS..=unit_type::DELIMITER | unit_type::PREFIX_SEI | 41..=44 | 48..=55 => {
                self.led = true;
                Role::Lead
            }
            _ => Role::Within,
        }
    }

    fn starts(&self, unit: &[u8]) -> bool {
        match header(unit) {
            Some((0..=unit_type::VCL_LAST, 0)) => unit.get(2).is_some_and(|&byte| byte & 0x80 != 0),
            Some((unit_type::VPS..=unit_type::DELIMITER | unit_type::PREFIX_SEI, 0)) => true,
            _ => false,
        }
    }

    fn end(&mut self, unit: &[u8], corrupt: bool) {
        if let Some((kind @ unit_type::VPS..=unit_type::PPS, 0)) = header(unit) {
            self.take_set(kind, nal::trim_zeros(unit), corrupt);
        }
    }

    fn open(&mut self) {
        let Some((kind, pps_id)) = self.picture else { return };
        self.key = match kind {
            // After a CRA picture, leading pictures that refer to what was before are undecodable; after BLA there are none to show.
            unit_type::BLA_FIRST..=unit_type::IDR_LAST => Key::Idr,
            ..=unit_type::IRAP_LAST if kind > unit_type::IDR_LAST => Key::RecoveryPoint,
            _ => Key::None,
        };
        if let Some(pps_id) = pps_id {
            self.update_params(pps_id);
        }
    }

    fn key(&self) -> Key {
        self.key
    }

    fn complete(&self) -> bool {
        true
    }

    fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    fn params_version(&self) -> u32 {
        self.params_version
    }

    fn reset(&mut self) {
        self.led = false;
    }
}

/// nal_unit_type and nuh_layer_id (7.3.1.2).
fn header(unit: &[u8]) -> Option<(u8, u8)> {
    let [first, second, ..] = *unit else { return None };
    Some((first >> 1 & 0x3f, (first & 1) << 5 | second >> 3))
}

/// slice_pic_parameter_set_id of a picture's first slice segment (7.3.6.1).
fn pps_id(kind: u8, prefix: &[u8]) -> Option<u32> {
    let mut rbsp = [0; 16];
    let mut bits = BitReader::new(nal::unescape_into(&prefix[2..], &mut rbsp));
    bits.skip(1)?; // first_slice_segment_in_pic_flag
    if (unit_type::BLA_FIRST..=unit_type::IRAP_LAST).contains(&kind) {
        bits.skip(1)?; // no_output_of_prior_pics_flag
    }
    bits.ue()
}

/// Id and contents of a parameter set behind its NAL header.
fn parse_set(kind: u8, rbsp: &[u8]) -> Option<(u32, ParameterSet)> {
    let mut bits = BitReader::new(rbsp);
    match kind {
        unit_type::VPS => Some((bits.bits(4)?, ParameterSet::Vps)),
        unit_type::SPS => Sps::parse(rbsp).map(|sps| (sps.id, ParameterSet::Sps(Box::new(sps)))),
        _ => {
            let id = bits.ue().filter(|&id| id < 64)?;
            let sps_id = bits.ue().filter(|&id| id < 16)?;
            Some((id, ParameterSet::Pps { sps_id }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::framer::{Frame, Framer, PesPayload};

    /// A NAL unit of layer 0 behind a start code with zero_byte; `first` is the third byte.
    fn unit(kind: u8, first: u8) -> Vec<u8> {
        vec![0, 0, 0, 1, kind << 1, 1, first, 0x55]
    }

    const FIRST_SEGMENT: u8 = 0x80;

    fn frames(stream: &[u8]) -> Vec<(Vec<u8>, Key)> {
        let mut framer = Framer::new(Codec::H265);
        let mut found = Vec::new();
        let mut emit = |frame: Frame<'_>| found.push((frame.data.to_vec(), frame.key));
        framer.push(PesPayload { data: stream, pts: None, dts: None, aligned: true, corrupt: false }, &mut emit);
        framer.flush(&mut emit);
        found
    }

    #[test]
    fn pictures_begin_at_first_segments_and_what_leads_them() {
        let idr = [unit(unit_type::DELIMITER, 0x10), unit(19, FIRST_SEGMENT), unit(19, 0)].concat();
        let trail = [unit(1, FIRST_SEGMENT), unit(1, 0), unit(40, 1)].concat();
        let cra = [unit(unit_type::PREFIX_SEI, 1), unit(21, FIRST_SEGMENT)].concat();
        let bla = unit(16, FIRST_SEGMENT);
        // The first segment was lost, the delimiter not.
        let headless = [unit(unit_type::DELIMITER, 0x10), unit(1, 0)].concat();
        let all = [idr, trail, cra, bla, headless];
        let keys = [Key::Idr, Key::None, Key::RecoveryPoint, Key::Idr, Key::None];
        assert_eq!(frames(&all.concat()), all.into_iter().zip(keys).collect::<Vec<_>>());
    }

    #[test]
    fn higher_layers_stay_with_the_base_picture() {
        // nuh_layer_id 1: an SPS and a first slice segment.
        let layer = [[0, 0, 1, 33 << 1, 1 << 3 | 1, 0x80], [0, 0, 1, 1 << 1, 1 << 3 | 1, 0x80]].concat();
        let first = [unit(19, FIRST_SEGMENT), layer].concat();
        let second = unit(1, FIRST_SEGMENT);
        let found = frames(&[first.clone(), second.clone()].concat());
        assert_eq!(found, [(first, Key::Idr), (second, Key::None)]);
    }

    #[test]
    fn parameters_of_a_stream() {
        // x265, 640 x 360 at 30000/1001: VPS, SPS, PPS (Main profile, level 2.1), then the start of an IDR slice.
        let Ok(stream) = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/media/ts/bear-640x360-hevc.ts"))
        else {
            println!("skipped: no ../shared/media");
            return;
        };
        // Parameter sets lie in the first packet of the PES and in no adaptation field.
        let mut h265 = H265::new();
        for unit in nal::units(&stream[..188 * 8]) {
            h265.end(unit, false);
        }
        let found = h265.describe(0);
        let Some(Params::Video(params)) = found else { panic!("{found:?}") };
        assert_eq!((params.width, params.height, params.frame_rate), (640, 360, Some((30_000, 1_001))));
        assert_eq!((params.rfc6381.as_str(), params.parameter_sets.len()), ("hvc1.1.6.L63.90", 3));
    }
}
