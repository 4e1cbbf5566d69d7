//! Events in; a terminal, JSON and exit codes out. The only module that prints.
