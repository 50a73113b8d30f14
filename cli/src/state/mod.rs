//! A state, looked at without a scheduler.

use millwork_tracking::TrackingStore;
use std::path::Path;
use std::sync::Arc;

/// Opens a state that is there. None is made: whoever mistypes a path is told so.
pub(crate) async fn open(url: &str) -> anyhow::Result<Arc<dyn TrackingStore>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        anyhow::ensure!(Path::new(path).is_file(), "there is no state at `{}`", millwork_diagnosis::shown(path));
    }
    Ok(millwork_tracking::open(url).await?)
}
