//! Bundles that mean harm.
