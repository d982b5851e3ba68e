//! Frames in pieces of any size, good and bad.

use proptest::prelude::*;

use super::*;

fn frame(head: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    match data.len() {
        length @ ..126 => bytes.push(length as u8),
        length @ ..=0xffff => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(data);
    bytes
}

/// Everything that comes out, with the bytes pushed in pieces of these lengths.
fn read(codec: &mut Codec, bytes: &[u8], pieces: &[usize]) -> Result<Vec<Frame>, Fault> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
        rest = left;
        codec.push(piece);
        while let Some(frame) = codec.next()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// What a server would read: frames from a client, unmasked, as those of a server.
fn unmasked(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        assert!(bytes[1] & MASKED != 0, "a client's frame is masked");
        let (length, head) = match bytes[1] & 0x7f {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize, 10),
            length => (usize::from(length), 2),
        };
        let mask: [u8; 4] = bytes[head..head + 4].try_into().unwrap();
        let mut data = bytes[head + 4..head + 4 + length].to_vec();
        data.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        plain.extend(frame(bytes[0], &data));
        bytes = &bytes[head + 4 + length..];
    }
    plain
}

#[test]
fn fragments_and_control_frames_between_them_are_put_together() {
    let bytes = [
        frame(TEXT, b"one "),
        frame(FIN | PING, b"p"),
        frame(CONTINUATION, b"\xc3"),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, b"\xa9"),
        frame(FIN | BINARY, &[7; 70_000]),
        frame(FIN | CLOSE, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()),
    ]
    .concat();
    for piece in [1, 2, 3, 1000, 100_000] {
        let frames = read(&mut Codec::new(b"", 0, None), &bytes, &[piece]).unwrap();
        let expected = [
            Frame::Ping(Bytes::from_static(b"p")),
            Frame::Pong(Bytes::new()),
            Frame::Text("one \u{e9}".into()),
            Frame::Binary(vec![7; 70_000]),
            Frame::Close { code: Some(1000), reason: "bye".into() },
        ];
        assert_eq!(frames, expected);
    }
}

#[test]
fn what_breaks_the_rules_is_told_with_its_code() {
    let close = |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    for (what, bytes, code) in [
        ("reserved bit", frame(FIN | 0x20 | TEXT, b"x"), BROKEN),
        ("compressed", frame(FIN | COMPRESSED | TEXT, b"x"), BROKEN),
        ("unknown kind", frame(FIN | 3, b"x"), BROKEN),
        ("unknown control", frame(FIN | 11, b"x"), BROKEN),
        ("masked", vec![FIN | TEXT, MASKED, 0, 0, 0, 0], BROKEN),
        ("long ping", frame(FIN | PING, &[0; 126]), BROKEN),
        ("cut ping", frame(PING, b""), BROKEN),
        ("nothing to go on with", frame(FIN | CONTINUATION, b"x"), BROKEN),
        ("begins twice", [frame(TEXT, b"x"), frame(FIN | TEXT, b"x")].concat(), BROKEN),
        ("no text", frame(FIN | TEXT, b"\xff"), NO_TEXT),
        ("half a code", frame(FIN | CLOSE, b"\x03"), BROKEN),
        ("code 1005", close(1005, b""), BROKEN),
        ("code 999", close(999, b""), BROKEN),
        ("reason", close(1000, b"\xff"), NO_TEXT),
        ("too large", frame(FIN | BINARY, &[0; 1001]), TOO_LARGE),
        (
            "too large in parts",
            [frame(BINARY, &[0; 600]), frame(FIN | CONTINUATION, &[0; 600])].concat(),
            TOO_LARGE,
        ),
        ("announced only", vec![FIN | BINARY, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255], TOO_LARGE),
    ] {
        let fault = read(&mut Codec::new(b"", 1000, None), &bytes, &[7]).unwrap_err();
        assert_eq!(fault.code, code, "{what}: {}", fault.why);
    }
}

#[test]
fn a_small_frame_that_is_a_lot_is_too_large() {
    let mut server = Codec::new(b"", 0, Deflate::agreed("permessage-deflate"));
    let mut out = Vec::new();
    server.encode(&Message::Binary(vec![0; 1 << 20].into()), &mut out).unwrap();
    let mut client = Codec::new(b"", 10_000, Deflate::agreed("permessage-deflate"));
    assert_eq!(read(&mut client, &unmasked(&out), &[512]).unwrap_err().code, TOO_LARGE);
}

#[test]
fn what_may_not_be_sent_is_refused_before_anything_is() {
    let mut codec = Codec::new(b"", 0, None);
    let mut out = Vec::new();
    for message in [
        Message::Ping(vec![0; 126].into()),
        Message::Close { code: 1000, reason: "x".repeat(124) },
        Message::Close { code: 1006, reason: String::new() },
    ] {
        assert!(codec.encode(&message, &mut out).is_err());
    }
    assert!(out.is_empty());
}

fn message() -> impl Strategy<Value = Message> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), prop_oneof![Just(125_usize), Just(126), Just(65_535), Just(65_536)])
            .prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop_oneof![
        "[a-z\u{e9}]{0,200}".prop_map(Message::Text),
        data.prop_map(|data| Message::Binary(data.into())),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(|data| Message::Ping(data.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sent_is_what_is_received(
        messages in prop::collection::vec(message(), 0..6),
        pieces in prop::collection::vec(1..5000_usize, 1..4),
        packed in any::<bool>(),
    ) {
        let deflate = || packed.then(|| Deflate::agreed("permessage-deflate").unwrap());
        let mut sender = Codec::new(b"", 0, deflate());
        let mut out = Vec::new();
        for message in &messages {
            sender.encode(message, &mut out).unwrap();
        }
        let frames = read(&mut Codec::new(b"", 0, deflate()), &unmasked(&out), &pieces).unwrap();
        let received: Vec<Message> = frames
            .into_iter()
            .map(|frame| match frame {
                Frame::Text(text) => Message::Text(text),
                Frame::Binary(data) => Message::Binary(data.into()),
                Frame::Ping(data) => Message::Ping(data),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(received, messages);
    }

    #[test]
    fn nonsense_is_neither_a_panic_nor_endless(bytes in prop::collection::vec(any::<u8>(), 0..300), packed in any::<bool>()) {
        let deflate = packed.then(|| Deflate::agreed("permessage-deflate").unwrap());
        let _ = read(&mut Codec::new(b"", 10_000, deflate), &bytes, &[50]);
    }
}
