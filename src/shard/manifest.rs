//! Playlists, MPDs and the continuous stream's begin: settles what a client gets, waits until there is something to play, and sends it.

use super::respond::{Answering, Asked, Next, Refusal};
use crate::es::Codec;
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::http::response::{Caching, Persistence, ResponseHead, Status, write_not_modified};
use crate::limits::{COLD_RELOAD_HOLD_MS, COLD_SEGMENTS, FIRST_PLAYLIST_HOLD_MS, LIVE_JOIN_BACK_TICKS};
use crate::metrics::Format;
use crate::package::Text;
use crate::package::cmaf::{CmafSnapshot, Presentation};
use crate::package::hls_ts;
use crate::package::mpegts::TsShared;
use crate::package::window::Segment;
use crate::route::decide::{Choice, Settled};
use crate::route::profiles::Profiles;
use crate::session::shared::{ChannelState, ChannelView};
use crate::session::{Want, viewers};
use crate::time::{MediaTime, Now};
use std::io;
use std::sync::Arc;

pub(crate) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
pub(crate) const MPD_TYPE: &str = "application/dash+xml";
pub(crate) const TS_TYPE: &str = "video/mp2t";

/// Seconds that a playlist or MPD may be cached: it changes with each segment, and none is shorter.
const MANIFEST_MAX_AGE_S: u32 = 1;

/// A text that is rendered once per change and shared by all who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    TsMultivariant(Selection),
    TsMedia(Selection),
    CmafMultivariant(Selection),
    CmafMedia(RenditionId),
    Mpd(Selection),
}

impl Manifest {
    /// The entry point of a format; `None` for the continuous stream.
    fn entry(format: Format, selection: Selection) -> Option<Manifest> {
        match format {
            Format::HlsTs => Some(Manifest::TsMultivariant(selection)),
            Format::HlsFmp4 => Some(Manifest::CmafMultivariant(selection)),
            Format::Dash => Some(Manifest::Mpd(selection)),
            Format::MpegTs => None,
        }
    }

    fn format(self) -> Format {
        match self {
            Manifest::TsMultivariant(_) | Manifest::TsMedia(_) => Format::HlsTs,
            Manifest::CmafMultivariant(_) | Manifest::CmafMedia(_) => Format::HlsFmp4,
            Manifest::Mpd(_) => Format::Dash,
        }
    }

    /// What it keeps alive.
    fn wants(self) -> Vec<Want> {
        match self {
            Manifest::TsMultivariant(selection) => selection.singles().map(Want::Ts).collect(),
            Manifest::TsMedia(selection) => vec![Want::Ts(selection)],
            Manifest::CmafMultivariant(selection) | Manifest::Mpd(selection) => vec![Want::Cmaf(selection)],
            Manifest::CmafMedia(rendition) => vec![Want::Rendition(rendition)],
        }
    }

    fn content_type(self) -> &'static str {
        if matches!(self, Manifest::Mpd(_)) { MPD_TYPE } else { PLAYLIST_TYPE }
    }

    /// What there is of it; `None` when nothing can be played yet, an error when it will never be there.
    fn find(self, view: &ChannelView) -> Option<Result<Playable, Refusal>> {
        let cmaf = || view.cmaf.as_ref().map(|cmaf| cmaf.snapshot());
        let (text, segments) = match self {
            Manifest::TsMultivariant(selection) => {
                let snapshots: Option<Vec<_>> =
                    selection.singles().map(|single| view.ts(&single).map(|ts| ts.snapshot())).collect();
                let snapshots = snapshots?;
                let text = hls_ts::multivariant(snapshots.iter().map(|snapshot| &**snapshot))?;
                let fewest = snapshots.iter().min_by_key(|snapshot| snapshot.segments.len())?;
                (text, Segments::of(fewest.segments.iter()))
            }
            Manifest::TsMedia(selection) => {
                let snapshot = view.ts(&selection)?.snapshot();
                (snapshot.playlist.clone(), Segments::of(snapshot.segments.iter()))
            }
            Manifest::CmafMultivariant(selection) => {
                (cmaf()?.presentation(&selection)?.multivariant.clone(), Segments::default())
            }
            Manifest::Mpd(selection) => {
                let snapshot = cmaf()?;
                let presentation = snapshot.presentation(&selection)?;
                (presentation.mpd.clone(), Segments::of_fewest(&snapshot, presentation))
            }
            Manifest::CmafMedia(id) => {
                let snapshot = cmaf()?;
                let Some(rendition) = snapshot.rendition(id) else {
                    let gone = || Err(Refusal::new(Status::NotFound, "the channel has no such rendition"));
                    return snapshot.presentations.iter().any(|shown| !shown.multivariant.is_empty()).then(gone);
                };
                (rendition.playlist.clone(), Segments::of(rendition.listed().iter().map(|segment| &segment.segment)))
            }
        };
        let target_duration_s = view.target_duration_s;
        (!text.is_empty()).then_some(Ok(Playable { text, segments, target_duration_s }))
    }
}

