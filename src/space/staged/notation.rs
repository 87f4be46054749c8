//! Architectures of staged spaces as text.
//!
//! `192/2:3,6-5,4/1:7,3`: what is decided once, then each stage: its depth and what is decided for it, and behind a colon its
//! layers. Once-for-All's notation is read as well: a map of lists `ks`, `e`, `d` (and `r`), as JSON or as Python prints it,
//! the entries of layers that a stage does not have among them.

use super::{Choice, Choices, Place, RESOLUTION, Stage, Staged};
use crate::genotype::Genotype;
use crate::space::NetworkSize;
use serde_json::Value as Json;

/// What separates stages, layers, and values.
const SEPARATORS: [char; 3] = ['/', '-', ','];

/// What Once-for-All calls the decisions.
const SHORT: [(&str, &str); 4] = [("ks", "kernel"), ("e", "expansion"), ("d", "depth"), ("r", "resolution")];

impl Staged {
    pub(in crate::space) fn arch(&self, genotype: &Genotype) -> String {
        let mut genes = genotype.genes().iter().map(|&gene| usize::from(gene));
        let mut values = |choices: &Choices| -> Vec<String> {
            let text = |(choice, gene): (&Choice, usize)| choice.values[gene].text.clone();
            choices.0.iter().zip(genes.by_ref()).map(text).collect()
        };
        let mut segments: Vec<String> =
            Some(values(&self.choices)).filter(|own| !own.is_empty()).map(|own| own.join(",")).into_iter().collect();
        for stage in &self.stages {
            let depth = match stage.depth.0.len() {
                1 => vec![stage.depth.0[0].to_string()],
                _ => values(&Choices(vec![stage.depth.choice()])),
            };
            let layers = depth[0].parse().unwrap_or(stage.depth.most());
            let own = [depth, values(&stage.choices)].concat().join(",");
            let of_layers: Vec<String> =
                (0..stage.depth.most()).map(|_| values(self.layers(stage)).join(",")).collect();
            segments.push(match self.layers(stage).0.is_empty() {
                true => own,
                false => format!("{own}:{}", of_layers[..layers].join("-")),
            });
        }
        segments.join("/")
    }

    pub(in crate::space) fn parse(&self, arch: &str, network: &NetworkSize) -> Result<Genotype, String> {
        let arch = arch.trim();
        if arch.starts_with('{') {
            return self.parse_lists(arch, network);
        }
        let [of_stages, of_layers, of_values] = SEPARATORS;
        let mut segments = arch.split(of_stages);
        let mut genes = vec![];
        let whole = usize::from(!self.choices.0.is_empty());
        let found = arch.split(of_stages).count();
        if found != whole + self.stages.len() {
            let first = if whole > 0 { "what is decided once and " } else { "" };
            return Err(format!("expected {first}{} stages joined by `/`, found {found} parts", self.stages.len()));
        }
        let read = |text: &str, choices: &[Choice], genes: &mut Vec<u8>, place: &str| {
            let values: Vec<&str> = text.split(of_values).filter(|value| !value.is_empty()).collect();
            if values.len() != choices.len() {
                let names: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
                return Err(format!("{place}: found `{text}`, expected {} joined by `,`", names.join(", ")));
            }
            for (choice, value) in choices.iter().zip(values) {
                genes.push(choice.gene(value.trim()).map_err(|reason| format!("{place}: {reason}"))?);
            }
            Ok(())
        };
        if whole > 0 {
            read(segments.next().unwrap_or_default(), &self.choices.0, &mut genes, "the network")?;
        }
        for (at, (stage, segment)) in self.stages.iter().zip(segments).enumerate() {
            let place = format!("stage {}", at + 1);
            let (own, layers) = segment.split_once(':').unwrap_or((segment, ""));
            let depth = stage.depth.choice();
            let choices = [std::slice::from_ref(&depth), &stage.choices.0].concat();
            let start = genes.len();
            read(own, &choices, &mut genes, &place)?;
            let depth = stage.depth.0[usize::from(genes[start])];
            if stage.depth.0.len() == 1 {
                genes.remove(start);
            }
            let of_layer = &self.layers(stage).0;
            let layers: Vec<&str> = layers.split(of_layers).filter(|layer| !layer.is_empty()).collect();
            if layers.len() != if of_layer.is_empty() { 0 } else { depth } {
                return Err(format!("{place}: depth {depth}, found {} layers behind `:`", layers.len()));
            }
            for (number, layer) in layers.iter().enumerate() {
                read(layer, of_layer, &mut genes, &format!("{place}, layer {}", number + 1))?;
            }
            genes.resize(genes.len() + (stage.depth.most() - depth) * of_layer.len(), 0);
        }
        self.canonical(&mut genes);
        Ok(Genotype::new(genes))
    }

