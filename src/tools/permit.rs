//! The only way into a critical tool.

use crate::evidence::VerifiedConsumption;
use crate::schema::{AuthRequest, Timestamp};

/// Leave to run one exact action, once. Made of a verified consumption and nothing else;
/// using it takes it away.
#[derive(Debug)]
pub struct Permit {
    consumption: VerifiedConsumption,
}

impl Permit {
    pub fn new(consumption: VerifiedConsumption) -> Permit {
        Permit { consumption }
    }

    /// The request that was approved.
    pub fn request(&self) -> &AuthRequest {
        self.consumption.approval().request()
    }

    /// From this moment on nothing may run on it.
    pub(super) fn expires_at(&self) -> Timestamp {
        let seconds = i64::try_from(self.consumption.approval().expires_at_s()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(seconds.saturating_mul(1000))
    }
}