/// A text with something to play.
struct Playable {
    text: Text,
    segments: Segments,
    target_duration_s: u64,
}

/// How much a text lists.
#[derive(Clone, Copy, Default)]
struct Segments {
    count: usize,
    /// Start and duration of the newest.
    newest: Option<(MediaTime, i64)>,
}

impl Segments {
    fn of<'a>(segments: impl DoubleEndedIterator<Item = &'a Segment> + ExactSizeIterator) -> Segments {
        let count = segments.len();
        let newest = segments.into_iter().next_back().map(|segment| (segment.cut.start, segment.duration_90k));
        Segments { count, newest }
    }

    /// Those of the rendition that lists the fewest: a player needs all of them.
    fn of_fewest(snapshot: &CmafSnapshot, presentation: &Presentation) -> Segments {
        let renditions = presentation.renditions.iter().filter_map(|id| snapshot.rendition(*id));
        let listed = renditions.map(|rendition| rendition.listed()).filter(|listed| !listed.is_empty());
        let fewest = listed.min_by_key(|listed| listed.len());
        fewest.map_or_else(Segments::default, |listed| Segments::of(listed.iter().map(|segment| &segment.segment)))
    }

    /// Whether a text that is still short is about to list its next segment. A player that begins on the first segment or two has nothing
    /// else in its buffer: if its reload comes just before the next one is listed, it waits for half a target duration and runs dry.
    fn next_is_due(&self, now: Now) -> bool {
        let Some((start, duration_90k)) = self.newest.filter(|_| self.count < COLD_SEGMENTS) else { return false };
        let due = start + 2 * duration_90k;
        let late_us = now.unix_us as i64 - due.unix_us() as i64;
        late_us.unsigned_abs() < COLD_RELOAD_HOLD_MS * 1_000
    }
}

/// How many segments the asking player wants to see at first. Browsers' own HLS players say that they fetch for a media element, and
/// Chromium's refuses a live playlist of fewer than three (DEMUXER_ERROR_COULD_NOT_PARSE).
fn segments_wanted(asked: Asked<'_>) -> usize {
    let mut fields = asked.head.fields();
    let for_media_element = fields
        .any(|(name, value)| name.eq_ignore_ascii_case(b"sec-fetch-dest") && matches!(value, b"video" | b"audio"));
    if for_media_element { 3 } else { 1 }
}

/// A continuous viewer may begin once there is a key sample.
fn joinable(view: &ChannelView, selection: &Selection) -> Option<(Arc<TsShared>, u64)> {
    let ts = view.ts(selection)?;
    Some((ts.clone(), ts.join_back(LIVE_JOIN_BACK_TICKS)?.pos))
}

