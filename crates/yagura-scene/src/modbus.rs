//! Modbus/TCP frames (Modbus Application Protocol 1.1b3, Messaging on TCP/IP 1.0b).

/// Reads holding registers.
pub const READ_HOLDING: u8 = 0x03;
/// Reads input registers.
pub const READ_INPUT: u8 = 0x04;
/// Writes one register.
pub const WRITE_SINGLE: u8 = 0x06;
/// Writes several registers.
pub const WRITE_MULTIPLE: u8 = 0x10;

/// Asks for `count` registers from `address` on; `function` is [`READ_HOLDING`] or [`READ_INPUT`].
pub fn read(transaction: u16, unit: u8, function: u8, address: u16, count: u16) -> Vec<u8> {
    let [a, b] = address.to_be_bytes();
    let [c, d] = count.to_be_bytes();
    frame(transaction, unit, &[function, a, b, c, d])
}

/// Answers a [`read`] with at most 127 registers; more are left out.
pub fn read_reply(transaction: u16, unit: u8, function: u8, registers: &[u16]) -> Vec<u8> {
    let registers = &registers[..registers.len().min(127)];
    let mut pdu = vec![function, registers.len() as u8 * 2];
    pdu.extend(registers.iter().flat_map(|r| r.to_be_bytes()));
    frame(transaction, unit, &pdu)
}

/// Writes one register; the answer is the same frame.
pub fn write_single(transaction: u16, unit: u8, address: u16, value: u16) -> Vec<u8> {
    let [a, b] = address.to_be_bytes();
    let [c, d] = value.to_be_bytes();
    frame(transaction, unit, &[WRITE_SINGLE, a, b, c, d])
}

/// Writes at most 123 registers from `address` on; more are left out.
pub fn write_multiple(transaction: u16, unit: u8, address: u16, values: &[u16]) -> Vec<u8> {
    let values = &values[..values.len().min(123)];
    let [a, b] = address.to_be_bytes();
    let mut pdu = vec![WRITE_MULTIPLE, a, b, 0, values.len() as u8, values.len() as u8 * 2];
    pdu.extend(values.iter().flat_map(|v| v.to_be_bytes()));
    frame(transaction, unit, &pdu)
}

/// Answers [`write_multiple`].
pub fn write_multiple_reply(transaction: u16, unit: u8, address: u16, count: u16) -> Vec<u8> {
    let [a, b] = address.to_be_bytes();
    let [c, d] = count.to_be_bytes();
    frame(transaction, unit, &[WRITE_MULTIPLE, a, b, c, d])
}

/// Refuses `function` with an exception code.
pub fn exception(transaction: u16, unit: u8, function: u8, code: u8) -> Vec<u8> {
    frame(transaction, unit, &[function | 0x80, code])
}

/// A protocol data unit (at most 253 bytes; more is cut off) behind its header.
pub fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let pdu = &pdu[..pdu.len().min(253)];
    let mut out = Vec::with_capacity(7 + pdu.len());
    out.extend(transaction.to_be_bytes());
    out.extend([0, 0]);
    out.extend((pdu.len() as u16 + 1).to_be_bytes());
    out.push(unit);
    out.extend(pdu);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_specification() {
        // The data units of the examples in clauses 6.3, 6.6 and 6.12.
        assert_eq!(
            read(0x1501, 0xff, READ_HOLDING, 0x6b, 3),
            [0x15, 0x01, 0, 0, 0, 6, 0xff, 3, 0, 0x6b, 0, 3]
        );
        assert_eq!(read_reply(1, 1, READ_HOLDING, &[0x022b, 0, 0x64])[7..], [3, 6, 2, 0x2b, 0, 0, 0, 0x64]);
        assert_eq!(write_single(1, 1, 1, 3)[7..], [6, 0, 1, 0, 3]);
        assert_eq!(write_multiple(1, 1, 1, &[10, 0x102])[7..], [0x10, 0, 1, 0, 2, 4, 0, 10, 1, 2]);
        assert_eq!(write_multiple_reply(1, 1, 1, 2)[7..], [0x10, 0, 1, 0, 2]);
        assert_eq!(exception(1, 1, READ_HOLDING, 2)[4..], [0, 3, 1, 0x83, 2]);
    }

    #[test]
    fn lengths_stay_within_the_protocols() {
        assert_eq!(read_reply(1, 1, READ_INPUT, &[0; 300]).len(), 7 + 253);
        assert_eq!(write_multiple(1, 1, 0, &[0; 300]).len(), 7 + 252);
    }
}
