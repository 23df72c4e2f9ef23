//! The buffer of a continuous viewer, in media time: fills with what comes, empties by the clock.
//!
//! What it deliberately does not do: know bytes; what they are worth is given.

use crate::player::Micros;

/// Media that playing waits for, at the start and after each rebuffer.
const START_US: i64 = 1_000_000;

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    state: State,
    media_us: i64,
    as_of: Micros,
    /// Times that it ran empty.
    pub rebuffers: u64,
    /// Spent waiting after having run empty.
    pub rebuffer_us: Micros,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before it played.
    #[default]
    Starting,
    Playing,
    Rebuffering,
}

impl Buffer {
    /// Lets time pass.
    pub fn advance(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.as_of);
        self.as_of = self.as_of.max(now);
        match self.state {
            State::Starting => {}
            State::Rebuffering => self.rebuffer_us += passed,
            State::Playing => {
                self.media_us -= passed as i64;
                if self.media_us < 0 {
                    self.rebuffers += 1;
                    self.rebuffer_us += self.media_us.unsigned_abs();
                    self.media_us = 0;
                    self.state = State::Rebuffering;
                }
            }
        }
    }

    /// Adds media that came now.
    pub fn add(&mut self, now: Micros, media_us: u64) {
        self.advance(now);
        self.media_us += media_us as i64;
        if self.media_us >= START_US {
            self.state = State::Playing;
        }
    }

    /// When it runs empty if nothing comes.
    pub fn empty_at(&self) -> Option<Micros> {
        (self.state == State::Playing).then(|| self.as_of + self.media_us.unsigned_abs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_from_a_second_on_and_waits_for_one_after_it_ran_empty() {
        let mut buffer = Buffer::default();
        buffer.add(5_000_000, 900_000);
        assert_eq!(buffer.empty_at(), None);
        buffer.add(5_500_000, 100_000);
        assert_eq!(buffer.empty_at(), Some(6_500_001));
        buffer.advance(6_700_000);
        assert_eq!((buffer.rebuffers, buffer.rebuffer_us), (1, 200_000));
        buffer.add(6_800_000, 500_000);
        buffer.add(7_000_000, 500_000);
        assert_eq!((buffer.rebuffers, buffer.rebuffer_us), (1, 500_000));
        buffer.advance(7_999_999);
        assert_eq!((buffer.rebuffers, buffer.rebuffer_us), (1, 500_000));
    }
}
