//! Extended M3U channel lists: import of an operator's list, export as `/channels.m3u`.
//!
//! There is no standard; this reads what IPTV lists really hold: `#EXTINF` with `key="value"` attributes (`tvg-id`, `tvg-name`,
//! `tvg-logo`, `tvg-language`, `group-title`), `#EXTGRP`, VLC's `#EXTVLCOPT:http-user-agent=` and `http-referrer=`, and Kodi's
//! `url|User-Agent=...&Referer=...`. Lists come broken, so what cannot be read is a warning with its line, never an error.
//!
//! What it deliberately does not do: fetch lists, or read HLS playlists.
#![forbid(unsafe_code)]

use crate::limits;
use std::fmt::{self, Write as _};

/// What a list holds.
#[derive(Debug, Default)]
pub struct Import {
    /// In the list's order, at most [`limits::CHANNELS_MAX`].
    pub entries: Vec<Entry>,
    /// What was passed over, at most [`limits::M3U_WARNINGS_MAX`].
    pub warnings: Vec<Warning>,
}

/// A line that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// From 1.
    pub line: usize,
    /// What is wrong with it; nothing of a URL.
    pub what: String,
}

/// One channel of a list. `Debug` shows neither URL nor header values: they may hold credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Line of the URL, from 1.
    pub line: usize,
    /// Text after the comma of `#EXTINF`, or `tvg-name` where that is empty.
    pub name: String,
    /// `tvg-id`.
    pub tvg_id: Option<String>,
    /// `group-title`, or `#EXTGRP`.
    pub group: Option<String>,
    /// `tvg-logo`.
    pub logo: Option<String>,
    /// `tvg-language`.
    pub language: Option<String>,
    /// Address as written, not checked.
    pub url: String,
    /// Request headers, names as written, values percent-encoded as Kodi has them.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Entry")
            .field("line", &self.line)
            .field("name", &self.name)
            .field("tvg_id", &self.tvg_id)
            .field("group", &self.group)
            .field("logo", &self.logo)
            .field("language", &self.language)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// Reads a list. Any text gives a result; work and memory are linear in its length.
pub fn import(text: &str) -> Import {
    let mut import = Import::default();
    // An entry is put together over several lines; its line is 0 until #EXTINF was seen.
    let mut pending = Entry::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with("#EXTM3U") {
        import.warn(1, "the list does not begin with #EXTM3U");
    }
    for (line_number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() {
            continue;
        }
        if line.len() > limits::M3U_LINE_BYTES_MAX {
            import.warn(line_number, "the line is too long");
            continue;
        }
        match line.strip_prefix('#') {
            Some(directive) => pending.directive(line_number, directive),
            None => import.address(line_number, line, std::mem::take(&mut pending)),
        }
    }
    if pending.line > 0 {
        import.warn(pending.line, "#EXTINF without an address after it");
    }
    import
}

impl Import {
    fn warn(&mut self, line: usize, what: &str) {
        if self.warnings.len() < limits::M3U_WARNINGS_MAX {
            self.warnings.push(Warning { line, what: what.to_string() });
        }
    }

    /// A line with an address ends an entry.
    fn address(&mut self, line: usize, text: &str, mut entry: Entry) {
        if entry.line == 0 {
            return self.warn(line, "an address without #EXTINF before it is passed over");
        }
        if self.entries.len() == limits::CHANNELS_MAX {
            return self.warn(line, "too many channels: this one is passed over");
        }
        entry.line = line;
        let (address, options) = text.split_once('|').unwrap_or((text, ""));
        entry.url = address.trim().to_string();
        for (name, value) in options.split('&').filter_map(|option| option.split_once('=')) {
            entry.set_header(name.trim(), value.trim());
        }
        self.entries.push(entry);
    }
}

impl Entry {
    /// A line that begins with `#`, without it. Unknown ones are comments.
    fn directive(&mut self, line: usize, text: &str) {
        if let Some(rest) = text.strip_prefix("EXTINF:") {
            self.line = line;
            self.extinf(rest);
        } else if let Some(group) = text.strip_prefix("EXTGRP:") {
            self.group.get_or_insert_with(|| group.trim().to_string());
        } else if let Some((option, value)) = text.strip_prefix("EXTVLCOPT:").and_then(|rest| rest.split_once('=')) {
            let name = match option.trim() {
                "http-user-agent" => "User-Agent",
                "http-referrer" => "Referer",
                _ => return,
            };
            // VLC takes the value as it stands; Kodi's form, which headers are kept in, is percent-encoded.
            self.set_header(name, &value.trim().trim_matches('"').replace('%', "%25"));
        }
    }

