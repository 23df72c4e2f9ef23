//! Rules of the project that a machine can check: which module imports which, what the pure modules may touch, how long files and functions
//! grow, where `unsafe` stands. Each rule is a function over text, and is shown to fail on a bad snippet below.

#[path = "tidy/source.rs"]
mod source;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library and what each may import from the others. Imports point down the data flow; what is not listed is forbidden.
const IMPORTS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("time", &[]),
    ("memfd", &[]),
    ("metrics", &["limits", "time", "es"]),
    ("m3u", &["limits"]),
    ("config", &["limits", "m3u", "origin", "es"]),
    ("http", &["limits", "time"]),
    ("hls", &["limits", "time"]),
    ("dash", &["limits", "time"]),
    ("es", &["limits", "time"]),
    ("mpegts", &["limits", "time", "es"]),
    ("fmp4", &["limits", "time", "es"]),
    ("ring", &["limits", "time", "es", "memfd"]),
    ("store", &["limits", "time", "memfd"]),
    ("timeline", &["limits", "time", "es", "ring"]),
    ("package", &["limits", "time", "es", "mpegts", "fmp4", "ring", "store", "timeline", "hls", "dash"]),
    ("origin", &["limits", "time", "http"]),
    ("transcode", &["limits", "time", "es", "ring"]),
    ("route", &["limits", "es", "http", "metrics"]),
    (
        "session",
        &[
            "limits", "time", "config", "es", "mpegts", "ring", "store", "timeline", "package", "hls", "dash",
            "origin", "metrics",
        ],
    ),
    ("api", &["limits", "time", "config", "es", "m3u", "metrics", "package", "route", "session", "transcode"]),
    ("web", &["http"]),
];

/// Modules above all others. They may import what they like but each other; the binary alone may import them all.
const RUNTIME: [&str; 2] = ["shard", "demo"];

/// The binary's own modules.
const BINARY: [&str; 2] = ["main", "cli"];

/// The processors of `package`, which share `window` and the stores but not each other.
const PACKAGERS: [&str; 2] = ["mpegts", "cmaf"];

/// What may say `unsafe`, as beginnings of paths: memory maps, raw sockets, libav, vector instructions; benches for libav as the partner
/// to compare with.
const UNSAFE_PATHS: [&str; 8] = [
    "src/memfd",
    "src/ring/",
    "src/store/",
    "src/shard/",
    "src/demo/",
    "src/transcode/",
    "src/http/sse2.rs",
    "benches/",
];

/// Modules with async, sockets, threads or a clock. All others are sans-IO.
const IMPURE_MODULES: [&str; 5] = ["shard", "transcode", "demo", "main", "cli"];

/// What a sans-IO module cannot say.
const IMPURE_WORDS: [&str; 11] = [
    "async ",
    ".await",
    "glommio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "socket2",
    "std::thread",
    "thread::",
    "Instant::now",
    "SystemTime",
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "loadtest", "benches", "tests"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "the tree was not found");
    let mut findings = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        findings.extend(check_file(name, &text));
    }
    findings.extend(check_loadtest_manifest(&fs::read_to_string(root.join("loadtest/Cargo.toml")).unwrap()));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// All rules on one file; `name` is its path from the root. A finding is `path:line: what`.
fn check_file(name: &str, text: &str) -> Vec<String> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| findings.push(format!("{name}:{line}: {what}"));
    check_shape(text, &source, &mut find);
    if let Some(in_src) = name.strip_prefix("src/") {
        let module = in_src.split(['/', '.']).next().unwrap_or_default();

        if !is_test_file(name) {
            check_imports(module, in_src, &source, &mut find);
            check_purity(module, &source, &mut find);
        }
    }
    if !name.starts_with("tests/") {
        check_unsafe(name, text, &source, &mut find);
    }
    if !is_test_file(name) {
        for (line, code) in numbered(&source.shipped).filter(|(_, code)| code.contains(".unwrap()")) {
            find(line, format!("unwrap outside tests: {}", code.trim()));
        }
    }
    findings
}

/// Tests and benchmarks may unwrap, and import what they like.
fn is_test_file(name: &str) -> bool {
    let stem = name.trim_end_matches(".rs");
    let in_folder = ["tests/", "benches/"].iter().any(|folder| name.starts_with(folder)) || name.contains("/tests/");
    in_folder || stem.ends_with("/tests") || stem.ends_with("_tests")
}

