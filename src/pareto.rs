//! Dominance, non-dominated sorting, crowding, hypervolume; pure f64.
