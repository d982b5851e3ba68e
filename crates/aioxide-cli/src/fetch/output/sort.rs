//! The lines of a file in order, in limited memory: sorted in pieces, which are then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};

/// So many bytes are sorted in memory.
const PIECE: usize = 16 << 20;

/// Writes the lines of `from` to the beginning of `to`, in the order of their bytes. Both may be one file.
///
/// # Errors
/// One of the files, or a temporary one, cannot be read or written.
pub(super) fn lines(from: &File, to: &File) -> io::Result<()> {
    lines_by(from, to, PIECE)
}

fn lines_by(mut from: &File, mut to: &File, piece: usize) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(from);
    let mut runs: Vec<Box<dyn BufRead>> = Vec::new();
    loop {
        let mut text = Vec::new();
        (&mut reader).take(piece as u64).read_to_end(&mut text)?;
        reader.read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        lines.sort_unstable();
        if runs.is_empty() && reader.fill_buf()?.is_empty() {
            // The only one needs no file.
            runs.push(Box::new(Cursor::new(lines.concat())));
            break;
        }
        let mut run = BufWriter::new(tempfile::tempfile()?);
        lines.iter().try_for_each(|line| run.write_all(line))?;
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.seek(SeekFrom::Start(0))?;
        runs.push(Box::new(BufReader::new(run)));
    }
    to.seek(SeekFrom::Start(0))?;
    let mut to = BufWriter::new(to);
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter_mut().enumerate() {
        let mut line = Vec::new();
        run.read_until(b'\n', &mut line)?;
        heads.push(Reverse((line, number)));
    }
    while let Some(Reverse((mut line, number))) = heads.pop() {
        to.write_all(&line)?;
        line.clear();
        if runs[number].read_until(b'\n', &mut line)? > 0 {
            heads.push(Reverse((line, number)));
        }
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_in_pieces_of_any_size() {
        let numbers: Vec<u32> = (0..500).map(|number| number * 7919 % 1009).collect();
        let text: String = numbers.iter().map(|number| format!("{number} x\n")).collect();
        let mut expected: Vec<&str> = text.split_inclusive('\n').collect();
        expected.sort_unstable();
        for piece in [1, 100, 1000, 1 << 20] {
            let (mut from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            from.write_all(text.as_bytes()).unwrap();
            lines_by(&from, &to, piece).unwrap();
            // In its own place, too.
            lines_by(&from, &from, piece).unwrap();
            for mut file in [from, to] {
                let mut sorted = String::new();
                file.seek(SeekFrom::Start(0)).unwrap();
                file.read_to_string(&mut sorted).unwrap();
                assert_eq!(sorted, expected.concat(), "{piece}");
            }
        }
    }
}
