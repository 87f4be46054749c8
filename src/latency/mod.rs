//! What a measurement is: protocol, rounds, statistics, verdict.
