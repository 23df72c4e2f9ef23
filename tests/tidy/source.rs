//! A Rust source split into what the compiler sees and what it does not, line for line.
//!
//! Only as much of Rust's lexical structure as the rules need: comments, string and character literals, braces, test items.

/// One file. All three texts have the lines of the original, with spaces in place of what was taken out.
pub struct Source {
    /// Code without comments and without the content of literals.
    pub code: String,
    /// Comments alone.
    pub comments: String,
    /// `code` without items under `#[cfg(test)]`.
    pub shipped: String,
}

impl Source {
    pub fn new(text: &str) -> Self {
        let (code, comments) = split(text);
        let shipped = without_tests(&code);
        Source { code, comments, shipped }
    }

    /// First line and number of lines of every function with a body.
    pub fn functions(&self) -> Vec<(usize, usize)> {
        let code = self.code.as_bytes();
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let is_word = at == 0 || !(code[at - 1].is_ascii_alphanumeric() || code[at - 1] == b'_');
            let is_named = code.get(at + 3).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
            if is_word
                && is_named
                && let Some(end) = item_end(code, at)
                && code[end - 1] == b'}'
            {
                let line = self.line_of(at);
                found.push((line, self.line_of(end - 1) - line + 1));
            }
        }
        found
    }

    /// Every `crate::name` of shipped code with its line, those within `use crate::{...}` too.
    pub fn crate_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, matched) in self.shipped.match_indices("crate::") {
            let start = at + matched.len();
            let rest = &self.shipped[start..];
            match rest.strip_prefix('{') {
                Some(group) => {
                    found.extend(group_heads(group).map(|(offset, name)| (self.line_of(start + 1 + offset), name)))
                }
                None => found.push((self.line_of(at), identifier(rest))),
            }
        }
        found.retain(|(_, name)| name.starts_with(|ch: char| ch.is_ascii_lowercase()));
        found
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// First identifier of each item of a brace group, with its offset; `group` begins after the brace.
fn group_heads(group: &str) -> impl Iterator<Item = (usize, String)> {
    let mut depth = 0;
    let mut heads = vec![0];
    for (at, ch) in group.char_indices() {
        match ch {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(at + 1),
            _ => {}
        }
    }
    heads.into_iter().map(|at| {
        let item = group[at..].trim_start();
        (group.len() - item.len(), identifier(item))
    })
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|ch| ch.is_alphanumeric() || *ch == '_').collect()
}

/// One past the item that begins at `at`: its closing brace, or its semicolon where it has no body.
fn item_end(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (i, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            b';' if depth == 0 => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// Blanks each item whose attribute is `#[cfg(test)]`, or `all` and `any` with it.
fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for opening in ["#[cfg(test)", "#[cfg(all(test", "#[cfg(any(test"] {
        for (at, _) in code.match_indices(opening) {
            let after = code[at..].find('\n').map_or(code.len(), |end| at + end);
            let end = item_end(code.as_bytes(), after).unwrap_or(code.len());
            bytes[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    String::from_utf8(bytes).expect("whole items of valid text were blanked")
}

/// What the next characters begin.
enum Token {
    LineComment,
    BlockComment,
    /// A literal: its length in characters up to the opening quote, and its closing text; escapes hold in it or not.
    Literal(usize, String, bool),
    Char(usize),
    Code,
}

/// Code and comments of a file, each with the other blanked.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (length, in_comment, kept) = match token(&chars, at) {
            Token::LineComment => (chars[at..].iter().take_while(|ch| **ch != '\n').count(), true, 0),
            Token::BlockComment => (block_comment_len(&chars[at..]), true, 0),
            Token::Literal(opening, closing, escapes) => {
                (literal_len(&chars[at..], opening, &closing, escapes), false, 0)
            }
            Token::Char(length) => (length, false, 0),
            Token::Code => (1, false, 1),
        };
        for (i, ch) in chars[at..at + length].iter().enumerate() {
            let blank = if *ch == '\n' { '\n' } else { ' ' };
            // A blank is as many bytes as its character, so that all texts share offsets.
            let blanks = || (0..ch.len_utf8()).map(|_| blank);
            if i < kept {
                code.push(*ch)
            } else {
                code.extend(blanks())
            }
            if in_comment { comments.push(*ch) } else { comments.extend(blanks()) }
        }
        at += length;
    }
    (code, comments)
}

fn token(chars: &[char], at: usize) -> Token {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next == '/' => Token::LineComment,
        '/' if next == '*' => Token::BlockComment,
        '"' => Token::Literal(1, "\"".into(), true),
        'b' if next == '"' && !in_word => Token::Literal(2, "\"".into(), true),
        'r' | 'b' | 'c' if !in_word => raw_literal(&chars[at..]).unwrap_or(Token::Code),
        '\'' if next == '\\' => Token::Char(3 + chars[at + 3..].iter().take_while(|ch| **ch != '\'').count() + 1),
        '\'' if chars.get(at + 2) == Some(&'\'') => Token::Char(3),
        _ => Token::Code,
    }
}

/// `r"`, `r#"`, `br##"` and their kin.
fn raw_literal(chars: &[char]) -> Option<Token> {
    let prefix = chars.iter().take_while(|ch| matches!(ch, 'b' | 'c' | 'r')).take(2).count();
    let hashes = chars[prefix..].iter().take_while(|ch| **ch == '#').count();
    let is_raw = chars[prefix - 1] == 'r' && chars.get(prefix + hashes) == Some(&'"');
    is_raw.then(|| Token::Literal(prefix + hashes + 1, format!("\"{}", "#".repeat(hashes)), false))
}

fn literal_len(chars: &[char], opening: usize, closing: &str, escapes: bool) -> usize {
    let closing: Vec<char> = closing.chars().collect();
    let mut at = opening;
    while at < chars.len() {
        if escapes && chars[at] == '\\' {
            at += 2;
        } else if chars[at..].starts_with(&closing) {
            return at + closing.len();
        } else {
            at += 1;
        }
    }
    chars.len()
}

/// Block comments nest.
fn block_comment_len(chars: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}
