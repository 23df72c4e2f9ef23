//! The configuration file from the operator's side: defaults, every error with line, key and remedy, and nothing secret in any of them.

use millrace::config::{Config, LogFormat, NUMBERS, RouteFormat, Steering, reference_toml};
use std::fs;
use std::path::PathBuf;

/// The one error line that `text` gives.
fn error(text: &str) -> String {
    Config::from_toml(text).expect_err("the config is wrong").to_string()
}

/// A file that goes when the test ends.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("millrace-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        TempFile(path)
    }
    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_reference_states_every_default() {
    assert_eq!(Config::from_toml(reference_toml()).unwrap(), Config::default());
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
    let written: toml::Table = reference_toml().parse().unwrap();
    let effective: toml::Table = Config::default().effective_toml().parse().unwrap();
    for (section, keys) in effective.iter().filter(|(_, keys)| keys.is_table()) {
        let documented: Vec<_> = written[section].as_table().unwrap().keys().collect();
        let known: Vec<_> = keys.as_table().unwrap().keys().collect();
        assert_eq!(documented, known, "keys of [{section}]");
    }
}

#[test]
fn the_reference_states_every_range() {
    for rule in NUMBERS {
        let (section, key) = rule.key.split_once('.').unwrap();
        let below = reference_toml().split_once(&format!("[{section}]")).unwrap().1;
        let above_key = below.split_once(&format!("\n{key} = ")).unwrap().0;
        let comment = above_key.rsplit('\n').next().unwrap();
        let range = format!("{} to {}", rule.min, rule.max);
        assert!(
            comment.starts_with("# ") && comment.contains(&range),
            "{}: {comment:?} does not say {range}",
            rule.key
        );
    }
}

#[test]
fn the_reference_examples_are_valid_when_uncommented() {
    let list = TempFile::new("reference.m3u", "#EXTM3U\n#EXTINF:-1,One\nhttp://h/1\n");
    let uncommented: String = reference_toml()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{}\n", line.replace("list.m3u", list.0.to_str().unwrap())))
        .collect();
    let config = Config::from_toml(&uncommented).unwrap();
    assert_eq!(config.channels.len(), 2);
    assert_eq!(config.channels[0].origins.len(), 2);
    assert_eq!(config.channels[1].id, "list-One");
    assert_eq!((config.routes[0].user_agent.len(), config.routes[0].format), (2, RouteFormat::HlsTs));
}

#[test]
fn both_ends_of_every_range_hold_and_one_more_does_not() {
    for rule in NUMBERS {
        let outside = [rule.min.checked_sub(1), rule.max.checked_add(1)];
        for value in outside.into_iter().flatten() {
            let (section, key) = rule.key.split_once('.').unwrap();
            let message = error(&format!("[{section}]\n{key} = {value}\n"));
            let expected = format!(
                "config:2: key `{}`: {value} is out of range; give {} to {} {}",
                rule.key, rule.min, rule.max, rule.unit
            );
            assert!(message.lines().any(|line| line == expected), "{message}\n does not have\n{expected}");
        }
        for value in [rule.min, rule.max] {
            let (section, key) = rule.key.split_once('.').unwrap();
            if let Err(error) = Config::from_toml(&format!("[{section}]\n{key} = {value}\n")) {
                assert!(!error.to_string().contains("out of range"), "{error}");
            }
        }
    }
}

