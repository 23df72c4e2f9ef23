//! The sound of the test picture: a soft tone, and a beep at each full second, left higher than right.
//!
//! The beep starts when the picture's clock shows a full second, so lip sync can be judged by eye and ear.
#![forbid(unsafe_code)]

use std::f64::consts::TAU;

/// Samples a second.
pub(super) const SAMPLE_RATE: u32 = 48_000;

/// Computes samples from their time alone.
pub(super) struct Tone {
    /// Wall-clock time of sample 0, in samples: only its place within the second matters.
    phase: u64,
}

impl Tone {
    /// `unix_us`: the wall-clock time of sample 0, microseconds since 1970-01-01 UTC.
    pub fn new(unix_us: u64) -> Self {
        Tone { phase: unix_us % 1_000_000 * u64::from(SAMPLE_RATE) / 1_000_000 }
    }
    /// Fills both channels (of equal length) with the samples from number `first` on, -1.0 ..= 1.0.
    pub fn fill(&self, first: u64, left: &mut [f32], right: &mut [f32]) {
        for ((left, right), number) in left.iter_mut().zip(right).zip(first + self.phase..) {
            let in_second = number % u64::from(SAMPLE_RATE);
            let time = in_second as f64 / f64::from(SAMPLE_RATE);
            // Whole numbers of hertz, so that the wave has no step at the full second.
            let soft = SOFT_LEVEL * (TAU * SOFT_HZ * time).sin();
            let beep = if in_second < BEEP_SAMPLES { BEEP_LEVEL * fade(in_second) } else { 0.0 };
            *left = (soft + beep * (TAU * BEEP_LEFT_HZ * time).sin()) as f32;
            *right = (soft + beep * (TAU * BEEP_RIGHT_HZ * time).sin()) as f32;
        }
    }
}

/// Rise and fall over 5 ms, without which the beep would click.
fn fade(in_beep: u64) -> f64 {
    let edge = in_beep.min(BEEP_SAMPLES - in_beep) as f64;
    (edge / (f64::from(SAMPLE_RATE) * 0.005)).min(1.0)
}

const SOFT_HZ: f64 = 220.0;
/// -34 dB.
const SOFT_LEVEL: f64 = 0.02;
const BEEP_LEFT_HZ: f64 = 1_000.0;
const BEEP_RIGHT_HZ: f64 = 800.0;
/// -14 dB.
const BEEP_LEVEL: f64 = 0.2;
/// 100 ms.
const BEEP_SAMPLES: u64 = SAMPLE_RATE as u64 / 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beep_stands_at_the_full_second() {
        let tone = Tone::new(1_700_000_000_500_000); // half a second before the next
        let (mut left, mut right) = (vec![0.0; 48_000], vec![0.0; 48_000]);
        tone.fill(0, &mut left, &mut right);
        let peak = |samples: &[f32]| samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        assert!(peak(&left[..24_000]) < 0.03);
        assert!(peak(&left[24_000..28_800]) > 0.15 && peak(&right[24_000..28_800]) > 0.15);
        assert!(peak(&left[28_800..]) < 0.03);
    }

    #[test]
    fn portions_fit_together() {
        let tone = Tone::new(0);
        let (mut whole, mut right) = (vec![0.0; 2_048], vec![0.0; 2_048]);
        tone.fill(0, &mut whole, &mut right);
        let (mut part, mut part_right) = (vec![0.0; 1_024], vec![0.0; 1_024]);
        tone.fill(1_024, &mut part, &mut part_right);
        assert_eq!(whole[1_024..], part);
    }
}
