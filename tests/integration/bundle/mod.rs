//! `bundle`: images in one file.

mod attached;
mod export;
mod hostile;
mod import;
mod import_damage;
mod import_delta;
mod import_foreign;
mod import_kill;
mod import_sizes;
mod import_stdin;
mod import_volumes;
mod importing;
mod inspect;
mod mistakes;
mod readers;
mod receipts;
mod signed;
mod verify;
mod verify_volumes;
