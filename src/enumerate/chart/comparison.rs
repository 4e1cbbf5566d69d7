//! Compares how values reach Helm here with what the real Helm makes of them on its command line.

use std::fs;

use secrecy::SecretString;

use super::{super::EnumerateError, ChartOptions, arguments, helm::Helm, values};

/// A chart that prints the values it was given, and how it would print one of them in text.
struct Probe {
    folder: tempfile::TempDir,
    helm: std::path::PathBuf,
}

/// What is set, in the order of Helm's flags.
#[derive(Debug, Clone, Copy, Default)]
struct Case<'c> {
    files: &'c [&'c str],
    set: &'c [&'c str],
    set_string: &'c [&'c str],
    /// `@` stands for a file that holds the text `content`.
    set_file: &'c [&'c str],
}

impl Probe {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("templates")).unwrap();
        write("Chart.yaml", "apiVersion: v2\nname: probe\nversion: 1.0.0\n");
        write(
            "templates/probe.yaml",
            "values: {{ toJson .Values }}\ntext: {{ print .Values.text | quote }}\n",
        );
        write("content", "content");
        let variable = std::env::var_os("THORAS_MIRROR_TEST_HELM").filter(|value| !value.is_empty());
        Self { folder, helm: variable.unwrap_or_else(|| "helm".into()).into() }
    }

    fn options(&self, case: Case<'_>) -> ChartOptions {
        let content = self.folder.path().join("content").display().to_string();
        let secret = |texts: &[&str]| texts.iter().map(|text| SecretString::from(*text)).collect::<Vec<_>>();
        let file = |(index, text): (usize, &&str)| {
            let path = self.folder.path().join(format!("{index}.yaml"));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        ChartOptions {
            chart: self.folder.path().display().to_string(),
            values: case.files.iter().enumerate().map(file).collect(),
            set: secret(case.set),
            set_string: secret(case.set_string),
            set_file: case.set_file.iter().map(|text| text.replace('@', &content)).collect(),
            helm: Some(self.helm.clone()),
            ..ChartOptions::default()
        }
    }

    /// What the real Helm prints with everything on its command line.
    async fn expected(&self, case: Case<'_>) -> Option<String> {
        let options = self.options(case);
        let helm = Helm::new(&options).unwrap();
        let mut arguments = vec!["template".to_owned()];
        let flags = |name: &str, texts: &[&str]| {
            texts.iter().map(|text| format!("--{name}={text}")).collect::<Vec<_>>()
        };
        arguments.extend(options.values.iter().map(|path| format!("--values={path}")));
        arguments.extend(flags("set", case.set));
        arguments.extend(flags("set-string", case.set_string));
        arguments.extend(options.set_file.iter().map(|text| format!("--set-file={text}")));
        arguments.push(options.chart.clone());
        match helm.run("template", arguments, None).await {
            Ok(output) => Some(output),
            Err(EnumerateError::HelmFailed { .. }) => None,
            // A test that cannot run has not passed.
            Err(error) => panic!("{error}: run scripts/test, or set THORAS_MIRROR_TEST_HELM to Helm's path"),
        }
    }

    /// What it prints with the values passed out of sight.
    async fn found(&self, case: Case<'_>) -> Option<String> {
        let options = self.options(case);
        let helm = Helm::new(&options).unwrap();
        let prepared = values::prepare(&helm, &options).await.ok()?;
        let arguments = arguments::template(
            &options,
            &prepared.flags,
            &arguments::HelmArguments::default(),
            self.folder.path(),
        );
        for text in case.set.iter().chain(case.set_string) {
            assert!(
                !arguments.iter().any(|argument| argument.contains(text)),
                "{text} is on the command line"
            );
        }
        helm.run("template", arguments, prepared.standard_input).await.ok()
    }

    async fn compare(&self, case: Case<'_>) {
        assert_eq!(self.found(case).await, self.expected(case).await, "{case:?}");
    }
}

