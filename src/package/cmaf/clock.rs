//! Decode times of one rendition in its own timescale: video as the timeline says, audio counted in samples.
//!
//! Time stamps of audio are rounded to 90 kHz ticks, and many sources round them to milliseconds. Counting frames gives decoders the
//! unbroken timeline they want; the count follows the time stamps when it is more than half a frame off.

use crate::es::{Params, SampleMeta, Track};
use crate::time::{HZ_90K, MediaTime};

#[derive(Clone, Debug)]
pub(super) struct Clock {
    timescale: u32,
    /// Length of a frame of audio; 0 for video, and where it is not known.
    frame: u64,
    /// Of the sample before.
    last: Option<u64>,
    /// The next sample follows at once.
    continuous: bool,
}

impl Clock {
    pub fn new(track: &Track, timescale: u32) -> Clock {
        let frame = match &track.params {
            Some(Params::Audio(audio)) => u64::from(audio.frame_samples),
            _ => 0,
        };
        Clock { timescale, frame, last: None, continuous: false }
    }

    /// Whether it counts in the same units and frames.
    pub fn is_like(&self, other: &Clock) -> bool {
        (self.timescale, self.frame) == (other.timescale, other.frame)
    }

    /// Time broke: what follows is placed by its time stamps alone.
    pub fn time_broke(&mut self) {
        self.continuous = false;
    }

    /// Decode time of the next sample; `None` for one that would not lie behind the one before it, and has to be dropped.
    pub fn place(&mut self, meta: &SampleMeta) -> Option<u64> {
        if meta.discontinuity {
            self.time_broke();
        }
        let stamped = scale(meta.dts, self.timescale);
        let time = match self.last {
            Some(last) if self.frame > 0 && self.continuous => self.count_on(last + self.frame, stamped)?,
            Some(last) if stamped <= last => return None,
            _ => stamped,
        };
        self.last = Some(time);
        self.continuous = true;
        Some(time)
    }

    /// The time of an audio frame that is expected at `counted` and stamped with `stamped`. Never before `counted`; a whole frame too
    /// many is left out.
    fn count_on(&self, counted: u64, stamped: u64) -> Option<u64> {
        if stamped + self.frame <= counted {
            return None;
        }
        Some(if stamped > counted + self.frame / 2 { stamped } else { counted })
    }

    /// How long a sample lasts when what follows does not tell.
    pub fn frame(&self) -> u64 {
        self.frame
    }
}

/// Output time in another timescale, rounded to the nearest unit.
pub(crate) fn scale(time: MediaTime, timescale: u32) -> u64 {
    ((i128::from(time.0.max(0)) * i128::from(timescale) + i128::from(HZ_90K / 2)) / i128::from(HZ_90K)) as u64
}

/// A time of a timescale in 90 kHz ticks, rounded to the nearest.
pub(crate) fn ticks_90k(time: u64, timescale: u32) -> i64 {
    let timescale = i128::from(timescale.max(1));
    ((i128::from(time) * i128::from(HZ_90K) + timescale / 2) / timescale) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::{AudioParams, AudioRole, Codec, Key, TrackId, TsStream};
    use bytes::Bytes;

    fn clock() -> Clock {
        let audio = AudioParams {
            sample_rate: 44_100,
            channels: 2,
            frame_samples: 1_024,
            rfc6381: "mp4a.40.2".into(),
            config: Bytes::new(),
        };
        let track = Track {
            id: TrackId(1),
            codec: Codec::Aac,
            language: None,
            role: AudioRole::Main,
            ts: TsStream::default(),
            params: Some(Params::Audio(audio)),
        };
        Clock::new(&track, 44_100)
    }

    fn at(ticks: i64) -> SampleMeta {
        let time = MediaTime(ticks);
        SampleMeta {
            pts: time,
            dts: time,
            key: Key::Idr,
            discontinuity: false,
            header_len: 7,
            corrupt: false,
            pcr: None,
        }
    }

    #[test]
    fn jitter_of_the_stamps_does_not_reach_the_count() {
        let mut clock = clock();
        // 1024 samples at 44.1 kHz are 2089.8 ticks; the source rounds to milliseconds (90 ticks).
        let times: Vec<_> = [0, 2_070, 4_140, 6_300, 8_370].map(|ticks| clock.place(&at(ticks)).unwrap()).into();
        assert_eq!(times, [0, 1_024, 2_048, 3_072, 4_096]);
    }

    #[test]
    fn a_lost_frame_is_a_hole_and_a_frame_too_many_is_left_out() {
        let mut clock = clock();
        assert_eq!(clock.place(&at(0)), Some(0));
        assert_eq!(clock.place(&at(4_180)), Some(2_048));
        // Within the frame that is under way: it is counted on, until a whole frame is too many.
        assert_eq!(clock.place(&at(4_190)), Some(3_072));
        assert_eq!(clock.place(&at(6_270)), None);
        assert_eq!(clock.place(&at(8_360)), Some(4_096));
    }

    #[test]
    fn a_break_is_placed_by_its_stamp_and_never_back_in_time() {
        let mut clock = clock();
        assert_eq!(clock.place(&at(90_000)), Some(44_100));
        assert_eq!(clock.place(&SampleMeta { discontinuity: true, ..at(90_000) }), None);
        assert_eq!(clock.place(&SampleMeta { discontinuity: true, ..at(90_900) }), Some(44_541));
    }

    #[test]
    fn scales_survive_the_round_trip() {
        let now = MediaTime(161_586_000_123_457);
        for timescale in [44_100, 48_000, 90_000] {
            assert!((ticks_90k(scale(now, timescale), timescale) - now.0).abs() <= 1);
        }
    }
}
