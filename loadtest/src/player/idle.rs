//! A viewer that connects, sends nothing, and stays: what a connection alone costs the server.
//!
//! What it deliberately does not do: ask for anything. Closed by the server, it connects again a second later.

use super::{Action, Body, End, Head, Lane, Micros, Player, PlayerFigures};

/// From the end of a connection to the next.
const RETRY_US: Micros = 1_000_000;
const LANE: Lane = Lane(0);

/// The viewer.
#[derive(Default)]
pub struct Idle {
    is_connected: bool,
    connect_at: Micros,
    figures: PlayerFigures,
}

impl Player for Idle {
    fn poll(&mut self, now: Micros) -> Action {
        if self.is_connected {
            return Action::Wait(Micros::MAX);
        }
        if now < self.connect_at {
            return Action::Wait(self.connect_at);
        }
        self.is_connected = true;
        Action::Connect(LANE)
    }

    fn on_head(&mut self, _: Lane, _: Micros, _: &Head<'_>) {}

    fn on_body(&mut self, _: Lane, _: Micros, _: Body<'_>) {}

    fn on_end(&mut self, _: Lane, now: Micros, _: End) {
        self.is_connected = false;
        self.connect_at = now + RETRY_US;
    }

    fn wants_content(&self, _: Lane) -> bool {
        false
    }

    fn reads(&self, _: Micros) -> bool {
        true
    }

    fn figures(&self) -> &PlayerFigures {
        &self.figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_and_connects_again_a_second_after_it_was_closed() {
        let mut idle = Idle::default();
        assert_eq!(idle.poll(5), Action::Connect(LANE));
        assert_eq!(idle.poll(6), Action::Wait(Micros::MAX));
        idle.on_end(LANE, 10, End::Short);
        assert_eq!(idle.poll(11), Action::Wait(1_000_010));
        assert_eq!(idle.poll(1_000_010), Action::Connect(LANE));
    }
}
