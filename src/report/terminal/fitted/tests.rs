use super::*;

type Row = (&'static str, &'static str, &'static str, Option<&'static str>);

fn table(rows: &[Row], width: usize) -> FittedTable {
    let columns = vec![
        FittedColumn {
            column: Column::left("IMAGE", |row: &Row| row.0.to_owned()),
            measure: Measure::Shorten,
        },
        FittedColumn { column: Column::left("STATUS", |row| row.1.to_owned()), measure: Measure::Keep },
        FittedColumn { column: Column::left("PLATFORMS", |row| row.2.to_owned()), measure: Measure::Lift },
    ];
    fit(columns, rows, |row| row.3, width, "…")
}

#[test]
fn a_table_that_fits_stays_whole() {
    let fitted = table(&[("a:1", "copied", "linux/amd64", None)], 26);
    assert_eq!(fitted.lines, ["IMAGE  STATUS  PLATFORMS", "a:1    copied  linux/amd64"]);
    assert!(fitted.shared.is_empty());
}

#[test]
fn a_shared_value_moves_above_and_exceptions_are_named() {
    let rows = [
        ("a:1", "copied", "linux/amd64", None),
        ("b:1", "copied", "linux/amd64,linux/arm64", None),
        ("c:1", "copied", "linux/amd64,linux/arm64", None),
        ("d:1", "failed", "-", Some("it does not exist")),
    ];
    let fitted = table(&rows, 35);
    assert_eq!(fitted.shared, ["platforms: linux/amd64,linux/arm64"]);
    assert_eq!(fitted.exceptions, [OtherValue { row: 0, value: "linux/amd64".to_owned() }]);
    let expected = [
        "IMAGE  STATUS",
        "a:1    copied",
        "b:1    copied",
        "c:1    copied",
        "d:1    failed  it does not exist",
    ];
    assert_eq!(fitted.lines, expected);
}

#[test]
fn names_lose_their_middle_and_keep_their_tag() {
    assert_eq!(without_middle("registry.example.com/team/services:4.53.0", 20, "…"), "regist…rvices:4.53.0");
    assert_eq!(without_middle("short:1", 20, "…"), "short:1");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let rows = [
        ("a-very-long-name/of-an-image/with-a-long-path:1.2.3", "up-to-date", "linux/amd64", None),
        ("b:1", "failed", "-", Some("a long reason that does not fit into any narrow terminal")),
    ];
    for width in 50..120 {
        let fitted = table(&rows, width);
        assert!(fitted.lines.iter().all(|line| measure_text_width(line) <= width), "{width}: {fitted:?}");
        assert_eq!(fitted.lines.len(), 3);
    }
}

#[test]
fn the_registry_and_the_path_that_all_names_share_move_above() {
    let lifted = |names: &[&'static str], width| {
        let columns = vec![FittedColumn {
            column: Column::left("IMAGE", |row: &&str| (*row).to_owned()),
            measure: Measure::LiftPath,
        }];
        let FittedTable { shared, lines, .. } = fit(columns, names, |_| None, width, "…");
        (shared, lines)
    };
    let names = ["reg.example:5000/a/x/web:1", "reg.example:5000/a/xy:2", ""];
    assert_eq!(
        lifted(&names, 20),
        (
            vec!["images from: reg.example:5000/a".to_owned()],
            ["IMAGE", "x/web:1", "xy:2", ""].map(str::to_owned).to_vec()
        )
    );
    assert_eq!(lifted(&names, 30).0, Vec::<String>::new());
    assert_eq!(lifted(&["quay.io/a/b:1", "ghcr.io/a/b:1"], 9).0, Vec::<String>::new());
}
