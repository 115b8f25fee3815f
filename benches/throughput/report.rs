//! Medians, the table, and the bars.

use std::fmt::{self, Display, Write as _};

use super::meter::Figures;

/// What is measured against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Row claims with SKIP LOCKED, two transactions a step.
    Naive,
    /// The prototype `d1n`, two writers.
    Prototype,
    /// The engine without effects.
    Bare,
    /// The engine with all the shop's books.
    Books,
    /// Single-row commits.
    Commits,
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Naive => "naive path",
            Self::Prototype => "prototype d1n",
            Self::Bare => "bare engine",
            Self::Books => "engine with books",
            Self::Commits => "raw commits",
        })
    }
}

/// All runs of one contender at one load, one entry a repetition.
pub(crate) struct Cell {
    pub(crate) name: Name,
    pub(crate) in_flight: usize,
    pub(crate) runs: Vec<Figures>,
}

/// The value in the middle; of two, their mean.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|it| it.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(low) + at(high)) / 2.0
}

/// The table, in Markdown.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut text = String::from(
        "| in flight | contender | per second | p50 ms | p99 ms | commits/order | WAL B/order \
         | Postgres µs/order | process µs/order |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for cell in cells {
        let of = |figure: fn(&Figures) -> f64| median(cell.runs.iter().map(figure));
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {:.0} |",
            cell.in_flight,
            cell.name,
            of(|it| it.per_second),
            of(|it| it.p50_ms),
            of(|it| it.p99_ms),
            of(|it| it.commits),
            of(|it| it.wal_bytes),
            of(|it| it.postgres_us),
            of(|it| it.process_us),
        );
    }
    text
}

/// A ratio between two contenders that has to hold.
struct Bar {
    what: &'static str,
    in_flight: usize,
    of: Name,
    to: Name,
    ratio: fn(&Figures, &Figures) -> f64,
    holds: fn(f64) -> bool,
}

const BARS: [Bar; 3] = [
    Bar {
        what: "bare engine to naive path, at least 20",
        in_flight: 1_024,
        of: Name::Bare,
        to: Name::Naive,
        ratio: |of, to| of.per_second / to.per_second,
        holds: |it| it >= 20.0,
    },
    Bar {
        what: "bare engine to prototype, at least 0.5",
        in_flight: 1_024,
        of: Name::Bare,
        to: Name::Prototype,
        ratio: |of, to| of.per_second / to.per_second,
        holds: |it| it >= 0.5,
    },
    Bar {
        what: "engine with books to prototype, at least 0.25",
        in_flight: 1_024,
        of: Name::Books,
        to: Name::Prototype,
        ratio: |of, to| of.per_second / to.per_second,
        holds: |it| it >= 0.25,
    },
];

/// The bars whose contenders both ran. A ratio is taken within one repetition, whose runs follow each other
/// at once, and the median of these is judged: what the machine does meanwhile strikes both. `alone` are
/// the ratios of orders that are alone.
pub(crate) fn bars(cells: &[Cell], alone: &[f64]) -> String {
    let mut text =
        String::from("| bar | in flight | ratio | of runs | holds |\n|---|--:|--:|---|---|\n");
    for bar in &BARS {
        let runs = |name: Name| {
            let found = cells.iter().find(|it| it.name == name && it.in_flight == bar.in_flight);
            found.map(|it| it.runs.as_slice())
        };
        let Some((of, to)) = runs(bar.of).zip(runs(bar.to)) else { continue };
        let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| (bar.ratio)(of, to)).collect();
        text += &judged(bar.what, bar.in_flight, &ratios, bar.holds);
    }
    if !alone.is_empty() {
        let what = "a transition of the bare engine in commits' time, at most 1.3";
        text += &judged(what, 1, alone, |it| it <= 1.3);
    }
    text
}

fn judged(what: &str, in_flight: usize, ratios: &[f64], holds: fn(f64) -> bool) -> String {
    let ratio = median(ratios.iter().copied());
    let all: Vec<String> = ratios.iter().map(|it| format!("{it:.2}")).collect();
    let holds = if holds(ratio) { "yes" } else { "**no**" };
    format!("| {what} | {in_flight} | {ratio:.2} | {} | {holds} |\n", all.join(" "))
}
