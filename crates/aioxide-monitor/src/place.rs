//! Where the sockets are: `PID.sock` in a folder that only its user may enter.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The user's folder of sockets: `$XDG_RUNTIME_DIR/aioxide`, or `/tmp/aioxide-UID` where there is no such variable.
#[must_use]
pub fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_absolute()) {
        Some(folder) => Path::new(&folder).join("aioxide"),
        None => PathBuf::from(format!("/tmp/aioxide-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The socket of a process.
#[must_use]
pub fn socket_of(pid: u32) -> PathBuf {
    folder().join(format!("{pid}.sock"))
}

/// Makes a folder that only this user may enter, or finds that it is one.
///
/// # Errors
/// `PermissionDenied` for a folder that is another user's, that others may enter, or that is a link.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    check_private(folder)
}

/// Whether a folder is this user's, and nobody else may enter it.
///
/// # Errors
/// `PermissionDenied` when it is not so.
pub fn check_private(folder: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(folder)?;
    let fault = if !found.is_dir() {
        "is not a folder"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if found.mode() & 0o077 != 0 {
        "can be entered by others"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {fault}", folder.display())))
}
