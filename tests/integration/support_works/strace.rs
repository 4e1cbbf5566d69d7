//! Parsing the output of strace.

use std::path::Path;

use crate::support::strace::{Trace, has_ended};

#[test]
fn calls_are_read_in_the_order_in_which_they_began() {
    let text = concat!(
        "7 execve(\"/x\", [\"/x\", \"a, b\"], 0x7ffc /* 3 vars */) = 0\n",
        "8 fsync(3</tmp/a> <unfinished ...>\n",
        "7 renameat(4</tmp>, \"a\", 5</tmp/b>, \"c\") = 0\n",
        "8 <... fsync resumed>)              = 0\n",
        "7 pwrite64(3</tmp/a>, \"(\\\"\"..., 512, 1536) = 512\n",
        "7 openat(AT_FDCWD</tmp>, \"d\", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 9</tmp/d>\n",
        "7 --- SIGTERM {si_signo=SIGTERM} ---\n",
        "7 rename(\"/tmp/d\", \"/tmp/e\" <unfinished ...>) = ?\n",
        "8 +++ killed by SIGKILL +++\n",
    );
    assert!(!has_ended(text));
    assert!(has_ended(&format!("{text}7 +++ exited with 0 +++\n")));
    let calls = Trace::parse(text).calls;
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["execve", "fsync", "renameat", "pwrite64", "openat", "rename"]);
    assert_eq!(calls[0].arguments.len(), 3);
    assert!(calls[1].syncs(Path::new("/tmp/a")) && !calls[1].is_before(&calls[2]));
    assert_eq!((calls[1].begins, calls[1].ends), (1, 3));
    assert_eq!(calls[2].renamed(), Some(("/tmp/a".into(), "/tmp/b/c".into())));
    assert!(calls[3].writes_to(Path::new("/tmp/a")));
    assert_eq!(calls[3].offset(), Some(1536));
    assert_eq!((calls[4].created(), calls[4].result), (Some("/tmp/d".into()), Some(9)));
    assert_eq!((calls[5].renamed(), calls[5].result), (Some(("/tmp/d".into(), "/tmp/e".into())), None));
}