impl Answering<'_> {
    /// HEAD on an entry point: as GET where the channel is open, else from rules alone, for it opens no origin.
    pub async fn entry_head(&mut self, asked: Asked<'_>, channel: u32, choice: &Choice) -> io::Result<Next> {
        let profiles = &self.shard.relay.rules.profiles;
        let (format, by_url, decision) = match settle(&self.shard.mirror(channel).view(), choice, profiles) {
            Some(Ok(settled)) => (settled.format, settled.by_url, settled.decision),
            Some(Err(refusal)) => return self.refuse(asked, refusal).await,
            // What is made of the source, and so who gets what, is not known.
            None => {
                let by_url = choice.by_url && !profiles.is_enabled();
                (choice.format, by_url, format!("{}; {}", choice.format.name(), choice.why))
            }
        };
        let mut out = Vec::new();
        let mut head = ResponseHead::new(&mut out, Status::Ok, &self.shard.date(self.now), asked.persistence);
        let manifest = Manifest::entry(format, Selection::SOURCE);
        head.content_type(manifest.map_or(TS_TYPE, Manifest::content_type));
        let is_shared = by_url && manifest.is_some();
        head.caching(if is_shared { Caching::MaxAge(MANIFEST_MAX_AGE_S) } else { Caching::NoStore });
        decided(&mut head, &decision, by_url);
        head.end();
        self.send(Status::Ok, &out).await
    }

    /// A channel's entry point: settles the format with the source, then answers in it.
    pub async fn entry(&mut self, asked: Asked<'_>, channel: u32, choice: &Choice) -> io::Result<Next> {
        let deadline_us = self.now.mono_us + FIRST_PLAYLIST_HOLD_MS * 1_000;
        let relay = self.shard.relay.clone();
        let profiles = &relay.rules.profiles;
        let settled =
            match self.wait(channel, &[Want::Channel], deadline_us, |view| settle(view, choice, profiles)).await {
                Ok(Ok(settled)) => settled,
                Ok(Err(refusal)) | Err(refusal) => return self.refuse(asked, refusal).await,
            };
        let Some(manifest) = Manifest::entry(settled.format, settled.selection) else {
            return self.live(asked, channel, &settled, deadline_us).await;
        };
        match self.playable(asked, channel, manifest, 1, deadline_us).await {
            Ok(found) => {
                self.send_manifest(asked, manifest, &found.text, Some((&settled.decision, settled.by_url))).await
            }
            Err(refusal) => self.refuse(asked, refusal).await,
        }
    }

    /// A media playlist. HEAD opens nothing: it answers with what is there.
    pub async fn playlist(&mut self, asked: Asked<'_>, channel: u32, manifest: Manifest) -> io::Result<Next> {
        if !manifest.wants().iter().all(|want| want.is_allowed(&self.shard.relay.encodings)) {
            return self.refuse(asked, Refusal::new(Status::NotFound, "the channel has no such rendition")).await;
        }
        let found = if asked.head_only {
            let there = manifest.find(&self.shard.mirror(channel).view());
            there.unwrap_or_else(|| Err(Refusal::unavailable("nobody watches the channel")))
        } else {
            let deadline_us = self.now.mono_us + FIRST_PLAYLIST_HOLD_MS * 1_000;
            self.playable(asked, channel, manifest, segments_wanted(asked), deadline_us).await
        };
        match found {
            Ok(found) => self.send_manifest(asked, manifest, &found.text, None).await,
            Err(refusal) => self.refuse(asked, refusal).await,
        }
    }

    /// Waits for a text that lists so many segments, and for the next one when that is about to come.
    async fn playable(
        &mut self,
        asked: Asked<'_>,
        channel: u32,
        manifest: Manifest,
        segments_min: usize,
        deadline_us: u64,
    ) -> Result<Playable, Refusal> {
        let mut found = self.wait_for_segments(channel, manifest, segments_min, deadline_us).await?;
        let now = self.now;
        if found.segments.next_is_due(now) {
            let deadline_us = now.mono_us + COLD_RELOAD_HOLD_MS * 1_000;
            found = self.wait_for_segments(channel, manifest, found.segments.count + 1, deadline_us).await?;
        }
        let plays = viewers::Asked { format: manifest.format(), is_certain: true };
        self.saw(asked, channel, plays, found.target_duration_s);
        Ok(found)
    }

    /// Waits for a text of so many segments; what there is of it at the deadline is good too.
    async fn wait_for_segments(
        &mut self,
        channel: u32,
        manifest: Manifest,
        segments_min: usize,
        deadline_us: u64,
    ) -> Result<Playable, Refusal> {
        let is_enough = |found: &Result<Playable, Refusal>| {
            found.as_ref().is_ok_and(|found| found.segments.count >= segments_min || found.segments.newest.is_none())
        };
        let probe = |view: &ChannelView| manifest.find(view).filter(|found| found.is_err() || is_enough(found));
        match self.wait(channel, &manifest.wants(), deadline_us, probe).await {
            Ok(found) => found,
            Err(refusal) => manifest.find(&self.shard.mirror(channel).view()).unwrap_or(Err(refusal)),
        }
    }

    /// `decision`: for an entry point, its `X-Relay-Decision`, and whether the URL alone decided.
    async fn send_manifest(
        &mut self,
        asked: Asked<'_>,
        manifest: Manifest,
        text: &Text,
        decision: Option<(&str, bool)>,
    ) -> io::Result<Next> {
        let date = self.shard.date(self.now);
        let mut out = Vec::with_capacity(1_024 + text.body.len());
        let is_shared = decision.is_none_or(|(_, by_url)| by_url);
        if is_shared && asked.has(&text.etag) {
            let caching = Caching::MaxAge(MANIFEST_MAX_AGE_S);
            write_not_modified(&mut out, &date, asked.persistence, &text.etag, caching);
            return self.send(Status::NotModified, &out).await;
        }
        let mut head = ResponseHead::new(&mut out, Status::Ok, &date, asked.persistence);
        head.content_type(manifest.content_type()).content_length(text.body.len() as u64);
        if is_shared {
            head.etag(&text.etag).caching(Caching::MaxAge(MANIFEST_MAX_AGE_S));
        } else {
            head.caching(Caching::NoStore);
        }
        match decision {
            Some((decision, by_url)) => decided(&mut head, decision, by_url),
            None => {
                head.cors();
            }
        }
        head.end();
        self.send_with_body(asked, Status::Ok, out, &text.body).await
    }

    async fn live(&mut self, asked: Asked<'_>, channel: u32, settled: &Settled, deadline_us: u64) -> io::Result<Next> {
        let selection = settled.selection;
        let want = [Want::Ts(selection)];
        let (ts, pos) = match self.wait(channel, &want, deadline_us, |view| joinable(view, &selection)).await {
            Ok(found) => found,
            Err(refusal) => return self.refuse(asked, refusal).await,
        };
        let mut out = Vec::with_capacity(512);
        let mut head = ResponseHead::new(&mut out, Status::Ok, &self.shard.date(self.now), Persistence::Close);
        head.content_type(TS_TYPE).accept_ranges(false).caching(Caching::NoStore);
        decided(&mut head, &settled.decision, true);
        head.end();
        self.send(Status::Ok, &out).await?;
        // While the head was on its way the session may have ended: so does the stream then.
        let pump = self.shard.mirror(channel).pump(self.shard, selection, &ts);
        Ok(pump.map_or(Next::Close, |pump| Next::Live { pump, pos, channel }))
    }
}

/// What the client gets, once it is known what the source has.
fn settle(view: &ChannelView, choice: &Choice, profiles: &Profiles) -> Option<Result<Settled, Refusal>> {
    let is_known = matches!(view.state, ChannelState::Live | ChannelState::Stalled) && !view.source.is_empty();
    let codecs: Vec<Codec> = view.source.iter().map(|track| track.codec).collect();
    let not_acceptable = |why: crate::route::decide::NothingLeft| Refusal::new(Status::NotAcceptable, why.0);
    is_known.then(|| choice.settle(&codecs, profiles).map_err(not_acceptable))
}

/// What was decided for an entry point, and what it was decided by where that is not the URL alone.
fn decided(head: &mut ResponseHead<'_>, decision: &str, by_url: bool) {
    head.cors().decision(decision);
    if !by_url {
        head.vary("Accept, User-Agent, X-Video-Codec, X-Audio-Codec, X-Container");
    }
}
