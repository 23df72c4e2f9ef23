//! The CMAF packager behind the timeline: what must hold of its stores, playlists and MPD whatever befalls the source.

use crate::isobmff::{self, Playlist};
use crate::rng::Rng;
use millrace::es::rendition::RenditionId;
use millrace::es::selection::Selection;
use millrace::es::{Track, TrackId, TrackKind};
use millrace::limits::{BLOCK_BYTES, TRACK_LATE_TICKS};
use millrace::package::cmaf::Wanted;
use millrace::package::cmaf::{
    CmafPackageConfig, CmafPackager, CmafSegment, CmafSnapshot, Presentation, RenditionSnapshot,
};
use millrace::package::{Feed, Packager, Pulled, Text, TrackRing};
use millrace::ring::es::EsRing;
use millrace::store::Arena;
use millrace::time::Now;
use millrace::timeline::{Cut, Epoch, Placed};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const WINDOW_MS: u64 = 12_000;

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// What was seen of a rendition.
#[derive(Default)]
struct Seen {
    segments: Vec<CmafSegment>,
    /// Init segment and decode time of the end of the newest segment that had bytes.
    end: Option<(u32, u64)>,
}

pub struct Cmaf {
    feed: Feed,
    packager: Option<CmafPackager>,
    arena: Arc<Arena>,
    epoch: Epoch,
    target_duration_s: u64,
    rng: Rng,
    /// Samples until the packager is made, and until the next pull.
    make_in: u64,
    pull_in: u64,
    version: u64,
    dropped: u64,
    seen: HashMap<RenditionId, Seen>,
    /// What was said of a segment's number: discontinuity, and its sequence number.
    marks: HashMap<u64, (bool, u64)>,
    newest_cut: Option<Cut>,
    /// The source makes no sense: only what holds all the same is checked.
    is_noise: bool,
    pub segments: u64,
    pub gaps: u64,
    pub discontinuities: u64,
}

impl Cmaf {
    pub fn new(seed: u64, epoch: Epoch, target_duration_s: u64, tracks: &[Track]) -> Cmaf {
        let mut rng = Rng::new(seed ^ 0x636d_6166);
        let make_in = if rng.percent(50) { 0 } else { rng.below(2_000) };
        let mut cmaf = Cmaf {
            feed: Feed { rings: Vec::new(), cuts: VecDeque::new() },
            packager: None,
            arena: Arena::new(1 << 28).expect("memory"),
            epoch,
            target_duration_s,
            rng,
            make_in,
            pull_in: 0,
            version: 0,
            dropped: 0,
            seen: HashMap::new(),
            marks: HashMap::new(),
            newest_cut: None,
            is_noise: false,
            segments: 0,
            gaps: 0,
            discontinuities: 0,
        };
        cmaf.tracks(tracks);
        cmaf
    }

    /// Behind a source that makes no sense.
    pub fn noise(seed: u64, epoch: Epoch, target_duration_s: u64, tracks: &[Track]) -> Cmaf {
        Cmaf { is_noise: true, ..Cmaf::new(seed, epoch, target_duration_s, tracks) }
    }

    /// Another session begins.
    pub fn restart(&mut self, epoch: Epoch, target_duration_s: u64, tracks: &[Track]) -> Result<(), String> {
        self.finish()?;
        ensure!(self.marks.keys().all(|number| *number < epoch.id), "the epoch {epoch:?} uses numbers again");
        let seed = self.rng.next();
        let counts = (self.segments, self.gaps, self.discontinuities);
        *self = Cmaf::new(seed, epoch, target_duration_s, tracks);
        (self.segments, self.gaps, self.discontinuities) = counts;
        Ok(())
    }

    /// The source describes its tracks: those that changed are entered.
    pub fn tracks(&mut self, tracks: &[Track]) {
        for track in tracks {
            if self.feed.rings.iter().all(|ring| ring.id.track != track.id) {
                let samples_max = if track.kind() == TrackKind::Video { 1_000 } else { 2_000 };
                let ring = EsRing::new(samples_max, 4 << 20).expect("memory");
                self.feed.rings.push(TrackRing::source(track, ring));
            }
            let ring = self.ring(track.id);
            let newest = ring.range().end.checked_sub(1).and_then(|seq| ring.track_at(seq)).cloned();
            if newest.is_none_or(|newest| *newest != *track) {
                ring.push_track(Arc::new(track.clone()));
            }
        }
    }