    /// `-1 tvg-id="a" group-title="b, c",Name`
    fn extinf(&mut self, text: &str) {
        let mut rest = text.trim_start_matches(|ch: char| ch != ',' && !ch.is_whitespace());
        let mut tvg_name = None;
        while let Some((key, value, after)) = next_attribute(rest) {
            let slot = match key {
                "tvg-id" => &mut self.tvg_id,
                "tvg-name" => &mut tvg_name,
                "tvg-logo" => &mut self.logo,
                "tvg-language" => &mut self.language,
                "group-title" => &mut self.group,
                _ => &mut None,
            };
            *slot = Some(value).filter(|value| !value.is_empty()).map(str::to_string);
            rest = after;
        }
        let name = rest.split_once(',').map_or("", |(_, name)| name.trim());
        self.name = if name.is_empty() { tvg_name.unwrap_or_default() } else { name.to_string() };
    }

    /// The last value of a name holds, whatever its case.
    fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_string(), value.to_string()));
    }
}

/// The attribute at the start of `text`: key, value, what follows. `None` at the comma before the name, or where there is none.
fn next_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start();
    let (key, rest) = text.split_once('=')?;
    if key.is_empty() || key.contains([',', '"', ' ', '\t']) {
        return None;
    }
    match rest.strip_prefix('"') {
        // A quote that is never closed is part of a name with `=` in it, not of an attribute.
        Some(quoted) => quoted.split_once('"').map(|(value, after)| (key, value, after)),
        None => {
            let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
            Some((key, &rest[..end], &rest[end..]))
        }
    }
}

/// A channel as `/channels.m3u` lists it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Channel id: fit for a URL.
    pub id: &'a str,
    /// Name for people.
    pub name: &'a str,
    /// `group-title`.
    pub group: Option<&'a str>,
    /// `tvg-logo`.
    pub logo: Option<&'a str>,
    /// `tvg-language`.
    pub language: Option<&'a str>,
}

/// Writes a list of absolute addresses below `base`, `http://host[:port]`, without a slash at its end. No text of a channel can add an
/// attribute or a line: quotes become apostrophes, control characters spaces.
pub fn export<'a>(base: &str, channels: impl IntoIterator<Item = Listed<'a>>) -> String {
    let mut out = String::from("#EXTM3U\n");
    for channel in channels {
        out.push_str("#EXTINF:-1");
        let attributes = [
            ("tvg-id", Some(channel.id)),
            ("tvg-name", Some(channel.name)),
            ("tvg-logo", channel.logo),
            ("tvg-language", channel.language),
            ("group-title", channel.group),
        ];
        for (key, value) in attributes {
            let Some(value) = value else { continue };
            let _ = write!(out, " {key}=\"");
            out.extend(value.chars().map(|ch| if ch == '"' { '\'' } else { printable(ch) }));
            out.push('"');
        }
        out.push(',');
        out.extend(channel.name.chars().map(printable));
        let base = base.split(char::is_control).next().unwrap_or_default();
        let _ = write!(out, "\n{base}/relay/channel/{}/stream\n", channel.id);
    }
    out
}

