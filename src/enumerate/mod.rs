//! What to copy: the images that a chart, a rendered manifest or a list names.
