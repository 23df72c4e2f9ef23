//! A source made by hand, with a packager behind it, and what reads the packager's output.

use crate::isobmff::{self, Chunk, Playlist};
use millrace::es::rendition::RenditionId;
use millrace::es::selection::Selection;
use millrace::es::{
    AudioParams, AudioRole, Codec, Key, Params, SampleMeta, Track, TrackId, TrackKind, TsStream, VideoParams,
};
use millrace::package::cmaf::{
    CmafPackageConfig, CmafPackager, CmafSegment, CmafSnapshot, Presentation, RenditionSnapshot, Wanted,
};
use millrace::package::{Feed, Packager, Pulled, Text, TrackRing};
use millrace::ring::es::EsRing;
use millrace::store::Arena;
use millrace::time::{MediaTime, Now};
use millrace::timeline::{Cut, Epoch};
use std::collections::VecDeque;
use std::sync::Arc;

/// 2026-11-23 on the output timeline.
pub const START: i64 = 1_795_400_000 * 90_000;
pub const EPOCH: u64 = 1_795_400_000;
pub const SECOND: i64 = 90_000;
/// 25 pictures a second, a key every two seconds.
pub const FRAME: i64 = 3_600;
pub const GOP: i64 = 50;
pub const VIDEO: u16 = 0;
pub const AUDIO: u16 = 1;

pub fn track(id: u16, codec: Codec, params: Option<Params>) -> Track {
    Track { id: TrackId(id), codec, language: None, role: AudioRole::Main, ts: TsStream::default(), params }
}

pub fn video(height_mbs: u32) -> Track {
    let params = VideoParams {
        width: 1_280,
        height: height_mbs * 16,
        sar: (1, 1),
        frame_rate: Some((25, 1)),
        interlaced: false,
        rfc6381: "avc1.42c01e".into(),
        parameter_sets: isobmff::h264_sets(80, height_mbs),
    };
    track(VIDEO, Codec::H264, Some(Params::Video(params)))
}

pub fn audio(id: u16, sample_rate: u32, channels: u8) -> Track {
    let config = isobmff::aac_config(sample_rate, channels);
    let rfc6381 = "mp4a.40.2".into();
    let params = AudioParams { sample_rate, channels, frame_samples: 1_024, rfc6381, config };
    track(id, Codec::Aac, Some(Params::Audio(params)))
}

/// A source: video with B pictures, audio that is muxed `audio_lag` ticks behind it, and a packager.
pub struct Rig {
    pub feed: Feed,
    /// Pictures and frames of each audio track so far, and what their time stamps are ahead of that.
    pub pictures: i64,
    pub frames: Vec<(u16, i64)>,
    pub audio_lag: i64,
    pub shift: i64,
    pub next_segment: u64,
    pub discontinuities: u64,
    pub breaks: bool,
    pub silent: Vec<u16>,
    pub picture_bytes: usize,
    pub arena: Arc<Arena>,
    pub packager: Option<CmafPackager>,
    pub now: Now,
}

impl Rig {
    pub fn with_tracks(tracks: &[Track]) -> Rig {
        let mut rig = Rig {
            feed: Feed { rings: Vec::new(), cuts: VecDeque::new() },
            pictures: 0,
            frames: Vec::new(),
            audio_lag: 0,
            shift: 0,
            next_segment: EPOCH,
            discontinuities: 0,
            breaks: false,
            silent: Vec::new(),
            picture_bytes: 900,
            arena: Arena::new(1 << 28).unwrap(),
            packager: None,
            now: Now { mono_us: 0, unix_us: 0 },
        };
        tracks.iter().for_each(|track| rig.describe(track));
        rig
    }

    pub fn new() -> Rig {
        Rig::with_tracks(&[video(45), audio(AUDIO, 48_000, 2)])
    }

    pub fn ring(&mut self, id: u16) -> &mut EsRing {
        self.feed.source_mut(TrackId(id)).unwrap()
    }

    pub fn describe(&mut self, track: &Track) {
        if self.feed.rings.iter().all(|ring| ring.id.track != track.id) {
            self.feed.rings.push(TrackRing::source(track, EsRing::new(2_000, 32 << 20).unwrap()));
            if track.id.0 != VIDEO {
                self.frames.push((track.id.0, self.pictures * FRAME / 1_920));
            }
        }
        self.ring(track.id.0).push_track(Arc::new(track.clone()));
    }

    pub fn cut(&mut self, pts: i64, key: Key) {
        let start = MediaTime(pts);
        let previous = self.feed.cuts.back().map_or(0, |last| start - last.start);
        let discontinuity = std::mem::take(&mut self.breaks);
        self.discontinuities += u64::from(discontinuity);
        self.feed.cuts.push_back(Cut {
            segment: self.next_segment,
            discontinuity_sequence: 7 + self.discontinuities,
            start,
            program_date_time_us: start.unix_us(),
            previous_duration: if discontinuity { previous.min(2 * SECOND) } else { previous },
            discontinuity,
            independent: key == Key::Idr,
        });
        self.next_segment += 1;
    }

