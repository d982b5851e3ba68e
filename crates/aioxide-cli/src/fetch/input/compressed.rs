//! Lists that are compressed, told by how they begin.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a file is compressed: then there is no reading from its midst.
pub(super) fn is_compressed(file: &File) -> bool {
    let mut beginning = [0; 4];
    let read = file.read_at(&mut beginning, 0).unwrap_or(0);
    beginning[..read].starts_with(&GZIP) || beginning[..read].starts_with(&ZSTD)
}

/// Reads what `reader` has, decompressed if it is gzip or zstd.
///
/// # Errors
/// The beginning cannot be read.
pub(super) fn plain<R: Read + Send + 'static>(reader: R) -> io::Result<Box<dyn BufRead + Send>> {
    let mut reader = BufReader::new(reader);
    let beginning = loop {
        match reader.fill_buf() {
            Ok(beginning) => break beginning,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    Ok(if beginning.starts_with(&GZIP) {
        Box::new(BufReader::new(MultiGzDecoder::new(reader)))
    } else if beginning.starts_with(&ZSTD) {
        Box::new(BufReader::new(zstd::Decoder::with_buffer(reader)?))
    } else {
        Box::new(reader)
    })
}
