//! Names that stand once in a model.

use std::collections::HashSet;

/// Those that are taken.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    /// `wish`, or `wish_1`, `wish_2`, … where something has that name already: taken from now on.
    pub(crate) fn unique(&mut self, wish: &str) -> String {
        let numbered = (1..).map(|number| format!("{wish}_{number}"));
        let mut candidates = std::iter::once(wish.to_owned()).chain(numbered);
        let free = candidates.find(|name| !self.0.contains(name)).expect("numbers don't end");
        self.0.insert(free.clone());
        free
    }
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}
