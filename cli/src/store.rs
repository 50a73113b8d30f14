//! State that a command names, or the default state of an output.

use crate::failure::usage;
use millwork_storage::Location;
use millwork_tracking::{StateUrl, TrackingStore};
use std::sync::Arc;

/// Default state of an output.
pub(crate) fn of_output(output: &Location) -> anyhow::Result<String> {
    match output.local_path() {
        Some(directory) => Ok(format!("sqlite:{}/_millwork/state.db", directory.display())),
        None => Err(usage("say where files and runs are remembered: --state sqlite:PATH or dynamodb:TABLE")),
    }
}

/// Opens an existing state. A missing one is not created, so that a mistyped path is reported.
pub(crate) async fn open(url: &str) -> anyhow::Result<Arc<dyn TrackingStore>> {
    if let StateUrl::Sqlite(path) = url.parse()? {
        let found = path.metadata();
        let why = match &found {
            Ok(found) if found.is_file() => None,
            Ok(_) => Some("it is no file".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("there is no such file".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            anyhow::bail!("there is no state at `{}`: {why}", millwork_diagnosis::shown(&path.to_string_lossy()));
        }
    }
    Ok(millwork_tracking::open(url).await?)
}
