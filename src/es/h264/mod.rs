//! H.264 access units (ISO/IEC 14496-10 7.4.1.2.3, 7.4.1.2.4): where a sample begins, how it may be entered, its parameters.
//!
//! Works with and without access unit delimiters. **A field pair is one sample**, though each field is an access unit.
//! What it deliberately does not do: track reference pictures, or split the layers of SVC and MVC.

mod slice;
pub(crate) mod sps;
#[cfg(test)]
mod tests;

use super::framer::video::{AccessUnits, Role};
use super::nal;
use super::picture::ParameterSets;
use super::{Codec, Key, Params, VideoParams};
use slice::{Slice, SliceHeader};
use sps::{Pps, Sps};

/// nal_unit_type of table 7-1.
mod unit_type {
    pub const SLICE: u8 = 1;
    pub const PARTITION_A: u8 = 2;
    pub const IDR_SLICE: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
    /// Prefix NAL unit, subset SPS, depth parameter set and two reserved ones: they too begin an access unit.
    pub const FIRST_PREFIX: u8 = 14;
    pub const LAST_PREFIX: u8 = 18;
}

/// payloadType of the recovery point SEI message (D.1.8).
const SEI_RECOVERY_POINT: u32 = 6;

/// How much of a frame the sample in progress holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coded {
    /// A frame, a field pair, or a picture whose header could not be read.
    Whole,
    /// One field, whose second may follow.
    FirstField,
}

/// Parsed parameter set.
#[derive(Debug)]
enum ParameterSet {
    Sps(Box<Sps>),
    Pps(Pps),
}

/// Tells where H.264 access units begin.
#[derive(Debug)]
pub struct H264 {
    sets: ParameterSets<ParameterSet>,
    /// Parameter sets changed since `params` was made of them.
    sets_changed: bool,
    /// seq_parameter_set_id that `params` was made of.
    active_sps: Option<u32>,
    /// Header of the newest slice.
    last: Option<Slice>,
    /// AUD, parameter set or SEI came after the newest slice: what follows is another picture.
    led: bool,
    /// A recovery point SEI message came after the newest slice.
    recovery_point: bool,
    coded: Coded,
    key: Key,
    params: Option<Params>,
    params_version: u32,
    rbsp: Vec<u8>,
}

impl H264 {
    pub fn new() -> Self {
        H264 {
            sets: ParameterSets::default(),
            sets_changed: false,
            active_sps: None,
            last: None,
            led: false,
            recovery_point: false,
            coded: Coded::Whole,
            key: Key::None,
            params: None,
            params_version: 0,
            rbsp: Vec::new(),
        }
    }

    fn begin_slice(&mut self, prefix: &[u8]) -> Role {
        let Some(slice) = self.parse_slice(prefix) else { return Role::Within };
        let last = self.last.replace(slice);
        let led = std::mem::take(&mut self.led);
        match last {
            Some(last) if slice.continues(&last, led) => Role::Continues,
            Some(last) if self.coded == Coded::FirstField && slice.is_second_field_of(&last) => {
                self.coded = Coded::Whole;
                self.recovery_point = false;
                Role::Continues
            }
            None if !led && slice.first_mb != 0 => Role::Within,
            _ => Role::NewSample,
        }
    }

    fn parse_slice(&self, prefix: &[u8]) -> Option<Slice> {
        Slice::parse(prefix, |pps_id| {
            let Some(ParameterSet::Pps(pps)) = self.sets.find(unit_type::PPS, pps_id) else { return None };
            let Some(ParameterSet::Sps(sps)) = self.sets.find(unit_type::SPS, pps.sps_id) else { return None };
            Some((&**sps, pps))
        })
    }

    fn take_sps(&mut self, unit: &[u8], corrupt: bool) {
        self.unescape(unit);
        let Some(sps) = Sps::parse(&self.rbsp) else { return };
        if self.sets.wants(unit_type::SPS, sps.id, unit, corrupt) {
            let id = sps.id;
            self.sets.insert(unit_type::SPS, id, unit, ParameterSet::Sps(Box::new(sps)));
            self.sets_changed = true;
        }
    }

    fn take_pps(&mut self, unit: &[u8], corrupt: bool) {
        self.unescape(unit);
        let Some(pps) = Pps::parse(&self.rbsp) else { return };
        if self.sets.wants(unit_type::PPS, pps.id, unit, corrupt) {
            self.sets.insert(unit_type::PPS, pps.id, unit, ParameterSet::Pps(pps));
            self.sets_changed = true;
        }
    }

