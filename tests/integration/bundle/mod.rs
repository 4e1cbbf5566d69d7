//! `bundle`: images in one file.

mod hostile;
mod inspect;
mod readers;
mod verify;
