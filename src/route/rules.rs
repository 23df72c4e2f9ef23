//! User-Agent rules: which format a client gets that says nothing else. First match wins; an operator's rules go before the built-in ones.
//!
//! The table says what each client plays best from a URL without an extension, `/relay/channel/{id}/stream`, for that is where it is
//! asked. Texts are compared without regard to case, in the first [`ROUTE_USER_AGENT_BYTES_MAX`] bytes of the field.
//!
//! What it deliberately does not do: tell versions of a browser apart, or know what a client decodes.
#![forbid(unsafe_code)]

use super::decodes;
use super::headers::CodecSet;
use super::profiles::Profiles;
use crate::limits::ROUTE_USER_AGENT_BYTES_MAX;
use crate::metrics::Format::{self, Dash, HlsFmp4, HlsTs, MpegTs};
use memchr::memmem::Finder;
use std::borrow::Cow;

/// A rule of the operator's, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRule {
    /// What `X-Relay-Decision` calls it; may be empty.
    pub name: String,
    /// Texts, one of which stands in the User-Agent.
    pub user_agent: Vec<String>,
    /// What such a client gets.
    pub format: Format,
}

/// All rules in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Rules {
    tried: Vec<Prepared>,
    /// What may be made of sources.
    pub profiles: Profiles,
}

impl Default for Rules {
    /// The built-in rules alone.
    fn default() -> Self {
        Rules::new([])
    }
}

/// A rule, ready to be matched: to make a search ready costs several times what the search in one User-Agent does.
#[derive(Clone, Debug)]
struct Prepared {
    why: Cow<'static, str>,
    /// Name of the built-in rule; `None` for one of the operator's.
    built_in: Option<&'static str>,
    all: Vec<Finder<'static>>,
    any: Vec<Finder<'static>>,
    not: Vec<Finder<'static>>,
    prefers: Cow<'static, [Format]>,
}

/// What a matching rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'r> {
    /// For `X-Relay-Decision`.
    pub why: Cow<'static, str>,
    /// Formats, best first; never empty.
    pub prefers: &'r [Format],
}

impl Rules {
    /// The operator's rules, then the built-in ones.
    pub fn new(own: impl IntoIterator<Item = OwnRule>) -> Rules {
        let own = own.into_iter().enumerate().map(|(index, rule)| Prepared::own(index + 1, rule));
        Rules { tried: own.chain(BUILT_IN.iter().map(Prepared::built_in)).collect(), profiles: Profiles::default() }
    }

    /// The same rules, with what may be made of sources.
    pub fn with_profiles(self, profiles: Profiles) -> Rules {
        Rules { profiles, ..self }
    }

    /// The first rule that this User-Agent matches; `None` for an empty one and for tools that play nothing, such as curl.
    pub(super) fn find(&self, user_agent: &[u8]) -> Option<Found<'_>> {
        if user_agent.is_empty() {
            return None;
        }
        let mut lower = [0; ROUTE_USER_AGENT_BYTES_MAX];
        let agent = lower_case(user_agent, &mut lower);
        let rule = self.tried.iter().find(|rule| rule.matches(agent))?;
        Some(Found { why: rule.why.clone(), prefers: &rule.prefers })
    }

    /// What such a client is known to decode, whatever the operator's rules give it.
    pub(super) fn decodes(&self, user_agent: &[u8]) -> CodecSet {
        let mut lower = [0; ROUTE_USER_AGENT_BYTES_MAX];
        let agent = lower_case(user_agent, &mut lower);
        let mut built_in = self.tried.iter().filter_map(|rule| Some((rule.built_in?, rule)));
        let found = built_in.find(|(_, rule)| !agent.is_empty() && rule.matches(agent));
        found.map_or_else(decodes::everything, |(name, _)| decodes::of(name, agent))
    }
}

