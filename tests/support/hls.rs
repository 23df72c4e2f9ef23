//! An HLS player without a decoder: reads playlists line by line, resolves URIs, fetches each segment once, in order.
//!
//! It shares no code with the relay. What it deliberately does not do: choose between variants, or validate every tag.

use super::http::{Client, Response};
use std::collections::BTreeMap;
use url::Url;

/// A Media Playlist (RFC 8216 4.3.2, 4.3.3), as far as the tests look.
#[derive(Clone, Debug, Default)]
pub struct Playlist {
    pub target_duration_s: u64,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    pub segments: Vec<Segment>,
}

#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub number: u64,
    pub uri: String,
    /// EXT-X-MAP's URI, in force since the tag; empty without one.
    pub map: String,
    pub seconds: f64,
    pub discontinuity: bool,
}

impl Playlist {
    #[track_caller]
    pub fn parse(text: &str) -> Playlist {
        assert!(text.starts_with("#EXTM3U\n"), "no playlist: {text}");
        let mut playlist = Playlist::default();
        let (mut next, mut map) = (Segment::default(), String::new());
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => playlist.target_duration_s = value.parse().expect("whole seconds"),
                "#EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = value.parse().expect("a number"),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = value.parse().expect("a number"),
                "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
                "#EXT-X-MAP" => {
                    map = value.split("URI=\"").nth(1).and_then(|uri| uri.split('"').next()).expect("a URI").to_owned();
                }
                "#EXTINF" => next.seconds = value.trim_end_matches(',').parse().expect("seconds"),
                _ if line.starts_with('#') || line.is_empty() => {}
                _ => {
                    next.number = playlist.media_sequence + playlist.segments.len() as u64;
                    next.uri = line.to_owned();
                    next.map.clone_from(&map);
                    playlist.segments.push(std::mem::take(&mut next));
                }
            }
        }
        playlist
    }

    /// Discontinuity sequence number of the segment at `index` (RFC 8216 6.2.1: the first segment has the playlist's).
    pub fn discontinuity_number(&self, index: usize) -> u64 {
        self.discontinuity_sequence + self.segments[..=index].iter().filter(|s| s.discontinuity).count() as u64
    }
}

/// One player on one connection.
pub struct Player {
    pub client: Client,
    master: Url,
    media: Option<Url>,
    /// Bytes of every segment fetched, by number.
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub last: Playlist,
}

impl Player {
    pub fn new(client: Client, channel: &str) -> Player {
        let base = Url::parse("http://relay.test").expect("a URL");
        let master = base.join(&format!("/relay/channel/{channel}/index.m3u8?format=hls-ts")).expect("a URL");
        Player { client, master, media: None, segments: BTreeMap::new(), last: Playlist::default() }
    }

    /// Path of the Media Playlist.
    pub fn media_path(&self) -> &str {
        self.media.as_ref().expect("the player has opened its channel").path()
    }

    /// Path of a segment of the last playlist.
    pub fn segment_path(&self, segment: &Segment) -> String {
        let media = self.media.as_ref().expect("the player has opened its channel");
        media.join(&segment.uri).expect("a relative URI").path().to_owned()
    }

    /// Reads the multivariant playlist and with it where the media playlist is.
    #[track_caller]
    pub fn open(&mut self) -> &mut Player {
        let target = &self.master[url::Position::BeforePath..];
        let master = self.client.get(target).expect(200).text();
        let uri = master.lines().find(|line| !line.starts_with('#')).expect("a variant");
        self.media = Some(self.master.join(uri).expect("a relative URI"));
        self
    }

    /// Reads the media playlist.
    #[track_caller]
    pub fn reload(&mut self) -> &Playlist {
        if self.media.is_none() {
            self.open();
        }
        let path = self.media_path().to_owned();
        let text = self.client.get(&path).expect(200).text();
        let playlist = Playlist::parse(&text);
        assert!(playlist.media_sequence >= self.last.media_sequence, "the media sequence went back:\n{text}");
        assert!(
            playlist.discontinuity_sequence >= self.last.discontinuity_sequence,
            "the discontinuity sequence went back:\n{text}"
        );
        self.last = playlist;
        &self.last
    }

    /// Reads the playlist and fetches what is new in it.
    #[track_caller]
    pub fn step(&mut self) {
        self.reload();
        for segment in self.last.segments.clone() {
            if !self.segments.contains_key(&segment.number) {
                let body = self.fetch(&segment).expect(200).body;
                self.segments.insert(segment.number, body);
            }
        }
    }

    #[track_caller]
    pub fn fetch(&mut self, segment: &Segment) -> Response {
        let path = self.segment_path(segment);
        self.client.get(&path)
    }

    /// Whether the relay still has a segment.
    #[track_caller]
    pub fn is_served(&mut self, segment: &Segment) -> bool {
        let path = self.segment_path(segment);
        self.client.request("HEAD", &path, "").status == 200
    }
}
