//! Section of a run's page with its rejected lines.

use super::asked::Asked;
use crate::api::{Api, ApiError, load_rejected, mended_of};
use millwork_api::RunDetail;
use millwork_ui::Markup;
use millwork_ui::pages::rejected::{RejectedPage, page};
use millwork_ui::pages::run_page::Tab;

/// Builds the section; `None` if there are no rejected lines.
pub(super) async fn part(asked: &Asked, api: &Api, run: &RunDetail) -> Result<Option<Markup>, ApiError> {
    let Some((place, all)) =
        run.result.as_ref().and_then(|result| Some((result.rejected_lines.clone()?, result.rejected)))
    else {
        return Ok(None);
    };
    let from = asked.parse::<u64>("from")?.unwrap_or(0);
    let found = load_rejected(api, Some(place.clone()), all, from).await?;
    let earlier = mended_of(api, &run.run.manifest_id, run.run.date).await?;
    let id = run.run.manifest_id.as_str();
    let path = Tab::Rejected.path(id);
    let next = found.next.map(|next| format!("{path}?from={next}"));
    let first = (from > 0).then_some(path.as_str());
    Ok(Some(page(&RejectedPage {
        run: id,
        earlier: &earlier,
        from,
        place: &place,
        all,
        lines: &found.items,
        next: next.as_deref(),
        first,
    })))
}
