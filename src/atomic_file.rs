//! Files that appear whole or not at all, and stay after a power cut.
//!
//! A file is written under a random name in a directory that nobody reads, synced, moved
//! into place in one step, and the directory that now names it is synced. What each function
//! has made durable when it returns `Ok` stands in its own comment.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// What became of a file that must not replace another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Placed {
    /// It is there now, and was not before.
    New,
    /// Something already had that name; it was left as it was.
    NameTaken,
}

/// Why a file from outside was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no such file")]
    NotFound,
    /// A symbolic link, a directory, a pipe, a device.
    #[error("not a regular file")]
    NotRegular,
    #[error("longer than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
}

/// Writes a new file, never over another one.
///
/// On `Placed::New` the content and the name are durable. On `Placed::NameTaken` nothing was
/// changed and nothing new is durable: the caller compares and decides. A crash leaves the
/// old state or the new one, and perhaps an unread file in `tmp_dir`, which lies on the same
/// file system as `target`. `mode` holds exactly, whatever the umask is.
///
/// # Errors
/// The system's own; the temporary file is then removed.
pub fn write_new(tmp_dir: &Path, target: &Path, bytes: &[u8], mode: u32) -> io::Result<Placed> {
    let temporary = write_temporary(tmp_dir, target, bytes, mode)?;
    match move_without_replacing(&temporary, target) {
        Ok(Placed::New) => {
            sync_dir(parent_of(target))?;
            Ok(Placed::New)
        }
        Ok(Placed::NameTaken) => {
            std::fs::remove_file(&temporary)?;
            Ok(Placed::NameTaken)
        }
        Err(error) => Err(discard(&temporary, error)),
    }
}

/// Writes a file in the place of whatever has its name.
///
/// On `Ok` the content and the name are durable; a crash before that leaves the old file or
/// the new one, never a part of either. `tmp_dir` and `mode` are as for [`write_new`].
///
/// # Errors
/// The system's own; the temporary file is then removed.
pub fn replace(tmp_dir: &Path, target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(tmp_dir, target, bytes, mode)?;
    std::fs::rename(&temporary, target).map_err(|error| discard(&temporary, error))?;
    sync_dir(parent_of(target))
}

/// Moves a file to a new name, never over another one.
///
/// On `Placed::New` the new name is durable and the old one is gone for good; the content is
/// as durable as its writer made it. Of two callers that move the same file one gets the
/// error `NotFound`, so a move is a claim.
///
/// # Errors
/// The system's own.
pub fn move_new(from: &Path, to: &Path) -> io::Result<Placed> {
    let placed = move_without_replacing(from, to)?;
    match placed {
        Placed::New => {
            sync_dir(parent_of(to))?;
            if parent_of(from) != parent_of(to) {
                sync_dir(parent_of(from))?;
            }
        }
        Placed::NameTaken => {}
    }
    Ok(placed)
}

/// Removes a file; on `Ok` it is gone for good. A file that is not there is no error.
///
/// # Errors
/// The system's own.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_dir(parent_of(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable: what was created, renamed or removed there.
///
/// # Errors
/// The system's own.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory, and the ones above it, where they are missing, with exactly this mode.
///
/// On `Ok` the name of every directory that was created is durable. A directory that was there
/// keeps the mode it has: it is somebody's choice.
///
/// # Errors
/// The system's own, `AlreadyExists` where the path is something else than a directory.
pub fn ensure_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    if parent != path {
        ensure_dir(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            sync_dir(parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file that is there to be locked, creating it with exactly this mode, whatever the umask is.
///
/// Follows no symbolic link. A file of another owner keeps the mode it has.
///
/// # Errors
/// The system's own.
pub fn open_lock(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().try_into().map_err(io::Error::other)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(mode).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o7777 != mode && metadata.uid() == rustix::process::geteuid().as_raw() {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Reads a file that somebody else may have put there, once.
///
/// Follows no symbolic link at the last component, never blocks on a pipe, and looks at the
/// open file rather than at its name, so what was checked is what is read.
///
/// # Errors
/// [`ReadError`]; no byte is returned of a file that is longer than `bytes_max`.
pub fn read_bounded_nofollow(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let open = rustix::fs::open(path, OFlags::RDONLY | flags, rustix::fs::Mode::empty());
    let file = File::from(open.map_err(|errno| match errno {
        Errno::NOENT => ReadError::NotFound,
        // What open(2) says of a symbolic link and of a socket.
        Errno::LOOP | Errno::NXIO => ReadError::NotRegular,
        other => ReadError::Io(other.into()),
    })?);
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    if metadata.len() > bytes_max {
        return Err(ReadError::TooLarge { bytes_max });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // One byte more than allowed tells a file that grew meanwhile.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        Ok(bytes)
    } else {
        Err(ReadError::TooLarge { bytes_max })
    }
}

/// A synced file with a name of its own in `tmp_dir`.
fn write_temporary(tmp_dir: &Path, target: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let temporary = tmp_dir.join(temporary_name(target)?);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(temporary),
        Err(error) => Err(discard(&temporary, error)),
    }
}

/// The target's name and 128 random bits: processes in separate pid namespaces share a `tmp/`.
fn temporary_name(target: &Path) -> io::Result<OsString> {
    let name =
        target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    let mut random = [0u8; 16];
    let filled = rustix::io::retry_on_intr(|| getrandom(&mut random, GetRandomFlags::empty()))?;
    if filled != random.len() {
        return Err(io::Error::other("the system gave fewer random bytes than asked for"));
    }
    let mut temporary = name.to_owned();
    temporary.push(format!(".{:032x}", u128::from_be_bytes(random)));
    Ok(temporary)
}

fn move_without_replacing(from: &Path, to: &Path) -> io::Result<Placed> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Placed::New),
        Err(Errno::EXIST) => Ok(Placed::NameTaken),
        // File systems without the flag have hard links, which refuse a taken name as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_without_replacing(from, to),
        Err(errno) => Err(errno.into()),
    }
}

fn link_without_replacing(from: &Path, to: &Path) -> io::Result<Placed> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from).map(|()| Placed::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Placed::NameTaken),
        Err(error) => Err(error),
    }
}

