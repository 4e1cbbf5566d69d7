use super::*;

fn read_back(blocks: &[u8]) -> Entry {
    let mut headers = Headers::default();
    let mut rest = blocks;
    loop {
        let (block, after) = rest.split_first_chunk().unwrap();
        rest = after;
        match headers.block(block).unwrap() {
            Step::Extension { size } => {
                let size = usize::try_from(size).unwrap();
                headers.extend(&rest[..size]).unwrap();
                rest = &rest[size.next_multiple_of(512)..];
            }
            Step::Entry(entry) => {
                assert!(rest.is_empty());
                return entry;
            }
            Step::Zeros => panic!("zeros"),
        }
    }
}

#[test]
fn what_is_written_reads_back() {
    let long = format!("blobs/sha512/{}", "a".repeat(128));
    for (path, size, blocks) in [
        ("oci-layout", 31, 1),
        ("x", 0, 1),
        ("x", LARGE - 1, 1),
        ("x", LARGE, 3),
        ("x", u64::MAX, 3),
        (&long, 5, 3),
    ] {
        let bytes = encode(path, size);
        assert_eq!(bytes.len(), blocks * 512);
        assert_eq!(read_back(&bytes), Entry { path: path.to_owned(), size, folder: false });
    }
}

#[test]
fn a_record_counts_its_own_length() {
    assert_eq!(record("size", "8589934592"), b"19 size=8589934592\n");
    for length in 80..120 {
        let value = "v".repeat(length);
        let record = record("path", &value);
        let text = String::from_utf8(record.clone()).unwrap();
        assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
    }
}

#[test]
fn links_and_devices_are_refused_by_name() {
    for (kind, what) in [(EntryType::Symlink, "symbolic link"), (EntryType::Char, "device")] {
        let mut header = plain(kind);
        header.set_path("blobs/evil").unwrap();
        header.set_size(0);
        header.set_cksum();
        let refused = Headers::default().block(header.as_bytes()).unwrap_err();
        assert_eq!(refused, HeaderError::Forbidden { path: "blobs/evil".to_owned(), what });
    }
}

#[test]
fn a_damaged_header_is_noticed() {
    let mut block: [u8; 512] = encode("x", 1).try_into().unwrap();
    block[3] ^= 1;
    assert_eq!(Headers::default().block(&block), Err(HeaderError::NotAHeader));
    assert_eq!(Headers::default().block(&[b'x'; 512]), Err(HeaderError::NotAHeader));
}

#[test]
fn an_extension_that_cannot_be_read_is_refused() {
    let mut headers = Headers { extending: Some(EntryType::XHeader), ..Headers::default() };
    assert!(headers.extend(b"7 size=\n").is_err());
    let mut header = plain(EntryType::XHeader);
    header.set_size(1 << 40);
    header.set_cksum();
    assert!(Headers::default().block(header.as_bytes()).is_err());
}

#[test]
fn two_sizes_for_one_entry_are_refused() {
    let header = |size| {
        let mut header = plain(EntryType::Regular);
        header.set_path("x").unwrap();
        header.set_size(size);
        header.set_cksum();
        *header.as_bytes()
    };
    let read = |record: &[u8], size| {
        let mut headers = Headers { extending: Some(EntryType::XHeader), ..Headers::default() };
        headers.extend(record)?;
        headers.block(&header(size))
    };
    let refused = HeaderError::Sizes { path: "x".to_owned(), header: 5, extended: 7 };
    assert_eq!(read(&record("size", "7"), 5), Err(refused));
    assert!(read(&record("size", "5"), 5).is_ok());
    assert!(read(&record("size", &LARGE.to_string()), 0).is_ok());
}

#[test]
fn a_global_header_may_say_nothing_of_entries() {
    let read = |record: &[u8]| {
        Headers { extending: Some(EntryType::XGlobalHeader), ..Headers::default() }.extend(record)
    };
    assert!(read(&record("comment", "0123")).is_ok());
    assert!(read(&record("size", "7")).is_err());
    assert!(read(&record("path", "oci-layout")).is_err());
}

#[test]
fn a_file_with_the_name_of_a_folder_is_refused() {
    let mut block = encode("blobs/sha256", 1);
    assert_eq!(block.len(), 512);
    let mut header = Header::from_byte_slice(&block).clone();
    header.as_mut_bytes()[12] = b'/';
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
    let refused = Headers::default().block(&block.try_into().unwrap());
    assert!(matches!(refused, Err(HeaderError::Forbidden { .. })), "{refused:?}");
}
