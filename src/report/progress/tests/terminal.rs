//! Bars, drawn into a terminal in memory.

use super::*;

/// Thirty images: three are done, nine active, the other planned images are waiting, the rest unread.
fn thirty(columns: u16, rows: u16, planned: usize) -> (Stage, InMemoryTerm) {
    let (stage, terminal) = Stage::on_terminal(&names(30), columns, rows);
    (0..planned).for_each(|index| stage.plan(index, 100 + 3 * index as u64));
    stage.reporter.tick();
    (0..12).for_each(|index| stage.begin(index, 1 + index % 3));
    for second in 0..8 {
        (0..12).for_each(|index| stage.advance(index, 1 + (7 * index as u64 + second) % (2 + index as u64)));
        stage.pass(1);
    }
    stage.finish(1, ImageOutcome { problems: Vec::new(), ..samples::copied() });
    stage.finish(4, samples::failed());
    stage.finish(5, samples::up_to_date());
    stage.reporter.emit(Event::Confirming { image: stage.image(3) });
    stage.pass(1);
    (stage, terminal)
}

#[test]
fn thirty_images_on_a_small_terminal() {
    let (_stage, terminal) = thirty(80, 24, 22);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-04:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg1…
    ✓ service-05:4.53.0: up-to-date, 1 platform confirmed, 0.8 s
    …th-a-very-long-name:4.53.0 ━╸────────  12.0 MiB of 100.0 MiB  copying 1 blob
    service-02:4.53.0           ━╸────────  20.0 MiB of 106.0 MiB  copying 3 blobs
    service-03:4.53.0           ━━╸───────  24.0 MiB of 109.0 MiB  confirming
    service-06:4.53.0           ━━━╸──────  36.0 MiB of 118.0 MiB  copying 1 blob
    service-07:4.53.0           ━━━╸──────  41.0 MiB of 121.0 MiB  copying 2 blobs
    service-08:4.53.0           ━━━╸──────  44.0 MiB of 124.0 MiB  copying 3 blobs
    3 of 30 images              ━╸────────   557.0 MiB of 2.7 GiB  42.8 MiB/s
    3 more active, 10 waiting, 8 not read yet, 1 failed
    "#);
}

#[test]
fn thirty_images_on_a_large_terminal() {
    let (_stage, terminal) = thirty(120, 40, 30);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-04:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg16: the registry answered 403 Forbidden: …
    ✓ service-05:4.53.0: up-to-date, 1 platform confirmed, 0.8 s
    …-dashboard-with-a-very-long-name:4.53.0 ━━━━╸────────────────────────────────  12.0 MiB of 100.0 MiB  copying 1 blob
    service-02:4.53.0                        ━━━━━━╸──────────────────────────────  20.0 MiB of 106.0 MiB  copying 3 blobs
    service-03:4.53.0                        ━━━━━━━━╸────────────────────────────  24.0 MiB of 109.0 MiB  confirming
    service-06:4.53.0                        ━━━━━━━━━━━╸─────────────────────────  36.0 MiB of 118.0 MiB  copying 1 blob
    service-07:4.53.0                        ━━━━━━━━━━━━╸────────────────────────  41.0 MiB of 121.0 MiB  copying 2 blobs
    service-08:4.53.0                        ━━━━━━━━━━━━━╸───────────────────────  44.0 MiB of 124.0 MiB  copying 3 blobs
    3 of 30 images                           ━━━━╸────────────────────────────────   557.0 MiB of 4.1 GiB  42.8 MiB/s
    1 min 26 s left; 3 more active, 18 waiting, 1 failed
    "#);
}

#[test]
fn thirty_images_on_a_sliver() {
    let (_stage, terminal) = thirty(50, 8, 22);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-05:4.53.0: up-to-date, 1 platform confir
    med, 0.8 s
    …ng-name:4.53.0 ━╸────────  12%  copying 1 blob
    …vice-02:4.53.0 ━╸────────  18%  copying 3 blobs
    …vice-03:4.53.0 ━━╸───────  22%  confirming
    …vice-06:4.53.0 ━━━╸──────  30%  copying 1 blob
    3 of 30 images  ━╸────────  19%  42.8 MiB/s
    5 more active, 10 waiting, 8 not read yet, 1 fai…
    "#);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns in 50..130 {
        let (stage, terminal) = Stage::on_terminal(&names(9), columns, 40);
        (0..9).for_each(|index| stage.plan(index, 900));
        (0..9).for_each(|index| stage.begin(index, 3));
        stage.advance(0, 500);
        stage.pass(1);
        // Six rows, the total and the note: a wrapped line would add rows.
        assert_eq!(terminal.contents().lines().count(), 8, "{columns}:\n{}", terminal.contents());
    }
}

#[test]
fn the_end_leaves_a_clean_terminal() {
    let (stage, terminal) = thirty(80, 24, 22);
    stage.reporter.finish();
    let lines = terminal.contents();
    assert_eq!(lines.lines().count(), 3, "only the finished images stay:\n{lines}");
    stage.reporter.tick();
    drop(stage);
    assert_eq!(terminal.contents(), lines);
}

#[test]
fn idle_time_is_shown_beside_the_bar() {
    let (stage, terminal) = Stage::on_terminal(&names(2), 80, 24);
    stage.plan(1, 100);
    stage.begin(1, 1);
    stage.advance(1, 50);
    stage.pass(75);
    assert_snapshot!(terminal.contents(), @r#"
    service-01:4.53.0           ━━━━━╸────  50.0 MiB of 100.0 MiB  idle 1 min 15 s
    0 of 2 images               ━━━━━╸────  50.0 MiB of 100.0 MiB  0 B/s
    no activity for 1 min 15 s; 1 not read yet
    "#);
}
