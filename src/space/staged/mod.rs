//! Staged spaces: a network is a row of stages, a stage has as many layers as is decided, and what a layer is, is decided
//! layer by layer (MobileNets, ResNets; Once-for-All, Cai et al. 2020, Section 3).
//!
//! Decisions are named lists of values, made once for the network, for each stage, or for each layer; layers name them in
//! their numbers ([`Extent`]). `block` chooses among the space's blocks, `resolution` the side of the full network's input.
//! Genes of layers that a stage doesn't have, and of what a layer's block doesn't name, don't count: [`Staged::canonical`] sets
//! them to 0.

mod choices;
mod counting;
mod line;
mod notation;

use super::block::{self, Layer, Scope};
use super::extent::{Extent, quantities};
use super::operators::Operators;
use super::{Decision, NetworkSize};
use crate::genotype::Genotype;
use crate::graph::{GraphBuilder, GraphError, NodeId};
use crate::yaml::closest;
use choices::{BLOCK, Choice, Choices, Depths, Value};
use line::{Line, PLANNED, Planned};
use serde::Deserialize;

/// The name of the decision about the input's side.
pub(super) const RESOLUTION: &str = "resolution";

/// The stages of a space.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Staged {
    /// What is decided once.
    #[serde(default)]
    choices: Choices,
    /// What is decided for each layer, where the stage has nothing else.
    #[serde(default)]
    layers: Choices,
    #[serde(default)]
    stages: Vec<Stage>,
    /// What stages there are, where that follows from what is decided once.
    line: Option<Line>,
    blocks: Operators,
}

/// Layers of one size.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    depth: Depths,
    channels: Extent,
    /// Stride of the stage's first layer.
    stride: usize,
    /// What its layers are, where that is not decided.
    block: Option<String>,
    /// What is decided once for the stage.
    #[serde(default)]
    choices: Choices,
    /// What is decided for each of its layers.
    layers: Option<Choices>,
}

/// A decision's place: in the network, in a stage, or in one of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Whole,
    Stage(usize),
    Layer(usize, usize),
}

/// The genes that count, read one after the other.
struct Reader<'a, 'g> {
    genes: &'g [u8],
    chosen: Vec<(&'a str, f64)>,
    block: Option<&'a str>,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> usize {
        let (&gene, rest) = self.genes.split_first().expect("a genotype has a gene for each decision");
        self.genes = rest;
        gene.into()
    }

    fn read(&mut self, choices: &'a Choices) {
        for Choice { name, values } in &choices.0 {
            let value = &values[self.next()];
            match value.number {
                Some(number) => self.chosen.push((name, number)),
                None => self.block = Some(&value.text),
            }
        }
    }

    fn depth(&mut self, depths: &Depths) -> usize {
        if depths.0.len() > 1 { depths.0[self.next()] } else { depths.0[0] }
    }
}

impl Staged {
    fn layers<'a>(&'a self, stage: &'a Stage) -> &'a Choices {
        stage.layers.as_ref().unwrap_or(&self.layers)
    }

