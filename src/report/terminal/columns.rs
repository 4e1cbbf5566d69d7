//! Tables with aligned columns and no borders, easy to read, grep and cut.

use std::ops::Range;

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
/// lines, the second with the columns at the positions `second`: digests and names are never broken.
pub(super) fn table_lines<Row>(
    columns: &[Column<Row>],
    rows: &[Row],
    second: Range<usize>,
    width: Option<usize>,
) -> Vec<String> {
    let mut first: Vec<Cells> = columns.iter().map(|column| Cells::of(column, rows)).collect();
    let second = second.start.min(first.len())..second.end.min(first.len());
    if width.is_none_or(|width| whole_width(&first) <= width) {
        return aligned(&first);
    }
    let second: Vec<Cells> = first.drain(second).collect();
    let lines = aligned(&first).into_iter().zip(aligned(&second));
    lines.flat_map(|(first, second)| [first, format!("{INDENT}{second}")]).collect()
}

/// What a column shows: its heading, then a cell for every row.
struct Cells {
    alignment: CellAlignment,
    texts: Vec<String>,
}

impl Cells {
    fn of<Row>(column: &Column<Row>, rows: &[Row]) -> Self {
        let heading = std::iter::once(column.heading.to_owned());
        let texts = heading.chain(rows.iter().map(|row| column.cell(row))).collect();
        Self { alignment: column.alignment, texts }
    }

    fn width(&self) -> usize {
        self.texts.iter().map(|text| console::measure_text_width(text)).max().unwrap_or_default()
    }
}

/// The width of these columns on one line.
fn whole_width(columns: &[Cells]) -> usize {
    columns.iter().map(Cells::width).sum::<usize>() + usize::from(GAP) * columns.len().saturating_sub(1)
}

/// The line of headings and a line for every row.
fn aligned(columns: &[Cells]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for line in 0..columns.iter().map(|column| column.texts.len()).max().unwrap_or_default() {
        table.add_row(columns.iter().filter_map(|column| column.texts.get(line)));
    }
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, GAP)).set_constraint(ColumnConstraint::ContentWidth);
        shown.set_cell_alignment(column.alignment);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use insta::assert_snapshot;

    use super::*;

    fn lines(width: Option<usize>) -> Vec<String> {
        let columns: [Column<[&str; 3]>; 3] = [
            Column::left("IMAGE", |row| row[0].to_owned()),
            Column::left("DIGEST", |row| row[1].to_owned()),
            Column::right("COPIED", |row| row[2].to_owned()),
        ];
        let rows = [["services:4.53.0", "sha256:0123456789ab", "146.0 MiB"], ["x:1", "-", "0 B"]];
        table_lines(&columns, &rows, 2..3, width)
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
        assert_eq!(table_lines(&columns, &[], 1..1, Some(80)), ["IMAGE"]);
    }

    #[test]
    fn every_cell_is_made_once_whatever_the_width_bug() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let counted = |row: &&str| {
            MADE.fetch_add(1, Ordering::Relaxed);
            (*row).to_owned()
        };
        let columns = [Column::left("IMAGE", counted), Column::left("DIGEST", counted)];
        let rows = ["services:4.53.0", "x:1"];
        for (width, lines) in [(None, 3), (Some(40), 3), (Some(20), 6)] {
            MADE.store(0, Ordering::Relaxed);
            assert_eq!(table_lines(&columns, &rows, 1..2, width).len(), lines);
            assert_eq!(MADE.load(Ordering::Relaxed), 4, "{width:?}");
        }
    }
}
