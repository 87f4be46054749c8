//! Architectures written as all of their choices, joined by commas: of plugins, and of networks that are pruned.

use super::Decision;
use crate::genotype::Genotype;

/// What separates choices in an architecture's text.
pub(super) const SEPARATOR: char = ',';

/// The names of what a genotype chooses.
pub(super) fn arch(decisions: &[Decision], genotype: &Genotype) -> String {
    let choices = decisions.iter().zip(genotype.genes());
    let names: Vec<&str> = choices.map(|(decision, &gene)| decision.choices[usize::from(gene)].as_str()).collect();
    names.join(&SEPARATOR.to_string())
}

/// The genotype of a text, or what is wrong with it.
pub(super) fn parse(decisions: &[Decision], arch: &str) -> Result<Genotype, String> {
    let names: Vec<&str> = arch.split(SEPARATOR).map(str::trim).collect();
    if names.len() != decisions.len() {
        return Err(format!("expected {} choices joined by `,`, found {}", decisions.len(), names.len()));
    }
    let gene = |(decision, name): (&Decision, &&str)| {
        let found = decision.choices.iter().position(|choice| choice == name);
        let expected = || format!("{}: `{name}`, expected one of {}", decision.name, decision.choices.join(", "));
        found.map(|gene| gene as u8).ok_or_else(expected)
    };
    Ok(Genotype::new(decisions.iter().zip(&names).map(gene).collect::<Result<_, _>>()?))
}