/// The first bytes of a User-Agent, in lower case.
fn lower_case<'a>(user_agent: &[u8], into: &'a mut [u8; ROUTE_USER_AGENT_BYTES_MAX]) -> &'a [u8] {
    let len = user_agent.len().min(into.len());
    let agent = &mut into[..len];
    agent.copy_from_slice(&user_agent[..len]);
    agent.make_ascii_lowercase();
    agent
}

impl Prepared {
    fn own(number: usize, rule: OwnRule) -> Prepared {
        // The name ends up in a header field, whatever the caller let through.
        let name: String = rule.name.chars().filter(|c| matches!(c, ' '..='~') && *c != '"').collect();
        let why =
            if name.is_empty() { format!("config rule {number}") } else { format!("config rule {number} \"{name}\"") };
        let texts = rule.user_agent.iter().filter(|text| !text.is_empty());
        let any = texts.map(|text| Finder::new(text.to_ascii_lowercase().as_bytes()).into_owned()).collect();
        let prefers = vec![rule.format, sibling(rule.format)].into();
        Prepared { why: why.into(), built_in: None, all: Vec::new(), any, not: Vec::new(), prefers }
    }

    fn built_in(rule: &'static Rule) -> Prepared {
        let finders = |texts: &'static [&'static str]| texts.iter().map(|text| Finder::new(text.as_bytes())).collect();
        Prepared {
            why: format!("User-Agent: {}", rule.name).into(),
            built_in: Some(rule.name),
            all: finders(rule.all),
            any: finders(rule.any),
            not: finders(rule.not),
            prefers: rule.prefers.into(),
        }
    }

    /// `agent`: in lower case.
    fn matches(&self, agent: &[u8]) -> bool {
        let has = |text: &Finder<'_>| text.find(agent).is_some();
        self.any.iter().any(has) && self.all.iter().all(has) && !self.not.iter().any(has)
    }
}

/// What comes nearest to `format` in the other container.
pub(super) fn sibling(format: Format) -> Format {
    match format {
        HlsFmp4 | Dash => HlsTs,
        HlsTs | MpegTs => HlsFmp4,
    }
}

/// What is preferred beside `first` when its container cannot carry the source.
pub(super) fn fallback(prefers: impl IntoIterator<Item = Format>, first: Format) -> Option<Format> {
    prefers.into_iter().find(|&format| format.container() != first.container())
}

/// A built-in rule: all of `all`, at least one of `any`, none of `not` stand in the User-Agent. All texts in lower case.
struct Rule {
    name: &'static str,
    all: &'static [&'static str],
    any: &'static [&'static str],
    not: &'static [&'static str],
    /// Best first.
    prefers: &'static [Format],
}

