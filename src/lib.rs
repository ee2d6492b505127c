pub mod atomic_file;
pub mod bridge;
pub mod channel;
pub mod contract;
pub mod crypto;
pub mod evidence;
pub mod node;
pub mod schema;