    pub fn source_break(&mut self) {
        self.feed.rings.iter_mut().for_each(|ring| {
            ring.ring.source_mut().expect("a source's ring").push_gap();
        });
    }

    /// Samples that the packager left out.
    pub fn left_out(&self) -> u64 {
        self.packager.as_ref().map_or(0, |packager| packager.stats().dropped)
    }

    fn ring(&mut self, id: TrackId) -> &mut EsRing {
        self.feed.source_mut(id).expect("a ring")
    }

    pub fn placed(&mut self, id: TrackId, kind: TrackKind, placed: &Placed, now: Now) -> Result<(), String> {
        let mut data = [0x55; 200];
        if kind == TrackKind::Video {
            let unit = if placed.meta.key == millrace::es::Key::Idr { 0x65 } else { 0x41 };
            data[..4].copy_from_slice(&[0, 0, 1, unit]);
        }
        if self.feed.rings.iter().all(|ring| ring.id.track != id) {
            // The track was never announced.
            return Ok(());
        }
        let len = 20 + self.rng.below(180) as usize;
        self.ring(id).push(placed.meta, &data[..len]).ok_or("the ring refuses a sample")?;
        if let Some(cut) = placed.cut {
            self.newest_cut = Some(cut);
            self.feed.cuts.push_back(cut);
            if self.feed.cuts.len() > 2_000 {
                self.feed.cuts.pop_front();
            }
        }
        if self.make_in > 0 {
            self.make_in -= 1;
            return Ok(());
        }
        if self.pull_in > 0 {
            self.pull_in -= 1;
            return Ok(());
        }
        self.pull_in = if self.rng.percent(1) { self.rng.below(400) } else { self.rng.below(40) };
        self.pull(now)
    }

    fn pull(&mut self, now: Now) -> Result<(), String> {
        let config = CmafPackageConfig { target_duration_s: self.target_duration_s, window_ms: WINDOW_MS };
        let wanted = Wanted { selections: vec![(Selection::SOURCE, served(&self.feed))], others: Vec::new() };
        match &mut self.packager {
            Some(packager) => {
                packager.set_wanted(wanted);
                while packager.pull(&self.feed, now) == Pulled::More {}
            }
            None => {
                self.packager =
                    Some(CmafPackager::new(self.arena.clone(), config, self.epoch, wanted, &self.feed, now));
            }
        }
        let shared = self.packager.as_ref().map(|packager| packager.shared().clone()).ok_or("no packager")?;
        if std::mem::replace(&mut self.version, shared.version()) == shared.version() {
            return Ok(());
        }
        if self.is_noise { self.check_noise(&shared.snapshot()) } else { self.check(&shared.snapshot()) }
    }

    /// What was cut long enough ago is listed, by all.
    pub fn finish(&mut self) -> Result<(), String> {
        let (Some(packager), Some(newest)) = (&self.packager, self.newest_cut) else { return Ok(()) };
        let snapshot = packager.shared().snapshot();
        let late = TRACK_LATE_TICKS + self.target_duration_s as i64 * 180_000;
        let due = self.feed.cuts.iter().filter(|cut| newest.start - cut.start > late).map(|cut| cut.segment).max();
        let Some(due) = due.filter(|due| self.feed.cuts.front().is_some_and(|first| first.segment + 5 < *due)) else {
            return Ok(());
        };
        ensure!(!shown(&snapshot).mpd.is_empty(), "nothing is shown at the end");
        for rendition in &snapshot.renditions {
            let last = rendition.segments.last().map(|segment| segment.segment.number());
            ensure!(last >= Some(due), "{} lists up to {last:?}, {due} was cut long ago", rendition.id);
        }
        Ok(())
    }

