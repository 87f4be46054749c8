//! Candle custom operators that make the CPU fast; a GPU uses Candle's own.