    /// All decisions in the order of the genes, those of layers that a stage may not have among them.
    fn all(&self) -> impl Iterator<Item = (Place, Choice)> + '_ {
        let whole = self.choices.0.iter().map(|choice| (Place::Whole, choice.clone()));
        let stages = self.stages.iter().enumerate().flat_map(move |(at, stage)| {
            let depth = (stage.depth.0.len() > 1).then(|| stage.depth.choice());
            let own = depth.into_iter().chain(stage.choices.0.iter().cloned()).map(move |one| (Place::Stage(at), one));
            let of_layer =
                move |layer| self.layers(stage).0.iter().map(move |one| (Place::Layer(at, layer), one.clone()));
            own.chain((0..stage.depth.most()).flat_map(of_layer))
        });
        whole.chain(stages)
    }

    pub(super) fn choices(&self) -> Vec<usize> {
        self.all().map(|(_, choice)| choice.values.len()).collect()
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        let name = |place, name: &str| match place {
            Place::Whole => name.to_owned(),
            Place::Stage(stage) => format!("{}.{name}", stage + 1),
            Place::Layer(stage, layer) => format!("{}.{}.{name}", stage + 1, layer + 1),
        };
        let choices = |values: Vec<Value>| values.into_iter().map(|value| value.text).collect();
        self.all().map(|(place, one)| Decision { name: name(place, &one.name), choices: choices(one.values) }).collect()
    }

    /// Sets all depths to the largest: the network then has every layer.
    pub(super) fn deepen(&self, genes: &mut [u8]) {
        for (gene, (place, choice)) in genes.iter_mut().zip(self.all()) {
            if let (Place::Stage(stage), "depth") = (place, choice.name.as_str()) {
                let Depths(depths) = &self.stages[stage].depth;
                *gene = (0..depths.len()).max_by_key(|&at| depths[at]).unwrap_or(0) as u8;
            }
        }
    }

    /// What is decided once, to name in the stem and the head.
    pub(super) fn whole(&self, genotype: &Genotype) -> Vec<(&str, f64)> {
        let mut reader = Reader { genes: genotype.genes(), chosen: vec![], block: None };
        reader.read(&self.choices);
        reader.chosen
    }

    /// What was chosen for the side of the input; none where it is not decided.
    pub(super) fn resolution_gene(&self, genotype: &Genotype) -> Option<u8> {
        let at = self.choices.0.iter().position(|choice| choice.name == RESOLUTION)?;
        Some(genotype.genes()[at])
    }

    /// The full network's size with the chosen side of its input: the largest one is `full`'s own, the others are as much smaller.
    pub(super) fn chosen_size(&self, genotype: &Genotype, full: &NetworkSize) -> NetworkSize {
        let Some(choice) = self.choices.0.iter().find(|choice| choice.name == RESOLUTION) else { return full.clone() };
        let sides: Vec<f64> = choice.values.iter().filter_map(|value| value.number).collect();
        let gene = self.resolution_gene(genotype).unwrap_or(0);
        let share = sides[usize::from(gene)] / sides.iter().copied().fold(0.0, f64::max);
        let side = |side: usize| ((side as f64 * share).round() as usize).max(1);
        let [channels, height, width] = full.input;
        NetworkSize { input: [channels, side(height), side(width)], ..full.clone() }
    }

    pub(super) fn lower(
        &self,
        builder: &mut GraphBuilder,
        genotype: &Genotype,
        network: &NetworkSize,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let mut at = from;
        let mut reader = Reader { genes: genotype.genes(), chosen: vec![], block: None };
        reader.read(&self.choices);
        let (whole, of_all) = (reader.chosen.len(), reader.block);
        if let Some(line) = &self.line {
            return self.lower_line(builder, line, reader, network, at);
        }
        for (index, stage) in self.stages.iter().enumerate().take(network.stages.unwrap_or(self.stages.len())) {
            reader.block = stage.block.as_deref().or(of_all);
            let depth = reader.depth(&stage.depth);
            reader.read(&stage.choices);
            let (of_stage, block) = (reader.chosen.len(), reader.block);
            for layer in 0..stage.depth.most() {
                if layer >= depth {
                    reader.genes = &reader.genes[self.layers(stage).0.len()..];
                    continue;
                }
                reader.block = block;
                reader.read(self.layers(stage));
                let mut scope = Scope {
                    in_channels: builder.shape(at).channels(),
                    out_channels: 0,
                    stride: if layer == 0 { stage.stride } else { 1 },
                    width: network.width,
                    classes: network.classes,
                    chosen: &reader.chosen,
                };
                scope.out_channels = stage.channels.resolve(&scope, scope.in_channels);
                let block = reader.block.expect("each stage's blocks are checked");
                let layers = self.blocks.layers_of(block).expect("each block's name is checked");
                at = block::lower(builder, layers, &scope, &format!("stage{index}.layer{layer}.{block}"), at)?;
                reader.chosen.truncate(of_stage);
            }
            reader.chosen.truncate(whole);
        }
        Ok(at)
    }

    fn lower_line(
        &self,
        builder: &mut GraphBuilder,
        line: &Line,
        mut reader: Reader<'_, '_>,
        network: &NetworkSize,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let mut at = from;
        let of_input = Scope { chosen: &reader.chosen, ..Scope::undecided(network, 0, network.width, 1) };
        let stages = line.stages(&of_input);
        let block = reader.block.expect("that blocks are decided once is checked");
        let layers = self.blocks.layers_of(block).expect("each block's name is checked");
        for (index, Planned { depth, numbers }) in
            stages.into_iter().enumerate().take(network.stages.unwrap_or(usize::MAX))
        {
            reader.chosen.extend(PLANNED.into_iter().zip(numbers));
            for layer in 0..depth {
                let in_channels = builder.shape(at).channels();
                let stride = if layer == 0 { line.stride } else { 1 };
                let scope = Scope { chosen: &reader.chosen, ..Scope::undecided(network, in_channels, 0, stride) };
                let scope = Scope { out_channels: line.channels.resolve(&scope, in_channels), ..scope };
                at = block::lower(builder, layers, &scope, &format!("stage{index}.layer{layer}.{block}"), at)?;
            }
        }
        Ok(at)
    }

    /// Whether its stages follow from a line of widths.
    pub(super) fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Checks that names are of something.
    ///
    /// # Errors
    /// The name that is not, and what is wrong with it.
    pub(super) fn check(&self, outside: &[&[Layer]], network: &NetworkSize) -> Result<(), (String, String)> {
        let whole: Vec<&str> = self.choices.0.iter().map(|choice| choice.name.as_str()).collect();
        for layers in outside {
            check_names("stem and head", layers, &whole)?;
        }
        let [_, height, width] = network.input;
        if let Some(resolution) = self.choices.0.iter().find(|choice| choice.name == RESOLUTION) {
            let most = resolution.values.iter().filter_map(|value| value.number).fold(0.0, f64::max);
            if [height, width].iter().any(|&side| side as f64 != most) {
                let reason =
                    format!("`resolution` goes up to {most}, expected the full network's input, {height}×{width}");
                return Err((RESOLUTION.into(), reason));
            }
        }
        match (&self.line, &self.stages[..]) {
            (Some(line), []) => return self.check_line(line, &whole),
            (Some(_), _) => {
                return Err(("line".into(), "`line` says what the stages are, expected no `stages`".into()));
            }
            (None, []) => return Err(("stages".into(), "`stages` needs 1 stage at least".into())),
            (None, _) => {}
        }
        for (at, stage) in self.stages.iter().enumerate() {
            let place = format!("stage {}", at + 1);
            let of_layer = self.layers(stage);
            let groups = [&self.choices, &stage.choices, of_layer];
            if let Some(late) = groups[1..].iter().flat_map(|group| &group.0).find(|choice| choice.name == RESOLUTION) {
                return Err((
                    late.name.clone(),
                    format!("{place}: `resolution` is decided once, expected it in `choices` beside `stages`"),
                ));
            }
            let of_stage: Vec<&str> =
                groups[..2].iter().flat_map(|group| &group.0).map(|one| one.name.as_str()).collect();
            check_extents(&format!("{place}, channels"), [&stage.channels], &of_stage)?;
            let names: Vec<&str> = groups.iter().flat_map(|group| &group.0).map(|one| one.name.as_str()).collect();
            for block in self.blocks_of(stage, of_layer).ok_or_else(|| {
                let reason =
                    format!("{place}: what its layers are is not said, expected `block`, or a choice of that name");
                ("stages".to_owned(), reason)
            })? {
                let layers = self.blocks.layers_of(block).ok_or_else(|| self.no_block(&place, block))?;
                check_names(&format!("{place}, block {block}"), layers, &names)?;
            }
        }
        Ok(())
    }

    fn check_line(&self, line: &Line, whole: &[&str]) -> Result<(), (String, String)> {
        if let Some(choice) = self.layers.0.first() {
            let reason = "`layers` are not decided one by one beside `line`, expected it among `choices`";
            return Err((choice.name.clone(), reason.to_owned()));
        }
        check_extents("line", line.extents(), whole)?;
        let names = [whole, &PLANNED].concat();
        check_extents("line, channels", [&line.channels], &names)?;
        let Some(blocks) = self.choices.0.iter().find(|choice| choice.name == BLOCK) else {
            return Err(("line".into(), "line: what its layers are is not said, expected a choice `block`".into()));
        };
        for Value { text: block, .. } in &blocks.values {
            let layers = self.blocks.layers_of(block).ok_or_else(|| self.no_block("line", block))?;
            check_names(&format!("block {block}"), layers, &names)?;
        }
        Ok(())
    }

    fn no_block(&self, place: &str, block: &str) -> (String, String) {
        let reason = self.blocks.gene(block).err().unwrap_or_default();
        (block.to_owned(), format!("{place}: {}", reason.replacen("operator", "block", 1)))
    }

    /// The blocks that a stage's layers may be, by what is decided nearest to them; none where nothing says it.
    fn blocks_of<'a>(&'a self, stage: &'a Stage, of_layer: &'a Choices) -> Option<Vec<&'a str>> {
        let among = |choices: &'a Choices| {
            let choice = choices.0.iter().find(|choice| choice.name == BLOCK);
            choice.map(|choice| choice.values.iter().map(|value| value.text.as_str()).collect())
        };
        let own = stage.block.as_deref().map(|block| vec![block]);
        among(of_layer).or_else(|| among(&stage.choices)).or(own).or_else(|| among(&self.choices))
    }
}

fn check_names(place: &str, layers: &[Layer], names: &[&str]) -> Result<(), (String, String)> {
    let mut extents = vec![];
    block::extents(layers, &mut extents);
    check_extents(place, extents, names)
}

/// The first name of a decision that is not among `names`, and that it is not.
pub(super) fn check_extents<'a>(
    place: &str,
    extents: impl IntoIterator<Item = &'a Extent>,
    names: &[&str],
) -> Result<(), (String, String)> {
    let unknown = extents.into_iter().flat_map(Extent::chosen).find(|name| !names.contains(name));
    let Some(name) = unknown else { return Ok(()) };
    let known: Vec<String> = quantities().map(str::to_owned).chain(names.iter().map(|&name| name.to_owned())).collect();
    let hint = closest(name, known.iter().map(String::as_str)).map(|meant| format!("; did you mean `{meant}`?"));
    let reason = format!(
        "{place}: unknown name `{name}`, expected a number or one of {}{}",
        known.join(", "),
        hint.unwrap_or_default()
    );
    Err((name.to_owned(), reason))
}

#[cfg(test)]
mod tests;