/// Header, length, leftovers.
fn check_shape(text: &str, source: &Source, find: &mut impl FnMut(usize, String)) {
    if !text.starts_with("//!") {
        find(1, "the file does not open with //!".into());
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        find(lines, format!("{lines} lines, over {FILE_LINES_MAX}"));
    }
    for (start, length) in source.functions() {
        if length > FUNCTION_LINES_MAX {
            find(start, format!("a function of {length} lines, over {FUNCTION_LINES_MAX}"));
        }
    }
    for (line, comment) in numbered(&source.comments) {
        if ["TODO", "FIXME", "XXX"].iter().any(|word| has_word(comment, word)) {
            find(line, "left for later".into());
        }
    }
    for (line, code) in numbered(&source.code) {
        if ["dbg!", "todo!", "unimplemented!"].iter().any(|word| code.contains(word)) {
            find(line, "left from debugging, or for later".into());
        }
    }
}

/// Imports point one way; packagers do not know each other.
fn check_imports(module: &str, in_src: &str, source: &Source, find: &mut impl FnMut(usize, String)) {
    if module == "lib" {
        return;
    }
    let known = IMPORTS.iter().find(|(name, _)| *name == module);
    if known.is_none() && !RUNTIME.contains(&module) && !BINARY.contains(&module) {
        find(1, format!("module `{module}` is not in the table of imports of tests/tidy.rs"));
    }
    for (line, imported) in source.crate_paths() {
        let allowed = match known {
            _ if imported == module => true,
            Some((_, allowed)) => allowed.contains(&imported.as_str()),
            None => BINARY.contains(&module) || !RUNTIME.contains(&imported.as_str()),
        };
        if !allowed {
            find(line, format!("`{module}` may not import `{imported}`"));
        }
    }
    let Some(packager) = in_src.strip_prefix("package/").and_then(|rest| rest.split(['/', '.']).next()) else { return };
    for other in PACKAGERS.iter().filter(|other| PACKAGERS.contains(&packager) && **other != packager) {
        let paths = [format!("super::{other}"), format!("package::{other}")];
        if let Some(line) = first_line_with(&source.shipped, |line| paths.iter().any(|path| has_word(line, path))) {
            find(line, format!("packager `{packager}` may not import packager `{other}`"));
        }
    }
}

/// Sans-IO modules have no async, sockets, threads or clock.
fn check_purity(module: &str, source: &Source, find: &mut impl FnMut(usize, String)) {
    if IMPURE_MODULES.contains(&module) {
        return;
    }
    for (line, code) in numbered(&source.shipped) {
        if let Some(word) = IMPURE_WORDS.iter().find(|word| code.contains(**word)) {
            find(line, format!("`{}` in the sans-IO module `{module}`", word.trim()));
        }
    }
}

/// `unsafe` is rare, and says why it is sound.
fn check_unsafe(name: &str, text: &str, source: &Source, find: &mut impl FnMut(usize, String)) {
    let lines: Vec<&str> = text.lines().collect();
    for (line, code) in numbered(&source.code) {
        let is_use = has_word(code, "unsafe")
            && (code.contains('{') || code.contains("unsafe impl") || code.contains("unsafe fn"));
        if !is_use {
            continue;
        }
        if !UNSAFE_PATHS.iter().any(|path| name.starts_with(path)) {
            find(line, "unsafe is not allowed here".into());
        }
        let near = &lines[line.saturating_sub(13)..lines.len().min(line + 2)];
        if !near.iter().any(|line| line.contains("SAFETY") || line.contains("# Safety")) {
            find(line, "unsafe without SAFETY near it".into());
        }
    }
}

