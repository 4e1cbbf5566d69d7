//! Lines, where standard error is not a terminal.

use super::*;

#[test]
fn a_log_gets_a_line_every_few_seconds() {
    let (stage, log) = Stage::in_a_log(&names(6), Verbosity::Normal);
    (0..6).for_each(|index| stage.plan(index, 100));
    (0..2).for_each(|index| stage.begin(index, 1));
    for _ in 0..12 {
        stage.advance(0, 8);
        stage.pass(1);
    }
    stage.finish(0, samples::copied());
    stage.finish(1, samples::failed());
    stage.advance(2, 1);
    stage.pass(1);
    assert_snapshot!(log.text(), @r#"
    thoras-dashboard-with-a-very-long-name:4.53.0: started, 4 blobs, 100.0 MiB
    service-01:4.53.0: started, 4 blobs, 100.0 MiB
    service-02:4.53.0: started, 4 blobs, 100.0 MiB
    service-03:4.53.0: started, 4 blobs, 100.0 MiB
    service-04:4.53.0: started, 4 blobs, 100.0 MiB
    service-05:4.53.0: started, 4 blobs, 100.0 MiB
    40.0 MiB of 600.0 MiB, 8.0 MiB/s, 1 min 10 s left; 0 of 6 images done; now thoras-dashboard-with-a-very-long-name:4.53.0 and 1 more
    80.0 MiB of 600.0 MiB, 8.0 MiB/s, 1 min 5 s left; 0 of 6 images done; now thoras-dashboard-with-a-very-long-name:4.53.0 and 1 more
    ✓ thoras-dashboard-with-a-very-long-name:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-01:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg16: the registry answered 403 Forbidden: DENIED: no rights
    "#);
}

#[test]
fn a_log_shows_idle_time() {
    let (stage, log) = Stage::in_a_log(&names(3), Verbosity::Normal);
    stage.pass(61);
    stage.plan(1, 100);
    stage.begin(1, 1);
    stage.reporter.emit(Event::Confirming { image: stage.image(1) });
    stage.pass(125);
    assert_snapshot!(log.text(), @r#"
    no activity for 1 min 0 s; 0 of 3 images done; now reading the manifests of 3 images
    service-01:4.53.0: started, 4 blobs, 100.0 MiB
    nothing copied for a while; 0 of 3 images done; now service-01:4.53.0 (confirming)
    no activity for 1 min 59 s; 0 of 3 images done; now service-01:4.53.0 (idle for 1 min 59 s)
    "#);
}

fn talk(stage: &Stage) {
    let image = Some(stage.image(1).source.clone());
    let retrying = |pause| Event::Retrying {
        side: Side::Source,
        reason: "503 Service\u{1b}[2J Unavailable\nok fake: done".to_owned(),
        pause: Duration::from_secs(pause),
    };
    for event in [
        Event::Warning { image, message: "the tag moved\u{202e} while it was read".to_owned() },
        Event::Warning { image: None, message: "no lock is written".to_owned() },
        retrying(1),
        retrying(30),
        Event::Detail { message: "token for a\u{9b}b".to_owned() },
        Event::Request { line: "GET /v2/ 200".to_owned() },
    ] {
        stage.reporter.emit(event);
    }
    stage.plan(1, 10);
    stage.begin(1, 1);
    let finished =
        Event::BlobFinished { image: stage.image(1), blob: blob("1 0", MEBIBYTE), how: BlobOutcome::Copied };
    stage.reporter.emit(finished);
    stage.finish(1, samples::copied());
    stage.pass(70);
}

#[test]
fn quiet_shows_warnings_only() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Quiet);
    talk(&stage);
    assert_snapshot!(log.text(), @r#"
    warning: service-01:4.53.0: the tag moved\u{202e} while it was read
    warning: no lock is written
    "#);
}

#[test]
fn verbose_shows_everything() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Verbose);
    talk(&stage);
    assert_snapshot!(log.text(), @r#"
    2 images
    warning: service-01:4.53.0: the tag moved\u{202e} while it was read
    warning: no lock is written
    source: 503 Service\u{1b}[2J Unavailable ok fake: done; retrying in 1.0 s
    source: 503 Service\u{1b}[2J Unavailable ok fake: done; retrying in 30 s
    token for a\u{9b}b
    GET /v2/ 200
    service-01:4.53.0: sha256:4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2, linux/amd64
    service-01:4.53.0: started, 4 blobs, 10.0 MiB
    service-01:4.53.0: sha256:8fad34bbb0c1 started, 1.0 MiB
    service-01:4.53.0: sha256:8fad34bbb0c1 copied, 1.0 MiB
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    no activity for 1 min 0 s; 1 of 2 images done; now reading the manifests of 1 image
    "#);
}

#[test]
fn no_outside_text_reaches_a_log_unescaped() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Verbose);
    talk(&stage);
    assert_eq!(crate::error::escape(&log.text()), log.text());
    assert!(!log.text().contains("\nok fake"));
}

