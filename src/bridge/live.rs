//! What the running bridge says of itself: `bridge_status.json` in the state directory.
//!
//! The file has one size for its whole life and is overwritten in place, so that it goes on
//! telling the truth when the disk is full: that is when it is needed. (A file system that
//! copies on write, such as btrfs or ZFS, may still need room for it.) It begins with a
//! checksum of the rest, since nothing else keeps a reader from seeing half of a write.
//!
//! The bridge holds an exclusive lock on the file while it lives. The kernel lets go of it
//! whatever way the process ends, so a file that outlived its bridge is told from a live one
//! without trusting a process id, which may be another process's by now or of another
//! container.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::B256;
use fs2::FileExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::alarms::{ActiveAlarm, cut};
use super::circuit::CircuitState;
use crate::atomic_file::{self, ReadError};
use crate::schema::{Sha256Digest, Timestamp, hex};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "bridge_status.json";
/// The file's size, in bytes.
const FILE_BYTES: usize = 8 * 1024;
/// How many characters of each detail are written: the first that fits into the file.
const DETAIL_CHARS_STEPS: [usize; 6] = [500, 250, 120, 60, 24, 0];
/// Longest URL that is shown, in characters.
const URL_CHARS_MAX: usize = 100;
/// A segment of a URL's path that is as long as this, in characters, is taken for a provider's key.
const KEY_CHARS_MIN: usize = 16;
/// How often a torn file is read, and the pause between.
const READ_ATTEMPTS_MAX: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(5);
/// How often the lock is tried, since a reader takes it for an instant, and the pause between.
const LOCK_ATTEMPTS_MAX: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the live status could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("another bridge is running on this state directory: {} is locked", path.display())]
    Busy { path: PathBuf },
    #[error("{} was torn in each of {READ_ATTEMPTS_MAX} readings", path.display())]
    Torn { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
    #[error("the status takes {bytes} bytes without any detail, there is room for {FILE_BYTES}")]
    TooLong { bytes: usize },
}

/// The bridge at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub pid: u32,
    /// When the process began.
    pub since: Timestamp,
    /// The moment itself.
    pub at: Timestamp,
    pub alarms: Vec<ActiveAlarm>,
    pub endpoints: Vec<EndpointStatus>,
    /// The newest block, once one is known.
    pub head: Option<HeadStatus>,
    /// Nonces whose transactions are journalled and not yet mined.
    pub in_flight: u64,
    /// It was asked to stop and finishes what is on its way.
    pub draining: bool,
}

