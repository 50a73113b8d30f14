//! Check that executors can decode a plan, made before any is sent: the plan is encoded and decoded as for an executor.

use crate::codec::MillworkCodec;
use crate::host::TaskHost;
use crate::source::{as_scan, scan_exec};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use millwork_storage::Storage;
use std::sync::{Arc, LazyLock};

/// Session with what an executor has: the functions, and a host.
pub(super) static EXECUTOR: LazyLock<SessionContext> = LazyLock::new(|| {
    let host = TaskHost::new("planner".to_owned(), 1, Storage::default());
    SessionContext::new_with_config(SessionConfig::new().with_extension(host))
});

/// Refuses a plan that executors cannot decode, and names the expression at fault.
pub(super) fn check_travels(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    // Files are left out: there are many, and they do not affect the result.
    let plan = plan.clone().transform_up(|node| {
        Ok(match as_scan(&node) {
            Some((source, _)) => Transformed::yes(scan_exec(source.clone(), vec![Vec::new()])),
            None => Transformed::no(node),
        })
    })?;
    let Err(error) = travel(&plan.data) else { return Ok(()) };
    let message = match culprit(&plan.data) {
        Some(expression) => format!("executors cannot run `{expression}`: {}", error.strip_backtrace()),
        None => format!("executors cannot run it: {}", error.strip_backtrace()),
    };
    Err(DataFusionError::Plan(message))
}

fn travel(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = MillworkCodec::default();
    let mut bytes = Vec::new();
    PhysicalPlanNode::try_from_physical_plan(plan.clone(), &codec)?.try_encode(&mut bytes)?;
    PhysicalPlanNode::try_decode(&bytes)?.try_into_physical_plan(&EXECUTOR.task_ctx(), &codec)
}

/// The first expression of a plan that cannot be encoded and decoded, as SQL.
fn culprit(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    for child in plan.children() {
        if let Some(found) = culprit(child) {
            return Some(found);
        }
    }
    let input = plan.children().first().map(|input| Arc::clone(input))?;
    let stays = |expr: &Arc<dyn PhysicalExpr>| {
        let projection = ProjectionExpr { expr: expr.clone(), alias: "x".to_owned() };
        let alone = ProjectionExec::try_new([projection], input.clone());
        alone.map(|alone| Arc::new(alone) as Arc<dyn ExecutionPlan>).and_then(|alone| travel(&alone)).is_err()
    };
    let expressions: Vec<_> = match (plan.downcast_ref::<ProjectionExec>(), plan.downcast_ref::<FilterExec>()) {
        (Some(projection), _) => projection.expr().iter().map(|projection| projection.expr.clone()).collect(),
        (_, Some(filter)) => vec![filter.predicate().clone()],
        _ => return None,
    };
    let stuck = expressions.into_iter().find(stays)?;
    let mut inner = stuck;
    while let Some(part) = inner.children().into_iter().find(|part| stays(part)).cloned() {
        inner = part;
    }
    Some(crate::evaluation::sql_of(inner.as_ref()))
}
