//! Architectures of two cells as text.
//!
//! Written is `|op~input|op~input|+…/|op~input|op~input|+…`: two edges a node, the normal cell in front of the reduction cell;
//! inputs 0 and 1 are the cells before, 2 is the first node. Read are this, and what DARTS's code prints,
//! `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], reduce=…, reduce_concat=…)`, or the same as JSON.

use super::{Cells, NAMES, Node};
use crate::genotype::Genotype;
use serde::Deserialize;

/// The genotype as DARTS's code has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    normal: Vec<(String, usize)>,
    normal_concat: Vec<usize>,
    reduce: Vec<(String, usize)>,
    reduce_concat: Vec<usize>,
}

impl Cells {
    pub(in crate::space) fn arch(&self, genotype: &Genotype) -> String {
        let edge = |&(operator, input): &(u8, usize)| format!("{}~{input}|", self.operators.name(operator));
        let node = |node: &Node| format!("|{}", node.iter().map(edge).collect::<String>());
        self.read(genotype).map(|cell| cell.iter().map(node).collect::<Vec<_>>().join("+")).join("/")
    }

    pub(in crate::space) fn parse(&self, arch: &str) -> Result<Genotype, String> {
        let arch = arch.trim();
        if arch.starts_with('{') || arch.starts_with("Genotype") {
            return self.published(arch);
        }
        let cells: Vec<&str> = arch.split('/').collect();
        let [normal, reduce] = cells[..] else {
            return Err(format!("expected 2 cells separated by `/`, found {}", cells.len()));
        };
        self.write(&[self.cell(normal, NAMES[0])?, self.cell(reduce, NAMES[1])?])
    }

    fn cell(&self, text: &str, name: &str) -> Result<Vec<Node>, String> {
        let edge = |edge: &str| {
            let (operator, input) = edge.split_once('~').ok_or(format!("{name}: `{edge}` has no `~input`"))?;
            let input = input.parse().map_err(|_| format!("{name}: `{edge}`: expected a number behind `~`"))?;
            Ok((self.operators.gene(operator)?, input))
        };
        let node = |(at, node): (usize, &str)| {
            let edges = node.split('|').filter(|edge| !edge.trim().is_empty()).map(|text| edge(text.trim()));
            let edges = edges.collect::<Result<Vec<_>, String>>()?;
            let found = edges.len();
            edges.try_into().map_err(|_| format!("{name}: node {} has {found} edges, expected 2", at + 1))
        };
        text.split('+').enumerate().map(node).collect()
    }

    fn published(&self, text: &str) -> Result<Genotype, String> {
        let text = if text.starts_with('{') { text.to_owned() } else { python_to_json(text)? };
        let Published { normal, normal_concat, reduce, reduce_concat } =
            serde_json::from_str(&text).map_err(|error| format!("expected DARTS's `Genotype`: {error}"))?;
        let cell = |edges: Vec<(String, usize)>, name: &str| {
            let (nodes, rest) = edges.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(format!("{name}: {} edges, expected two a node", edges.len()));
            }
            let edge = |(operator, input): &(String, usize)| -> Result<_, String> {
                Ok((self.operators.gene(operator)?, *input))
            };
            nodes.iter().map(|[first, second]| Ok([edge(first)?, edge(second)?])).collect::<Result<Vec<Node>, String>>()
        };
        let cells = [cell(normal, NAMES[0])?, cell(reduce, NAMES[1])?];
        for ((name, cell), found) in NAMES.iter().zip(&cells).zip([normal_concat, reduce_concat]) {
            let expected = self.output(cell);
            if found != expected {
                return Err(format!("{name}_concat: {found:?}, expected {expected:?}"));
            }
        }
        self.write(&cells)
    }
}

/// `Genotype(name=[(…), …], …)` as a JSON object. Ranges are lists.
fn python_to_json(text: &str) -> Result<String, String> {
    let wrong = || "expected `Genotype(normal=[…], normal_concat=[…], reduce=[…], reduce_concat=[…])`".to_owned();
    let inner = text.strip_prefix("Genotype").and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')'));
    let mut rest = inner.ok_or_else(wrong)?;
    let mut json = String::from("{");
    let mut name = String::new();
    while let Some(next) = rest.chars().next() {
        if let Some((bounds, behind)) = rest.strip_prefix("range(").and_then(|rest| rest.split_once(')')) {
            let bounds: Vec<usize> = bounds.split(',').filter_map(|bound| bound.trim().parse().ok()).collect();
            let [first, end] = bounds[..] else { return Err(wrong()) };
            json += &format!("{:?}", (first..end.min(first + 256)).collect::<Vec<_>>());
            rest = behind;
            continue;
        }
        rest = &rest[next.len_utf8()..];
        let quoted = json.matches('"').count() % 2 == 1;
        match next {
            '\'' | '"' => json.push('"'),
            _ if quoted => json.push(next),
            '(' => json.push('['),
            ')' | ']' => {
                // Python's lists may end in a comma.
                json.truncate(json.trim_end_matches([',', ' ', '\n', '\t']).len());
                json.push(']');
            }
            '=' => json += &format!("\"{}\":", std::mem::take(&mut name)),
            'a'..='z' | '_' => name.push(next),
            _ => json.push(next),
        }
    }
    json.truncate(json.trim_end_matches([',', ' ', '\n', '\t']).len());
    Ok(json + "}")
}
