//! `report.html`: one file that needs no network and no library.
//!
//! Style, script and data are put into the page. The data is JSON in an inert `<script>` element; the page's own
//! script builds everything from it with text nodes, so no text of a study is ever read as markup.

use super::StudyReport;
use crate::lut::{LatencyTable, Validation};
use crate::quality::Correlations;
use crate::tabular::Bench;
use serde_json::{Value, json};

const HEAD: &str = include_str!("head.html");
const PAGE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const CHARTS: &str = include_str!("charts.js");
const PLOTS: &str = include_str!("plots.js");
const SCRIPT: &str = concat!(
    include_str!("trajectory.js"),
    include_str!("trained.js"),
    include_str!("deployed.js"),
    include_str!("report.js")
);
const CORRELATIONS: &str = include_str!("correlations.html");
const CORRELATIONS_SCRIPT: &str = include_str!("correlations.js");
const SAMPLERS: &str = include_str!("samplers.html");
const SAMPLERS_SCRIPT: &str = include_str!("samplers.js");
const VALIDATION: &str = include_str!("validation.html");
const VALIDATION_SCRIPT: &str = include_str!("validation.js");

/// The page.
pub fn page(report: &StudyReport) -> String {
    let mut data = serde_json::to_value(report).expect("maps with text keys and numbers are JSON");
    // A seed may have more digits than JavaScript's numbers hold.
    data["seed"] = Value::String(report.seed.to_string());
    with_script(PAGE, &report.study, &data, SCRIPT)
}

/// The page of scores that are held against the truth, `truth` being that of each architecture.
pub fn correlations(correlations: &Correlations, truth: &[f64]) -> String {
    let mut data = serde_json::to_value(correlations).expect("maps with text keys and numbers are JSON");
    data["truth"] = truth.into();
    for (row, of) in correlations.rows.iter().enumerate() {
        data["rows"][row]["scores"] = of.scores.clone().into();
    }
    let title = format!("{}, {}", correlations.space, correlations.column);
    with_script(CORRELATIONS, &title, &data, CORRELATIONS_SCRIPT)
}

/// The page of search strategies on a table.
pub fn samplers(bench: &Bench) -> String {
    let mut data = serde_json::to_value(bench).expect("maps with text keys and numbers are JSON");
    // A seed may have more digits than JavaScript's numbers hold.
    data["seed"] = Value::String(bench.seed.to_string());
    let columns: Vec<&str> = bench.objectives.iter().map(|objective| objective.name.as_str()).collect();
    with_script(SAMPLERS, &columns.join(", "), &data, SAMPLERS_SCRIPT)
}

/// The page of lookup tables that are held against measurements, the first one being what it is about.
pub fn validation(tables: &[LatencyTable], found: &[Validation]) -> String {
    let of_table = |(table, found): (&LatencyTable, &Validation)| {
        let header = &table.header;
        json!({
            "method": header.method, "entries": table.entries.len(), "networks": table.networks.len(), "figures": found,
            "checked": found.checked, "dead": found.dead, "failed": found.failed.len(),
            "cpu": header.host.as_ref().and_then(|host| host.cpu.clone()),
            "runtime": format!("{} {}", header.runtime, header.runtime_version),
        })
    };
    let data = json!({ "tables": tables.iter().zip(found).map(of_table).collect::<Vec<_>>() });
    let names = tables.first().map(|table| {
        let space = table.header.space.as_ref().map(|space| space.space.clone()).unwrap_or_default();
        format!("{}, {space}", table.header.device)
    });
    with_script(VALIDATION, &names.unwrap_or_default(), &data, VALIDATION_SCRIPT)
}

/// The page of `template`, with its data and what draws them.
fn with_script(template: &str, title: &str, data: &Value, script: &str) -> String {
    let (title, data) = (escape(title), inert(&data.to_string()));
    let head = fill(HEAD, &[("title", &title), ("style", STYLE)]);
    let scripts = [("charts", CHARTS), ("plots", PLOTS), ("script", script)];
    let values: Vec<_> =
        [("head", head.as_str()), ("title", &title), ("data", &data)].into_iter().chain(scripts).collect();
    fill(template, &values)
}

/// `template` with each `{{name}}` replaced by its value; values are not searched again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("each `{{` of the template is closed");
        let (_, value) = values.iter().find(|(known, _)| *known == name).expect("each name of the template is known");
        page.push_str(value);
        page.push_str(rest);
    }
    page
}

/// JSON that can stand in a `<script>` element: nothing in it can close the element or open a comment.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_element() {
        let json = serde_json::to_string("</script><!-- <script> & \u{2028}").unwrap();
        let safe = inert(&json);
        assert!(!safe.contains(['<', '>', '&']), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!-- <script> & \u{2028}");
    }

    #[test]
    fn text_is_escaped_once() {
        assert_eq!(escape("<b a=\"1\">'&lt;"), "&lt;b a=&quot;1&quot;&gt;&#39;&amp;lt;");
    }

    #[test]
    fn values_are_not_searched_for_names() {
        assert_eq!(fill("a{{x}}b{{y}}c", &[("x", "{{y}}"), ("y", "1")]), "a{{y}}b1c");
    }

    #[test]
    fn the_page_names_no_network_address() {
        for (name, text) in
            [("head", HEAD), ("html", PAGE), ("css", STYLE), ("charts", CHARTS), ("plots", PLOTS), ("script", SCRIPT)]
        {
            assert!(!text.contains("://") && !text.contains("@import"), "{name}");
        }
    }
}
