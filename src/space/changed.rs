//! A space with another full network.

use super::{NetworkChanges, NetworkSize, Networks, Scale, SearchSpace, SpaceError, Topology};
use crate::genotype::Genotype;
use std::path::PathBuf;

impl SearchSpace {
    /// This space with another full network. Input channels and classes go for the probe as well.
    ///
    /// # Errors
    /// If the operators don't fit a network of that size.
    pub fn with_network(mut self, changes: &NetworkChanges) -> Result<Self, SpaceError> {
        if self.is_plugin() {
            let reason = "network: its networks are a plugin's, expected `options` in its place".to_owned();
            let NetworkSize { input, classes, .. } = self.networks.full;
            let same = NetworkChanges {
                input: changes.input.filter(|changed| *changed != input),
                classes: changes.classes.filter(|changed| *changed != classes),
                ..changes.clone()
            };
            return if same != NetworkChanges::default() {
                Err(SpaceError::Invalid { path: self.name.into(), reason })
            } else {
                Ok(self)
            };
        }
        let NetworkChanges { input, classes, width, depth } = changes;
        if let (true, Some(_)) = (self.is_staged(), depth) {
            let reason = "network: its depths are decisions, expected no `depth`".to_owned();
            return Err(SpaceError::Invalid { path: self.name.into(), reason });
        }
        let Networks { full, probe, thin } = &mut self.networks;
        if let Some(input) = input {
            full.input = *input;
            probe.input[0] = input[0];
        }
        if let Some(classes) = *classes {
            [&mut *full, probe, thin].into_iter().for_each(|network| network.classes = classes);
        }
        full.width = width.unwrap_or(full.width);
        if depth.is_some() {
            full.depth = *depth;
            // The layers of a chain are its decisions, whatever the network's size.
            if let Topology::Chain(_) = self.topology {
                [probe, thin].into_iter().for_each(|network| network.depth = *depth);
            }
        }
        let invalid = |reason| SpaceError::Invalid { path: PathBuf::from(&self.name), reason };
        if self.networks.full.width == 0 || self.networks.full.depth == Some(0) || self.networks.full.classes == 0 {
            return Err(invalid("width, depth and classes must be at least 1".into()));
        }
        let name = PathBuf::from(&self.name);
        let space = self.recounted()?;
        space.lower(&Genotype::new(vec![0; space.choices.len()]), Scale::Full)?;
        space.check_constraints().map_err(|(_, reason)| SpaceError::Invalid { path: name, reason })?;
        Ok(space)
    }
}