    fn check(&mut self, snapshot: &CmafSnapshot) -> Result<(), String> {
        let dropped = self.packager.as_ref().map_or(0, |packager| packager.stats().dropped);
        let drops = std::mem::replace(&mut self.dropped, dropped) != dropped;
        for rendition in &snapshot.renditions {
            self.rendition(rendition, drops).map_err(|why| format!("{}: {why}", rendition.id))?;
        }
        if !shown(snapshot).mpd.is_empty() {
            mpd(snapshot)?;
            let shown = shown(snapshot);
            let multivariant = text(&shown.multivariant.body)?;
            for rendition in &snapshot.renditions {
                let uri = format!("{}/{}/media.m3u8", self.epoch.id, rendition.id);
                ensure!(multivariant.contains(&uri), "{uri} is not in {multivariant}");
            }
        }
        Ok(())
    }

    /// Numbers do not go back, no byte is missing, and nothing is kept for ever.
    fn check_noise(&mut self, snapshot: &CmafSnapshot) -> Result<(), String> {
        for rendition in &snapshot.renditions {
            let mut newest =
                self.seen.get(&rendition.id).and_then(|seen| seen.segments.last()).map(number).unwrap_or(0);
            ensure!(rendition.segments.last().is_none_or(|last| number(last) >= newest), "numbers go back");
            for segment in &rendition.segments {
                let ticks = segment.segment.duration_90k;
                ensure!((ticks + 45_000) / 90_000 <= self.target_duration_s as i64, "EXTINF {ticks}");
                let held = rendition.store.hold(segment.segment.range.clone());
                let bytes: Vec<u8> = held.ok_or("bytes are gone")?.pieces().flat_map(|p| p.bytes.to_vec()).collect();
                if number(segment) > newest {
                    newest = number(segment);
                    isobmff::chunks(&bytes)?;
                    self.segments += 1;
                }
            }
            memory(rendition, self.target_duration_s)?;
            self.seen.entry(rendition.id).or_default().segments = rendition.segments.to_vec();
        }
        isobmff::periods(text(&shown(snapshot).mpd.body)?).map(|_| ())
    }

    fn rendition(&mut self, rendition: &RenditionSnapshot, drops: bool) -> Result<(), String> {
        let mut seen = self.seen.remove(&rendition.id).unwrap_or_default();
        let known = seen.segments.last().map_or(0, |segment| segment.segment.number());
        let mut before: Option<&CmafSegment> = None;
        for segment in &rendition.segments {
            follows(before, segment, self.target_duration_s)?;
            let number = segment.segment.number();
            ensure!(rendition.init(segment.init).is_some(), "{number} has no init segment");
            let cut = segment.segment.cut;
            let mark = (cut.discontinuity, cut.discontinuity_sequence);
            let said = *self.marks.entry(number).or_insert(mark);
            ensure!(said == mark, "{number} is {mark:?}, was {said:?}");
            if number > known {
                self.segments += 1;
                self.gaps += u64::from(segment.is_gap());
                self.discontinuities += u64::from(cut.discontinuity);
                content(rendition, segment, drops, &mut seen).map_err(|why| format!("{number}: {why}\n{segment:?}"))?;
            } else {
                let old = seen.segments.iter().find(|old| old.segment.number() == number);
                ensure!(old == Some(segment), "{number} was {old:?}, is {segment:?}");
            }
            ensure!(rendition.store.hold(segment.segment.range.clone()).is_some(), "bytes of {number} are gone");
            before = Some(segment);
        }
        let newest = before.map_or(0, |segment| segment.segment.number());
        ensure!(newest >= known, "numbers go back from {known} to {newest}");
        memory(rendition, self.target_duration_s)?;
        playlist(rendition, self.epoch)?;
        seen.segments = rendition.segments.to_vec();
        self.seen.insert(rendition.id, seen);
        Ok(())
    }
}

fn number(segment: &CmafSegment) -> u64 {
    segment.segment.number()
}

fn text(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|why| why.to_string())
}