impl Snapshot {
    /// What a process that has just begun knows.
    pub fn starting() -> Self {
        let now = Timestamp::now();
        Snapshot {
            pid: std::process::id(),
            since: now,
            at: now,
            alarms: Vec::new(),
            endpoints: Vec::new(),
            head: None,
            in_flight: 0,
            draining: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadStatus {
    pub number: u64,
    #[serde(with = "hex::b256")]
    pub hash: B256,
    /// The block's own time, in Unix seconds.
    pub time_s: u64,
}

/// One endpoint of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub url: ShownUrl,
    pub state: CircuitState,
    /// Failures since it last answered.
    pub failures: u32,
    pub last_error: Option<String>,
}

impl EndpointStatus {
    /// The status of the endpoint at `url`, which may hold a key: neither the URL nor the error shows it.
    pub fn new(url: &str, state: CircuitState, failures: u32, last_error: Option<&str>) -> Self {
        let last_error = last_error.map(|text| without_key(text, url));
        EndpointStatus { url: ShownUrl::new(url), state, failures, last_error }
    }
}

/// An endpoint's URL as anybody may see it: without user, password, query and fragment, and with
/// an ellipsis for what looks like a provider's key in its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShownUrl(String);

impl ShownUrl {
    /// From `http(s)://`, `ws(s)://` or the path of an IPC socket.
    pub fn new(url: &str) -> Self {
        let shown = match Url::parse(url) {
            Ok(parsed) if parsed.has_host() => {
                let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
                let host = &parsed[Position::BeforeHost..Position::AfterHost];
                let path: Vec<&str> = parsed.path().trim_end_matches('/').split('/').map(without_long).collect();
                format!("{}://{host}{port}{}", parsed.scheme(), path.join("/"))
            }
            // What is not readable as a URL may hold anything.
            Ok(_) | Err(_) if url.contains("://") || url.contains('@') => "an unreadable URL".to_owned(),
            Ok(_) | Err(_) => url.to_owned(),
        };
        ShownUrl(cut(shown, URL_CHARS_MAX))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn without_long(segment: &str) -> &str {
    if segment.chars().count() < KEY_CHARS_MIN { segment } else { "…" }
}

/// A text about an endpoint, such as a client's error, with [`ShownUrl`] in the place of its URL.
pub fn without_key(text: &str, url: &str) -> String {
    let shown = ShownUrl::new(url);
    let mut spellings = vec![url.to_owned()];
    if let Ok(mut parsed) = Url::parse(url) {
        spellings.push(parsed.to_string());
        // Clients move user and password to a header, and leave the rest.
        if parsed.set_username("").is_ok() && parsed.set_password(None).is_ok() {
            spellings.push(parsed.to_string());
        }
    }
    // A longer spelling first: a shorter one may be its beginning.
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    spellings
        .iter()
        .filter(|s| !s.is_empty())
        .fold(text.to_owned(), |text, spelling| text.replace(spelling.as_str(), shown.as_str()))
}

/// The bridge's side: the file, locked for the life of the value.
#[derive(Debug)]
pub struct LiveStatus {
    file: File,
    path: PathBuf,
}

impl LiveStatus {
    /// Takes the file, creating it at its full size, and empties it of what an earlier process said.
    ///
    /// When this returns the file's blocks are on disk, and later writes need no new ones.
    ///
    /// # Errors
    /// [`LiveError::Busy`] where a running bridge has it; [`LiveError::Io`], a full disk at the
    /// very first start included.
    pub fn create(path: &Path) -> Result<Self, LiveError> {
        let failed = |what| move |source| LiveError::Io { what, path: path.to_owned(), source };
        let file = atomic_file::open_lock(path, 0o600).map_err(failed("open"))?;
        let mut attempts = 1;
        while let Err(error) = file.try_lock_exclusive() {
            if error.kind() != fs2::lock_contended_error().kind() {
                return Err(failed("lock")(error));
            }
            if attempts == LOCK_ATTEMPTS_MAX {
                return Err(LiveError::Busy { path: path.to_owned() });
            }
            attempts += 1;
            std::thread::sleep(LOCK_PAUSE);
        }
        file.write_all_at(&padded(Vec::new()), 0).map_err(failed("write"))?;
        file.set_len(FILE_BYTES as u64).map_err(failed("resize"))?;
        file.sync_all().map_err(failed("sync"))?;
        Ok(LiveStatus { file, path: path.to_owned() })
    }

    /// Overwrites what the file says. It is not synced: nobody reads it after a power cut.
    ///
    /// # Errors
    /// [`LiveError::Io`]; [`LiveError::TooLong`] past some twenty endpoints.
    pub fn write(&self, snapshot: &Snapshot) -> Result<(), LiveError> {
        let bytes = encode(snapshot).map_err(|error| match error {
            EncodeError::Json(e) => LiveError::Invalid { path: self.path.clone(), problem: e.to_string() },
            EncodeError::TooLong { bytes } => LiveError::TooLong { bytes },
        })?;
        let failed = |source| LiveError::Io { what: "write", path: self.path.clone(), source };
        self.file.write_all_at(&bytes, 0).map_err(failed)
    }
}

/// What the file says; nothing where there is none, or where its bridge has not said anything yet.
///
/// What it says may be of a process that has ended: see [`is_running`].
///
/// # Errors
/// [`LiveError::Torn`] where each reading met a write, or a power cut left half of one.
pub fn read(path: &Path) -> Result<Option<Snapshot>, LiveError> {
    for attempt in 0..READ_ATTEMPTS_MAX {
        if attempt > 0 {
            std::thread::sleep(READ_PAUSE);
        }
        let bytes = match atomic_file::read_bounded_nofollow(path, FILE_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound) => return Ok(None),
            Err(ReadError::Io(source)) => return Err(LiveError::Io { what: "read", path: path.to_owned(), source }),
            Err(error @ (ReadError::NotRegular | ReadError::TooLarge { .. })) => {
                return Err(LiveError::Invalid { path: path.to_owned(), problem: error.to_string() });
            }
        };
        match decode(&bytes) {
            Decoded::Blank => return Ok(None),
            Decoded::Torn => {}
            Decoded::Whole(json) => {
                return serde_json::from_str(&json)
                    .map(Some)
                    .map_err(|e| LiveError::Invalid { path: path.to_owned(), problem: e.to_string() });
            }
        }
    }
    Err(LiveError::Torn { path: path.to_owned() })
}

/// Whether the process that writes the file is alive, by the lock that it holds on it.
///
/// # Errors
/// [`LiveError::Io`].
pub fn is_running(path: &Path) -> Result<bool, LiveError> {
    let failed = |what| move |source| LiveError::Io { what, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open")(error)),
    };
    // Shared, so that readers do not take each other for a bridge. Closing the file lets go of it.
    match fs2::FileExt::try_lock_shared(&file) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == fs2::lock_contended_error().kind() => Ok(true),
        Err(error) => Err(failed("lock")(error)),
    }
}

const CHECK_BEGIN: &str = "{\"check\":\"";
const CHECK_END: &str = "\",";

enum EncodeError {
    Json(serde_json::Error),
    TooLong { bytes: usize },
}

/// The file's whole content, with as much of the details as fits.
fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = 0;
    for chars_max in DETAIL_CHARS_STEPS {
        let mut shown = snapshot.clone();
        let details = shown.alarms.iter_mut().map(|alarm| &mut alarm.detail);
        for text in details.chain(shown.endpoints.iter_mut().filter_map(|e| e.last_error.as_mut())) {
            *text = cut(std::mem::take(text), chars_max);
        }
        let json = serde_json::to_string(&shown).map_err(EncodeError::Json)?;
        let fields = json.strip_prefix('{').unwrap_or(&json);
        let whole = format!("{CHECK_BEGIN}{}{CHECK_END}{fields}", checksum(fields));
        // The last byte is a line feed.
        if whole.len() < FILE_BYTES {
            return Ok(padded(whole.into_bytes()));
        }
        bytes = whole.len();
    }
    Err(EncodeError::TooLong { bytes })
}

enum Decoded {
    Blank,
    Torn,
    /// The JSON without its checksum.
    Whole(String),
}

fn decode(bytes: &[u8]) -> Decoded {
    let Ok(text) = std::str::from_utf8(bytes) else { return Decoded::Torn };
    let text = text.trim_end_matches(['\n', ' ']);
    if text.is_empty() {
        return Decoded::Blank;
    }
    let parts = text.strip_prefix(CHECK_BEGIN).and_then(|rest| rest.split_once(CHECK_END));
    match parts {
        Some((check, fields)) if check == checksum(fields) => Decoded::Whole(format!("{{{fields}")),
        Some(_) | None => Decoded::Torn,
    }
}

fn checksum(text: &str) -> String {
    Sha256Digest(B256::from_slice(&Sha256::digest(text))).to_string()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(FILE_BYTES - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::alarms::Alarm;
    use super::*;

    fn snapshot() -> Snapshot {
        let at = Timestamp::from_unix_ms(1_800_000_000_123);
        Snapshot {
            pid: 4711,
            since: at,
            at,
            alarms: vec![ActiveAlarm { alarm: Alarm::DiskFull, detail: "journal".to_owned(), since: at }],
            endpoints: vec![EndpointStatus::new("http://127.0.0.1:8545", CircuitState::HalfOpen, 3, Some("no answer"))],
            head: Some(HeadStatus { number: 9, hash: B256::repeat_byte(0xab), time_s: 1_800_000_000 }),
            in_flight: 2,
            draining: true,
        }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        (dir, path)
    }

    #[test]
    fn what_is_written_is_read_and_the_file_keeps_its_size() {
        let (_dir, path) = file();
        assert_eq!(read(&path).unwrap(), None);
        let live = LiveStatus::create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        live.write(&snapshot()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(snapshot()));
        let smaller = Snapshot { alarms: Vec::new(), endpoints: Vec::new(), head: None, ..snapshot() };
        live.write(&smaller).unwrap();
        assert_eq!(read(&path).unwrap(), Some(smaller));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES as u64);
    }

    #[test]
    fn the_file_is_json_for_any_reader() {
        let bytes = encode(&snapshot()).ok().unwrap();
        assert_eq!((bytes.len(), bytes.last()), (FILE_BYTES, Some(&b'\n')));
        let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let check = json.as_object_mut().unwrap().remove("check").unwrap();
        assert_eq!(check.as_str().unwrap().len(), 64);
        assert_eq!(
            json,
            serde_json::json!({
                "pid": 4711, "since": "2027-01-15T08:00:00.123Z", "at": "2027-01-15T08:00:00.123Z",
                "alarms": [{
                    "alarm": "disk_full", "text": Alarm::DiskFull.text(), "detail": "journal",
                    "next_step": Alarm::DiskFull.next_step(), "since": "2027-01-15T08:00:00.123Z",
                }],
                "endpoints": [{
                    "url": "http://127.0.0.1:8545", "state": "half_open", "failures": 3, "last_error": "no answer",
                }],
                "head": {"number": 9, "hash": format!("0x{}", "ab".repeat(32)), "time_s": 1_800_000_000},
                "in_flight": 2, "draining": true,
            })
        );
    }

    #[test]
    fn details_are_cut_and_the_structure_stays() {
        // A control character takes six bytes in JSON: the worst there is.
        let long = "\u{1}".repeat(5_000);
        let at = Timestamp::now();
        let url = format!("https://{}.example/{}", "h".repeat(60), "short/".repeat(30));
        let full = Snapshot {
            alarms: Alarm::ALL.map(|alarm| ActiveAlarm { alarm, detail: long.clone(), since: at }).to_vec(),
            endpoints: vec![EndpointStatus::new(&url, CircuitState::HalfOpen, u32::MAX, Some(&long)); 16],
            in_flight: u64::MAX,
            ..snapshot()
        };
        let (_dir, path) = file();
        let live = LiveStatus::create(&path).unwrap();
        live.write(&full).unwrap();
        let mut shown = read(&path).unwrap().unwrap();
        assert!(shown.alarms.iter().all(|alarm| alarm.detail.chars().count() < 500));
        for (alarm, whole) in shown.alarms.iter_mut().zip(&full.alarms) {
            alarm.detail.clone_from(&whole.detail);
        }
        for (endpoint, whole) in shown.endpoints.iter_mut().zip(&full.endpoints) {
            endpoint.last_error.clone_from(&whole.last_error);
        }
        assert_eq!(shown, full);

        // One long detail among short ones is cut no shorter than it must be.
        let one = Snapshot {
            alarms: vec![ActiveAlarm { alarm: Alarm::DiskFull, detail: "x".repeat(9_000), since: at }],
            ..snapshot()
        };
        live.write(&one).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().alarms[0].detail, "x".repeat(499) + "…");

        let many = Snapshot { endpoints: vec![full.endpoints[0].clone(); 100], ..full };
        assert!(matches!(live.write(&many), Err(LiveError::TooLong { bytes }) if bytes > FILE_BYTES));
    }

