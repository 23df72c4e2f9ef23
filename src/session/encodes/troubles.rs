//! What is held against a rendition: failures, and refusals.

use crate::es::rendition::RenditionId;
use crate::limits::{
    TRANSCODE_BREAKER_US, TRANSCODE_FAILURES_MAX, TRANSCODE_FAILURES_WITHIN_US, TRANSCODE_RETRY_US_MAX,
    TRANSCODE_RETRY_US_MIN,
};
use crate::session::shared::Refusal;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Troubles {
    list: Vec<Trouble>,
}

struct Trouble {
    id: RenditionId,
    /// When it failed, oldest first, monotonic microseconds.
    failures_us: Vec<u64>,
    /// It is not started before this.
    retry_us: u64,
    /// Why viewers are refused until then, if they are.
    refusal: Option<Refusal>,
}

impl Troubles {
    /// A transcoder failed: it is tried again after a while that doubles, and after too many failures viewers are refused for longer.
    /// What never gave a frame is not tried again and again.
    pub fn failed(&mut self, id: RenditionId, why: Arc<str>, has_worked: bool, now_us: u64) {
        let trouble = self.of(id);
        trouble.failures_us.retain(|at| now_us.saturating_sub(*at) < TRANSCODE_FAILURES_WITHIN_US);
        trouble.failures_us.push(now_us);
        let count = trouble.failures_us.len();
        if count >= TRANSCODE_FAILURES_MAX || !has_worked {
            let why = format!("the transcoder failed: {why}");
            let retry_after_s = Some((TRANSCODE_BREAKER_US / 1_000_000) as u32);
            trouble.refusal = Some(Refusal { rendition: id, why: why.into(), retry_after_s });
            trouble.retry_us = now_us + TRANSCODE_BREAKER_US;
            trouble.failures_us.clear();
        } else {
            let wait_us = TRANSCODE_RETRY_US_MIN << (count - 1);
            trouble.retry_us = now_us + wait_us.min(TRANSCODE_RETRY_US_MAX);
        }
    }

    /// No transcoder takes it.
    pub fn refused(&mut self, id: RenditionId, why: Arc<str>, retry_after_s: Option<u32>, now_us: u64) {
        let trouble = self.of(id);
        let wait_us = retry_after_s.map_or(TRANSCODE_BREAKER_US, |seconds| u64::from(seconds) * 1_000_000);
        trouble.refusal = Some(Refusal { rendition: id, why, retry_after_s });
        trouble.retry_us = now_us + wait_us;
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn may_start(&self, id: RenditionId, now_us: u64) -> bool {
        self.list.iter().all(|trouble| trouble.id != id || trouble.retry_us <= now_us)
    }

    pub fn refusals(&self) -> Vec<Refusal> {
        self.list.iter().filter_map(|trouble| trouble.refusal.clone()).collect()
    }

    /// Forgets what is over; true when a refusal was among it.
    pub fn forget(&mut self, now_us: u64) -> bool {
        let mut ended = false;
        for trouble in self.list.iter_mut().filter(|trouble| trouble.retry_us <= now_us) {
            ended |= trouble.refusal.take().is_some();
        }
        self.list.retain(|trouble| {
            let newest_us = trouble.failures_us.last().copied().unwrap_or(0);
            let is_fresh = newest_us > 0 && now_us.saturating_sub(newest_us) < TRANSCODE_FAILURES_WITHIN_US;
            is_fresh || trouble.retry_us > now_us
        });
        ended
    }

    fn of(&mut self, id: RenditionId) -> &mut Trouble {
        let index = self.list.iter().position(|trouble| trouble.id == id).unwrap_or_else(|| {
            self.list.push(Trouble { id, failures_us: Vec::new(), retry_us: 0, refusal: None });
            self.list.len() - 1
        });
        &mut self.list[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_and_longer_until_the_breaker() {
        let id: RenditionId = "v0-h264".parse().unwrap();
        let mut troubles = Troubles::default();
        let mut now_us = 1_000_000;
        let mut waits = Vec::new();
        for _ in 0..TRANSCODE_FAILURES_MAX {
            assert!(troubles.may_start(id, now_us) && troubles.refusals().is_empty());
            troubles.failed(id, "why".into(), true, now_us);
            let wait_us = (0..).map(|n| n * 100_000).find(|wait_us| troubles.may_start(id, now_us + wait_us)).unwrap();
            waits.push(wait_us);
            now_us += wait_us;
        }
        assert!(waits.is_sorted() && waits[0] == TRANSCODE_RETRY_US_MIN, "{waits:?}");
        assert_eq!(*waits.last().unwrap(), TRANSCODE_BREAKER_US);
        assert_eq!(troubles.refusals().len(), 1);
        assert!(troubles.forget(now_us) && troubles.refusals().is_empty() && troubles.may_start(id, now_us));
    }
}