    /// One picture, whose display order is I P B B P B B .., and the audio that is due with it.
    pub fn step(&mut self) {
        let n = self.pictures;
        let is_key = n % GOP == 0;
        let dts = START + self.shift + n * FRAME;
        let pts = dts + if n % GOP % 3 == 0 { 4 * FRAME } else { FRAME };
        let key = if is_key { Key::Idr } else { Key::None };
        if !self.silent.contains(&VIDEO) && self.feed.rings[0].id.track.0 == VIDEO {
            self.picture(dts, pts, key);
        }
        if is_key {
            self.cut(pts, key);
        }
        self.audio_until(dts - self.audio_lag);
        self.pictures += 1;
        self.now = self.now.plus_us(40_000);
        self.pull();
    }

    pub fn picture(&mut self, dts: i64, pts: i64, key: Key) {
        let mut data = vec![0x55; self.picture_bytes];
        data[..10].copy_from_slice(&[0, 0, 0, 1, 9, 0xf0, 0, 0, 1, if key == Key::Idr { 0x65 } else { 0x41 }]);
        self.push(VIDEO, meta(dts, pts, key), &data);
    }

    pub fn audio_until(&mut self, until: i64) {
        for index in 0..self.frames.len() {
            let (id, _) = self.frames[index];
            while START + self.shift + self.frames[index].1 * 1_920 <= until {
                let at = START + self.shift + self.frames[index].1 * 1_920;
                if !self.silent.contains(&id) && self.feed.rings.iter().any(|ring| ring.id.track.0 == id) {
                    self.push(id, SampleMeta { header_len: 7, ..meta(at, at, Key::Idr) }, &[0xaa; 207]);
                }
                self.frames[index].1 += 1;
            }
        }
    }

    pub fn push(&mut self, id: u16, mut meta: SampleMeta, data: &[u8]) {
        meta.discontinuity = false;
        self.ring(id).push(meta, data).unwrap();
    }

    pub fn pull(&mut self) {
        let wanted = self.wanted();
        if let Some(packager) = &mut self.packager {
            packager.set_wanted(wanted);
            while packager.pull(&self.feed, self.now) == Pulled::More {}
        }
    }

    /// All of the source as it is.
    fn wanted(&self) -> Wanted {
        Wanted { selections: vec![(Selection::SOURCE, served(&self.feed))], others: Vec::new() }
    }

    pub fn package(&mut self) -> &mut CmafPackager {
        let config = CmafPackageConfig { target_duration_s: 3, window_ms: 10_000 };
        self.packager = Some(CmafPackager::new(
            self.arena.clone(),
            config,
            Epoch { id: EPOCH, discontinuity_sequence: 7 },
            self.wanted(),
            &self.feed,
            self.now,
        ));
        self.packager.as_mut().unwrap()
    }

    pub fn play(&mut self, seconds: i64) {
        if self.packager.is_none() {
            self.package();
        }
        (0..seconds * 25).for_each(|_| self.step());
    }

    pub fn stats(&self) -> millrace::package::cmaf::CmafStats {
        self.packager.as_ref().unwrap().stats()
    }

    pub fn snapshot(&self) -> Arc<CmafSnapshot> {
        self.packager.as_ref().unwrap().shared().snapshot()
    }

    pub fn rendition(&self, id: u16) -> Arc<RenditionSnapshot> {
        self.snapshot().rendition(rendition_id(id)).expect("the rendition is there").clone()
    }
}

pub fn rendition_id(id: u16) -> RenditionId {
    RenditionId::source(TrackId(id), if id == VIDEO { TrackKind::Video } else { TrackKind::Audio })
}

pub fn meta(dts: i64, pts: i64, key: Key) -> SampleMeta {
    let (dts, pts) = (MediaTime(dts), MediaTime(pts));
    SampleMeta { pts, dts, key, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

pub fn read(rendition: &RenditionSnapshot, segment: &CmafSegment) -> Vec<Chunk> {
    let held = rendition.store.hold(segment.segment.range.clone()).expect("what is served is there");
    let bytes: Vec<u8> = held.pieces().flat_map(|piece| piece.bytes.to_vec()).collect();
    isobmff::chunks(&bytes).unwrap()
}

pub fn playlist(rendition: &RenditionSnapshot) -> Playlist {
    Playlist::parse(std::str::from_utf8(&rendition.playlist.body).unwrap()).unwrap()
}

pub fn periods(snapshot: &CmafSnapshot) -> Vec<isobmff::Period> {
    isobmff::periods(std::str::from_utf8(&shown(snapshot).mpd.body).unwrap()).unwrap()
}

/// The first picture and all sound, as a selection makes of a source.
pub fn served(feed: &Feed) -> Vec<RenditionId> {
    let is_picture = |id: &RenditionId| id.kind == TrackKind::Video;
    let sources = feed.sources();
    let picture = sources.iter().copied().find(is_picture);
    picture.into_iter().chain(sources.iter().copied().filter(|id| id.is_audio())).collect()
}

/// The source as players are shown it; empty texts as long as there is nothing to show.
pub fn shown(snapshot: &CmafSnapshot) -> Presentation {
    snapshot.presentation(&Selection::SOURCE).cloned().unwrap_or_else(|| Presentation {
        selection: Selection::SOURCE,
        multivariant: Text::default(),
        mpd: Text::default(),
        mpd_end: 0,
        renditions: Vec::new(),
    })
}
