//! H.265 access units (ISO/IEC 23008-2 7.4.2.4.4): where a sample begins, how it may be entered, its parameters.
//!
//! What it deliberately does not do: pair fields (each is a sample, as in ISO/IEC 14496-15), or split layers.

mod sps;

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

    fn take_set(&mut self, kind: u8, unit: &[u8]) {
        if unit.len() < 2 {
            return;
        }
        self.rbsp.clear();
        nal::unescape(&unit[2..], &mut self.rbsp);
        let Some((id, set)) = parse_set(kind, &self.rbsp) else { return };
        if !self.sets.holds(kind, id, unit) {
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

    fn end(&mut self, unit: &[u8]) {
        if let Some((kind @ unit_type::VPS..=unit_type::PPS, 0)) = header(unit) {
            self.take_set(kind, nal::trim_zeros(unit));
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
