//! Where a file that is written anew and put in its place goes: links are followed, and only a file is replaced.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// So many links in a row are followed, as the system does.
const LINKS: usize = 40;

/// The path of the file itself, past all links; what is there is a file, or nothing yet.
///
/// A link of `/proc` or `/dev/fd` leads to something that is open, whatever its text says: `/dev/stdout` would be replaced by
/// a file for every program of the machine.
///
/// # Errors
/// There is a device, a pipe, a socket or such a link, or links lead in a circle.
pub(crate) fn followed(given: &Path) -> io::Result<PathBuf> {
    let mut path = given.to_owned();
    let refused = |path: &Path, why: &str| {
        let named = if path == given { String::new() } else { format!("{} is ", path.display()) };
        Err(io::Error::new(ErrorKind::InvalidInput, named + why))
    };
    for _ in 0..LINKS {
        let there = match fs::symlink_metadata(&path) {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
        };
        match there.file_type() {
            kind if kind.is_file() || kind.is_dir() => return Ok(path),
            kind if kind.is_symlink() => {}
            _ => return refused(&path, "a device or a pipe, which no file replaces"),
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        if is_of_open_files(directory)? {
            return refused(&path, "a link to an open file or stream, which no file replaces");
        }
        path = directory.join(fs::read_link(&path)?);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "links lead in a circle"))
}

/// Whether links in this directory lead to what processes have open.
fn is_of_open_files(directory: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    if rustix::fs::statfs(directory)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Ok(true);
    }
    Ok(fs::canonicalize(directory)?.starts_with("/dev/fd"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_a_file_or_to_where_one_is_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "").unwrap();
        symlink("d/file", path("one")).unwrap();
        symlink(path("one"), path("two")).unwrap();
        symlink("d/new", path("dangling")).unwrap();
        symlink("circle", path("circle")).unwrap();
        assert_eq!(followed(&path("two")).unwrap(), path("d/file"));
        assert_eq!(followed(&path("dangling")).unwrap(), path("d/new"));
        assert_eq!(followed(&path("absent")).unwrap(), path("absent"));
        assert!(followed(&path("circle")).unwrap_err().to_string().contains("in a circle"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_open_and_what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        symlink("/proc/self/fd/0", path("open")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        symlink("socket", path("link")).unwrap();
        for (name, why) in [
            ("open", "an open file or stream"),
            ("socket", "a device or a pipe"),
            ("link", "socket is a device"),
        ] {
            let error = followed(&path(name)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