    #[test]
    fn a_torn_file_is_read_again_and_never_believed() {
        let (_dir, path) = file();
        let one = encode(&snapshot()).ok().unwrap();
        let two = encode(&Snapshot { pid: 4712, in_flight: 3, ..snapshot() }).ok().unwrap();
        let mixed = [&two[..200], &one[200..]].concat();
        std::fs::write(&path, &mixed).unwrap();
        assert!(matches!(read(&path), Err(LiveError::Torn { .. })));
        std::fs::write(&path, &one[..300]).unwrap();
        assert!(matches!(read(&path), Err(LiveError::Torn { .. })));

        std::fs::write(&path, &mixed).unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(READ_PAUSE * 2);
                writer.write_all_at(&one, 0).unwrap();
            });
            assert_eq!(read(&path).unwrap(), Some(snapshot()));
        });
    }

    #[test]
    fn a_reader_beside_a_writer_sees_whole_snapshots() {
        let (_dir, path) = file();
        let live = LiveStatus::create(&path).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    let detail = n.to_string().repeat(200);
                    let alarm = ActiveAlarm { alarm: Alarm::DiskFull, detail, since: snapshot().at };
                    live.write(&Snapshot { in_flight: n, alarms: vec![alarm], ..snapshot() }).unwrap();
                }
            });
            for _ in 0..500 {
                if let Some(seen) = read(&path).unwrap() {
                    assert!(seen.alarms[0].detail.starts_with(&seen.in_flight.to_string()), "{seen:?}");
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_file_that_outlived_its_process_is_not_taken_for_a_running_one() {
        let (_dir, path) = file();
        assert!(!is_running(&path).unwrap());
        let live = LiveStatus::create(&path).unwrap();
        live.write(&snapshot()).unwrap();
        assert!(is_running(&path).unwrap());
        assert!(matches!(LiveStatus::create(&path), Err(LiveError::Busy { .. })));
        // The end of a process closes its files, whatever ended it.
        drop(live);
        assert!(!is_running(&path).unwrap());
        assert_eq!(read(&path).unwrap(), Some(snapshot()));
        // The next one begins by saying nothing, instead of the last one's words.
        let _next = LiveStatus::create(&path).unwrap();
        assert_eq!((read(&path).unwrap(), is_running(&path).unwrap()), (None, true));
    }

    #[test]
    fn a_file_of_another_size_or_shape_is_refused_by_readers_and_mended_by_the_bridge() {
        let (_dir, path) = file();
        std::fs::write(&path, vec![b'x'; FILE_BYTES + 1]).unwrap();
        assert!(matches!(read(&path), Err(LiveError::Invalid { .. })));
        let live = LiveStatus::create(&path).unwrap();
        live.write(&snapshot()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(snapshot()));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(matches!(read(&path), Err(LiveError::Invalid { .. })));
        assert!(matches!(LiveStatus::create(&path), Err(LiveError::Io { .. })));
    }

    #[test]
    fn urls_are_shown_without_keys() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("http://127.0.0.1:8545/", "http://127.0.0.1:8545"),
            ("https://user:secret@node.example/rpc?key=secret#secret", "https://node.example/rpc"),
            ("https://mainnet.example/v3/0123456789abcdef0123456789abcdef", "https://mainnet.example/v3/…"),
            ("wss://[::1]:8546/ws", "wss://[::1]:8546/ws"),
            ("/run/geth.ipc", "/run/geth.ipc"),
            ("https://user:secret@", "an unreadable URL"),
            ("user:secret@node", "an unreadable URL"),
        ] {
            assert_eq!(ShownUrl::new(url).as_str(), shown);
        }
    }

    #[test]
    fn errors_are_shown_without_keys() {
        let url = "https://user:secret@node.example/v3/0123456789abcdef?key=secret";
        let error = "error sending request for url (https://node.example/v3/0123456789abcdef?key=secret): timed out";
        let status = EndpointStatus::new(url, CircuitState::Open, 1, Some(error));
        assert_eq!(
            status.last_error.as_deref(),
            Some("error sending request for url (https://node.example/v3/…): timed out")
        );
        assert_eq!(without_key(&format!("{url} is down"), url), "https://node.example/v3/… is down");
        assert_eq!(without_key("(http://127.0.0.1:8545/)", "http://127.0.0.1:8545"), "(http://127.0.0.1:8545)");
    }
}
