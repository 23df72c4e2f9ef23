//! What a viewer chooses from a multivariant playlist. What it lives through is in the simulation.

use super::*;

/// URLs that a viewer of the golden playlist with audio groups takes, below the entry's folder.
fn chosen(checked: bool, seed: u64) -> Vec<String> {
    let mut hls = Hls::new("http://h/one/x.m3u8".into(), checked, seed);
    let text = include_str!("../../../../tests/golden/multivariant-groups.m3u8");
    let Ok(Playlist::Multivariant(multivariant)) = playlist::parse("http://h/one/x.m3u8", text) else { panic!() };
    hls.choose(multivariant).iter().map(|url| url.replace("http://h/one/1795400000/", "")).collect()
}

#[test]
fn takes_the_default_audio_of_the_first_variant() {
    assert_eq!(chosen(false, 7), ["v0/media.m3u8", "a1/media.m3u8"]);
}

#[test]
fn checked_viewers_take_every_rendition_among_them() {
    let all: std::collections::BTreeSet<String> = (0..60).map(|seed| chosen(true, seed)[1].clone()).collect();
    assert_eq!(all.len(), 6, "{all:?}");
}