fn printable(ch: char) -> char {
    // U+2028 and U+2029 end a line for some parsers.
    if ch.is_control() || matches!(ch, '\u{2028}' | '\u{2029}') { ' ' } else { ch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_with_everything_in_it() {
        let text = "\u{feff}#EXTM3U url-tvg=\"x\"\r\n\
            #EXTINF:-1 tvg-id=\"a.de\" tvg-name=\"A\" tvg-logo=\"http://l/a.png\" tvg-language=\"deu\" group-title=\"News, Sport\",Channel, A\r\n\
            #EXTVLCOPT:http-user-agent=Set Top/1.0 100%\r\n\
            #KODIPROP:inputstream=x\r\n\
            http://u:p@h/a.ts?x=1\r\n\
            \r\n\
            #EXTINF:0 tvg-id=b,B\n#EXTGRP:Docs\nhttp://h/b.ts|User-Agent=Kodi%2F20&Referer=http://r/\n";
        let import = import(text);
        assert_eq!(import.warnings, []);
        let a = &import.entries[0];
        assert_eq!((a.line, a.name.as_str(), a.tvg_id.as_deref()), (5, "Channel, A", Some("a.de")));
        assert_eq!((a.logo.as_deref(), a.language.as_deref()), (Some("http://l/a.png"), Some("deu")));
        assert_eq!((a.group.as_deref(), a.url.as_str()), (Some("News, Sport"), "http://u:p@h/a.ts?x=1"));
        assert_eq!(a.headers, [("User-Agent".to_string(), "Set Top/1.0 100%25".to_string())]);
        let b = &import.entries[1];
        assert_eq!((b.name.as_str(), b.tvg_id.as_deref(), b.group.as_deref()), ("B", Some("b"), Some("Docs")));
        assert_eq!(b.headers[0], ("User-Agent".to_string(), "Kodi%2F20".to_string()));
        assert_eq!((b.url.as_str(), b.headers[1].1.as_str()), ("http://h/b.ts", "http://r/"));
    }

    #[test]
    fn broken_lines_are_warnings_with_their_number() {
        let import = import(
            "http://h/1\n#EXTINF:-1,One\n#EXTINF\nhttp://h/2\n#EXTINF:-1 tvg-id=\"open,Two\nhttp://h/3\n#EXTINF:9,Last",
        );
        let lines: Vec<_> = import.warnings.iter().map(|warning| warning.line).collect();
        assert_eq!(lines, [1, 1, 7]);
        let names: Vec<_> = import.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["One", "Two"]);
    }

    #[test]
    fn a_name_falls_back_to_tvg_name_and_may_hold_an_equals_sign() {
        let import = import("#EXTM3U\n#EXTINF:-1 tvg-name=\"N\",\nhttp://h\n#EXTINF:-1,a=b, c=\"d\"\nhttp://h\n");
        assert_eq!(import.entries[0].name, "N");
        assert_eq!(import.entries[1].name, "a=b, c=\"d\"");
    }

    #[test]
    fn debug_shows_no_credential() {
        let import = import("#EXTM3U\n#EXTINF:-1,N\nhttp://u:secret@h/secret|Cookie=secret\n");
        assert!(!format!("{import:?}").contains("secret"));
        assert_eq!(import.entries[0].headers[0].1, "secret");
    }

    #[test]
    fn an_overlong_line_and_a_flood_of_warnings_are_bounded() {
        let long =
            format!("#EXTM3U\n#EXTINF:-1,{}\n{}", "x".repeat(limits::M3U_LINE_BYTES_MAX), "http://h\n".repeat(5_000));
        let import = import(&long);
        assert_eq!(import.entries, []);
        assert_eq!(import.warnings.len(), limits::M3U_WARNINGS_MAX);
    }

    #[test]
    fn export_cannot_be_injected_into() {
        let evil = "a\" group-title=\"b\r\nhttp://evil/\n#EXTINF:-1,\u{2028}x";
        let channel = Listed { id: "a", name: evil, group: Some(evil), logo: Some(evil), language: None };
        let text = export("http://relay\r\nevil", [channel]);
        assert_eq!(text.lines().count(), 3);
        let entries = import(&text).entries;
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].url, "http://relay/relay/channel/a/stream");
        assert!(entries[0].group.as_deref().unwrap().starts_with("a' group-title='b"));
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_again(name in "[^\\p{C}\"\u{2028}\u{2029}]{1,40}", group in "[a-z, =]{0,20}", id in "[A-Za-z0-9._-]{1,64}") {
            let channel = Listed { id: &id, name: &name, group: Some(&group), logo: None, language: Some("eng") };
            let import = import(&export("http://h:1", [channel]));
            prop_assert_eq!(import.warnings.len(), 0);
            let entry = &import.entries[0];
            prop_assert_eq!(&entry.name, if name.trim().is_empty() { &name } else { name.trim() });
            prop_assert_eq!(entry.tvg_id.as_deref(), Some(id.as_str()));
            prop_assert_eq!(entry.group.as_deref().unwrap_or_default(), &group);
            prop_assert_eq!(entry.language.as_deref(), Some("eng"));
            prop_assert!(entry.url.ends_with("/stream"));
        }

        #[test]
        fn no_text_panics(text in "(#EXTINF:|#EXTM3U|#EXTVLCOPT:|=|\"|,|\\||&|\n|\r|é|x| |http://h){0,60}") {
            let import = import(&text);
            prop_assert!(import.entries.iter().all(|entry| entry.line <= text.lines().count()));
        }
    }
}