    /// A map from the decisions' names, or Once-for-All's, to a list each: an entry for each stage or layer.
    fn parse_lists(&self, text: &str, network: &NetworkSize) -> Result<Genotype, String> {
        let json = text.replace('\'', "\"").replace("None", "null");
        let lists: serde_json::Map<String, Json> = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        let mut lists: Vec<(&str, &str, Vec<String>)> = lists
            .iter()
            .filter(|(_, list)| !list.is_null())
            .map(|(key, list)| {
                let name = SHORT.iter().find(|(short, _)| short == key).map_or(key.as_str(), |(_, name)| name);
                (key.as_str(), name, entries(list))
            })
            .collect();
        // What is fixed is no decision, but tables say it.
        lists.retain(|(_, name, list)| !self.is_fixed(name, list, network));
        let decisions: Vec<(Place, Choice)> = self.all().collect();
        let mut genes = vec![];
        for (at, (place, choice)) in decisions.iter().enumerate() {
            let named = |other: &(Place, Choice)| other.1.name == choice.name;
            let (index, count) = match named(&decisions[at]) {
                _ if choice.name == "depth" => (self.stage_of(*place), self.stages.len()),
                _ => (
                    decisions[..at].iter().filter(|one| named(one)).count(),
                    decisions.iter().filter(|one| named(one)).count(),
                ),
            };
            let (key, _, list) = lists.iter().find(|(_, name, _)| *name == choice.name).ok_or_else(|| {
                let short = SHORT
                    .iter()
                    .find(|(_, name)| *name == choice.name)
                    .map_or(choice.name.as_str(), |(short, _)| short);
                format!("`{short}` is missing: expected a list of {count}")
            })?;
            if list.len() != count {
                return Err(format!("`{key}` has {} entries, expected {count}", list.len()));
            }
            genes.push(choice.gene(&list[index]).map_err(|reason| format!("`{key}`, entry {}: {reason}", index + 1))?);
        }
        if let Some((key, ..)) = lists.iter().find(|(_, name, _)| !decisions.iter().any(|(_, one)| one.name == *name)) {
            return Err(format!("`{key}` is nothing that is decided"));
        }
        self.canonical(&mut genes);
        Ok(Genotype::new(genes))
    }

    fn stage_of(&self, place: Place) -> usize {
        match place {
            Place::Whole => 0,
            Place::Stage(stage) | Place::Layer(stage, _) => stage,
        }
    }

    /// Whether a list says what is no decision here, as it is: depths that are all fixed, the side of the network's input.
    fn is_fixed(&self, name: &str, list: &[String], network: &NetworkSize) -> bool {
        if name == RESOLUTION && !self.choices.0.iter().any(|choice| choice.name == name) {
            let [_, height, width] = network.input;
            return height == width && list == [height.to_string()];
        }
        let fixed = |stage: &Stage| (stage.depth.0.len() == 1).then(|| stage.depth.0[0].to_string());
        let depths: Vec<Option<String>> = self.stages.iter().map(fixed).collect();
        name == "depth" && depths.iter().map(Option::as_ref).eq(list.iter().map(Some))
    }
}

/// Values as text; one that is no list is a list of one.
fn entries(list: &Json) -> Vec<String> {
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match list {
        Json::Array(all) => all.iter().map(text).collect(),
        one => vec![text(one)],
    }
}
