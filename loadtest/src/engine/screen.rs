//! A block of lines on a terminal that is drawn over itself (ECMA-48: CUU, EL, ED).
//!
//! The cursor is never hidden, and stands below the block whenever nothing is being written: a run that is interrupted leaves the terminal as
//! it should be, without a signal handler. What it deliberately does not do: wrap; lines must fit.

use rustix::fd::AsFd;
use rustix::termios::tcgetwinsize;
use std::io::{self, Write};

/// Columns and rows where the terminal does not say.
const SIZE: (usize, usize) = (80, 24);

/// Where the block is drawn.
pub struct Screen<W> {
    out: W,
    /// Lines that stand above the cursor.
    drawn: usize,
}

impl<W: Write> Screen<W> {
    /// Nothing drawn yet.
    pub fn new(out: W) -> Screen<W> {
        Screen { out, drawn: 0 }
    }

    /// Draws the block, over the one before, in one write.
    ///
    /// # Errors
    /// Of the write.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = self.home();
        // Each line is cleared behind its end, not before: nothing flickers.
        lines.iter().for_each(|line| text.extend([line, "\x1b[K\n"]));
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Takes the block away.
    ///
    /// # Errors
    /// Of the write.
    pub fn clear(&mut self) -> io::Result<()> {
        self.draw(&[])
    }

    /// To the block's first column.
    fn home(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\r", self.drawn) }
    }
}

impl<W: AsFd> Screen<W> {
    /// Columns and rows of the terminal now.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.out) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => SIZE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows, with the cursor's row: as much of one as the screen uses.
    fn shown(bytes: &[u8]) -> (Vec<String>, usize) {
        let (mut rows, mut row, mut column) = (vec![String::new()], 0, 0);
        let mut rest = std::str::from_utf8(bytes).unwrap();
        while let Some(first) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
                match &sequence[end..=end] {
                    "A" => row -= sequence[..end].parse::<usize>().unwrap(),
                    "K" => rows[row].truncate(column),
                    "J" => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    other => panic!("{other}"),
                }
                rest = &sequence[end + 1..];
                continue;
            }
            match first {
                '\r' => column = 0,
                '\n' => {
                    (row, column) = (row + 1, 0);
                    rows.resize(rows.len().max(row + 1), String::new());
                }
                letter => {
                    let end = rows[row].len().min(column + 1);
                    rows[row].replace_range(column..end, &letter.to_string());
                    column += 1;
                }
            }
            rest = &rest[first.len_utf8()..];
        }
        (rows, row)
    }

    #[test]
    fn a_block_is_drawn_over_the_one_before_with_the_cursor_below() {
        let mut out = b"$ loadtest run\n".to_vec();
        let mut screen = Screen::new(&mut out);
        screen.draw(&["first, long".to_owned(), "second".to_owned(), "third".to_owned()]).unwrap();
        screen.draw(&["first".to_owned(), "2".to_owned()]).unwrap();
        assert_eq!(shown(&out), (["$ loadtest run", "first", "2", ""].map(str::to_owned).to_vec(), 3));
    }

    #[test]
    fn a_cleared_block_leaves_what_was_above_it() {
        let mut out = b"$\n".to_vec();
        let mut screen = Screen::new(&mut out);
        screen.draw(&["first".to_owned(), "second".to_owned()]).unwrap();
        screen.clear().unwrap();
        assert_eq!(shown(&out), (vec!["$".to_owned(), String::new()], 1));
    }
}