impl Rule {
    const fn any(name: &'static str, any: &'static [&'static str], prefers: &'static [Format]) -> Rule {
        Rule { name, all: &[], any, not: &[], prefers }
    }
}

/// Players that read a transport stream as it comes. Over HLS they get it too: it carries every track of the source.
const TS_PLAYER: &[Format] = &[MpegTs, HlsTs, HlsFmp4];

/// Boxes that play transport streams, at best over HLS, and nothing else.
const TS_ONLY: &[Format] = &[MpegTs, HlsTs];

/// ExoPlayer and Media3 look at the URL alone: without an extension, or a type that the app sets, the stream is *progressive*, and a
/// playlist ends in UnrecognizedInputFormatException (google/ExoPlayer#7045). A transport stream plays. Apps that know that they want
/// HLS or DASH ask for `index.m3u8` or `manifest.mpd`; for HLS, fMP4 is what they do best.
const EXOPLAYER: &[Format] = &[MpegTs, HlsFmp4, HlsTs, Dash];

/// Browsers: hls.js and their own HLS take fMP4 as it is, where TS would have to be remuxed in the page.
const BROWSER: &[Format] = &[HlsFmp4, HlsTs, Dash];

/// Apple plays HLS alone; H.265 in fMP4 only (HLS authoring specification 1.5).
const APPLE: &[Format] = &[HlsFmp4, HlsTs];

/// Televisions whose own players know HLS as Apple first made it.
const OLD_TV: &[Format] = &[HlsTs, MpegTs];

/// The built-in table. What names itself clearly goes before what others pretend to be: nearly everyone is also "Mozilla" and "Safari".
const BUILT_IN: &[Rule] = &[
    // Players and servers that say their own name.
    Rule::any("VLC", &["vlc/", "libvlc"], TS_PLAYER),
    Rule::any("mpv", &["libmpv", "mpv/", "mpv "], TS_PLAYER),
    Rule::any("Kodi", &["kodi/", "xbmc/"], TS_PLAYER),
    Rule::any("FFmpeg", &["lavf/", "ffmpeg"], TS_PLAYER),
    Rule::any("Tvheadend", &["tvheadend"], TS_PLAYER),
    Rule::any("VDR", &["vdr-", "vdr/"], TS_PLAYER),
    Rule::any("Plex", &["plexmediaserver", "plex media server"], TS_PLAYER),
    Rule::any("Jellyfin", &["jellyfin"], TS_PLAYER),
    Rule::any("Emby", &["emby"], TS_PLAYER),
    // LG's televisions of 2011 to 2013 say which of their two players asks.
    Rule::any("NetCast HLS", &["hls client/"], OLD_TV),
    Rule::any("GStreamer", &["gstreamer", "souphttpsrc"], TS_PLAYER),
    // Set-top boxes. MAG boxes call themselves after Qt and WebKit; Enigma2 is what Dreambox, VU+ and others run.
    Rule::any("Enigma2", &["enigma2", "dreambox"], TS_ONLY),
    Rule::any("MAG", &["stbapp", "qtembedded", "infomir"], TS_ONLY),
    Rule::any("set-top box", &["kreatv", "set-top", "settop", "formuler"], TS_ONLY),
    // IPTV apps, most of them on ExoPlayer: their lists name streams without an extension and mean transport streams by it.
    Rule::any("TiviMate", &["tivimate"], EXOPLAYER),
    Rule::any("IPTV Smarters", &["iptvsmarters", "iptv smarters"], EXOPLAYER),
    Rule::any("OTT Navigator", &["ott navigator", "ottnavigator"], EXOPLAYER),
    Rule::any("Perfect Player", &["perfectplayer", "perfect player"], TS_PLAYER),
    Rule::any("IPTV app", &["gse smart iptv", "gse_smart_iptv", "xciptv", "televizo", "iptvnator"], EXOPLAYER),
    // Cast receivers and Roku take what their apps announce; where the app does not say what is in an HLS segment, Cast takes it for TS.
    Rule::any("Chromecast", &["crkey"], &[HlsTs, HlsFmp4, Dash]),
    Rule::any("Roku", &["roku"], &[HlsFmp4, HlsTs, Dash]),
    Rule::any("ExoPlayer", &["exoplayer", "androidxmedia3"], EXOPLAYER),
    // MediaPlayer of Android: its HLS knows TS segments only.
    Rule::any("Android MediaPlayer", &["dalvik/", "stagefright/"], TS_ONLY),
    // OkHttp under an Android player: ExoPlayer in all likelihood.
    Rule::any("Android app", &["okhttp"], EXOPLAYER),
    Rule::any("AppleCoreMedia", &["applecoremedia"], APPLE),
    // Televisions. LG's own player wants audio and video segments of one length (webOS TV developer site, Streaming Protocol and DRM):
    // TS has both in one, CMAF cannot promise it.
    Rule::any("webOS TV", &["web0s", "webos"], &[HlsTs, HlsFmp4]),
    Rule::any("NetCast", &["netcast"], OLD_TV),
    Rule::any("Tizen 2 to 4", &["tizen 2.", "tizen 3.", "tizen 4.", "maple", "smarttv201"], OLD_TV),
    Rule::any("Tizen TV", &["tizen"], BROWSER),
    // HbbTV 1.5 (`HbbTV/1.2.1`) made DASH part of the standard (ETSI TS 102 796 7.3.1.2); HLS never was.
    Rule::any(
        "HbbTV",
        &["hbbtv/1.2", "hbbtv/1.3", "hbbtv/1.4", "hbbtv/1.5", "hbbtv/1.6", "hbbtv/1.7", "hbbtv/1.8"],
        &[Dash, HlsTs],
    ),
    Rule::any("Opera TV", &["presto/", "nettv/"], OLD_TV),
    Rule::any("Fire TV", &["silk/", "; aft"], BROWSER),
    Rule::any("Android TV", &["android tv", "bravia", "googletv"], BROWSER),
    Rule::any("Xbox", &["xbox"], BROWSER),
    Rule::any("PlayStation", &["playstation"], BROWSER),
    // Browsers. On iOS each of them is Safari underneath, and the answer is the same.
    Rule::any("Samsung Internet", &["samsungbrowser/"], BROWSER),
    Rule::any("Edge", &["edg/", "edge/", "edga/", "edgios/"], BROWSER),
    Rule::any("Opera", &["opr/", "opera/", "opt/"], BROWSER),
    Rule::any("Firefox", &["firefox/", "fxios/"], BROWSER),
    Rule::any("Chrome", &["chrome/", "crios/", "chromium/"], BROWSER),
    Rule { name: "Safari", all: &["applewebkit/"], any: &["safari/"], not: &["android"], prefers: APPLE },
    Rule::any("Apple app", &["cfnetwork/"], APPLE),
    Rule::any("WebKit", &["applewebkit/"], BROWSER),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn why(rules: &Rules, agent: &str) -> String {
        rules.find(agent.as_bytes()).map_or_else(|| "none".into(), |found| found.why.into_owned())
    }

    #[test]
    fn the_table_is_well_formed() {
        for (index, rule) in BUILT_IN.iter().enumerate() {
            let texts = [rule.all, rule.any, rule.not].concat();
            assert!(texts.iter().all(|text| !text.is_empty() && *text == text.to_lowercase()), "{}", rule.name);
            assert!(!rule.any.is_empty() && !rule.prefers.is_empty(), "{}", rule.name);
            assert!(rule.name.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", rule.name);
            assert!(BUILT_IN[..index].iter().all(|other| other.name != rule.name), "{} stands twice", rule.name);
        }
    }

    #[test]
    fn no_rule_is_hidden_by_an_earlier_one() {
        // Each rule is reached by a User-Agent that holds nothing but its own texts.
        for rule in BUILT_IN {
            let reached = rule.any.iter().any(|text| {
                let agent = format!("{} {text}", rule.all.join(" "));
                why(&Rules::default(), &agent) == format!("User-Agent: {}", rule.name)
            });
            assert!(reached, "{} cannot be reached", rule.name);
        }
    }

    #[test]
    fn own_rules_go_first_in_their_order_and_in_any_case() {
        let rule =
            |name: &str, text: &str, format| OwnRule { name: name.into(), user_agent: vec![text.into()], format };
        let rules = Rules::new([rule("", "acme", Dash), rule("set\r\n-\"top\"", "VLC", HlsTs), rule("", "", MpegTs)]);
        assert_eq!(why(&rules, "ACME VLC/3.0"), "config rule 1");
        assert_eq!(why(&rules, "VLC/3.0"), "config rule 2 \"set-top\"");
        assert_eq!(why(&rules, "mpv 0.38"), "User-Agent: mpv");
        assert_eq!(rules.find(b"vlc/3").unwrap().prefers, [HlsTs, HlsFmp4]);
    }

    #[test]
    fn only_the_first_bytes_are_looked_at() {
        let pad = "x".repeat(ROUTE_USER_AGENT_BYTES_MAX - 4);
        assert_eq!(why(&Rules::default(), &format!("{pad}vlc/3.0")), "User-Agent: VLC");
        assert_eq!(why(&Rules::default(), &format!("{pad}xvlc/3.0")), "none");
    }
}
