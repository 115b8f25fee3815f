//! What workers pull: the lines of an order as tasks in the queues of their stations.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{order::Order, saga::Preparation};
use crate::saga::{
    Cx, Step, StepError, Wait,
    event::Signal,
    journal::task::{GIVEN_UP, NewTask, TASK, TASK_CLAIMED, task_id},
};

/// The priority of an order that says none: the middle.
const PRIORITY: i16 = 5;

/// Which stations' items workers pull. The others' the kitchen is handed. An order is settled by it when it is placed,
/// and goes on as it was settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pull {
    /// None.
    #[default]
    Nothing,
    /// Those of every station.
    All,
    /// Those of these.
    Stations(BTreeSet<String>),
}

impl Pull {
    /// Whether workers pull this station's items.
    pub fn has(&self, station: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Stations(stations) => stations.contains(station),
        }
    }
}

/// One task a line that workers pull.
pub(super) fn tasks(order_id: Uuid, order: &Order, attempts_max: u32) -> Vec<NewTask> {
    let pulled = order.items.iter().enumerate().filter_map(|(number, line)| {
        let mut payload = json!({
            "order_id": order_id,
            "pickup_code": order.pickup_code,
            "line": number + 1,
            "lines": order.items.len(),
            "item": line.item,
            "quantity": line.quantity,
            "note": line.note,
        });
        if let Some(mood) = order.mood("kitchen") {
            payload["rehearse"] = json!(mood);
        }
        Some(NewTask {
            number,
            queue: line.queue.clone()?,
            payload,
            priority: order.priority.unwrap_or(PRIORITY),
            attempts_max: i32::try_from(attempts_max).unwrap_or(i32::MAX),
        })
    });
    pulled.collect()
}

/// How a task ended, as its signal says.
#[derive(Debug, Deserialize)]
struct End {
    outcome: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

fn end(signal: &Signal) -> Option<End> {
    serde_json::from_str(signal.data.get()).ok()
}

/// Whether a worker has begun.
pub(super) fn are_begun(cx: &Cx) -> bool {
    cx.signals(TASK_CLAIMED).next().is_some()
}

/// Whether any task was made.
pub(super) fn any_done(cx: &Cx) -> bool {
    cx.signals(TASK).filter_map(end).any(|it| it.outcome == "done")
}

/// What is still waited for; `None` once every task is made. One that cannot be made refuses the step, for good: the
/// others were withdrawn with it. One that was given up, or the end of the time for all of them, leaves the step in
/// doubt: compensating it withdraws the rest.
pub(super) fn wait(cx: &Cx, tasks: &[NewTask], time: Duration) -> Result<Option<Wait>, StepError> {
    let mut open = 0_usize;
    for task in tasks {
        let key = task_id(cx.saga_id, Preparation::NAME, task.number).to_string();
        let told = cx.signals(TASK).find(|it| it.key.as_deref() == Some(key.as_str()));
        match told.and_then(end) {
            None => open += 1,
            Some(it) if it.outcome == "done" => {}
            Some(it) if it.outcome == GIVEN_UP => {
                let detail = format!("the workers of {} fell silent", task.queue);
                return Err(StepError::GivenUp { detail });
            }
            Some(it) => {
                return Err(StepError::refused(format!("preparation_{}", it.code), it.detail));
            }
        }
    }
    if open == 0 {
        return Ok(None);
    }
    if cx.timed_out() {
        let detail = format!("{open} of {} tickets were not made in time", tasks.len());
        return Err(StepError::GivenUp { detail });
    }
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    let until = cx.waits_until().unwrap_or(cx.now.saturating_add(time).unwrap_or(cx.now));
    let wait = Wait::signal(TASK, "for a barista").or_until(until);
    Ok(Some(if are_begun(cx) { wait } else { wait.or_signal(TASK_CLAIMED) }))
}
