pub mod config;
pub mod crypto;
pub mod evidence;
pub mod llm;
pub mod risk;
pub mod schema;
pub mod suggest;
pub mod tools;
