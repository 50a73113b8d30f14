//! Part of a run's page with its rejected lines.

use super::asked::Asked;
use crate::api::{ApiError, load_rejected};
use millwork_api::RunDetail;
use millwork_ui::Markup;
use millwork_ui::pages::rejected::{RejectedPage, page};
use millwork_ui::pages::run::Tab;

/// The part; none, if there are no such lines.
pub(super) async fn part(asked: &Asked, run: &RunDetail) -> Result<Option<Markup>, ApiError> {
    let Some((place, all)) =
        run.result.as_ref().and_then(|result| Some((result.rejected_lines.clone()?, result.rejected)))
    else {
        return Ok(None);
    };
    let from = asked.parse::<u64>("from")?.unwrap_or(0);
    let found = load_rejected(Some(place.clone()), all, from).await?;
    let path = Tab::Rejected.path(run.run.manifest_id.as_str());
    let next = found.next.map(|next| format!("{path}?from={next}"));
    let first = (from > 0).then_some(path.as_str());
    Ok(Some(page(&RejectedPage { place: &place, all, lines: &found.items, next: next.as_deref(), first })))
}