/// A segment behind the one before it.
fn follows(before: Option<&CmafSegment>, segment: &CmafSegment, target_duration_s: u64) -> Result<(), String> {
    let ticks = segment.segment.duration_90k;
    ensure!(ticks > 0 && (ticks + 45_000) / 90_000 <= target_duration_s as i64, "EXTINF {ticks}: {segment:?}");
    ensure!(segment.duration > 0, "no duration");
    let Some(before) = before else { return Ok(()) };
    let holds = segment.segment.number() == before.segment.number() + 1
        && segment.segment.range.start >= before.segment.range.end
        && segment.segment.cut.start > before.segment.cut.start
        && segment.unix_us > before.unix_us;
    ensure!(holds, "{segment:?} behind {before:?}");
    if segment.init == before.init {
        ensure!(segment.time > before.time, "times do not grow: {before:?}, {segment:?}");
        // Times of gaps are those of the cuts.
        let is_media = !before.is_gap() && !segment.is_gap();
        let overlaps = is_media && before.time + before.duration > segment.time + 1;
        ensure!(!overlaps, "overlap: {before:?}, {segment:?}");
    }
    Ok(())
}

/// The bytes of a segment: where they begin, that time goes on, what the first sample is.
fn content(rendition: &RenditionSnapshot, segment: &CmafSegment, drops: bool, seen: &mut Seen) -> Result<(), String> {
    if segment.is_gap() {
        return Ok(());
    }
    let held = rendition.store.hold(segment.segment.range.clone()).ok_or("not held")?;
    let bytes: Vec<u8> = held.pieces().flat_map(|piece| piece.bytes.to_vec()).collect();
    let chunks = isobmff::chunks(&bytes)?;
    let first = chunks.first().ok_or("no chunk")?;
    let begins = chunks.iter().position(|chunk| chunk.begins_segment) == Some(0);
    ensure!(begins && chunks.iter().filter(|chunk| chunk.begins_segment).count() == 1, "styp");
    let lead = first.samples.first().ok_or("no sample")?;
    ensure!(first.base + lead.composition_offset as u64 == segment.time, "begins at {}", first.base);
    ensure!(lead.is_sync || !segment.segment.cut.independent, "independent without a sync sample");
    let timescale = u64::from(rendition.init(segment.init).ok_or("no init segment")?.timescale);
    let mut end = seen.end.filter(|(init, _)| *init == segment.init).map(|(_, end)| end);
    if rendition.id.is_audio() && end == Some(first.base) {
        // Audio is cut at the first frame that is not before the cut, to the half frame that its count may be behind its stamps or the whole
        // one that it may be ahead; holes of half a second count as none.
        let late = (i128::from(segment.time) * 90_000 / i128::from(timescale)) as i64 - segment.segment.cut.start.0;
        ensure!((-1_700..=2 * 3_200 + 45_000).contains(&late), "begins {late} ticks behind its cut");
    }
    for chunk in &chunks {
        if let Some(end) = end.filter(|end| *end != chunk.base) {
            ensure!(chunk.base > end, "decode time goes from {end} back to {}", chunk.base);
            // A shorter hole is closed, unless samples had to go.
            let hole_ms = (chunk.base - end) * 1_000 / timescale;
            ensure!(hole_ms >= 400 || drops, "a hole of {hole_ms} ms");
        }
        ensure!(chunk.samples.iter().all(|sample| sample.duration > 0), "a sample of no duration");
        end = Some(chunk.end());
    }
    let end = end.unwrap_or(0);
    let is_whole = chunks.windows(2).all(|pair| pair[0].end() == pair[1].base);
    if rendition.id.is_audio() && is_whole {
        ensure!(segment.time + segment.duration == end, "ends at {end}");
    }
    seen.end = Some((segment.init, end));
    Ok(())
}

/// No more is kept than the window needs.
fn memory(rendition: &RenditionSnapshot, target_duration_s: u64) -> Result<(), String> {
    let listed_min = (WINDOW_MS * 90).max(3 * target_duration_s * 90_000) as i64;
    let served: i64 = rendition.segments.iter().map(|segment| segment.segment.duration_90k).sum();
    let most = 2 * listed_min + 6 * target_duration_s as i64 * 90_000;
    ensure!(served <= most, "{served} ticks are served");
    let from = rendition.segments.first().map_or(0, |segment| segment.segment.range.start);
    let blocks = (rendition.store.published() - from) as usize / BLOCK_BYTES + 3;
    ensure!(rendition.store.held_blocks() <= blocks, "{} blocks are held", rendition.store.held_blocks());
    Ok(())
}

