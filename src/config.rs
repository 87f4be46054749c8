//! The YAML of a study, composed of the sections that each module owns.
