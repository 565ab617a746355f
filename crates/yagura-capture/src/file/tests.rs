use super::*;

fn open(bytes: &[u8]) -> Result<PacketFile, FileError> {
    let size = bytes.len() as u64;
    PacketFile::from_reader("memory", Box::new(std::io::Cursor::new(bytes.to_vec())), size)
}

type Read = (Vec<(Micros, u16, u32, Vec<u8>)>, Option<FileError>);

fn read(bytes: &[u8]) -> Read {
    let mut packets = Vec::new();
    let mut file = match open(bytes) {
        Ok(file) => file,
        Err(error) => return (packets, Some(error)),
    };
    loop {
        match file.next_packet() {
            Ok(Some(p)) => packets.push((p.time, p.link, p.original, p.data.to_vec())),
            Ok(None) => return (packets, None),
            Err(error) => {
                assert!(matches!(file.next_packet(), Ok(None)));
                return (packets, Some(error));
            }
        }
    }
}

/// Writes numbers in one byte order.
struct Writer {
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn u16(mut self, n: u16) -> Self {
        self.bytes.extend(if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
        self
    }

    fn u32(mut self, n: u32) -> Self {
        self.bytes.extend(if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    fn block(self, kind: u32, body: impl FnOnce(Writer) -> Writer) -> Self {
        let body = body(Writer { big_endian: self.big_endian, bytes: Vec::new() }).bytes;
        let length = body.len() as u32 + 12;
        self.u32(kind).u32(length).raw(&body).u32(length)
    }
}

fn writer(big_endian: bool) -> Writer {
    Writer { big_endian, bytes: Vec::new() }
}

fn classic(magic: u32, big_endian: bool) -> Vec<u8> {
    writer(big_endian)
        .u32(magic)
        .u16(2)
        .u16(4)
        .raw(&[0; 8])
        .u32(65535)
        .u32(1)
        .raw(&[])
        .u32(7)
        .u32(123_456)
        .u32(3)
        .u32(9)
        .raw(b"abc")
        .u32(8)
        .u32(0)
        .u32(0)
        .u32(0)
        .u32(9)
        .u32(1)
        .u32(2)
        .u32(2)
        .raw(b"de")
        .bytes
}

fn section(big_endian: bool) -> Writer {
    writer(big_endian).block(SECTION, |w| w.u32(0x1a2b_3c4d).u16(1).u16(0).raw(&[0xff; 8]))
}

fn next_generation(big_endian: bool) -> Vec<u8> {
    section(big_endian)
        .block(INTERFACE, |w| w.u16(1).u16(0).u32(0))
        // Raw IP in units of 2^-10 s, a hundred seconds later.
        .block(INTERFACE, |w| {
            let offset = if big_endian { 100i64.to_be_bytes() } else { 100i64.to_le_bytes() };
            let w = w.u16(101).u16(0).u32(4).u16(9).u16(1).raw(&[0x8a, 0, 0, 0]);
            w.u16(14).u16(8).raw(&offset).u32(0)
        })
        .block(ENHANCED_PACKET, |w| w.u32(0).u32(1).u32(5).u32(3).u32(60).raw(b"abc\0"))
        .block(0x0bad, |w| w.raw(&[7; 400]))
        .block(ENHANCED_PACKET, |w| w.u32(1).u32(0).u32(1024 + 512).u32(4).u32(4).raw(b"defg"))
        .block(OLD_PACKET, |w| w.u16(0).u16(3).u32(0).u32(42).u32(2).u32(2).raw(b"hi\0\0"))
        .block(SIMPLE_PACKET, |w| w.u32(2).raw(b"jk\0\0"))
        .bytes
}

#[test]
fn classic_files_of_both_byte_orders_and_both_resolutions_are_read() {
    for big_endian in [false, true] {
        for (magic, fraction) in [(0xa1b2_c3d4, 123_456), (0xa1b2_3c4d, 123)] {
            let (packets, error) = read(&classic(magic, big_endian));
            assert!(error.is_none(), "{error:?}");
            assert_eq!(packets.len(), 3);
            assert_eq!(packets[0], (7_000_000 + fraction, 1, 9, b"abc".to_vec()));
            assert_eq!(packets[1], (8_000_000, 1, 0, Vec::new()));
            assert_eq!(packets[2].3, b"de");
        }
    }
}

#[test]
fn pcapng_files_with_several_sections_interfaces_and_byte_orders_are_read() {
    let mut bytes = next_generation(true);
    bytes.extend(next_generation(false));
    let (packets, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    let once = [
        ((1i64 << 32) + 5, 1, 60, b"abc".to_vec()),
        (101_500_000, 101, 4, b"defg".to_vec()),
        (42, 1, 2, b"hi".to_vec()),
        (42, 1, 2, b"jk".to_vec()),
    ];
    assert_eq!(packets, [once.clone(), once].concat());
}

#[test]
fn a_file_cut_at_any_byte_gives_the_packets_before_the_cut_and_the_place() {
    for whole in [classic(0xa1b2_c3d4, false), next_generation(false), next_generation(true)] {
        let (all, _) = read(&whole);
        let mut most = 0;
        for cut in 0..whole.len() {
            let (packets, error) = read(&whole[..cut]);
            assert_eq!(packets, all[..packets.len()]);
            assert!(packets.len() >= most);
            most = packets.len();
            if let Some(error) = error {
                assert!(error.offset <= cut as u64, "{error}");
                if let FileProblem::Truncated { missing } = error.reason {
                    assert!(missing > 0 && missing <= 500, "{missing}");
                }
            }
        }
        assert!(most + 1 >= all.len());
    }
}

#[test]
fn a_damaged_length_stops_at_the_record_and_says_where() {
    let mut bytes = classic(0xa1b2_c3d4, false);
    // The captured length of the second packet.
    bytes[24 + 19 + 11] = 0x7f;
    let (packets, error) = read(&bytes);
    let error = error.map(|e| (e.offset, e.to_string())).unwrap_or_default();
    assert_eq!((packets.len(), error.0), (1, 24 + 19));
    assert!(error.1.starts_with("memory: byte 43: a packet is longer"), "{}", error.1);

    let mut bytes = section(false).block(INTERFACE, |w| w.u16(1).u16(0).u32(0)).bytes;
    let place = bytes.len() as u64;
    bytes.extend(
        writer(false).block(ENHANCED_PACKET, |w| w.u32(9).u32(1).u32(5).u32(3).u32(60).raw(b"abc\0")).bytes,
    );
    let (packets, error) = read(&bytes);
    assert_eq!((packets.len(), error.map(|e| e.offset)), (0, Some(place)));
}

#[test]
fn other_files_are_refused_with_a_remedy() {
    for bytes in [&b""[..], b"\x1f\x8b\x08\0\0\0\0\0", b"hello, world"] {
        let text = read(bytes).1.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("neither a pcap nor a pcapng"), "{text}");
    }
}

#[test]
fn huge_blocks_without_packets_need_no_memory() {
    let bytes = section(false)
        .block(10, |w| w.raw(&vec![0; 3 << 20]))
        .block(INTERFACE, |w| w.u16(1).u16(0).u32(0))
        .block(SIMPLE_PACKET, |w| w.u32(2).raw(b"jk\0\0"))
        .bytes;
    let mut file = match open(&bytes) {
        Ok(file) => file,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(file.next_packet().ok().flatten().map(|p| p.data.len()), Some(2));
    assert!(matches!(file.next_packet(), Ok(None)));
    assert_eq!(file.position(), file.size());
    assert_eq!(file.buffer.len(), BUFFER);
}