#[tokio::test]
async fn set_is_read_as_helm_reads_it() {
    let probe = Probe::new();
    for text in [
        "a=1",
        "a=1,b=two,c=true,d=FALSE,e=null,f=Null",
        "a=+5,b=-0,c=007,d=0,e=0x10,f=1_000,g=1.5,h=-17,i=99999999999999999999",
        "a.b.c=x,a.b.d=y",
        "a={x,y,3,true,}",
        "a={},b=1",
        "a={1,b}x=2",
        "a={1,2},",
        "a=x{y},b=1",
        "a=",
        "a=,b=2",
        "a=1,",
        "a= x ",
        "a=b=c",
        "=1",
        ".b=1",
        "a[2]=x",
        "a[+1]=x",
        "a[0].b=1,a[0].c=2,a[1].d=x",
        "a[0][1]=x",
        "a[0][0].b=1,a[0][1].b=2",
        "a[0]={1,2},b=3",
        "a[0]={1},a[0][1]=4",
        "a[0]=,b=1",
        "a[0]",
        "a[0].",
        "a[0].b=",
        "a[0].b=1,a[0].c=",
        "a[0].b=,c=1",
        "a[1]=x,a[1].b=2",
        "a[0]=null,a[0][0]",
        "a.x=1,a.",
        r"a\.b=c\,d",
        r"a=b\",
        r"a={a\,b,c\}d}",
        r"nodeSelector.kubernetes\.io/role=master",
        "a=line\nbreak",
        "a=é\u{1f980}",
        "text=999999",
        // What Helm refuses is refused.
        "a",
        "a.b",
        "a..b=1",
        "a,b=1",
        "a=1,,b=2",
        "a={x,y",
        "a={1,2}}",
        "a[-1]=x",
        "a[x]=1",
        "a[]=1",
        "a[0",
        "a[0]x=1",
        "a[70000]=1",
        "a=1,a.b=2",
        "a=1,a[0]=2",
        "a=null,a.b=2",
        "a[0]=x,a[0][0]=2",
    ] {
        probe.compare(Case { set: &[text], ..Case::default() }).await;
        probe.compare(Case { set_string: &[text], ..Case::default() }).await;
    }
}

#[tokio::test]
async fn values_files_are_merged_as_helm_merges_them() {
    let probe = Probe::new();
    let files: &[&str] = &[
        "a: [{x: 1, y: yes}, {x: 0755}]\nb: 5\nm: {q: 1, deep: {r: [1, 2]}}\nbig: 12345678\n",
        "m: {deep: {s: 0.1}}\nnothing: null\n",
    ];
    for set in [
        "a[1].x=3",
        "a[0].y=no,a[2]=new",
        "m.deep.r[0]=9",
        "m.deep=null",
        "m=x",
        "nothing=1",
        "new.a.b=1",
        "b.c=3",
        "b[0]=1",
        "a.x=1",
        "nothing.x=1",
        "m[0]=1",
    ] {
        probe.compare(Case { files, set: &[set], ..Case::default() }).await;
    }
}

#[tokio::test]
async fn the_order_of_precedence_is_helms() {
    let probe = Probe::new();
    probe
        .compare(Case {
            files: &["a: 1\nb: 1\nc: 1\nd: 1\n", "b: 2\nc: 2\nd: 2\n"],
            set: &["c=3,d=3,l[0]=x", "c=33"],
            set_string: &["d=4,l[1]=05", "text=20240101"],
            set_file: &["e=@,f.g={@,@}", "l[2]=@"],
        })
        .await;
    probe.compare(Case { set_string: &["e=1"], set_file: &["e=@"], ..Case::default() }).await;
    probe.compare(Case { set: &["e=1"], set_file: &["e.x=@"], ..Case::default() }).await;
}

/// The one kind of value that differs is refused, because printing it would.
#[tokio::test]
async fn a_number_that_would_print_differently_is_refused() {
    let probe = Probe::new();
    let case = Case { set: &["text=1000000"], ..Case::default() };
    assert_eq!(probe.found(case).await, None);
    assert!(probe.expected(case).await.unwrap().contains("\"1000000\""));
}
