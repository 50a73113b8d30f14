//! Estimated cost of plans, from the recent cost of conversions.

use crate::cost::used;
use crate::service::Service;
use millwork_api::{Action, Change, Cost, PlanCost, Prices, Used};
use millwork_tracking::TrackingResult;
use std::cmp::Reverse;

/// Number of the newest dates with output from which the cost per byte is derived: 30, so that changes in sizes or
/// columns show soon.
const NEWEST: usize = 30;

/// Estimated cost of conversions that changes cause; `None` if they cause none.
pub(super) async fn cost_of(
    service: &Service,
    action: Action,
    changes: &[Change],
    prices: &Prices,
) -> TrackingResult<Option<PlanCost>> {
    if !action.converts() || changes.is_empty() {
        return Ok(None);
    }
    let mut dates = service.store().date_totals(None, None).await?;
    dates.retain(|(_, totals)| totals.output.input_bytes > 0);
    dates.sort_by_key(|(date, _)| Reverse(*date));
    let lately = dates.iter().take(NEWEST).map(|(_, totals)| used(0, &totals.output)).fold(Used::default(), Used::plus);
    Ok(Some(estimate(changes, &lately, prices)))
}

fn estimate(changes: &[Change], lately: &Used, prices: &Prices) -> PlanCost {
    let bytes = changes.iter().filter_map(|change| change.bytes).fold(0, u64::saturating_add);
    let unsized_subjects = changes.iter().filter(|change| change.bytes.is_none()).count() as u64;
    let is_known = lately.input_bytes > 0;
    let usd = is_known.then(|| Cost::of(lately, prices).total / lately.input_bytes as f64 * bytes as f64);
    PlanCost { bytes, unsized_subjects, usd: usd.and_then(rounded) }
}

/// Rounds to four significant digits: an estimate is no more precise, and so few survive a round trip through JSON
/// exactly.
fn rounded(usd: f64) -> Option<f64> {
    format!("{usd:.3e}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::known_prices;

    fn of(bytes: Option<u64>) -> Change {
        let text = String::new;
        Change { subject: text(), version: text(), before: text(), after: text(), bytes, result: None, message: None }
    }

    #[test]
    fn a_plan_costs_what_as_many_bytes_cost_lately() {
        let prices = known_prices().unwrap();
        let lately = Used { runs: 2, input_bytes: 1000, cpu_seconds: 3600.0, ..Used::default() };
        let changes = [of(Some(1500)), of(None), of(Some(500))];
        let found = estimate(&changes, &lately, &prices);
        assert_eq!((found.bytes, found.unsized_subjects), (2000, 1));
        assert!((found.usd.unwrap() / (2.0 * prices.vcpu_hour) - 1.0).abs() < 1e-3);
        assert_eq!(rounded(4.065_366_292_829_883_6e-8), Some(4.065e-8));
        assert_eq!(estimate(&changes, &Used::default(), &prices).usd, None);
    }
}