/// The Media Playlist says what the window says.
fn playlist(rendition: &RenditionSnapshot, epoch: Epoch) -> Result<(), String> {
    if rendition.listed().is_empty() {
        return Ok(());
    }
    let playlist = Playlist::parse(text(&rendition.playlist.body)?)?;
    ensure!(playlist.entries.len() == rendition.listed().len(), "{} entries", playlist.entries.len());
    ensure!(playlist.media_sequence == rendition.listed()[0].segment.number(), "media sequence");
    for (entry, segment) in playlist.entries.iter().zip(rendition.listed()) {
        let cut = segment.segment.cut;
        let marked = cut.discontinuity || cut.segment == epoch.id;
        let holds = (entry.time, entry.init, entry.gap) == (segment.time, segment.init, segment.is_gap())
            && (entry.ticks - segment.segment.duration_90k).abs() <= 1
            && (entry.discontinuity, entry.discontinuity_sequence) == (marked, cut.discontinuity_sequence);
        ensure!(holds, "{entry:?} for {segment:?}");
    }
    Ok(())
}

/// The MPD lists the same segments, and Periods begin at discontinuities and new init segments.
fn mpd(snapshot: &CmafSnapshot) -> Result<(), String> {
    let periods = isobmff::periods(text(&shown(snapshot).mpd.body)?)?;
    ensure!(periods.windows(2).all(|pair| pair[0].id < pair[1].id), "Periods are not in order");
    for rendition in &snapshot.renditions {
        let name = rendition.id.to_string();
        let mut listed = rendition.listed().iter().filter(|segment| !segment.is_gap());
        for (index, period) in periods.iter().enumerate() {
            let ends = periods.get(index + 1).map_or(u64::MAX, |next| next.id);
            let Some(representation) = period.representations.iter().find(|r| r.id == name) else { continue };
            for (position, (time, duration)) in representation.segments.iter().enumerate() {
                let segment = listed.next().ok_or("the MPD has more segments")?;
                let number = segment.segment.number();
                let holds = (*time, *duration, representation.init) == (segment.time, segment.duration, segment.init);
                ensure!(holds, "{time}, {duration} of {name} in the MPD, {segment:?}");
                ensure!((period.id..ends).contains(&number), "{number} of {name} is in Period {}", period.id);
                ensure!(position == 0 || !segment.segment.cut.discontinuity, "{number} of {name} begins no Period");
            }
        }
        // The newest stands in the MPD once all renditions have it.
        let newest = rendition.listed().last().map(|segment| segment.segment.number());
        let lags = |other: &RenditionSnapshot| other.listed().last().map(|s| s.segment.number() + 1) == newest;
        let waits = snapshot.renditions.iter().any(|other| lags(other));
        let more = listed.map(|segment| segment.segment.number()).collect::<Vec<_>>();
        let is_through = more.is_empty() || waits && more.len() == 1 && more.last() == newest.as_ref();
        ensure!(is_through, "{name} has more segments than the MPD: {more:?}");
    }
    Ok(())
}

/// The source as players are shown it; empty texts as long as there is nothing to show.
fn shown(snapshot: &CmafSnapshot) -> Presentation {
    snapshot.presentation(&Selection::SOURCE).cloned().unwrap_or_else(|| Presentation {
        selection: Selection::SOURCE,
        multivariant: Text::default(),
        mpd: Text::default(),
        mpd_end: 0,
        renditions: Vec::new(),
    })
}

/// The first picture and all sound, as a selection makes of a source.
fn served(feed: &Feed) -> Vec<RenditionId> {
    let sources = feed.sources();
    let picture = sources.iter().copied().find(|id| id.kind == TrackKind::Video);
    picture.into_iter().chain(sources.iter().copied().filter(|id| id.is_audio())).collect()
}
