//! Type identifications and causes of transmission (IEC 60870-5-101 clauses 7.2.1 and 7.2.3).

use yagura_event::vocabulary::operation;

/// What one information element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Nothing but the address.
    Nothing,
    /// Single point with quality.
    Single,
    /// Double point with quality.
    Double,
    /// Step position and quality.
    Step,
    /// 32 bits and quality.
    Bits,
    /// Normalised value and quality.
    Normalized,
    /// Normalised value without quality.
    NormalizedOnly,
    /// Scaled value and quality.
    Scaled,
    /// Short floating point and quality.
    Short,
    /// Counter reading with sequence and its flags.
    Counter,
    /// 16 single points with change detection and quality.
    Packed,
    /// So many bytes of protection equipment, not looked into.
    Protection(u8),
    /// Single command.
    SingleCommand,
    /// Double command.
    DoubleCommand,
    /// Regulating step command.
    StepCommand,
    /// Set-point commands and their qualifier: normalised, scaled, short.
    NormalizedCommand,
    ScaledCommand,
    ShortCommand,
    /// 32 bits.
    BitsCommand,
    /// One byte of qualifier, cause or command.
    Qualifier,
    /// Two bytes of test pattern or sequence counter.
    Pattern,
    /// CP56Time2a alone.
    Clock,
    /// CP16Time2a alone.
    Delay,
    /// Parameters of measured values and their qualifier.
    NormalizedParameter,
    ScaledParameter,
    ShortParameter,
    /// File transfer: name of file and section, and more.
    File,
}

/// The time tag after an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    None,
    /// CP24Time2a.
    Short,
    /// CP56Time2a.
    Long,
}

/// One type identification.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// The standard's mnemonic.
    pub name: &'static str,
    pub operation: &'static str,
    pub element: Element,
    pub tag: Tag,
}

