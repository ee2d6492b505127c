//! Random bytes from the operating system.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// `N` fresh random bytes.
///
/// # Errors
/// The system call's own error; there is no weaker source to fall back on.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut buffer = [0u8; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut buffer[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(buffer)
}

/// A fresh request id of this moment.
///
/// # Errors
/// As [`bytes`].
pub fn request_id() -> io::Result<crate::schema::RequestId> {
    let now_ms = u64::try_from(crate::schema::Timestamp::now().unix_ms()).unwrap_or_default();
    Ok(crate::schema::RequestId::from_parts(now_ms, bytes()?))
}
