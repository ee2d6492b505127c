pub mod atomic_file;
pub mod channel;
pub mod crypto;
pub mod evidence;
pub mod schema;