#[test]
fn every_key_takes_effect() {
    let config = Config::from_toml(
        r#"
        [server]
        listen = ["0.0.0.0:80", "[::]:80"]
        shards = 2
        cores = [3, 1]
        steering = "cpu"
        page = false
        [log]
        level = "debug"
        format = "json"
        [origin]
        pace = false
        [media]
        segment_max_ms = 6000
        [[channel]]
        id = "one"
        name = "One"
        group = "G"
        logo = "http://l/"
        language = "deu"
        program = 7
        origins = ["http://a/1"]
        [[channel.origin]]
        url = "http://b/1"
        headers = { X-Token = "t" }
        "#,
    )
    .unwrap();
    assert_eq!((config.server.listen.len(), config.server.shards, config.server.cores.as_slice()), (2, 2, &[3, 1][..]));
    assert_eq!((config.server.steering, config.log.format), (Steering::Cpu, LogFormat::Json));
    assert!(!config.server.page);
    assert_eq!((config.origin.pace, config.media.segment_max_ms), (false, 6_000));
    let channel = config.channel("one").unwrap();
    assert_eq!((channel.name.as_str(), channel.program.unwrap().get()), ("One", 7));
    assert_eq!(
        (channel.group.as_deref(), channel.logo.as_deref(), channel.language.as_deref()),
        (Some("G"), Some("http://l/"), Some("deu"))
    );
    assert_eq!((channel.origins[0].url.host(), channel.origins[1].url.host()), ("a".to_owned(), "b".to_owned()));
    assert_eq!(channel.origins[1].headers[0].value.expose(), "t");
    assert_eq!(config.channel("two"), None);
}

