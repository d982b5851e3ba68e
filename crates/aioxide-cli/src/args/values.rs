//! Values of options: times, sizes, headers.

use std::path::PathBuf;
use std::time::Duration;

use crate::fetch::is_warc;

/// Parses a positive number of seconds, fractions allowed.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds, such as 30 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than 0 seconds".to_owned()),
    }
}

/// How many downloads run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// As many as are good for each host.
    Auto,
    Most(u32),
}

impl Jobs {
    /// Never more.
    pub(crate) fn most(self) -> usize {
        match self {
            Jobs::Auto => 1000,
            Jobs::Most(most) => most as usize,
        }
    }
}

/// Parses a number of downloads, or `auto`.
pub(super) fn jobs(text: &str) -> Result<Jobs, String> {
    match text.parse() {
        Ok(most @ 1..=10_000) => Ok(Jobs::Most(most)),
        _ if text == "auto" => Ok(Jobs::Auto),
        _ => Err("neither auto nor a number from 1 to 10000".to_owned()),
    }
}

/// Parses `Name: value`.
pub(super) fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("must read `Name: value`")?;
    let name = http::HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let value = http::HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Parses a number of bytes: `500`, `10k`, `1.5M`, `2G`, in powers of 1000, or of 1024 as in `10KiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let number_end =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err("not a size, such as 500, 10k, 1.5M or 2GiB".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "not a size, such as 500, 10k, 1.5M or 2GiB".to_owned())?;
    let bytes = number * factor as f64;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err("must be at least one byte".to_owned()) }
}

/// Parses the name of a WARC file.
pub(super) fn warc(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if is_warc(&path) { Ok(path) } else { Err("must end in .warc.gz, or in .warc".to_owned()) }
}

/// Parses a positive number of something per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number, such as 5 or 0.5".to_owned())?;
    if (1e-5..=1e6).contains(&value) {
        Ok(value)
    } else {
        Err("must be between 0.00001 and 1000000".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("500", 500), ("10k", 10_000), ("1.5M", 1_500_000), ("2 GB", 2_000_000_000), ("1KiB", 1024)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "0", "-1", "10x", "1.2.3", "1e99t"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["0", "-1", "nan", "inf", "soon", "1e30"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_is_split_at_the_first_colon() {
        let (name, value) = header("Referer: http://example.org/").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("referer", "http://example.org/"));
        assert!(header("no colon").is_err());
        assert!(header("bad name: x").is_err());
        assert!(header("a: b\nc: d").is_err());
    }
}
