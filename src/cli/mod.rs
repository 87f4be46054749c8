//! Arguments, progress, messages: the only module that prints.