/// Wrong configs, and how the error of each begins.
const WRONG: &[(&str, &str)] = &[
    ("[server]\nlisen = []\n", "config:2: key `server.lisen`: there is no such key; did you mean `listen`?"),
    (
        "[idle]\nfrobnicate = 1\n",
        "config:2: key `idle.frobnicate`: there is no such key; keys here are session_ms, variant_ms",
    ),
    ("[media]\n\nwindow_ms = \"20s\"\n", "config:3: key `media.window_ms`: invalid type: string \"20s\"; give u64"),
    ("[origin]\npace = 1\n", "config:2: key `origin.pace`: invalid type: integer `1`; give a boolean"),
    ("[server]\nlisten = [\"localhost\"]\n", "config:2: key `server.listen[0]`: invalid socket address syntax"),
    ("[server]\nsteering = \"rss\"\n", "config:2: key `server.steering`: unknown variant `rss`; give `hash` or `cpu`"),
    ("[server]\nlisten = []\n", "config:2: key `server.listen`: there is no address to listen on; give at least one"),
    ("[server\n", "config:1: not valid TOML: "),
    ("[server]\nshards = 1\nshards = 2\n", "config:3: not valid TOML: duplicate key"),
    (
        "[server]\ncores = [1]\nshards = 2\n",
        "config:3: key `server.shards`: 2 shards do not fit on 1 listed cores; list more",
    ),
    ("[server]\ncores = [1, 1]\n", "config:2: key `server.cores[1]`: CPU 1 is listed twice; remove one"),
    (
        "[server]\nadmin_listen = \"127.0.0.1:8080\"\n",
        "config:1: key `server.listen[0]`: 127.0.0.1:8080 is the admin address too",
    ),
    ("[media]\nsegment_max_ms = 4500\n", "config:2: key `media.segment_max_ms`: 4500 ms is no whole number of seconds"),
    (
        "[media]\nsegment_max_ms = 1000\n",
        "config:2: key `media.segment_max_ms`: 1000 ms is below media.segment_target_ms, 2000",
    ),
    (
        "[media]\nwindow_ms = 11999\n",
        "config:2: key `media.window_ms`: 11999 ms is below three target durations (RFC 8216 6.2.2); give at least 12000",
    ),
    (
        "[media]\nstore_bytes_max = 16777217\n",
        "config:2: key `media.store_bytes_max`: not a whole number of blocks; give a multiple of 262144",
    ),
    (
        "[origin]\nuser_agent = \"a\\nb\"\n",
        "config:2: key `origin.user_agent`: has characters that a header value cannot carry",
    ),
    ("[[channel]]\nname = \"x\"\n", "config:1: key `channel[0]`: the key `id` is missing; add it"),
    ("[[channel]]\nid = \"a\"\n", "config:1: key `channel[0]`: channel `a` has no origin; give origins"),
    (
        "[[channel]]\nid = \"..\"\norigins = [\"http://h\"]\n",
        "config:2: key `channel[0].id`: \"..\" cannot stand in a URL; use 1 to 64",
    ),
    (
        "[[channel]]\nid = \"a\"\norigins = [\n\"http://h\",\n\"https://h\"]\n",
        "config:5: key `channel[0].origins[1]`: https origins are not supported; name the http:// address",
    ),
    (
        "[[channel]]\nid = \"a\"\norigins = [\"http://h\"]\nprogram = 0\n",
        "config:4: key `channel[0].program`: invalid value",
    ),
    (
        "[[channel]]\nid = \"a\"\n[[channel.origin]]\nurl = \"http://h\"\nheaders = { Host = \"x\" }\n",
        "config:5: key `channel[0].origin[0].headers.Host`: the relay sets `Host` itself; remove it",
    ),
    (
        "[[channel]]\nid = \"a\"\n[[channel.origin]]\nurl = \"http://h\"\nheaders = { A = \"x\\r\\nB: y\" }\n",
        "config:5: key `channel[0].origin[0].headers.A`: has characters",
    ),
    (
        "[[route]]\nuser_agent = [\"a\"]\nformat = \"avi\"\n",
        "config:3: key `route[0].format`: unknown variant `avi`; give one of `hls-ts`, `hls-fmp4`, `dash`, `mpegts`",
    ),
    ("[[route]]\nformat = \"dash\"\n", "config:1: key `route[0]`: the key `user_agent` is missing; add it"),
    (
        "[[route]]\nuser_agents = [\"a\"]\n",
        "config:2: key `route[0].user_agents`: there is no such key; did you mean `user_agent`?",
    ),
    (
        "[[route]]\nuser_agent = []\nformat = \"dash\"\n",
        "config:2: key `route[0].user_agent`: 0 texts to look for; give 1 to 16 texts",
    ),
    (
        "[[route]]\nuser_agent = [\"a\",\n\"\"]\nformat = \"dash\"\n",
        "config:3: key `route[0].user_agent[1]`: a text of 0 bytes; give 1 to 64 bytes",
    ),
    (
        "[[route]]\nname = \"a\\r\\nb\"\nuser_agent = [\"a\"]\nformat = \"dash\"\n",
        "config:2: key `route[0].name`: cannot stand in a header; give at most 64 visible ASCII characters",
    ),
    ("[[m3u]]\nfile = \"no/such/list.m3u\"\n", "config:2: key `m3u[0].file`: `no/such/list.m3u`: No such file"),
    ("[[m3u]]\nfile = \"x\"\nprefix = \"a/\"\n", "config:3: key `m3u[0].prefix`: \"a/\" cannot begin a channel id"),
    (
        "[[profile]]\nname = \"a\"\nvideo = \"theora\"\n",
        "config:3: key `profile[0].video`: `theora` cannot be encoded to; use h264",
    ),
    ("[[profile]]\nname = \"A b\"\n", "config:2: key `profile[0].name`: `A b` cannot name a profile"),
    (
        "[[profile]]\nname = \"a\"\nvideo = \"h264\"\nheight = 9\n",
        "config:4: key `profile[0].height`: 9 is out of range; give 16 to 4320",
    ),
    (
        "[[profile]]\nname = \"a\"\nheight = 720\n",
        "config:3: key `profile[0].height`: says how video is encoded, and it is not; give video a codec",
    ),
    (
        "[[profile]]\nname = \"a\"\naudio = \"copy\"\nchannels = 2\n",
        "config:4: key `profile[0].channels`: says how audio is encoded, and it is not",
    ),
    (
        "[[profile]]\nname = \"a\"\nvideo = \"none\"\naudio = \"none\"\n",
        "config:4: key `profile[0].audio`: neither picture nor sound",
    ),
    (
        "[[profile]]\nname = \"a\"\nrungs = [\"low\", \"lower\"]\n",
        "config:3: key `profile[0].rungs`: no profile of one picture is called `lower`",
    ),
    (
        "[[profile]]\nname = \"high\"\nrungs = [\"low\"]\n",
        "config:2: key `profile[0].name`: `high` is a rung of the built-in `ladder`; give it another name",
    ),
    (
        "[transcode.codec]\nh264 = \"ladder\"\n",
        "config:2: key `transcode.codec.h264`: `ladder` is no profile that encodes to h264",
    ),
];