/// Removes a temporary file after a failure; the first error is the one worth telling.
fn discard(temporary: &Path, error: io::Error) -> io::Error {
    match std::fs::remove_file(temporary) {
        Ok(()) => error,
        Err(second) if second.kind() == io::ErrorKind::NotFound => error,
        Err(second) => {
            io::Error::new(error.kind(), format!("{error}; {} was left behind: {second}", temporary.display()))
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Dirs {
        root: tempfile::TempDir,
        tmp: PathBuf,
    }

    fn dirs() -> Dirs {
        let root = tempfile::tempdir().unwrap();
        let tmp = root.path().join("tmp");
        ensure_dir(&tmp, 0o700).unwrap();
        Dirs { root, tmp }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_never_replaces_another() {
        let d = dirs();
        let target = d.root.path().join("a.json");
        assert_eq!(write_new(&d.tmp, &target, b"one", 0o660).unwrap(), Placed::New);
        assert_eq!(write_new(&d.tmp, &target, b"two", 0o600).unwrap(), Placed::NameTaken);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
        assert_eq!(mode(&target), 0o660);
        assert_eq!(names(&d.tmp), Vec::<String>::new());
    }

    #[test]
    fn of_many_writers_of_one_name_one_wins() {
        let d = dirs();
        let target = d.root.path().join("a.json");
        let results: Vec<Placed> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|n| {
                    let (tmp, target) = (&d.tmp, &target);
                    scope.spawn(move || write_new(tmp, target, &[n; 512], 0o600).unwrap())
                })
                .collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|r| **r == Placed::New).count(), 1);
        let bytes = std::fs::read(&target).unwrap();
        assert_eq!(bytes, [bytes[0]; 512]);
    }

    #[test]
    fn the_fallback_for_older_file_systems_keeps_the_same_promise() {
        let d = dirs();
        let (from, to) = (d.root.path().join("from"), d.root.path().join("to"));
        std::fs::write(&from, b"one").unwrap();
        assert_eq!(link_without_replacing(&from, &to).unwrap(), Placed::New);
        std::fs::write(&from, b"two").unwrap();
        assert_eq!(link_without_replacing(&from, &to).unwrap(), Placed::NameTaken);
        assert_eq!((std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap()), (b"two".to_vec(), b"one".to_vec()));
    }

    #[test]
    fn replace_replaces_and_leaves_no_temporary_file() {
        let d = dirs();
        let target = d.root.path().join("a.json");
        replace(&d.tmp, &target, b"one", 0o600).unwrap();
        replace(&d.tmp, &target, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"two");
        assert_eq!(names(d.root.path()), ["a.json", "tmp"]);
        assert_eq!(names(&d.tmp), Vec::<String>::new());
        std::fs::create_dir(d.root.path().join("taken")).unwrap();
        assert!(replace(&d.tmp, &d.root.path().join("taken"), b"x", 0o600).is_err());
        assert_eq!(names(&d.tmp), Vec::<String>::new());
    }

    #[test]
    fn a_move_is_a_claim() {
        let d = dirs();
        let (from, to) = (d.root.path().join("from"), d.tmp.join("to"));
        std::fs::write(&from, b"one").unwrap();
        assert_eq!(move_new(&from, &to).unwrap(), Placed::New);
        assert_eq!(move_new(&from, &to).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&from, b"two").unwrap();
        assert_eq!(move_new(&from, &to).unwrap(), Placed::NameTaken);
        assert_eq!((std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap()), (b"two".to_vec(), b"one".to_vec()));
        remove(&from).unwrap();
        remove(&from).unwrap();
        assert_eq!(names(d.root.path()), ["tmp"]);
    }

    #[test]
    fn reads_regular_files_up_to_a_limit_and_nothing_else() {
        let d = dirs();
        let path = |name: &str| d.root.path().join(name);
        std::fs::write(path("ok"), b"12345678").unwrap();
        symlink(path("ok"), path("link")).unwrap();
        rustix::fs::mkfifoat(CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();

        assert_eq!(read_bounded_nofollow(&path("ok"), 8).unwrap(), b"12345678");
        assert!(matches!(read_bounded_nofollow(&path("ok"), 7), Err(ReadError::TooLarge { bytes_max: 7 })));
        assert!(matches!(read_bounded_nofollow(&path("none"), 8), Err(ReadError::NotFound)));
        for odd in ["link", "pipe", "socket", "tmp"] {
            assert!(matches!(read_bounded_nofollow(&path(odd), 8), Err(ReadError::NotRegular)), "{odd}");
        }
        // A file that reports no length still stops at the limit.
        assert!(matches!(
            read_bounded_nofollow(Path::new("/proc/self/status"), 16),
            Err(ReadError::TooLarge { bytes_max: 16 })
        ));
    }

    #[test]
    fn directories_get_the_mode_asked_for_and_keep_the_one_they_have() {
        let d = dirs();
        let deep = d.root.path().join("a/b");
        ensure_dir(&deep, 0o2770).unwrap();
        ensure_dir(&deep, 0o700).unwrap();
        assert_eq!((mode(&deep), mode(&d.root.path().join("a"))), (0o2770, 0o2770));
        std::fs::write(d.root.path().join("file"), b"").unwrap();
        assert!(ensure_dir(&d.root.path().join("file"), 0o700).is_err());
    }
}
