//! What texts say that are run, written or sent: paths, SQL, code, credentials, names of environments.

pub mod code;
pub mod credentials;
pub mod environment;
pub mod names;
mod path_kinds;
pub mod paths;
pub mod persuasion;
pub mod sql;
