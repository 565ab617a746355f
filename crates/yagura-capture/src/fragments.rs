//! IP fragments become datagrams, within bounds of memory and time.

use std::collections::VecDeque;

use yagura_event::clock::Micros;

use crate::headers::{Address, Datagram, Malformed, Unread};
use crate::limits::Limits;

const DATAGRAM_MAX: usize = 65_535;
const PIECES_MAX: usize = 256;

/// The datagrams that are still incomplete.
#[derive(Default)]
pub(crate) struct Fragments {
    /// The oldest first.
    waiting: VecDeque<Partial>,
    bytes: usize,
    /// Datagrams given up, whatever the cause.
    pub(crate) lost: u64,
    /// Those of them that came to their end too late.
    pub(crate) late: u64,
    /// Those of them that others took the place of.
    pub(crate) crowded: u64,
}

struct Partial {
    key: (Address, Address, u32, u8, u16, u32),
    since: Micros,
    data: Vec<u8>,
    /// Which stretches came, sorted and apart.
    have: Vec<(u32, u32)>,
    /// The datagram's length, once its last fragment came.
    length: Option<u32>,
    /// IPv4's first fragment names the protocol; IPv6 repeats it.
    protocol: u8,
}

impl Fragments {
    /// Takes a fragment at `now`; the whole payload and its protocol when it was the last one missing.
    pub(crate) fn take(
        &mut self,
        datagram: &Datagram<'_>,
        limits: &Limits,
        now: Micros,
    ) -> Result<Option<(u8, Vec<u8>)>, Unread> {
        let Some(fragment) = datagram.fragment else {
            return Ok(None);
        };
        self.expire(limits.fragment_wait, now);
        let malformed = Err(Unread::Malformed(Malformed::Fragment));
        let end = fragment.offset as usize + datagram.length;
        if end > DATAGRAM_MAX || (fragment.more && !datagram.length.is_multiple_of(8)) {
            return malformed;
        }
        // IPv4 tells datagrams apart by protocol too (RFC 791), IPv6 only by the number.
        let protocol = if fragment.strict { 0 } else { datagram.protocol };
        let key = (datagram.source, datagram.target, fragment.id, protocol, datagram.vlan, datagram.network);
        let index = match self.waiting.iter().position(|p| p.key == key) {
            Some(index) => index,
            None => {
                if self.waiting.len() >= limits.fragments_max.max(1) {
                    self.drop_at(0);
                    self.crowded += 1;
                }
                self.waiting.push_back(Partial {
                    key,
                    since: now,
                    data: Vec::new(),
                    have: Vec::new(),
                    length: None,
                    protocol: datagram.protocol,
                });
                self.waiting.len() - 1
            }
        };
        let partial = &mut self.waiting[index];
        if fragment.offset == 0 {
            partial.protocol = datagram.protocol;
        }
        if !fragment.more && partial.length.is_none() {
            partial.length = Some(end as u32);
        }
        let before = partial.data.len();
        let accepted = partial.add(fragment.offset, datagram.payload, fragment.strict);
        self.bytes += partial.data.len() - before;
        if !accepted {
            self.drop_at(index);
            return malformed;
        }
        if self.waiting[index].is_whole() {
            let Some(partial) = self.waiting.remove(index) else {
                return Ok(None);
            };
            self.bytes -= partial.data.len();
            let mut data = partial.data;
            data.truncate(partial.length.unwrap_or(0) as usize);
            return Ok(Some((partial.protocol, data)));
        }
        while self.bytes > limits.fragment_bytes_max {
            self.drop_at(0);
            self.crowded += 1;
        }
        Ok(None)
    }

    /// Gives those up that have waited for longer than `wait`.
    pub(crate) fn expire(&mut self, wait: Micros, now: Micros) {
        while self.waiting.front().is_some_and(|p| now - p.since > wait) {
            self.drop_at(0);
            self.late += 1;
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.drop_at(0);
            self.late += 1;
        }
    }

    fn drop_at(&mut self, index: usize) {
        if let Some(partial) = self.waiting.remove(index) {
            self.bytes -= partial.data.len();
            self.lost += 1;
        }
    }
}

