//! One exporter a file: terminal table, JSON, CSV, HTML.
