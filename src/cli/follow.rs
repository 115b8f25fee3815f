//! Following an order until it closes.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    answers::Order,
    client::Client,
    error::CliError,
    show::{self, clean},
};
use crate::config::limits::{CLIENT_RESUME_PAUSE, CLIENT_RESUMES_MAX};

/// How often the spinners turn.
const SPIN: Duration = Duration::from_millis(100);

/// Shows an order's changes until it closes; success only if it was completed. A cut stream is
/// picked up after the last event seen; giving up takes as many cuts in a row without any event.
pub(super) async fn follow(
    client: &Client,
    id: &str,
    display: &mut Display,
) -> Result<ExitCode, CliError> {
    let mut last_event = None;
    let mut cuts = 0;
    loop {
        let known = last_event.clone();
        let result = follow_stream(client, id, &mut last_event, display).await;
        if known != last_event {
            cuts = 0;
        }
        match result {
            Ok(Some(order)) => {
                display.end(&order)?;
                return Ok(ExitCode::from(u8::from(!order.is_completed())));
            }
            Ok(None) if cuts < CLIENT_RESUMES_MAX => {}
            // A server that never answered is more likely not there than restarting.
            Err(error) if error.may_pass() && display.began() && cuts < CLIENT_RESUMES_MAX => {}
            Ok(None) => return Err(client.unreachable("it keeps ending the stream of events")),
            Err(error) => return Err(error),
        }
        cuts += 1;
        sleep(CLIENT_RESUME_PAUSE).await;
    }
}

/// Follows one stream: the order once it is closed, or none when the stream ends before.
async fn follow_stream(
    client: &Client,
    id: &str,
    last_event: &mut Option<String>,
    display: &mut Display,
) -> Result<Option<Order>, CliError> {
    // The stream is open before the order is read, so that no change falls between the two.
    let mut events = client.events(id, last_event.as_deref()).await?;
    loop {
        let answer = client.get(&["v1", "orders", id], &[]).await?;
        let order: Order = client.read(&answer)?;
        display.show(&order, &answer)?;
        if order.is_closed() {
            return Ok(Some(order));
        }
        match events.next().await? {
            Some(event) => *last_event = event.id.or(last_event.take()),
            None => return Ok(None),
        }
    }
}

/// Where an order's changes are shown.
pub(super) enum Display {
    /// One JSON object a version of the order.
    Json(Option<Value>),
    /// One plain line a change, by what it is about.
    Lines(HashMap<String, String>),
    /// A spinner for the order and one a step, by name.
    Spinners(MultiProgress, HashMap<String, ProgressBar>),
}

impl Display {
    /// JSON if wished, spinners on a terminal, lines otherwise.
    pub(super) fn new(json: bool) -> Self {
        if json {
            Self::Json(None)
        } else if io::stdout().is_terminal() && io::stderr().is_terminal() {
            Self::Spinners(MultiProgress::new(), HashMap::new())
        } else {
            Self::Lines(HashMap::new())
        }
    }

    /// Whether anything has been shown.
    fn began(&self) -> bool {
        match self {
            Self::Json(shown) => shown.is_some(),
            Self::Lines(shown) => !shown.is_empty(),
            Self::Spinners(_, shown) => !shown.is_empty(),
        }
    }

    fn show(&mut self, order: &Order, answer: &Value) -> io::Result<()> {
        match self {
            Self::Json(shown) => {
                if shown.as_ref() != Some(answer) {
                    show::json(answer)?;
                    *shown = Some(answer.clone());
                }
            }
            Self::Lines(shown) => {
                for (about, text, _) in lines(order) {
                    if shown.get(&about) != Some(&text) {
                        writeln!(io::stdout().lock(), "{about}: {text}")?;
                        shown.insert(about, text);
                    }
                }
            }
            Self::Spinners(all, shown) => {
                for (about, text, over) in lines(order) {
                    let bar = shown.entry(about).or_insert_with_key(|about| {
                        let bar = all.add(ProgressBar::new_spinner().with_prefix(about.clone()));
                        bar.set_style(style());
                        bar
                    });
                    if over {
                        bar.finish_with_message(text);
                    } else {
                        bar.set_message(text);
                        bar.enable_steady_tick(SPIN);
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves what is known at the end on the screen.
    fn end(&mut self, order: &Order) -> io::Result<()> {
        if let Self::Spinners(_, shown) = self {
            shown.values().for_each(ProgressBar::abandon);
            show::order(order)?;
        }
        Ok(())
    }
}

/// A mark that turns while something is going on, what it is, and how it stands.
fn style() -> ProgressStyle {
    // The template is fixed; were it wrong, the plain spinner would do.
    ProgressStyle::with_template("{spinner} {prefix:<13} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏•")
}

/// What there is to show of an order: what about, how it stands, whether that is its end.
fn lines(order: &Order) -> Vec<(String, String, bool)> {
    let mut status = order.status.clone();
    if let Some(reason) = &order.closed_reason {
        status += &format!(" ({reason})");
    }
    let attention = order.attention.as_ref().and_then(Value::as_str);
    if let Some(attention) = attention {
        status += &format!(", needs attention: {attention}");
    }
    let of_order = (format!("order {}", clean(&order.id)), clean(&status), order.is_closed());
    let steps = order.steps.iter().filter(|step| step.state != "pending").map(|step| {
        let taken_back = step.compensation.as_ref().is_none_or(|c| c.state == "done");
        let over = !["running", "waiting", "in_doubt"].contains(&step.state.as_str()) && taken_back;
        (clean(&step.name), show::state(step), over)
    });
    std::iter::once(of_order).chain(steps).collect()
}
