//! Hints that a directory changed. An event may be lost, doubled or late, so who gets a hint
//! scans; who gets none for a while scans as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::ChannelError;

/// Watches directories; [`Watch::changed`] wakes after anything happened in one of them.
pub struct Watch {
    hint: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch. What happened before is found by the scan that follows.
    ///
    /// # Errors
    /// [`ChannelError::Watch`] where the kernel refuses.
    pub fn new(directories: &[PathBuf]) -> Result<Self, ChannelError> {
        let hint = Arc::new(Notify::new());
        let waker = Arc::clone(&hint);
        let first = directories.first().map(PathBuf::as_path).unwrap_or(Path::new("")).to_owned();
        let watch_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ChannelError::Watch { path, source }
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if matches!(&event, Ok(event) if !may_bring_a_file(event.kind)) {
                return;
            }
            // Wake first: whoever waits has more to do than whoever reads the log.
            waker.notify_one();
            match &event {
                Ok(event) if event.need_rescan() => {
                    tracing::warn!(target: "guardrail::channel", "the event queue overflowed, scanning");
                }
                Ok(event) => {
                    tracing::trace!(target: "guardrail::channel", kind = ?event.kind, paths = ?event.paths, "file event");
                }
                Err(error) => tracing::warn!(target: "guardrail::channel", %error, "the watcher failed, scanning"),
            }
        })
        .map_err(watch_error(&first))?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(watch_error(directory))?;
        }
        Ok(Watch { hint, _watcher: watcher })
    }

    /// Waits for the next hint; one that came since the last wait counts.
    pub async fn changed(&self) {
        self.hint.notified().await;
    }
}

/// Reading a directory is no change of it, and waking on that would never end; what leaves it is
/// what was taken.
fn may_bring_a_file(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
}
