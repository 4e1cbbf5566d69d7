//! A registry over a folder: pull and push, with nothing to install.
