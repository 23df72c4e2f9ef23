//! `[transcode]` and `[[profile]]`: what may be made of a source, by name, and where it is made.
#![forbid(unsafe_code)]

use super::{Config, Problem};
use crate::es::Codec;
use crate::es::encoding::{AudioEncoding, Encoding, Preset, VideoEncoding};
use crate::es::selection::{Pick, Selection};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

/// `[transcode]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transcode {
    /// Whether anything is transcoded.
    pub enabled: bool,
    /// CPU ids that transcoders are pinned to. Empty: of 4 usable cores and more the last quarter, which shards then leave alone; of fewer, all of
    /// them, shared with the shards.
    pub cores: Vec<usize>,
    /// Percent of a core that admitted transcoders may take together, 1 to 100.
    pub load_percent_max: u64,
    /// A transcoder that is busy with one access unit for longer is given up, milliseconds.
    pub hang_ms: u64,
    /// What is made for a client that asks for nothing, because it would not decode what the source has.
    pub auto: Auto,
    /// `[transcode.codec]`: for a codec that is asked for by its name alone, the profile whose encoding it gets; by default the source's
    /// size and channels at the bit rate that suits them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub codec: BTreeMap<String, String>,
}

/// What client detection alone may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// Pictures and sound.
    All,
    /// Sound, which costs little.
    Audio,
    /// Nothing.
    Off,
}

impl Default for Transcode {
    fn default() -> Self {
        Transcode {
            enabled: true,
            cores: Vec::new(),
            load_percent_max: 85,
            hang_ms: 10_000,
            auto: Auto::All,
            codec: BTreeMap::new(),
        }
    }
}

/// `[[profile]]`: an encoding by name, or a ladder of others. What is not given is as in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What viewers ask for: `[a-z0-9][a-z0-9-]*`, at most [`limits::PROFILE_NAME_BYTES_MAX`] bytes. A name of a built-in one takes its place.
    pub name: String,
    /// Names of profiles whose pictures make a ladder, best first, at most [`limits::LADDER_RUNGS_MAX`]; sound is that of the first. Nothing else may be
    /// given then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<String>,
    /// A codec, `copy` or `none`; `copy` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<String>,
    /// Lines at most, within [`limits::ENCODED_HEIGHT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Frames a second at most, 1 to [`limits::ENCODED_FPS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<u8>,
    /// Target and peak, within [`limits::ENCODED_VIDEO_KBPS`]; by default what suits size and codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_kbps: Option<u32>,
    /// Constant quality below that rate, 0 to [`limits::ENCODED_CRF_MAX`] on the codec's own scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crf: Option<u8>,
    /// `superfast` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Whether interlaced pictures are made progressive; true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deinterlace: Option<bool>,
    /// A codec, `copy` or `none`; `copy` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// Within [`limits::ENCODED_AUDIO_KBPS`]; by default what suits channels and codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_kbps: Option<u16>,
    /// Channels at most, 1 to [`limits::ENCODED_CHANNELS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
}

/// A profile with its words understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedProfile {
    pub name: String,
    /// Best first; empty: no picture.
    pub video: Vec<Pick<VideoEncoding>>,
    /// `None`: no sound.
    pub audio: Option<Pick<AudioEncoding>>,
}

impl Config {
    /// The built-in profiles that the config does not replace, and its own, in that order.
    pub fn resolved_profiles(&self) -> Vec<ResolvedProfile> {
        let (all, plain) = (self.all_profiles(), self.single_profiles());
        all.iter().filter_map(|profile| single(profile).or_else(|| ladder(profile, &plain))).collect()
    }

    /// What `[transcode.codec]` says.
    pub fn codec_encodings(&self) -> Vec<Encoding> {
        let plain = self.single_profiles();
        self.transcode.codec.iter().filter_map(|(codec, profile)| encoding_of(codec, profile, &plain)).collect()
    }

    /// Those that are no ladder.
    fn single_profiles(&self) -> Vec<ResolvedProfile> {
        self.all_profiles().iter().filter_map(single).collect()
    }

    fn all_profiles(&self) -> Vec<Profile> {
        let is_free = |built_in: &Profile| self.profiles.iter().all(|own| own.name != built_in.name);
        built_in().into_iter().filter(is_free).chain(self.profiles.iter().cloned()).collect()
    }
}

/// The built-in ladder, and its rungs, best first.
const LADDER: &str = "ladder";
const RUNGS: [&str; 3] = ["high", "medium", "low"];

