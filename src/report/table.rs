//! The front as a table for a terminal, and what the search reached beside random search.

use super::number::{count, duration, significant};
use super::{Direction, ObjectiveInfo, StudyReport, TrialRow};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// The table and the lines below it. Where the table would be wider than `width` columns, the architectures are
/// listed below it instead of being a column of it, so that each can still be copied as a whole.
pub fn render(report: &StudyReport, width: Option<usize>) -> String {
    let complete = report.trials.iter().filter(|trial| trial.is_complete() && !trial.control).count();
    let mut text = format!(
        "Pareto front of {}: {} of {complete} complete trials in {} ({} architectures)\n\n",
        report.study,
        report.front.len(),
        report.space,
        size(report.space_size),
    );
    let rows = report.front_rows();
    if rows.is_empty() {
        text.push_str(match complete {
            0 => "No trial is complete yet.\n",
            _ => "No complete trial keeps all bounds of the objectives.\n",
        });
    } else {
        let wide = front(report, &rows, true);
        let fits = |table: &str| width.is_none_or(|width| table.lines().all(|line| line.chars().count() <= width));
        if fits(&wide) {
            text.push_str(&wide);
        } else {
            text.push_str(&front(report, &rows, false));
            text.push('\n');
            for row in &rows {
                text.push_str(&format!("{:>5}  {}\n", row.number, row.arch));
            }
        }
        if report.objectives.iter().any(|objective| objective.device.is_some()) {
            text.push_str("\n± is the wider side of the median's 95 % confidence interval.\n");
        }
    }
    text.push('\n');
    text.push_str(&outcome(report));
    text
}

/// The trials as a table, with the architecture as the last column where asked for.
fn front(report: &StudyReport, rows: &[&TrialRow], with_arch: bool) -> String {
    let mut table = Table::new();
    // One line below the header: rows are short, and a terminal is low.
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line).bottom_border(line));
    let mut header = vec!["trial".to_owned()];
    header.extend(report.objectives.iter().map(title));
    header.extend(report.other_indicators().map(|i| format!("{} {}", i.name, arrow(i.direction))));
    header.extend(["params".to_owned(), "MACs".to_owned()]);
    let numeric = header.len();
    if with_arch {
        header.push("architecture".to_owned());
    }
    table.set_header(header);
    for row in rows {
        let mut cells = vec![row.number.to_string()];
        cells.extend(report.objectives.iter().map(|objective| value(row, objective)));
        cells.extend(report.other_indicators().map(|indicator| {
            row.indicators.get(&indicator.name).map_or("–".to_owned(), |value| significant(*value, 4))
        }));
        cells.extend([row.params, row.macs].map(|size| size.map_or("–".to_owned(), count)));
        if with_arch {
            cells.push(row.arch.clone());
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().take(numeric) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt() + "\n"
}

/// Hypervolumes, failures and time.
fn outcome(report: &StudyReport) -> String {
    let search = &report.search;
    let mut text = format!(
        "Hypervolume after {} evaluations: {} {}",
        search.evaluations,
        search.sampler,
        significant(search.hypervolume, 4)
    );
    match &report.control {
        Some(control) => {
            text.push_str(&format!(", {} search {}", control.sampler, significant(control.hypervolume, 4)));
            if control.evaluations != search.evaluations {
                text.push_str(&format!(" after {}", control.evaluations));
            }
            if control.hypervolume > 0.0 {
                let gain = 100.0 * (search.hypervolume / control.hypervolume - 1.0);
                text.push_str(&format!(" ({gain:+.1} %)"));
            }
        }
        None => text.push_str("; no random search to compare with"),
    }
    if let Some(seeds) = &report.seeds {
        let range = |mean: f64, [low, high]: [f64; 2]| {
            format!("{} (95 %: {} to {})", significant(mean, 4), significant(low, 4), significant(high, 4))
        };
        text.push_str(&format!(
            "\nOver {} seeds: {} {}",
            seeds.seeds.len(),
            search.sampler,
            range(seeds.search_mean, seeds.search_ci95)
        ));
        if let (Some(mean), Some(interval), Some(control)) = (seeds.control_mean, seeds.control_ci95, &report.control) {
            text.push_str(&format!(", {} {}", control.sampler, range(mean, interval)));
        }
    }
    let optimised = report.objectives.iter().filter(|objective| !objective.constraint);
    let point = optimised.zip(&report.reference_point).map(|(objective, value)| {
        format!("{} {}", objective.name, [&significant(*value, 4), objective.unit.as_str()].join(" ").trim_end())
    });
    text.push_str(&format!("\nReference point: {}\n", point.collect::<Vec<_>>().join(", ")));
    if let Some(quality) = &report.quality {
        let weights: Vec<String> = quality.weights.iter().map(|(name, weight)| format!("{weight} {name}")).collect();
        text.push_str(&format!("Quality ({}): {}\n", quality.recipe, weights.join(" + ")));
        for dropped in &quality.dropped {
            text.push_str(&format!("  without {}: {}\n", dropped.indicator, dropped.reason));
        }
    }
    let control = report.control.as_ref().map(|control| (format!("{} search", control.sampler), control));
    for (name, summary) in [Some((search.sampler.clone(), search)), control].into_iter().flatten() {
        text.push_str(&format!(
            "Time of {name}: {} (scoring {}, exporting {}, loading {}, measuring {}, waiting {})",
            duration(summary.total_s),
            duration(summary.scoring_s),
            duration(summary.exporting_s),
            duration(summary.loading_s),
            duration(summary.measuring_s),
            duration(summary.waiting_s),
        ));
        if summary.failed > 0 {
            text.push_str(&format!("; {} of {} trials failed", summary.failed, summary.evaluations));
        }
        text.push('\n');
    }
    text
}

fn title(objective: &ObjectiveInfo) -> String {
    let unit = if objective.unit.is_empty() { String::new() } else { format!(" [{}]", objective.unit) };
    format!("{}{unit} {}", objective.name, arrow(objective.direction))
}

fn arrow(direction: Direction) -> char {
    match direction {
        Direction::Minimize => '↓',
        Direction::Maximize => '↑',
    }
}

fn value(row: &TrialRow, objective: &ObjectiveInfo) -> String {
    let Some(value) = row.objectives.get(&objective.name) else { return "–".to_owned() };
    let Some(measured) = row.measurement(objective) else { return significant(*value, 4) };
    let [low, high] = measured.ci95_ms;
    let half = (value - low).max(high - value).max(0.0);
    let doubt = if measured.verdict == "stable" { String::new() } else { format!(" {}", measured.verdict) };
    format!("{} ± {}{doubt}", significant(*value, 4), significant(half, 2))
}

/// The size of a space: digits while they can be read, else a power of ten.
fn size(architectures: f64) -> String {
    if architectures < 1e7 { format!("{architectures:.0}") } else { format!("{architectures:.2e}") }
}