impl Partial {
    /// Adds a stretch; the first copy of a byte counts. False when the datagram must be given up.
    fn add(&mut self, offset: u32, bytes: &[u8], strict: bool) -> bool {
        let (start, end) = (offset, offset + bytes.len() as u32);
        if start == end {
            return true;
        }
        let repeated = self.have.iter().any(|&(a, b)| a <= start && end <= b);
        if repeated {
            return true;
        }
        if strict && self.have.iter().any(|&(a, b)| start < b && a < end) {
            return false;
        }
        if self.have.len() >= PIECES_MAX {
            return false;
        }
        if self.data.len() < end as usize {
            self.data.resize(end as usize, 0);
        }
        let mut cursor = start;
        for &(a, b) in &self.have {
            if cursor < a.min(end) {
                let (from, to) = (cursor, a.min(end));
                self.data[from as usize..to as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
            cursor = cursor.max(b.min(end)).max(start);
        }
        if cursor < end {
            self.data[cursor as usize..end as usize].copy_from_slice(&bytes[(cursor - start) as usize..]);
        }
        self.have.push((start, end));
        self.have.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(self.have.len());
        for &(a, b) in &self.have {
            match joined.last_mut() {
                Some(last) if a <= last.1 => last.1 = last.1.max(b),
                _ => joined.push((a, b)),
            }
        }
        self.have = joined;
        true
    }

    fn is_whole(&self) -> bool {
        self.length.is_some_and(|length| self.have.first().is_some_and(|h| h.0 == 0 && h.1 >= length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Fragment;
    use yagura_event::clock::SECOND;

    fn fragment(id: u32, offset: u32, more: bool, strict: bool, payload: &[u8]) -> Datagram<'_> {
        Datagram {
            source: [0, 1],
            target: [0, 2],
            protocol: 17,
            id: id as u16,
            fragment: Some(Fragment { id, offset, more, strict }),
            payload,
            length: payload.len(),
            vlan: 0,
            network: 0,
            source_mac: [0; 6],
            target_mac: [0; 6],
        }
    }

    #[test]
    fn fragments_join_in_any_order_and_the_first_copy_of_a_byte_counts() {
        let mut all = Fragments::default();
        assert_eq!(all.take(&fragment(1, 16, false, false, b"tail"), &Limits::default(), 0), Ok(None));
        assert_eq!(all.take(&fragment(1, 8, true, false, b"BBBBBBBB"), &Limits::default(), 1), Ok(None));
        assert_eq!(all.take(&fragment(1, 8, true, false, b"CCCCCCCC"), &Limits::default(), 1), Ok(None));
        let whole = all.take(&fragment(1, 0, true, false, b"AAAAAAAAXXXXXXXX"), &Limits::default(), 2);
        assert_eq!(whole, Ok(Some((17, b"AAAAAAAABBBBBBBBtail".to_vec()))));
        assert_eq!((all.waiting.len(), all.bytes), (0, 0));
    }

    #[test]
    fn overlapping_ipv6_fragments_give_the_datagram_up() {
        let mut all = Fragments::default();
        assert_eq!(
            all.take(&fragment(1, 0, true, true, b"AAAAAAAABBBBBBBB"), &Limits::default(), 0),
            Ok(None)
        );
        let overlap = all.take(&fragment(1, 8, true, true, b"CCCCCCCCDDDDDDDD"), &Limits::default(), 0);
        assert_eq!(overlap, Err(Unread::Malformed(Malformed::Fragment)));
        assert_eq!((all.waiting.len(), all.lost, all.bytes), (0, 1, 0));
    }

    #[test]
    fn incomplete_datagrams_are_bounded_in_number_bytes_and_time() {
        let mut all = Fragments::default();
        let kilo = vec![0; 40_000];
        for id in 0..2_000 {
            assert_eq!(all.take(&fragment(id, 8, true, false, &kilo), &Limits::default(), 0), Ok(None));
            assert!(all.waiting.len() <= 256 && all.bytes <= 8 << 20);
        }
        assert_eq!(all.take(&fragment(1, 8, true, false, &kilo), &Limits::default(), 31 * SECOND), Ok(None));
        assert_eq!(all.waiting.len(), 1);
        assert_eq!((all.late + all.crowded, all.late > 0 && all.crowded > 0), (all.lost, true));
        all.finish();
        assert_eq!((all.bytes, all.lost), (0, 2001));
    }
}