/// `high`, `medium`, `low`, `ladder` of these, and `audio-only`.
fn built_in() -> Vec<Profile> {
    let stereo = |name: &str, video: &str| Profile {
        name: name.into(),
        video: Some(video.into()),
        audio: Some("aac".into()),
        audio_kbps: Some(128),
        channels: Some(2),
        ..Profile::default()
    };
    let picture = |name, height, video_kbps| Profile {
        height: Some(height),
        video_kbps: Some(video_kbps),
        ..stereo(name, "h264")
    };
    let rungs = RUNGS.map(String::from).to_vec();
    let [high, medium, low] = RUNGS;
    vec![
        picture(high, 1_080, 4_500),
        picture(medium, 720, 2_200),
        picture(low, 360, 800),
        Profile { name: LADDER.into(), rungs, ..Profile::default() },
        stereo("audio-only", "none"),
    ]
}

/// What a profile without rungs says; `None` for a ladder, and for codecs that there are not.
fn single(profile: &Profile) -> Option<ResolvedProfile> {
    let video = match profile.video.as_deref().unwrap_or("copy") {
        "none" => Vec::new(),
        "copy" => vec![Pick::Copy],
        name => vec![Pick::Encode(VideoEncoding {
            height_max: profile.height.unwrap_or(0),
            fps_max: profile.fps.unwrap_or(0),
            kbps: profile.video_kbps.unwrap_or(0),
            crf: profile.crf,
            preset: profile.preset.unwrap_or_default(),
            deinterlace: profile.deinterlace.unwrap_or(true),
            ..VideoEncoding::of(codec(name, &VideoEncoding::CODECS)?)
        })],
    };
    let audio = match profile.audio.as_deref().unwrap_or("copy") {
        "none" => None,
        "copy" => Some(Pick::Copy),
        name => Some(Pick::Encode(AudioEncoding {
            kbps: profile.audio_kbps.unwrap_or(0),
            channels_max: profile.channels.unwrap_or(0),
            ..AudioEncoding::of(codec(name, &AudioEncoding::CODECS)?)
        })),
    };
    profile.rungs.is_empty().then(|| ResolvedProfile { name: profile.name.clone(), video, audio })
}

/// A ladder; `None` where a rung names no profile of `plain`.
fn ladder(profile: &Profile, plain: &[ResolvedProfile]) -> Option<ResolvedProfile> {
    let find = |name: &String| plain.iter().find(|plain| plain.name == *name);
    let rungs: Vec<&ResolvedProfile> = profile.rungs.iter().map(find).collect::<Option<_>>()?;
    let video = rungs.iter().flat_map(|rung| rung.video.iter().copied()).collect();
    Some(ResolvedProfile { name: profile.name.clone(), video, audio: rungs.first()?.audio })
}

/// What the profile of this name, which is no ladder, encodes to this codec.
fn encoding_of(codec: &str, profile: &str, plain: &[ResolvedProfile]) -> Option<Encoding> {
    let profile = plain.iter().find(|plain| plain.name == profile)?;
    let mut encodings = Selection::ladder(&profile.video, profile.audio).encodings();
    encodings.find(|encoding| encoding.codec().name() == codec)
}

fn codec(name: &str, allowed: &[Codec]) -> Option<Codec> {
    allowed.iter().copied().find(|codec| codec.name() == name)
}

