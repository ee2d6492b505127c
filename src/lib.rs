pub mod crypto;
pub mod evidence;
pub mod schema;