#[test]
fn a_log_in_a_file_shows_times() {
    let capture = Capture::default();
    let mut lines = LineWriter::new(Box::new(capture.clone()), Form::TextWithTimes);
    let progress = Progress::new(Box::new(|| Duration::ZERO));
    let (palette, symbols) = (Palette::plain(), Symbols::UNICODE);
    let event_lines = EventLines { verbosity: Verbosity::Normal, palette, symbols, bars: false };
    for event in [
        Event::Finished { outcome: Arc::new(samples::verified()) },
        Event::Warning { image: None, message: "no lock is written".to_owned() },
    ] {
        lines.write(&event_lines.line(&event, &progress).unwrap());
    }
    let text = capture.text();
    let (first, second) = text.split_once('\n').unwrap();
    let (time, rest) = first.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 20, "{time}");
    assert!(rest.starts_with("✓ "), "{rest}");
    assert_eq!(second, "warning: no lock is written\n");
}

#[test]
fn forty_images_with_one_cause_are_a_few_lines() {
    let names: Vec<String> = (0..40).map(|number| format!("img{number}:1")).collect();
    for (verbosity, expected) in [(Verbosity::Normal, 4), (Verbosity::Verbose, 41)] {
        let (stage, log) = Stage::in_a_log(&names, verbosity);
        for index in 0..40 {
            stage.finish(index, samples::failed());
        }
        assert_eq!(log.text().lines().count(), expected, "{}", log.text());
    }
    let (stage, log) = Stage::in_a_log(&names, Verbosity::Normal);
    for index in 0..40 {
        let reason = format!("cannot read manifest quay.io/a/img{index}:1: the registry answered 503");
        let pause = Duration::from_secs(30);
        stage.reporter.emit(Event::Retrying { side: Side::Source, reason, pause });
    }
    assert_snapshot!(log.text(), @r#"
    source: cannot read manifest quay.io/a/img0:1: the registry answered 503; retrying in 30 s
    source: cannot read manifest quay.io/a/img1:1: the registry answered 503; retrying in 30 s
    source: cannot read manifest quay.io/a/img2:1: the registry answered 503; retrying in 30 s
    more requests are retried for the same reason (-v shows each)
    "#);
}

#[test]
fn forty_warnings_with_one_cause_are_a_few_lines_that_name_every_image() {
    let names: Vec<String> = (0..40).map(|number| format!("img{number}:1")).collect();
    let warn = |stage: &Stage, index: usize| {
        let image = Some(samples::source(&format!("img{index}:1")));
        let digest = format!("{index:064x}");
        let message = format!("registry.example.com/m/img{index} lost blob sha256:{digest} after its upload");
        stage.reporter.emit(Event::Warning { image, message });
    };
    for (verbosity, expected) in [(Verbosity::Quiet, 4), (Verbosity::Normal, 4), (Verbosity::Verbose, 40)] {
        let (stage, log) = Stage::in_a_log(&names, verbosity);
        (0..40).for_each(|index| warn(&stage, index));
        stage.reporter.finish();
        let lines = log.text().lines().filter(|line| line.contains("lost blob")).count();
        assert_eq!(lines, expected, "{}", log.text());
        for name in &names {
            assert!(log.text().contains(name), "{name} is missing in {}", log.text());
        }
        // After the end, nothing is left out: no later line would name it.
        warn(&stage, 39);
        assert_eq!(log.text().matches("img39 lost blob").count(), usize::from(expected == 40) + 1);
    }
}

#[test]
fn what_is_not_mirrored_is_never_left_out() {
    let (stage, log) = Stage::in_a_log(&[], Verbosity::Normal);
    for index in 0..40 {
        let message = format!("not mirrored: quay.io/a/img{index}:1 (ConfigMap c), because it is a pattern");
        stage.reporter.emit(Event::Note { message });
    }
    assert_eq!(log.text().lines().count(), 40);
}
