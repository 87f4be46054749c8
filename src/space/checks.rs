//! What is checked when a space is read, so that it is an error of the file and not of the candidate that first meets it.

use super::block::{self, Layer};
use super::{Scale, SearchSpace, SpaceError, Topology, staged};
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::yaml::YamlError;
use std::path::Path;

impl SearchSpace {
    /// Names in the layers' numbers are those of decisions.
    pub(super) fn check_names(&self, path: &Path) -> Result<(), SpaceError> {
        let outside = [&self.stem[..], &self.head];
        let checked = match &self.topology {
            Topology::Staged(staged) => staged.check(&outside, &self.networks.full),
            Topology::Cell(cell) => nothing_is_chosen(outside.into_iter().chain(cell.layers())),
            Topology::Cells(cells) => nothing_is_chosen(outside.into_iter().chain(cells.layers())),
            Topology::Chain(chain) => nothing_is_chosen(outside.into_iter().chain(chain.layer_lists()))
                .and_then(|()| staged::check_extents("stages, channels", chain.channels(), &[])),
            Topology::Plugin(_) => Ok(()),
        };
        checked.map_err(|at| self.refusal(at, path))
    }

    /// What is wrong with the text that the file has somewhere.
    pub(super) fn refusal(&self, (text, message): (String, String), path: &Path) -> SpaceError {
        YamlError::Invalid { path: path.to_owned(), location: self.place_of(&text), message }.into()
    }

    /// Line and column of the first place where a word stands in the file, counted from 1.
    fn place_of(&self, word: &str) -> Option<(usize, usize)> {
        let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let lines = self.text.lines().enumerate().map(|(at, line)| (at, line.split('#').next().unwrap_or(line)));
        lines.into_iter().find_map(|(at, line)| {
            let alone = |&(column, _): &(usize, &str)| {
                let behind = line[column + word.len()..].starts_with(part);
                !line[..column].ends_with(part) && !behind
            };
            line.match_indices(word).find(alone).map(|(column, _)| (at + 1, column + 1))
        })
    }

    /// Operators fit together, where one choice is taken wherever it can be, in all three networks.
    pub(super) fn check_operators(&self, path: &Path) -> Result<(), SpaceError> {
        const NETWORKS: [(Scale, &str); 3] = [(Scale::Full, "full"), (Scale::Probe, "probe"), (Scale::Thin, "thin")];
        let misfit = |genotype: &Genotype| {
            let misfit = |(scale, name)| self.lower(genotype, scale).err().map(|error| (name, error));
            NETWORKS.into_iter().find_map(misfit)
        };
        let Some((choice, genotype)) = self.uniform().enumerate().find(|(_, genotype)| misfit(genotype).is_some())
        else {
            return Ok(());
        };
        let (mut network, mut error) = misfit(&genotype).expect("it was found for that");
        let mut culprit = None;
        if let (true, Some(first)) = (choice > 0, self.uniform().next()) {
            // The first choices fit: whose change does not?
            for (at, decision) in self.decisions().into_iter().enumerate().filter(|(_, one)| one.choices.len() > choice)
            {
                if let Some(found) = misfit(&first.with_gene(at, choice as u8)) {
                    (network, error) = found;
                    culprit = Some((decision.choices[choice].clone(), decision.name));
                    break;
                }
            }
        }
        let SpaceError::Graph { source, .. } = &error else { return Err(error) };
        let (location, of) = match culprit {
            Some((choice, decision)) => (self.place_of(&choice), format!("{decision}: choice `{choice}`: ")),
            None => (None, String::new()),
        };
        let message = format!("{of}network `{network}`: {source}");
        Err(YamlError::Invalid { path: path.to_owned(), location, message }.into())
    }

    /// Choices are told apart in the probe, whose structure ids are made of; or two architectures would share one.
    ///
    /// # Errors
    /// The choice or the word that is at fault, and what is wrong.
    pub(super) fn check_probe(&self) -> Result<(), (String, String)> {
        let Topology::Staged(staged) = &self.topology else { return Ok(()) };
        if [Scale::Full, Scale::Probe, Scale::Thin].iter().any(|&scale| self.network(scale).depth.is_some()) {
            let reason = "networks: depths of `staged` are decisions, expected no `depth`";
            return Err(("depth".into(), reason.into()));
        }
        let probe = |genotype: &Genotype| {
            self.lower(genotype, Scale::Probe).map_err(|error| ("probe".into(), error.to_string()))
        };
        let full = |genotype: &Genotype| self.lower(genotype, Scale::Full).ok();
        for (at, decision) in self.decisions().iter().enumerate().filter(|(_, one)| one.name != staged::RESOLUTION) {
            if decision.choices.len() < 2 {
                continue;
            }
            // It counts where the layer's block names it.
            let counts = |base: &Genotype| self.canonical(&base.with_gene(at, 1)).genes()[at] == 1;
            let name = &decision.name;
            let word = || name.rsplit('.').next().unwrap_or(name).to_owned();
            let deepest = self.uniform().find(counts).ok_or_else(|| {
                let reason =
                    format!("{name}: no block that its layer may be names it, expected it among a block's numbers");
                (word(), reason)
            })?;
            let mut before: Vec<Graph> = vec![];
            for (gene, value) in decision.choices.iter().enumerate() {
                let of = |gene: usize| deepest.with_gene(at, gene as u8);
                let graph = probe(&of(gene))?;
                // Numbers that go through the rounding of a line may be one network, and then share an id.
                let differs = |&same: &usize| !staged.has_line() || full(&of(same)) != full(&of(gene));
                if let Some(same) = before.iter().position(|other| *other == graph).filter(differs) {
                    let other = &decision.choices[same];
                    let reason = format!("{name}: {other} and {value} make the same probe, expected a wider `probe`");
                    return Err((word(), reason));
                }
                before.push(graph);
            }
        }
        Ok(())
    }
}

fn nothing_is_chosen<'a>(layers: impl Iterator<Item = &'a [Layer]>) -> Result<(), (String, String)> {
    let mut extents = vec![];
    layers.for_each(|layers| block::extents(layers, &mut extents));
    staged::check_extents("layers", extents, &[])
}