/// The verifier is an independent oracle: it cannot link what it verifies.
fn check_loadtest_manifest(manifest: &str) -> Vec<String> {
    let depends = manifest
        .lines()
        .any(|line| line.split(['=', '.', ']']).any(|part| part.trim().trim_matches('"') == "millrace"));
    depends.then(|| "loadtest/Cargo.toml: loadtest may not depend on millrace".to_string()).into_iter().collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

fn first_line_with(text: &str, matches: impl Fn(&str) -> bool) -> Option<usize> {
    numbered(text).find(|(_, line)| matches(line)).map(|(line, _)| line)
}

/// Whether `word` stands in `line` with no letter, digit or `_` at either end.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |ch: char| ch.is_alphanumeric() || ch == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

#[test]
fn every_rule_can_fail() {
    let long_file = format!("//! a\n{}", "\n".repeat(FILE_LINES_MAX));
    let long_function = format!("//! a\nfn f() {{\n{}}}\n", "f();\n".repeat(FUNCTION_LINES_MAX));
    let cases = [
        ("src/es/x.rs", "fn f() {}\n", "1: the file does not open with //!"),
        ("src/es/x.rs", &long_file, "601: 601 lines, over 600"),
        ("src/es/x.rs", &long_function, "2: a function of 72 lines, over 70"),
        ("src/es/x.rs", "//! a\n// TODO: b\n", "2: left for later"),
        ("src/es/x.rs", "//! a\nfn f() { dbg!(1); }\n", "2: left from debugging"),
        ("src/es/x.rs", "//! a\nfn f() { g().unwrap(); }\n", "2: unwrap outside tests"),
        ("src/es/x.rs", "//! a\nuse crate::ring::es::EsRing;\n", "2: `es` may not import `ring`"),
        ("src/es.rs", "//! a\nuse crate::{\n    time::Now,\n    ring::{es::A},\n};\n", "4: `es` may not import `ring`"),
        ("src/session/mod.rs", "//! a\nuse crate::transcode::Job;\n", "2: `session` may not import `transcode`"),
        ("src/api/mod.rs", "//! a\nfn f() { crate::shard::run() }\n", "2: `api` may not import `shard`"),
        ("src/shard/mod.rs", "//! a\nuse crate::demo::Origin;\n", "2: `shard` may not import `demo`"),
        ("src/novel.rs", "//! a\n", "1: module `novel` is not in the table"),
        (
            "src/package/cmaf/mod.rs",
            "//! a\nuse super::mpegts::Pump;\n",
            "2: packager `cmaf` may not import packager `mpegts`",
        ),
        ("src/hls/mod.rs", "//! a\nuse crate::es::Sample;\n", "2: `hls` may not import `es`"),
        ("src/es/x.rs", "//! a\nasync fn f() {}\n", "2: `async` in the sans-IO module `es`"),
        (
            "src/ring/x.rs",
            "//! a\nfn f() { std::thread::spawn(g); }\n",
            "2: `std::thread` in the sans-IO module `ring`",
        ),
        ("src/time.rs", "//! a\nfn f() { Instant::now(); }\n", "2: `Instant::now` in the sans-IO module `time`"),
        ("src/es/x.rs", "//! a\n// SAFETY: no\nfn f() { unsafe { g() } }\n", "3: unsafe is not allowed here"),
        ("src/ring/x.rs", "//! a\nfn f() { unsafe { g() } }\n", "2: unsafe without SAFETY"),
        ("loadtest/src/x.rs", "//! a\nfn f() { unsafe { g() } }\n", "2: unsafe is not allowed here"),
    ];
    for (name, text, expected) in cases {
        let findings = check_file(name, text);
        let wanted = format!("{name}:{expected}");
        assert!(findings.iter().any(|finding| finding.starts_with(&wanted)), "{wanted} is not in {findings:#?}");
    }
    assert_eq!(check_loadtest_manifest("[dependencies]\nmillrace = { path = \"..\" }\n").len(), 1);
    assert_eq!(check_loadtest_manifest("[dependencies.millrace]\n").len(), 1);
}

#[test]
fn what_is_allowed_passes() {
    let good = "//! a\nuse crate::time::{Now, Ts33};\n/// Says crate::shard, unsafe and .unwrap() in prose.\nfn f<'a>(x: &'a str) -> char {\n    \
                let _ = \"crate::shard {\"; let _ = r#\"unsafe { \" }\"#; 'x'\n}\n#[cfg(test)]\nmod tests {\n    use crate::ring::es::EsRing;\n    \
                #[test]\n    fn t() { f(\"\").unwrap(); }\n}\n";
    assert_eq!(check_file("src/es/x.rs", good), Vec::<String>::new());
    assert_eq!(
        check_file("src/package/mpegts.rs", "//! a\nuse crate::mpegts::mux::Mux;\nuse super::window::W;\n"),
        Vec::<String>::new()
    );
    assert_eq!(check_loadtest_manifest("[package]\nname = \"loadtest\"\n"), Vec::<String>::new());
}
