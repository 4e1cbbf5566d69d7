//! Tables with aligned columns and no borders, easy to read, grep and cut.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

const GAP: u16 = 2;
const INDENT: &str = "  ";

/// A column of a table whose rows are made from values of the type `Row`.
pub(super) struct Column<Row> {
    heading: &'static str,
    alignment: CellAlignment,
    cell: fn(&Row) -> String,
}

impl<Row> Column<Row> {
    /// A column of words.
    pub(super) const fn left(heading: &'static str, cell: fn(&Row) -> String) -> Self {
        Self { heading, alignment: CellAlignment::Left, cell }
    }

    /// A column of quantities.
    pub(super) const fn right(heading: &'static str, cell: fn(&Row) -> String) -> Self {
        Self { heading, alignment: CellAlignment::Right, cell }
    }

    pub(super) const fn heading(&self) -> &'static str {
        self.heading
    }

    pub(super) fn is_right(&self) -> bool {
        self.alignment == CellAlignment::Right
    }

    pub(super) fn cell(&self, row: &Row) -> String {
        (self.cell)(row)
    }
}

/// The lines of a table. If it is wider than the terminal (`width` in columns, `None` for no limit), each row takes two
/// lines, with the first `head` columns on the first line: digests and names are never broken.
pub(super) fn table_lines<Row>(
    columns: &[Column<Row>],
    rows: &[Row],
    head: usize,
    width: Option<usize>,
) -> Vec<String> {
    let whole = aligned(columns, rows);
    let fits = |width| whole.iter().all(|line| console::measure_text_width(line) <= width);
    if width.is_none_or(fits) {
        return whole;
    }
    let (head, tail) = columns.split_at_checked(head).unwrap_or((columns, &[]));
    let lines = aligned(head, rows).into_iter().zip(aligned(tail, rows));
    lines.flat_map(|(head, tail)| [head, format!("{INDENT}{tail}")]).collect()
}

/// The line of headings and a line for every row.
fn aligned<Row>(columns: &[Column<Row>], rows: &[Row]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.heading));
    for row in rows {
        table.add_row(columns.iter().map(|column| (column.cell)(row)));
    }
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, GAP)).set_constraint(ColumnConstraint::ContentWidth);
        shown.set_cell_alignment(column.alignment);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn lines(width: Option<usize>) -> Vec<String> {
        let columns: [Column<[&str; 3]>; 3] = [
            Column::left("IMAGE", |row| row[0].to_owned()),
            Column::left("DIGEST", |row| row[1].to_owned()),
            Column::right("COPIED", |row| row[2].to_owned()),
        ];
        let rows = [["services:4.53.0", "sha256:0123456789ab", "146.0 MiB"], ["x:1", "-", "0 B"]];
        table_lines(&columns, &rows, 2, width)
    }

    #[test]
    fn a_row_is_one_line_if_it_fits() {
        assert_snapshot!(lines(Some(47)).join("\n"), @r#"
        IMAGE            DIGEST                  COPIED
        services:4.53.0  sha256:0123456789ab  146.0 MiB
        x:1              -                          0 B
        "#);
        assert_eq!(lines(None), lines(Some(47)));
    }

    #[test]
    fn a_row_is_two_lines_if_it_does_not_fit() {
        assert_snapshot!(lines(Some(46)).join("\n"), @r#"
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
        let columns = [Column::left("IMAGE", |(): &()| String::new())];
        assert_eq!(table_lines(&columns, &[], 1, Some(80)), ["IMAGE"]);
    }
}
