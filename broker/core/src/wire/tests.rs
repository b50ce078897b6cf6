use super::*;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    #[serde(deserialize_with = "at_most::<_, _, _, 3>")]
    list: Vec<u16>,
    #[serde(with = "bytes")]
    frame: Vec<u8>,
}

fn sent(count: u16) -> Sent {
    Sent {
        list: (0..count).collect(),
        frame: vec![0xff; 300],
    }
}

#[test]
fn a_value_is_all_of_its_bytes() {
    let bytes = write(&sent(3));
    assert_eq!(read(&bytes, bytes.len()), Some(sent(3)));
    assert_eq!(read::<Sent>(&bytes, bytes.len() - 1), None, "too long");
    for length in 0..bytes.len() {
        assert_eq!(read::<Sent>(&bytes[..length], bytes.len()), None);
    }
    let two = append(bytes.clone(), &7_u8);
    assert_eq!(read::<Sent>(&two, two.len()), None, "one byte is left over");
    assert_eq!(first(&two), Some((sent(3), &[7][..])));
}

#[test]
fn a_list_has_its_bound_whatever_its_count_says() {
    let bytes = write(&sent(4));
    assert_eq!(read::<Sent>(&bytes, bytes.len()), None);
    let endless = [&[0xff; 9][..], &[1]].concat();
    assert_eq!(postcard::from_bytes(&endless), Ok(u64::MAX));
    for rest in [0, 100] {
        let list = [&endless[..], &vec![0; rest]].concat();
        assert_eq!(read::<Sent>(&list, list.len()), None);
    }
}