/// What a type identification is; none for reserved ones.
pub(super) fn of(kind: u8) -> Option<Type> {
    use Element::*;
    use operation as op;
    let entry = |name, operation, element, tag| Some(Type { name, operation, element, tag });
    let report = |name, element, tag| entry(name, op::REPORT, element, tag);
    let control = |name, element, tag| entry(name, op::CONTROL, element, tag);
    match kind {
        1 => report("M_SP_NA_1", Single, Tag::None),
        2 => report("M_SP_TA_1", Single, Tag::Short),
        3 => report("M_DP_NA_1", Double, Tag::None),
        4 => report("M_DP_TA_1", Double, Tag::Short),
        5 => report("M_ST_NA_1", Step, Tag::None),
        6 => report("M_ST_TA_1", Step, Tag::Short),
        7 => report("M_BO_NA_1", Bits, Tag::None),
        8 => report("M_BO_TA_1", Bits, Tag::Short),
        9 => report("M_ME_NA_1", Normalized, Tag::None),
        10 => report("M_ME_TA_1", Normalized, Tag::Short),
        11 => report("M_ME_NB_1", Scaled, Tag::None),
        12 => report("M_ME_TB_1", Scaled, Tag::Short),
        13 => report("M_ME_NC_1", Short, Tag::None),
        14 => report("M_ME_TC_1", Short, Tag::Short),
        15 => report("M_IT_NA_1", Counter, Tag::None),
        16 => report("M_IT_TA_1", Counter, Tag::Short),
        17 => report("M_EP_TA_1", Protection(3), Tag::Short),
        18 => report("M_EP_TB_1", Protection(4), Tag::Short),
        19 => report("M_EP_TC_1", Protection(4), Tag::Short),
        20 => report("M_PS_NA_1", Packed, Tag::None),
        21 => report("M_ME_ND_1", NormalizedOnly, Tag::None),
        30 => report("M_SP_TB_1", Single, Tag::Long),
        31 => report("M_DP_TB_1", Double, Tag::Long),
        32 => report("M_ST_TB_1", Step, Tag::Long),
        33 => report("M_BO_TB_1", Bits, Tag::Long),
        34 => report("M_ME_TD_1", Normalized, Tag::Long),
        35 => report("M_ME_TE_1", Scaled, Tag::Long),
        36 => report("M_ME_TF_1", Short, Tag::Long),
        37 => report("M_IT_TB_1", Counter, Tag::Long),
        38 => report("M_EP_TD_1", Protection(3), Tag::Long),
        39 => report("M_EP_TE_1", Protection(4), Tag::Long),
        40 => report("M_EP_TF_1", Protection(4), Tag::Long),
        45 => control("C_SC_NA_1", SingleCommand, Tag::None),
        46 => control("C_DC_NA_1", DoubleCommand, Tag::None),
        47 => control("C_RC_NA_1", StepCommand, Tag::None),
        48 => entry("C_SE_NA_1", op::WRITE, NormalizedCommand, Tag::None),
        49 => entry("C_SE_NB_1", op::WRITE, ScaledCommand, Tag::None),
        50 => entry("C_SE_NC_1", op::WRITE, ShortCommand, Tag::None),
        51 => entry("C_BO_NA_1", op::WRITE, BitsCommand, Tag::None),
        58 => control("C_SC_TA_1", SingleCommand, Tag::Long),
        59 => control("C_DC_TA_1", DoubleCommand, Tag::Long),
        60 => control("C_RC_TA_1", StepCommand, Tag::Long),
        61 => entry("C_SE_TA_1", op::WRITE, NormalizedCommand, Tag::Long),
        62 => entry("C_SE_TB_1", op::WRITE, ScaledCommand, Tag::Long),
        63 => entry("C_SE_TC_1", op::WRITE, ShortCommand, Tag::Long),
        64 => entry("C_BO_TA_1", op::WRITE, BitsCommand, Tag::Long),
        70 => report("M_EI_NA_1", Qualifier, Tag::None),
        100 => entry("C_IC_NA_1", op::READ, Qualifier, Tag::None),
        101 => entry("C_CI_NA_1", op::READ, Qualifier, Tag::None),
        102 => entry("C_RD_NA_1", op::READ, Nothing, Tag::None),
        103 => entry("C_CS_NA_1", op::CONFIGURE, Clock, Tag::None),
        104 => entry("C_TS_NA_1", op::DIAGNOSE, Pattern, Tag::None),
        105 => entry("C_RP_NA_1", op::DIAGNOSE, Qualifier, Tag::None),
        106 => entry("C_CD_NA_1", op::DIAGNOSE, Delay, Tag::None),
        107 => entry("C_TS_TA_1", op::DIAGNOSE, Pattern, Tag::Long),
        110 => entry("P_ME_NA_1", op::CONFIGURE, NormalizedParameter, Tag::None),
        111 => entry("P_ME_NB_1", op::CONFIGURE, ScaledParameter, Tag::None),
        112 => entry("P_ME_NC_1", op::CONFIGURE, ShortParameter, Tag::None),
        113 => entry("P_AC_NA_1", op::CONFIGURE, Qualifier, Tag::None),
        120 => entry("F_FR_NA_1", op::PROGRAM_WRITE, File, Tag::None),
        121 => entry("F_SR_NA_1", op::PROGRAM_WRITE, File, Tag::None),
        122 => entry("F_SC_NA_1", op::PROGRAM_READ, File, Tag::None),
        123 => entry("F_LS_NA_1", op::OTHER, File, Tag::None),
        124 => entry("F_AF_NA_1", op::OTHER, File, Tag::None),
        125 => entry("F_SG_NA_1", op::PROGRAM_READ, File, Tag::None),
        126 => entry("F_DR_TA_1", op::DISCOVER, File, Tag::None),
        127 => entry("F_SC_NB_1", op::PROGRAM_READ, File, Tag::None),
        _ => None,
    }
}

impl Element {
    /// Its bytes without address and time tag; none for what varies.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Element::Nothing => 0,
            Element::Single
            | Element::Double
            | Element::SingleCommand
            | Element::DoubleCommand
            | Element::StepCommand
            | Element::Qualifier => 1,
            Element::Step | Element::NormalizedOnly | Element::Pattern | Element::Delay => 2,
            Element::Normalized
            | Element::Scaled
            | Element::NormalizedCommand
            | Element::ScaledCommand
            | Element::NormalizedParameter
            | Element::ScaledParameter => 3,
            Element::BitsCommand => 4,
            Element::Bits
            | Element::Short
            | Element::Counter
            | Element::Packed
            | Element::ShortCommand
            | Element::ShortParameter => 5,
            Element::Clock => 7,
            Element::Protection(size) => usize::from(size),
            Element::File => return None,
        })
    }
}

impl Tag {
    /// Its bytes.
    pub fn size(self) -> usize {
        match self {
            Tag::None => 0,
            Tag::Short => 3,
            Tag::Long => 7,
        }
    }
}

/// Name of a cause of transmission.
pub(super) fn cause(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "per/cyc",
        2 => "back",
        3 => "spont",
        4 => "init",
        5 => "req",
        6 => "act",
        7 => "actcon",
        8 => "deact",
        9 => "deactcon",
        10 => "actterm",
        11 => "retrem",
        12 => "retloc",
        13 => "file",
        20 => "inrogen",
        21..=36 => "inro",
        37 => "reqcogen",
        38..=41 => "reqco",
        44 => "unknown_type",
        45 => "unknown_cause",
        46 => "unknown_common_address",
        47 => "unknown_object_address",
        _ => return None,
    })
}
