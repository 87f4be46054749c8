//! Name, direction, unit, constraint of what a search optimises.