/// Adds a problem for each profile that cannot be made.
pub(super) fn check(config: &Config, problems: &mut Vec<Problem>) {
    if config.profiles.len() > limits::PROFILES_MAX {
        let what = format!("{} profiles are too many", config.profiles.len());
        problems.push(Problem::new("profile", what, format!("keep {}", limits::PROFILES_MAX)));
    }
    let plain = config.single_profiles();
    for (codec, profile) in &config.transcode.codec {
        if encoding_of(codec, profile, &plain).is_none() {
            let what = format!("`{profile}` is no profile that encodes to {codec}");
            let remedy = "name one that is no ladder and has this codec";
            problems.push(Problem::new(format!("transcode.codec.{codec}"), what, remedy));
        }
    }
    let known: HashSet<&str> = plain.iter().map(|plain| plain.name.as_str()).collect();
    let has_own_ladder = config.profiles.iter().any(|profile| profile.name == LADDER);
    let mut seen = HashSet::new();
    for (i, profile) in config.profiles.iter().enumerate() {
        let mut find = |key: &str, what: String, remedy: String| {
            problems.push(Problem::new(format!("profile[{i}].{key}"), what, remedy));
        };
        if !is_name(&profile.name) || !seen.insert(&profile.name) {
            let remedy = "give each a name of its own, of small letters, digits and hyphens".to_owned();
            find("name", format!("`{}` cannot name a profile", profile.name), remedy);
        }
        check_codecs(profile, &mut find);
        check_unused(profile, &mut find);
        check_numbers(profile, &mut find);
        check_rungs(profile, &known, &mut find);
        if !profile.rungs.is_empty() && !has_own_ladder && RUNGS.contains(&profile.name.as_str()) {
            let remedy = format!("give it another name, or define `{LADDER}` too");
            find("name", format!("`{}` is a rung of the built-in `{LADDER}`", profile.name), remedy);
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.starts_with('-') && (1..=limits::PROFILE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn check_codecs(profile: &Profile, find: &mut impl FnMut(&str, String, String)) {
    let kinds = [("video", &profile.video, VideoEncoding::CODECS), ("audio", &profile.audio, AudioEncoding::CODECS)];
    for (key, value, allowed) in kinds {
        let Some(value) = value else { continue };
        if !matches!(value.as_str(), "copy" | "none") && codec(value, &allowed).is_none() {
            let names: Vec<&str> = allowed.iter().map(|codec| codec.name()).collect();
            find(key, format!("`{value}` cannot be encoded to"), format!("use {}, copy or none", names.join(", ")));
        }
    }
    if profile.video.as_deref() == Some("none") && profile.audio.as_deref() == Some("none") {
        find("audio", "neither picture nor sound".into(), "take one of them".into());
    }
}

/// Whatever says how a kind of track is encoded that is not encoded.
fn check_unused(profile: &Profile, find: &mut impl FnMut(&str, String, String)) {
    let is_set = [
        ("video", "height", profile.height.is_some()),
        ("video", "fps", profile.fps.is_some()),
        ("video", "video_kbps", profile.video_kbps.is_some()),
        ("video", "crf", profile.crf.is_some()),
        ("video", "preset", profile.preset.is_some()),
        ("video", "deinterlace", profile.deinterlace.is_some()),
        ("audio", "audio_kbps", profile.audio_kbps.is_some()),
        ("audio", "channels", profile.channels.is_some()),
    ];
    let encodes = |kind: &str| {
        let value = if kind == "video" { &profile.video } else { &profile.audio };
        value.as_deref().is_some_and(|value| !matches!(value, "copy" | "none"))
    };
    for (kind, key, _) in is_set.into_iter().filter(|(kind, _, is_set)| *is_set && !encodes(kind)) {
        find(
            key,
            format!("says how {kind} is encoded, and it is not"),
            format!("give {kind} a codec, or leave this out"),
        );
    }
}

fn check_numbers(profile: &Profile, find: &mut impl FnMut(&str, String, String)) {
    fn widened<T: Into<u64> + Copy>(range: RangeInclusive<T>) -> RangeInclusive<u64> {
        (*range.start()).into()..=(*range.end()).into()
    }
    let numbers: [(&str, Option<u64>, RangeInclusive<u64>); 6] = [
        ("height", profile.height.map(u64::from), widened(limits::ENCODED_HEIGHT)),
        ("fps", profile.fps.map(u64::from), 1..=limits::ENCODED_FPS_MAX.into()),
        ("video_kbps", profile.video_kbps.map(u64::from), widened(limits::ENCODED_VIDEO_KBPS)),
        ("crf", profile.crf.map(u64::from), 0..=limits::ENCODED_CRF_MAX.into()),
        ("audio_kbps", profile.audio_kbps.map(u64::from), widened(limits::ENCODED_AUDIO_KBPS)),
        ("channels", profile.channels.map(u64::from), 1..=limits::ENCODED_CHANNELS_MAX.into()),
    ];
    for (key, value, range) in numbers {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            find(key, format!("{value} is out of range"), format!("give {} to {}", range.start(), range.end()));
        }
    }
}

fn check_rungs(profile: &Profile, known: &HashSet<&str>, find: &mut impl FnMut(&str, String, String)) {
    if profile.rungs.is_empty() {
        return;
    }
    if profile.rungs.len() > limits::LADDER_RUNGS_MAX {
        let remedy = format!("keep {}", limits::LADDER_RUNGS_MAX);
        find("rungs", format!("{} rungs are too many", profile.rungs.len()), remedy);
    }
    let bare = Profile { name: profile.name.clone(), rungs: profile.rungs.clone(), ..Profile::default() };
    if *profile != bare {
        find("rungs", "a ladder has no encoding of its own".into(), "leave only name and rungs".into());
    }
    for rung in profile.rungs.iter().filter(|rung| !known.contains(rung.as_str())) {
        find("rungs", format!("no profile of one picture is called `{rung}`"), "name one that is no ladder".into());
    }
}
