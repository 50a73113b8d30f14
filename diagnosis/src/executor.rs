//! Diagnosis of executors.

use crate::Code;
use crate::ask::{Answer, Ask};
use crate::words::{many, quoted};

pub(crate) fn diagnose(ask: &Ask<'_>, id: &str) -> Answer {
    if let (None, Some(gone)) = (&ask.facts.executor, &ask.facts.gone_executor) {
        let lost = if gone.lost_tasks > 0 {
            format!("; {} started again elsewhere", many(gone.lost_tasks, "task"))
        } else {
            String::new()
        };
        let sentence = format!("it left at {}: {}{lost}", ask.at(gone.at), crate::shown(&gone.reason));
        return Answer::new(Code::ExecutorAway, Some(gone.at), sentence).waits_for("the executor: its log says more");
    }
    let Some(executor) = &ask.facts.executor else {
        let near = ask.facts.near.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let near = if near.is_empty() { "none is connected".to_owned() } else { format!("connected are {near}") };
        let sentence = format!("no executor {} is connected to this scheduler; {near}", quoted(id));
        return Answer::new(Code::ExecutorAway, None, sentence).waits_for("the executor: its log says why it is away");
    };
    let tasks = format!("{} in {}", many(executor.tasks, "task"), many(executor.slots, "slot"));
    let answer = match executor.is_draining {
        true => {
            Answer::new(Code::ExecutorDrains, None, format!("it takes no more tasks and finishes what it has: {tasks}"))
                .by_itself("it leaves as soon as it has no task", None)
        }
        false if executor.tasks > 0 => {
            Answer::new(Code::ExecutorWorks, None, format!("it works on {tasks}")).by_itself("its tasks end", None)
        }
        false => Answer::new(Code::ExecutorIdle, None, format!("it has nothing to do: {tasks}"))
            .by_itself("it gets tasks of the next run", None),
    };
    answer.evidence("address", quoted(&executor.host))
}
