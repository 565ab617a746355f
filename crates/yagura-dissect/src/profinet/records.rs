//! Names of records, which read and write calls address by an index (IEC 61158-6-10, table of
//! Index).

use std::borrow::Cow;

use yagura_event::vocabulary::operation;

/// The record of many writes in one.
pub(super) const MULTIPLE_WRITE: u16 = 0xe040;

/// What reading or writing a record does.
pub(super) fn does(index: u16, writes: bool) -> &'static str {
    match (index, writes) {
        (0xaff0..=0xafff, false) | (0xe000..=0xe002 | 0xf000 | 0xf840 | 0xf841, false) => operation::DISCOVER,
        (0x800a..=0x8013 | 0xc00a..=0xc013 | 0xe00a..=0xe013 | 0xf00a..=0xf013, false) => operation::DIAGNOSE,
        (_, false) => operation::READ,
        (0xaff0..=0xafff | 0x8020..=0x80ff | MULTIPLE_WRITE | 0xe050, true) => operation::CONFIGURE,
        (_, true) => operation::WRITE,
    }
}

/// A record's name; its number where it is the user's or the maker's.
pub(super) fn name(index: u16) -> Cow<'static, str> {
    let base = match index {
        0x8020 => "PDIRSubframeData",
        0x8027 => "PDPortDataRealExtended",
        0x8028 => "RecordInputDataObjectElement",
        0x8029 => "RecordOutputDataObjectElement",
        0x802a => "PDPortDataReal",
        0x802b => "PDPortDataCheck",
        0x802c => "PDIRData",
        0x802d => "PDSyncData",
        0x802f => "PDPortDataAdjust",
        0x8030 => "IsochronousModeData",
        0x8031 => "PDTimeData",
        0x8050 => "PDInterfaceMrpDataReal",
        0x8051 => "PDInterfaceMrpDataCheck",
        0x8052 => "PDInterfaceMrpDataAdjust",
        0x8053 => "PDPortMrpDataAdjust",
        0x8054 => "PDPortMrpDataReal",
        0x8055 => "PDPortMrpIcDataAdjust",
        0x8056 => "PDPortMrpIcDataCheck",
        0x8057 => "PDPortMrpIcDataReal",
        0x8060 => "PDPortFODataReal",
        0x8061 => "PDPortFODataCheck",
        0x8062 => "PDPortFODataAdjust",
        0x8063 => "PDPortSFPDataCheck",
        0x8070 => "PDNCDataCheck",
        0x8071 => "PDInterfaceAdjust",
        0x8072 => "PDPortStatistic",
        0x8080 => "PDInterfaceDataReal",
        0x8090 => "PDInterfaceFSUDataAdjust",
        0x80af | 0xe031 => "PE_EntityStatusData",
        0x80b0 => "CombinedObjectContainer",
        0x80cf => "RS_AdjustObserver",
        0x80f0 => "TSNNetworkControlDataReal",
        0x80f1 => "TSNStreamPathData",
        0x80f2 => "TSNSyncTreeData",
        0x80f3 => "TSNUploadNetworkAttributes",
        0x80f4 => "TSNExpectedNetworkAttributes",
        0x80f5 => "TSNNetworkControlDataAdjust",
        0xaff0..=0xafff => return Cow::Owned(format!("I&M{}", index - 0xaff0)),
        0xb02e | 0xb02f => "PROFIdriveParameterAccess",
        0xe002 => "ModuleDiffBlock",
        0xe030 => "PE_EntityFilterData",
        MULTIPLE_WRITE => "MultipleWrite",
        0xe041 => "ApplicationReadyBlock",
        0xe050 => "ARFSUDataAdjust",
        0xe060 => "RS_GetEvent",
        0xe061 => "RS_AckEvent",
        0xf020 => "ARData",
        0xf80c => "DiagnosisOfDevice",
        0xf820 => "ARDataOfDevice",
        0xf821 => "APIData",
        0xf830 => "LogData",
        0xf831 => "PDevData",
        0xf840 => "I&M0FilterData",
        0xf841 => "PDRealData",
        0xf842 => "PDExpectedData",
        0xf850 => "AutoConfiguration",
        0xf860 => "GSD_upload",
        0xf870 => "PE_EntityFilterData",
        0xf871 => "PE_EntityStatusData",
        0xf880..=0xf889 => "AssetManagementData",
        0xfbff => "TriggerIndex",
        _ if !matches!(index >> 12, 0x8 | 0xc | 0xe | 0xf) => return Cow::Owned(format!("0x{index:04x}")),
        _ => match index & 0x0fff {
            // The same for a subslot, a slot, a relation and an application process.
            0x000 => "ExpectedIdentificationData",
            0x001 => "RealIdentificationData",
            0x00a => "DiagnosisInChannelCoding",
            0x00b => "DiagnosisInAllCodings",
            0x00c => "DiagnosisMaintenanceQualifiedStatus",
            0x010 => "MaintenanceRequiredInChannelCoding",
            0x011 => "MaintenanceDemandedInChannelCoding",
            0x012 => "MaintenanceRequiredInAllCodings",
            0x013 => "MaintenanceDemandedInAllCodings",
            0x01e => "SubstituteValues",
            _ => return Cow::Owned(format!("0x{index:04x}")),
        },
    };
    Cow::Borrowed(base)
}
