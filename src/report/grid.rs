//! Columns that line up, without borders, so that a table can be read, grepped and cut.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

const GAP: u16 = 2;
const INDENT: &str = "  ";

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Words.
    Left(&'static str),
    /// Quantities.
    Right(&'static str),
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }
}

/// A table. Where it is wider than the terminal, each row takes two lines, the first `head` columns above
/// the others: digests and names are never broken.
#[derive(Debug)]
pub(super) struct Grid<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    head: usize,
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Grid<COLUMNS> {
    pub(super) fn new(columns: [Column; COLUMNS], head: usize) -> Self {
        Self { columns, head, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// The lines of the table. `width` is the terminal's; `None` means that no line is too long.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let whole = self.part(0, COLUMNS);
        let fits = |width| whole.iter().all(|line| console::measure_text_width(line) <= width);
        if width.is_none_or(fits) {
            return whole;
        }
        let heads = self.part(0, self.head);
        let tails = self.part(self.head, COLUMNS - self.head);
        heads.into_iter().zip(tails).flat_map(|(head, tail)| [head, format!("{INDENT}{tail}")]).collect()
    }

    /// `count` columns from `start`: a line of headings and one for every row.
    fn part(&self, start: usize, count: usize) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().skip(start).take(count).map(|column| column.heading()));
        for row in &self.rows {
            table.add_row(row.iter().skip(start).take(count));
        }
        for (column, kind) in table.column_iter_mut().zip(self.columns.iter().skip(start)) {
            column.set_padding((0, GAP)).set_constraint(ColumnConstraint::ContentWidth);
            if matches!(kind, Column::Right(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn grid() -> Grid<3> {
        let mut grid = Grid::new([Column::Left("IMAGE"), Column::Left("DIGEST"), Column::Right("COPIED")], 2);
        grid.push(["services:4.53.0".into(), "sha256:0123456789ab".into(), "146.0 MiB".into()]);
        grid.push(["x:1".into(), "-".into(), "0 B".into()]);
        grid
    }

    #[test]
    fn a_row_is_one_line_where_it_fits() {
        assert_snapshot!(grid().lines(Some(47)).join("\n"), @r#"
        IMAGE            DIGEST                  COPIED
        services:4.53.0  sha256:0123456789ab  146.0 MiB
        x:1              -                          0 B
        "#);
        assert_eq!(grid().lines(None), grid().lines(Some(47)));
    }

    #[test]
    fn a_row_is_two_lines_where_it_does_not() {
        assert_snapshot!(grid().lines(Some(46)).join("\n"), @r#"
        IMAGE            DIGEST
             COPIED
        services:4.53.0  sha256:0123456789ab
          146.0 MiB
        x:1              -
                0 B
        "#);
    }

    #[test]
    fn an_empty_table_has_headings() {
        let grid = Grid::new([Column::Left("IMAGE")], 1);
        assert_eq!(grid.lines(Some(80)), ["IMAGE"]);
    }
}