#[test]
fn errors_name_line_key_and_remedy() {
    for (text, expected) in WRONG {
        let message = error(text);
        assert!(message.starts_with(expected), "\n{text}\ngave     {message}\nexpected {expected}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = "[[channel]]\nid = \"a\"\norigins = [\"http://h\"]\n[[channel]]\nid = \"a\"\norigins = [\"ftp://h\"]\n[idle]\nsession_ms = 1\n";
    let message = error(text);
    let starts: Vec<_> = message.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        starts,
        ["config:5: key `channel[1].id`", "config:6: key `channel[1].origins[0]`", "config:8: key `idle.session_ms`"]
    );
}

#[test]
fn credentials_show_nowhere() {
    let good = "[[channel]]\nid = \"a\"\n[[channel.origin]]\nurl = \"http://u:hush@h/hush?hush\"\nheaders = { X = \"hush\" }\n";
    let config = Config::from_toml(good).unwrap();
    assert!(!format!("{config:?}{}", config.effective_toml()).contains("hush"));
    let bad = good.replace("http://", "rtmp://").replace("\"hush\" }", "\"hush\\n\" }");
    assert!(!error(&bad).contains("hush"), "{}", error(&bad));
    assert!(!error(&good.replace("http://u", "hush u")).contains("hush"));
    // A wrong type must not quote its value either.
    let wrong_type = good.replace("headers = { X = \"hush\" }", "headers = \"hush\"");
    assert!(!error(&wrong_type).contains("hush"), "{}", error(&wrong_type));
    assert!(!error(&good.replace("url = \"http", "url = [\"http").replace("hush\"\nh", "hush\"]\nh")).contains("hush"));
}

#[test]
fn a_list_is_imported_relative_to_the_config() {
    let list = TempFile::new(
        "list.m3u",
        "#EXTM3U\n#EXTINF:-1 tvg-id=\"das erste/hd\" group-title=\"DE\",Das Erste\nhttp://u:p@h/1|User-Agent=X%2F1\n\
         #EXTINF:-1 tvg-id=\"das erste/hd\",Twin\nhttp://h/2\n#EXTINF:-1,Ünï\nhttp://h/3\n#EXTINF:-1,Secure\nhttps://h/4\n",
    );
    let config = format!(
        "[[channel]]\nid = \"tv-n\"\norigins = [\"http://h\"]\n[[m3u]]\nfile = \"{}\"\nprefix = \"tv-\"\n",
        list.name()
    );
    let config_file = TempFile::new("import.toml", &config);
    let config = Config::load(&config_file.0).unwrap();
    let ids: Vec<_> = config.channels.iter().map(|channel| channel.id.as_str()).collect();
    assert_eq!(ids, ["tv-n", "tv-das-erste-hd", "tv-das-erste-hd-2", "tv-n-2"]);
    assert_eq!(config.channels[1].origins[0].headers[0].value.expose(), "X/1");
    assert_eq!(config.channels[1].group.as_deref(), Some("DE"));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains(":9: \"Secure\" is passed over: https origins"), "{:?}", config.warnings);
}

#[test]
fn a_missing_file_is_named() {
    let message = Config::load(&PathBuf::from("no/such/file.toml")).unwrap_err().to_string();
    assert!(message.starts_with("no/such/file.toml: cannot be read: No such file"), "{message}");
}
