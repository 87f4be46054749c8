//! A graph as a picture: operators from the top down, in rows by the longest way from the input, in the colours of their kinds.

use crate::graph::{Graph, NodeId, Op, Window};
use std::fmt::Write;

/// Width and height of an operator's box, and the room around it, in pixels.
const BOX: [usize; 2] = [170, 34];
const ROOM: [usize; 2] = [16, 22];

/// The graph as SVG.
pub fn svg(graph: &Graph) -> String {
    let mut rows: Vec<usize> = vec![];
    for node in graph.nodes() {
        rows.push(node.inputs.iter().map(|input| rows[input.index()] + 1).max().unwrap_or(0));
    }
    let of_row = |row: usize| rows.iter().filter(|&&other| other == row).count();
    let last = rows.iter().copied().max().unwrap_or(0);
    let columns = (0..=last).map(of_row).max().unwrap_or(1);
    let [width, height] = [columns * (BOX[0] + ROOM[0]) + ROOM[0], (last + 1) * (BOX[1] + ROOM[1]) + ROOM[1]];
    // Left edge and top of a box; a row stands in the middle.
    let corner = |id: NodeId| {
        let row = rows[id.index()];
        let before = rows[..id.index()].iter().filter(|&&other| other == row).count();
        let left = (width - of_row(row) * (BOX[0] + ROOM[0]) + ROOM[0]) / 2;
        [left + before * (BOX[0] + ROOM[0]), ROOM[1] + row * (BOX[1] + ROOM[1])]
    };
    let (mut edges, mut boxes) = (String::new(), String::new());
    for id in graph.ids() {
        let node = graph.node(id);
        let [x, y] = corner(id);
        for &input in &node.inputs {
            let [from_x, from_y] = corner(input);
            let (x1, y1, x2, y2) = (from_x + BOX[0] / 2, from_y + BOX[1], x + BOX[0] / 2, y);
            // A way past other rows bends to the side.
            let bend = if rows[id.index()] > rows[input.index()] + 1 && x1 == x2 { BOX[0] * 3 / 5 } else { 0 };
            let _ = writeln!(
                edges,
                r##"<path d="M{x1} {y1} C{} {} {} {} {x2} {y2}" fill="none" stroke="#778"/>"##,
                x1 + bend,
                y1 + BOX[1],
                x2 + bend,
                y2.saturating_sub(BOX[1]),
            );
        }
        let _ = writeln!(
            boxes,
            "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"5\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" class=\"shape\">{}</text></g>",
            escape(&node.name),
            BOX[0],
            BOX[1],
            colour(&node.op),
            x + BOX[0] / 2,
            y + 14,
            escape(&label(&node.op)),
            x + BOX[0] / 2,
            y + 28,
            node.shape,
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>text {{font: 12px sans-serif; text-anchor: middle}} .shape {{font-size: 10px; fill: #445}}</style>\n\
         {edges}{boxes}</svg>\n"
    )
}

/// What an operator is called where people read.
pub fn label(op: &Op) -> String {
    let window = |name: &str, window: &Window| {
        let [rows, columns] = window.kernel();
        format!("{name} {rows}x{columns}")
    };
    match op {
        Op::Conv2d(conv) if conv.groups > 1 => window("grouped conv", &conv.window),
        Op::Conv2d(conv) => window("conv", &conv.window),
        Op::MaxPool(of) => window("max_pool", of),
        Op::AvgPool(of) => window("avg_pool", of),
        Op::Activation(of) => format!("{of:?}").to_lowercase(),
        Op::Linear { .. } => "linear".to_owned(),
        Op::BatchNorm => "batch_norm".to_owned(),
        Op::LayerNorm => "layer_norm".to_owned(),
        Op::PositionEmbedding => "position_embedding".to_owned(),
        Op::Attention(of) => format!("{:?} attention of {} heads", of.kind, of.heads).to_lowercase(),
        other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_lowercase(),
    }
}

fn colour(op: &Op) -> &'static str {
    match op {
        Op::Conv2d(_) | Op::Linear { .. } | Op::Attention(_) => "#bcd6f5",
        Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool => "#f5dcb0",
        Op::Activation(_) | Op::Softmax => "#f6c7c2",
        Op::Add | Op::Mul | Op::Concat => "#cdebc5",
        _ => "#e6e6ea",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Scale, SearchSpace};

    #[test]
    fn every_operator_has_a_box_and_every_operand_a_line() {
        let space = SearchSpace::open("mobilenet-macro").unwrap();
        let graph = space.lower(&space.parse_arch("12012101").unwrap(), Scale::Full).unwrap().live().unwrap();
        let drawn = svg(&graph);
        let operands: usize = graph.nodes().iter().map(|node| node.inputs.len()).sum();
        assert_eq!(drawn.matches("<rect ").count(), graph.nodes().len());
        assert_eq!(drawn.matches("<path ").count(), operands);
        assert!(drawn.contains("grouped conv 5x5") && drawn.contains("[10]"), "{drawn}");
    }
}
