//! What is wrong with a config, and where: file, line, key and remedy.
//!
//! Checks name a key by its path (`channel[2].origins[0]`); the [`Locator`] finds that path, or the nearest part of it that was
//! written, in the text. So the config's own types carry no positions.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Everything that is wrong with a config, in the order of its lines. `Display` is one line each:
/// ``FILE:LINE: key `x.y`: what is wrong; remedy``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Located>,
}

/// One problem with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file as the operator named it.
    pub file: String,
    /// Line from 1, or `None` where there is none.
    pub line: Option<usize>,
    /// What and how to mend it.
    pub problem: Problem,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, `channel[0].id`, or empty for the file as a whole.
    pub key: String,
    /// What is wrong, without a secret of the file.
    pub what: String,
    /// What the operator can do about it.
    pub remedy: String,
}

impl Problem {
    /// All three parts.
    pub fn new(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem { key: key.into(), what: what.into(), remedy: remedy.into() }
    }
}

impl ConfigError {
    /// The file could not be read at all.
    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let problem = Problem::new("", format!("cannot be read: {error}"), "name an existing, readable TOML file");
        ConfigError { problems: vec![Located { file: file.to_string(), line: None, problem }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Located { file, line, problem }) in self.problems.iter().enumerate() {
            f.write_str(if i > 0 { "\n" } else { "" })?;
            write!(f, "{file}:")?;
            line.map_or(Ok(()), |line| write!(f, "{line}:"))?;
            if !problem.key.is_empty() {
                write!(f, " key `{}`:", problem.key)?;
            }
            write!(f, " {}; {}", problem.what, problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The config's text with the place of every key.
pub(super) struct Locator<'t> {
    file: &'t str,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Locator<'t> {
    /// Err when the text is no TOML.
    pub(super) fn new(file: &'t str, text: &'t str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map(Spanned::into_inner).map_err(|e| {
            let line = e.span().map(|span| line_of(text, span.start));
            let problem = Problem::new("", format!("not valid TOML: {}", one_line(e.message())), "see https://toml.io");
            ConfigError { problems: vec![Located { file: file.to_string(), line, problem }] }
        })?;
        Ok(Locator { file, text, root })
    }

    /// Puts each problem on the line of its key.
    pub(super) fn locate(&self, problems: Vec<Problem>) -> ConfigError {
        let mut problems: Vec<_> = problems.into_iter().map(|p| self.located(self.offset_of(&p.key), p)).collect();
        problems.sort_by_key(|located| located.line);
        ConfigError { problems }
    }

    /// Turns serde's error into one that names the key and a remedy.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map(|span| span.start);
        let key = offset.map(|at| path_at(&self.root, at)).unwrap_or_default();
        let (what, remedy) = plain_words(error.message(), &key);
        ConfigError { problems: vec![self.located(offset, Problem { key, what, remedy })] }
    }

    fn located(&self, offset: Option<usize>, problem: Problem) -> Located {
        Located { file: self.file.to_string(), line: offset.map(|at| line_of(self.text, at)), problem }
    }

    /// Where the longest written part of `path` stands.
    fn offset_of(&self, path: &str) -> Option<usize> {
        let mut found = None;
        let mut table = Some(&self.root);
        for part in path.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((key, value)) = table.and_then(|t| t.get_key_value(name)) else { break };
            let item = index.and_then(|i| value.as_ref().as_array().and_then(|items| items.get(i)));
            found = Some(item.map_or(key.span().start, |item| item.span().start));
            table = item.unwrap_or(value).as_ref().as_table();
        }
        found
    }
}

/// The path of the innermost key whose name or value covers byte `at`.
fn path_at(table: &DeTable<'_>, at: usize) -> String {
    for (key, value) in table {
        if key.span().contains(&at) {
            return key.as_ref().to_string();
        }
        if let Some(inner) = path_in_value(value, at) {
            let name = key.as_ref();
            return if inner.is_empty() || inner.starts_with('[') {
                format!("{name}{inner}")
            } else {
                format!("{name}.{inner}")
            };
        }
    }
    String::new()
}

/// The path below `value` to byte `at`, `None` when it lies elsewhere. The span of a table is that of its header alone, so its keys are
/// searched whatever the span says.
fn path_in_value(value: &Spanned<DeValue<'_>>, at: usize) -> Option<String> {
    let inner = match value.as_ref() {
        DeValue::Table(table) => path_at(table, at),
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, item)| {
                let path = path_in_value(item, at)?;
                Some(if path.is_empty() { format!("[{i}]") } else { format!("[{i}].{path}") })
            })
            .unwrap_or_default(),
        _ => String::new(),
    };
    (!inner.is_empty() || value.span().contains(&at)).then_some(inner)
}

/// What serde says, split into what is wrong and what to do.
fn plain_words(message: &str, key: &str) -> (String, String) {
    let message = one_line(message);
    if let Some(expected) = message.strip_prefix("unknown field ").and_then(|rest| rest.split_once(", expected ")) {
        let names: Vec<&str> = expected.1.split('`').skip(1).step_by(2).collect();
        let wrong = key.rsplit('.').next().unwrap_or(key);
        let remedy = match names.iter().copied().min_by_key(|name| edits(wrong, name)) {
            Some(name) if edits(wrong, name) <= 1 + wrong.len() / 4 => format!("did you mean `{name}`?"),
            _ => format!("keys here are {}", names.join(", ")),
        };
        return ("there is no such key".to_string(), remedy);
    }
    if let Some((what, expected)) = message.split_once(", expected ") {
        // Serde quotes the value it met: below a channel that may be a credential.
        let what = if key.starts_with("channel") { what.split('"').next().unwrap_or(what).trim_end() } else { what };
        return (what.to_string(), format!("give {expected}"));
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return (format!("the key {field} is missing"), "add it".to_string());
    }
    (message, "see the reference: millrace check-config --print-defaults".to_string())
}

/// Levenshtein distance of two short names.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Line number from 1 of byte `at`.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
}

/// Parsers explain over several lines; a log line wants one.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_tables_arrays_and_inline_tables() {
        let text = "a = 1\n[t]\nb = [1,\n 2]\n[[c]]\nid = 1\n[[c]]\nid = 2\nx = { y = 3 }\n";
        let locator = Locator::new("f", text).unwrap();
        let line = |path: &str| locator.offset_of(path).map(|at| line_of(text, at));
        assert_eq!(line("a"), Some(1));
        assert_eq!(line("t.b"), Some(3));
        assert_eq!(line("t.b[1]"), Some(4));
        assert_eq!(line("c[1].id"), Some(8));
        assert_eq!(line("c[1].x.y"), Some(9));
        // A key that was not written is shown where its table begins.
        assert_eq!(line("c[1].missing"), Some(7));
        assert_eq!(line("nothing.at.all"), None);
    }

    #[test]
    fn edit_distance_counts_swaps_and_gaps() {
        assert_eq!(edits("listen", "listen"), 0);
        assert_eq!(edits("lisen", "listen"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