    fn take_sei(&mut self, unit: &[u8]) {
        self.unescape(unit);
        let recovery_point = &mut self.recovery_point;
        nal::sei_messages(&self.rbsp, |kind, _| *recovery_point |= kind == SEI_RECOVERY_POINT);
    }

    /// The payload of `unit` behind its header byte, without emulation prevention, into `rbsp`.
    fn unescape(&mut self, unit: &[u8]) {
        self.rbsp.clear();
        nal::unescape(&unit[1..], &mut self.rbsp);
    }

    fn update_params(&mut self) {
        let Some(header) = self.last.and_then(|slice| slice.header) else { return };
        if !self.sets_changed && self.active_sps == Some(header.sps_id) {
            return;
        }
        self.sets_changed = false;
        self.active_sps = Some(header.sps_id);
        let params = self.describe(&header);
        if params.is_some() && params != self.params {
            self.params = params;
            self.params_version += 1;
        }
    }

    fn describe(&self, header: &SliceHeader) -> Option<Params> {
        let ParameterSet::Sps(sps) = self.sets.find(unit_type::SPS, header.sps_id)? else { return None };
        let own_sps = self.sets.of_kind(unit_type::SPS).filter(|&(id, ..)| id == header.sps_id);
        let own_pps = self
            .sets
            .of_kind(unit_type::PPS)
            .filter(|(_, _, set)| matches!(set, ParameterSet::Pps(pps) if pps.sps_id == header.sps_id));
        Some(Params::Video(VideoParams {
            width: sps.width,
            height: sps.height,
            sar: sps.sar,
            frame_rate: sps.frame_rate,
            interlaced: !sps.frame_mbs_only,
            rfc6381: format!("avc1.{:02x}{:02x}{:02x}", sps.profile_idc, sps.constraints, sps.level_idc),
            parameter_sets: own_sps.chain(own_pps).map(|(_, unit, _)| unit.clone()).collect(),
        }))
    }
}

impl Default for H264 {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessUnits for H264 {
    const CODEC: Codec = Codec::H264;
    const ZERO_BYTE: bool = true;

    fn begin(&mut self, prefix: &[u8]) -> Role {
        match prefix[0] & 0x1f {
            unit_type::SLICE | unit_type::PARTITION_A | unit_type::IDR_SLICE => self.begin_slice(prefix),
            unit_type::SEI
            | unit_type::SPS
            | unit_type::PPS
            | unit_type::DELIMITER
            | unit_type::FIRST_PREFIX..=unit_type::LAST_PREFIX => {
                self.led = true;
                Role::Lead
            }
            _ => Role::Within,
        }
    }

    fn starts(&self, unit: &[u8]) -> bool {
        let Some(kind) = unit.first().map(|header| header & 0x1f) else { return false };
        match kind {
            // first_mb_in_slice 0 is the code 1.
            unit_type::SLICE | unit_type::PARTITION_A | unit_type::IDR_SLICE => {
                unit.get(1).is_some_and(|&byte| byte & 0x80 != 0)
            }
            unit_type::SEI..=unit_type::DELIMITER => true,
            _ => false,
        }
    }

    fn end(&mut self, unit: &[u8], corrupt: bool) {
        match unit.first().map(|header| header & 0x1f) {
            Some(unit_type::SPS) => self.take_sps(nal::trim_zeros(unit), corrupt),
            Some(unit_type::PPS) => self.take_pps(nal::trim_zeros(unit), corrupt),
            Some(unit_type::SEI) => self.take_sei(nal::trim_zeros(unit)),
            _ => {}
        }
    }

    fn open(&mut self) {
        let recovery_point = std::mem::take(&mut self.recovery_point);
        let Some(slice) = self.last else { return };
        self.key = match (slice.idr, recovery_point) {
            (true, _) => Key::Idr,
            (false, true) => Key::RecoveryPoint,
            (false, false) => Key::None,
        };
        let field = slice.header.is_some_and(|header| header.field.is_some());
        self.coded = if field { Coded::FirstField } else { Coded::Whole };
        self.update_params();
    }

    fn key(&self) -> Key {
        self.key
    }

    fn complete(&self) -> bool {
        self.coded == Coded::Whole
    }

    fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    fn params_version(&self) -> u32 {
        self.params_version
    }

    fn reset(&mut self) {
        self.last = None;
        self.led = false;
        self.recovery_point = false;
        self.coded = Coded::Whole;
    }
}
