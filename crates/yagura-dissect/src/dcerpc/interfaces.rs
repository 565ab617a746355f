//! Interfaces that are known by their UUID, and the names of their operations: what Windows hosts,
//! OPC servers and attackers call. From the interfaces' published definitions.

use yagura_event::vocabulary::operation;

/// A UUID, its first field in the highest bits.
pub(crate) type Uuid = u128;

/// What the last four octets of an operation's response say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    /// An error of Win32; 0 is success.
    Win32,
    /// An NTSTATUS.
    Nt,
    /// An HRESULT.
    Com,
    /// Something else.
    Other,
}

/// A known interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub uuid: Uuid,
    pub name: &'static str,
    pub returns: Returns,
    /// The number of the first operation in the list.
    first: u16,
    /// Names in the order of their numbers; `-` for one without.
    operations: &'static str,
}

impl Interface {
    /// The name of an operation.
    pub fn operation(&self, number: u16) -> Option<&'static str> {
        let index = number.checked_sub(self.first)?;
        self.operations.split_ascii_whitespace().nth(index.into()).filter(|name| *name != "-")
    }
}

/// NDR, the transfer syntax whose stubs are looked into.
pub(super) const NDR: Uuid = 0x8a885d04_1ceb_11c9_9fe8_08002b104860;
/// PROFINET's interfaces begin so; they are a protocol of their own.
const PROFINET: Uuid = 0xdea00000_6c97_11d1_8271_00a02442df7d;
/// Common to the interfaces of COM.
const COM: Uuid = 0x00000000_0000_0000_c000_000000000046;
const OPC_DA: Uuid = 0x39c13a00_011e_11d0_9675_0020afd8adb3;
const OPC_AE: Uuid = 0x65168800_5783_11d1_84a0_00608cb8a7e9;
const OPC_HDA: Uuid = 0x1f121700_dee0_11d2_a5e5_000086339399;

/// The interface with that UUID.
pub(super) fn known(uuid: Uuid) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.uuid == uuid)
}

/// Whether an interface is PROFINET's.
pub(crate) fn is_profinet(uuid: Uuid) -> bool {
    uuid & !(0xff << 96) == PROFINET
}

/// What an operation does, by the verb of its name.
pub(super) fn class(interface: &str, name: &str) -> &'static str {
    match (interface, name) {
        (_, "CreateServiceW" | "CreateServiceA" | "CreateServiceWOW64A" | "CreateServiceWOW64W") => {
            return operation::PROGRAM_WRITE;
        }
        (_, "NetrJobAdd" | "SchRpcRegisterTask" | "RpcAddPrinterDriver" | "RpcAddPrinterDriverEx") => {
            return operation::PROGRAM_WRITE;
        }
        (_, "stop_server_listening") => return operation::CONTROL,
        (_, "OnDataChange" | "OnReadComplete" | "OnWriteComplete" | "OnCancelComplete") => {
            return operation::REPORT;
        }
        (_, "OnEvent") => return operation::ALARM,
        ("epmapper" | "mgmt" | "IOXIDResolver" | "IOPCServerList" | "IOPCServerList2", _) => {
            return operation::DISCOVER;
        }
        ("ISystemActivator" | "IActivation" | "IClassFactory", _) => return operation::SESSION_OPEN,
        _ => {}
    }
    let prefix = ["Samr", "Lsar", "Netr", "BaseReg", "Base", "SchRpc", "DsRoler", "Dsr", "DRS", "EvtRpc"];
    let more = ["EfsRpc", "Rpc", "Elfr", "Credr", "Wsdr", "Dnssrv", "Rem", "Sc", "SA", "Nspi", "EcDo", "Rfr"];
    let verb = prefix.iter().chain(&more).find_map(|prefix| {
        name.strip_prefix(prefix).filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    let verb = verb.unwrap_or(name);
    let begins = |verbs: &[&str]| verbs.iter().any(|one| verb.starts_with(one));
    // Some names have their noun first.
    let ends = |verbs: &[&str]| verbs.iter().any(|one| name.ends_with(one));
    if begins(&["Open", "Connect", "Bind", "Advise", "NTLMLogin", "EstablishPosition"]) {
        operation::SESSION_OPEN
    } else if begins(&["Close", "Unbind", "Disconnect", "Release", "Unadvise", "Unlock"]) {
        operation::SESSION_CLOSE
    } else if begins(&["AddRef", "SimplePing", "ComplexPing"]) {
        operation::SESSION_KEEP
    } else if begins(&["Logon", "ServerAuthenticate", "ServerReqChallenge", "ValidatePassword"]) {
        operation::AUTHENTICATE
    } else if begins(&[
        "Read",
        "GetNCChanges",
        "Retrieve",
        "QueryValue",
        "QueryMultipleValues",
        "QuerySecret",
    ]) || begins(&["Refresh", "SaveKey", "DatabaseSync", "DatabaseDeltas"])
    {
        operation::READ
    } else if begins(&["Write"]) {
        operation::WRITE
    } else if begins(&["Start", "Control", "Stop", "Run", "Initiate", "Abort", "Shutdown", "Exec", "Invoke"])
        || begins(&["AckCondition", "EndDoc"])
    {
        operation::CONTROL
    } else if begins(&["Set", "Create", "Delete", "Add", "Remove", "Change", "Update", "Store", "Replace"])
        || begins(&["Restore", "Rename", "Load", "UnLoad", "Put", "Enable", "Disable", "Encrypt", "Decrypt"])
        || begins(&["Join", "Unjoin", "Insert", "Clear", "ServerPasswordSet", "Unicode", "Oem", "Move"])
        || ends(&["Add", "AddEx", "Del", "SetInfo", "DelSticky"])
    {
        operation::CONFIGURE
    } else if begins(&["Get", "Enum", "Query", "Lookup", "Crack", "Browse", "List", "Find", "Translate"])
        || ends(&["Enum", "GetInfo", "EnumSticky"])
    {
        operation::DISCOVER
    } else {
        operation::OTHER
    }
}

const fn rpc(uuid: Uuid, name: &'static str, operations: &'static str) -> Interface {
    Interface { uuid, name, returns: Returns::Win32, first: 0, operations }
}

const fn nt(uuid: Uuid, name: &'static str, operations: &'static str) -> Interface {
    Interface { uuid, name, returns: Returns::Nt, first: 0, operations }
}

const fn com(uuid: Uuid, name: &'static str, operations: &'static str) -> Interface {
    Interface { uuid, name, returns: Returns::Com, first: 3, operations }
}

const fn da(number: Uuid, name: &'static str, operations: &'static str) -> Interface {
    com(OPC_DA + (number << 96), name, operations)
}

#[rustfmt::skip]
static INTERFACES: &[Interface] = &[
    Interface {
        uuid: 0xe1af8308_5d1f_11c9_91a4_08002b14a0fa, name: "epmapper", returns: Returns::Other, first: 0,
        operations: "ept_insert ept_delete ept_lookup ept_map ept_lookup_handle_free ept_inq_object \
            ept_mgmt_delete ept_map_auth ept_map_auth_async",
    },
    Interface {
        uuid: 0xafa8bd80_7d8a_11c9_bef4_08002b102989, name: "mgmt", returns: Returns::Other, first: 0,
        operations: "inq_if_ids inq_stats is_server_listening stop_server_listening inq_princ_name",
    },
    rpc(0x367abb81_9844_35f1_ad32_98f038001003, "svcctl",
        "CloseServiceHandle ControlService DeleteService LockServiceDatabase QueryServiceObjectSecurity \
        SetServiceObjectSecurity QueryServiceStatus SetServiceStatus UnlockServiceDatabase \
        NotifyBootConfigStatus ScSetServiceBitsW ChangeServiceConfigW CreateServiceW \
        EnumDependentServicesW EnumServicesStatusW OpenSCManagerW OpenServiceW QueryServiceConfigW \
        QueryServiceLockStatusW StartServiceW GetServiceDisplayNameW GetServiceKeyNameW ScSetServiceBitsA \
        ChangeServiceConfigA CreateServiceA EnumDependentServicesA EnumServicesStatusA OpenSCManagerA \
        OpenServiceA QueryServiceConfigA QueryServiceLockStatusA StartServiceA GetServiceDisplayNameA \
        GetServiceKeyNameA ScGetCurrentGroupStateW EnumServiceGroupW ChangeServiceConfig2A \
        ChangeServiceConfig2W QueryServiceConfig2A QueryServiceConfig2W QueryServiceStatusEx \
        EnumServicesStatusExA EnumServicesStatusExW ScSendTSMessage CreateServiceWOW64A \
        CreateServiceWOW64W ScQueryServiceTagInfo NotifyServiceStatusChange GetNotifyResults \
        CloseNotifyHandle ControlServiceExA ControlServiceExW ScSendPnPMessage ScValidatePnPService \
        ScOpenServiceStatusHandle - QueryServiceConfigEx - - - CreateWowService - - - OpenSCManager2"),
    nt(0x12345778_1234_abcd_ef00_0123456789ac, "samr",
        "SamrConnect SamrCloseHandle SamrSetSecurityObject SamrQuerySecurityObject SamrShutdownSamServer \
        SamrLookupDomainInSamServer SamrEnumerateDomainsInSamServer SamrOpenDomain \
        SamrQueryInformationDomain SamrSetInformationDomain SamrCreateGroupInDomain \
        SamrEnumerateGroupsInDomain SamrCreateUserInDomain SamrEnumerateUsersInDomain \
        SamrCreateAliasInDomain SamrEnumerateAliasesInDomain SamrGetAliasMembership \
        SamrLookupNamesInDomain SamrLookupIdsInDomain SamrOpenGroup SamrQueryInformationGroup \
        SamrSetInformationGroup SamrAddMemberToGroup SamrDeleteGroup SamrRemoveMemberFromGroup \
        SamrGetMembersInGroup SamrSetMemberAttributesOfGroup SamrOpenAlias SamrQueryInformationAlias \
        SamrSetInformationAlias SamrDeleteAlias SamrAddMemberToAlias SamrRemoveMemberFromAlias \
        SamrGetMembersInAlias SamrOpenUser SamrDeleteUser SamrQueryInformationUser \
        SamrSetInformationUser SamrChangePasswordUser SamrGetGroupsForUser SamrQueryDisplayInformation \
        SamrGetDisplayEnumerationIndex SamrTestPrivateFunctionsDomain SamrTestPrivateFunctionsUser \
        SamrGetUserDomainPasswordInformation SamrRemoveMemberFromForeignDomain \
        SamrQueryInformationDomain2 SamrQueryInformationUser2 SamrQueryDisplayInformation2 \
        SamrGetDisplayEnumerationIndex2 SamrCreateUser2InDomain SamrQueryDisplayInformation3 \
        SamrAddMultipleMembersToAlias SamrRemoveMultipleMembersFromAlias SamrOemChangePasswordUser2 \
        SamrUnicodeChangePasswordUser2 SamrGetDomainPasswordInformation SamrConnect2 \
        SamrSetInformationUser2 SamrSetBootKeyInformation SamrGetBootKeyInformation SamrConnect3 \
        SamrConnect4 SamrUnicodeChangePasswordUser3 SamrConnect5 SamrRidToSid SamrSetDSRMPassword \
        SamrValidatePassword SamrQueryLocalizableAccountsInDomain SamrPerformGenericOperation - - - \
        SamrUnicodeChangePasswordUser4"),
    nt(0x12345778_1234_abcd_ef00_0123456789ab, "lsarpc",
        "LsarClose LsarDelete LsarEnumeratePrivileges LsarQuerySecurityObject LsarSetSecurityObject \
        LsarChangePassword LsarOpenPolicy LsarQueryInformationPolicy LsarSetInformationPolicy \
        LsarClearAuditLog LsarCreateAccount LsarEnumerateAccounts LsarCreateTrustedDomain \
        LsarEnumerateTrustedDomains LsarLookupNames LsarLookupSids LsarCreateSecret LsarOpenAccount \
        LsarEnumeratePrivilegesAccount LsarAddPrivilegesToAccount LsarRemovePrivilegesFromAccount \
        LsarGetQuotasForAccount LsarSetQuotasForAccount LsarGetSystemAccessAccount \
        LsarSetSystemAccessAccount LsarOpenTrustedDomain LsarQueryInfoTrustedDomain \
        LsarSetInformationTrustedDomain LsarOpenSecret LsarSetSecret LsarQuerySecret \
        LsarLookupPrivilegeValue LsarLookupPrivilegeName LsarLookupPrivilegeDisplayName \
        LsarDeleteObject LsarEnumerateAccountsWithUserRight LsarEnumerateAccountRights \
        LsarAddAccountRights LsarRemoveAccountRights LsarQueryTrustedDomainInfo \
        LsarSetTrustedDomainInfo LsarDeleteTrustedDomain LsarStorePrivateData LsarRetrievePrivateData \
        LsarOpenPolicy2 LsarGetUserName LsarQueryInformationPolicy2 LsarSetInformationPolicy2 \
        LsarQueryTrustedDomainInfoByName LsarSetTrustedDomainInfoByName LsarEnumerateTrustedDomainsEx \
        LsarCreateTrustedDomainEx LsarCloseTrustedDomainEx LsarQueryDomainInformationPolicy \
        LsarSetDomainInformationPolicy LsarOpenTrustedDomainByName LsarTestCall LsarLookupSids2 \
        LsarLookupNames2 LsarCreateTrustedDomainEx2 CredrWrite CredrRead CredrEnumerate \
        CredrWriteDomainCredentials CredrReadDomainCredentials CredrDelete CredrGetTargetInfo \
        CredrProfileLoaded LsarLookupNames3 CredrGetSessionTypes LsarRegisterAuditEvent \
        LsarGenAuditEvent LsarUnregisterAuditEvent LsarQueryForestTrustInformation \
        LsarSetForestTrustInformation CredrRename LsarLookupSids3 LsarLookupNames4"),
    nt(0x12345678_1234_abcd_ef00_01234567cffb, "netlogon",
        "NetrLogonUasLogon NetrLogonUasLogoff NetrLogonSamLogon NetrLogonSamLogoff \
        NetrServerReqChallenge NetrServerAuthenticate NetrServerPasswordSet NetrDatabaseDeltas \
        NetrDatabaseSync NetrAccountDeltas NetrAccountSync NetrGetDCName NetrLogonControl \
        NetrGetAnyDCName NetrLogonControl2 NetrServerAuthenticate2 NetrDatabaseSync2 NetrDatabaseRedo \
        NetrLogonControl2Ex NetrEnumerateTrustedDomains DsrGetDcName NetrLogonGetCapabilities \
        NetrLogonSetServiceBits NetrLogonGetTrustRid NetrLogonComputeServerDigest \
        NetrLogonComputeClientDigest NetrServerAuthenticate3 DsrGetDcNameEx DsrGetSiteName \
        NetrLogonGetDomainInfo NetrServerPasswordSet2 NetrServerPasswordGet NetrLogonSendToSam \
        DsrAddressToSiteNamesW DsrGetDcNameEx2 NetrLogonGetTimeServiceParentDomain \
        NetrEnumerateTrustedDomainsEx DsrAddressToSiteNamesExW DsrGetDcSiteCoverageW \
        NetrLogonSamLogonEx DsrEnumerateDomainTrusts DsrDeregisterDnsHostRecords \
        NetrServerTrustPasswordsGet DsrGetForestTrustInformation NetrGetForestTrustInformation \
        NetrLogonSamLogonWithFlags NetrServerGetTrustInfo - DsrUpdateReadOnlyServerDnsRecords \
        NetrChainSetClientAttributes"),
    rpc(0x4b324fc8_1670_01d3_1278_5a47bf6ee188, "srvsvc",
        "NetrCharDevEnum NetrCharDevGetInfo NetrCharDevControl NetrCharDevQEnum NetrCharDevQGetInfo \
        NetrCharDevQSetInfo NetrCharDevQPurge NetrCharDevQPurgeSelf NetrConnectionEnum NetrFileEnum \
        NetrFileGetInfo NetrFileClose NetrSessionEnum NetrSessionDel NetrShareAdd NetrShareEnum \
        NetrShareGetInfo NetrShareSetInfo NetrShareDel NetrShareDelSticky NetrShareCheck \
        NetrServerGetInfo NetrServerSetInfo NetrServerDiskEnum NetrServerStatisticsGet \
        NetrServerTransportAdd NetrServerTransportEnum NetrServerTransportDel NetrRemoteTOD \
        NetrServerSetServiceBits NetprPathType NetprPathCanonicalize NetprPathCompare \
        NetprNameValidate NetprNameCanonicalize NetprNameCompare NetrShareEnumSticky \
        NetrShareDelStart NetrShareDelCommit NetrpGetFileSecurity NetrpSetFileSecurity \
        NetrServerTransportAddEx NetrServerSetServiceBitsEx NetrDfsGetVersion \
        NetrDfsCreateLocalPartition NetrDfsDeleteLocalPartition NetrDfsSetLocalVolumeState \
        NetrDfsSetServerInfo NetrDfsCreateExitPoint NetrDfsDeleteExitPoint NetrDfsModifyPrefix \
        NetrDfsFixLocalVolume NetrDfsManagerReportSiteInfo NetrServerTransportDelEx"),
    rpc(0x6bffd098_a112_3610_9833_46c3f87e345a, "wkssvc",
        "NetrWkstaGetInfo NetrWkstaSetInfo NetrWkstaUserEnum NetrWkstaUserGetInfo NetrWkstaUserSetInfo \
        NetrWkstaTransportEnum NetrWkstaTransportAdd NetrWkstaTransportDel NetrUseAdd NetrUseGetInfo \
        NetrUseDel NetrUseEnum NetrMessageBufferSend NetrWorkstationStatisticsGet \
        NetrLogonDomainNameAdd NetrLogonDomainNameDel NetrJoinDomain NetrUnjoinDomain \
        NetrRenameMachineInDomain NetrValidateName NetrGetJoinInformation NetrGetJoinableOUs \
        NetrJoinDomain2 NetrUnjoinDomain2 NetrRenameMachineInDomain2 NetrValidateName2 \
        NetrGetJoinableOUs2 NetrAddAlternateComputerName NetrRemoveAlternateComputerName \
        NetrSetPrimaryComputerName NetrEnumerateComputerNames"),
    rpc(0x338cd001_2244_31f1_aaaa_900038001003, "winreg",
        "OpenClassesRoot OpenCurrentUser OpenLocalMachine OpenPerformanceData OpenUsers BaseRegCloseKey \
        BaseRegCreateKey BaseRegDeleteKey BaseRegDeleteValue BaseRegEnumKey BaseRegEnumValue \
        BaseRegFlushKey BaseRegGetKeySecurity BaseRegLoadKey BaseRegNotifyChangeKeyValue \
        BaseRegOpenKey BaseRegQueryInfoKey BaseRegQueryValue BaseRegReplaceKey BaseRegRestoreKey \
        BaseRegSaveKey BaseRegSetKeySecurity BaseRegSetValue BaseRegUnLoadKey \
        BaseInitiateSystemShutdown BaseAbortSystemShutdown BaseRegGetVersion OpenCurrentConfig \
        OpenDynData BaseRegQueryMultipleValues BaseInitiateSystemShutdownEx BaseRegSaveKeyEx \
        OpenPerformanceText OpenPerformanceNlsText BaseRegQueryMultipleValues2 BaseRegDeleteKeyEx"),
    rpc(0x1ff70682_0a51_30e8_076d_740be8cee98b, "atsvc",
        "NetrJobAdd NetrJobDel NetrJobEnum NetrJobGetInfo"),
    rpc(0x86d35949_83c9_4044_b424_db363231fd0c, "ITaskSchedulerService",
        "SchRpcHighestVersion SchRpcRegisterTask SchRpcRetrieveTask SchRpcCreateFolder \
        SchRpcSetSecurity SchRpcGetSecurity SchRpcEnumFolders SchRpcEnumTasks SchRpcEnumInstances \
        SchRpcGetInstanceInfo SchRpcStopInstance SchRpcStop SchRpcRun SchRpcDelete SchRpcRename \
        SchRpcScheduledRuntimes SchRpcGetLastRunInfo SchRpcGetTaskInfo SchRpcGetNumberOfMissedRuns \
        SchRpcEnableTask"),
    rpc(0x378e52b0_c0a9_11cf_822d_00aa0051e40f, "sasec",
        "SASetAccountInformation SASetNSAccountInformation SAGetNSAccountInformation \
        SAGetAccountInformation"),
    rpc(0xe3514235_4b06_11d1_ab04_00c04fc2dcd2, "drsuapi",
        "DRSBind DRSUnbind DRSReplicaSync DRSGetNCChanges DRSUpdateRefs DRSReplicaAdd DRSReplicaDel \
        DRSReplicaModify DRSVerifyNames DRSGetMemberships DRSInterDomainMove DRSGetNT4ChangeLog \
        DRSCrackNames DRSWriteSPN DRSRemoveDsServer DRSRemoveDsDomain DRSDomainControllerInfo \
        DRSAddEntry DRSExecuteKCC DRSGetReplInfo DRSAddSidHistory DRSGetMemberships2 \
        DRSReplicaVerifyObjects DRSGetObjectExistence DRSQuerySitesByCost DRSInitDemotion \
        DRSReplicaDemotion DRSFinishDemotion DRSAddCloneDC DRSWriteNgcKey DRSReadNgcKey"),
    rpc(0x3919286a_b10c_11d0_9ba8_00c04fd92ef5, "dssetup",
        "DsRolerGetPrimaryDomainInformation DsRolerDnsNameToFlatName DsRolerDcAsDc DsRolerDcAsReplica \
        DsRolerDemoteDc DsRolerGetDcOperationProgress DsRolerGetDcOperationResults DsRolerCancel \
        DsRolerServerSaveStateForUpgrade DsRolerUpgradeDownlevelServer \
        DsRolerAbortDownlevelServerUpgrade"),
    rpc(0x12345678_1234_abcd_ef00_0123456789ab, "spoolss",
        "RpcEnumPrinters RpcOpenPrinter RpcSetJob RpcGetJob RpcEnumJobs RpcAddPrinter RpcDeletePrinter \
        RpcSetPrinter RpcGetPrinter RpcAddPrinterDriver RpcEnumPrinterDrivers RpcGetPrinterDriver \
        RpcGetPrinterDriverDirectory RpcDeletePrinterDriver RpcAddPrintProcessor \
        RpcEnumPrintProcessors RpcGetPrintProcessorDirectory RpcStartDocPrinter RpcStartPagePrinter \
        RpcWritePrinter RpcEndPagePrinter RpcAbortPrinter RpcReadPrinter RpcEndDocPrinter RpcAddJob \
        RpcScheduleJob RpcGetPrinterData RpcSetPrinterData RpcWaitForPrinterChange RpcClosePrinter \
        RpcAddForm RpcDeleteForm RpcGetForm RpcSetForm RpcEnumForms RpcEnumPorts RpcEnumMonitors \
        RpcAddPort RpcConfigurePort RpcDeletePort RpcCreatePrinterIC RpcPlayGdiScriptOnPrinterIC \
        RpcDeletePrinterIC RpcAddPrinterConnection RpcDeletePrinterConnection RpcPrinterMessageBox \
        RpcAddMonitor RpcDeleteMonitor RpcDeletePrintProcessor RpcAddPrintProvidor \
        RpcDeletePrintProvidor RpcEnumPrintProcessorDatatypes RpcResetPrinter RpcGetPrinterDriver2 \
        RpcClientFindFirstPrinterChangeNotification RpcFindNextPrinterChangeNotification \
        RpcFindClosePrinterChangeNotification RpcRouterFindFirstPrinterChangeNotificationOld \
        RpcReplyOpenPrinter RpcRouterReplyPrinter RpcReplyClosePrinter RpcAddPortEx \
        RpcRemoteFindFirstPrinterChangeNotification RpcSpoolerInit RpcResetPrinterEx \
        RpcRemoteFindFirstPrinterChangeNotificationEx RpcRouterReplyPrinterEx \
        RpcRouterRefreshPrinterChangeNotification - RpcOpenPrinterEx RpcAddPrinterEx RpcSetPort \
        RpcEnumPrinterData RpcDeletePrinterData RpcClusterSplOpen RpcClusterSplClose \
        RpcClusterSplIsAlive RpcSetPrinterDataEx RpcGetPrinterDataEx RpcEnumPrinterDataEx \
        RpcEnumPrinterKey RpcDeletePrinterDataEx RpcDeletePrinterKey RpcSeekPrinter \
        RpcDeletePrinterDriverEx RpcAddPerMachineConnection RpcDeletePerMachineConnection \
        RpcEnumPerMachineConnections RpcXcvData RpcAddPrinterDriverEx"),
    rpc(0x82273fdc_e32a_18c3_3f78_827929dc23ea, "eventlog",
        "ElfrClearELFW ElfrBackupELFW ElfrCloseEL ElfrDeregisterEventSource ElfrNumberOfRecords \
        ElfrOldestRecord ElfrChangeNotify ElfrOpenELW ElfrRegisterEventSourceW ElfrOpenBELW \
        ElfrReadELW ElfrReportEventW ElfrClearELFA ElfrBackupELFA ElfrOpenELA \
        ElfrRegisterEventSourceA ElfrOpenBELA ElfrReadELA ElfrReportEventA"),
    rpc(0xf6beaff7_1e19_4fbb_9f8f_b89e2018337c, "IEventService",
        "EvtRpcRegisterRemoteSubscription EvtRpcRemoteSubscriptionNextAsync \
        EvtRpcRemoteSubscriptionNext EvtRpcRemoteSubscriptionWaitAsync EvtRpcRegisterControllableOperation \
        EvtRpcRegisterLogQuery EvtRpcClearLog EvtRpcExportLog EvtRpcLocalizeExportLog \
        EvtRpcMessageRender EvtRpcMessageRenderDefault EvtRpcQueryNext EvtRpcQuerySeek EvtRpcClose \
        EvtRpcCancel EvtRpcAssertConfig EvtRpcRetractConfig EvtRpcOpenLogHandle EvtRpcGetLogFileInfo \
        EvtRpcGetChannelList EvtRpcGetChannelConfig EvtRpcPutChannelConfig EvtRpcGetPublisherList"),
    rpc(0xc681d488_d850_11d0_8c52_00c04fd90f7e, "efsrpc", EFS),
    rpc(0xdf1941c5_fe89_4e79_bf10_463657acf44d, "efsrpc", EFS),
    rpc(0x4fc742e0_4a10_11cf_8273_00aa004ae673, "netdfs",
        "NetrDfsManagerGetVersion NetrDfsAdd NetrDfsRemove NetrDfsSetInfo NetrDfsGetInfo NetrDfsEnum \
        NetrDfsMove NetrDfsRename NetrDfsManagerGetConfigInfo NetrDfsManagerSendSiteInfo \
        NetrDfsAddFtRoot NetrDfsRemoveFtRoot NetrDfsAddStdRoot NetrDfsRemoveStdRoot \
        NetrDfsManagerInitialize NetrDfsAddStdRootForced"),
    rpc(0x894de0c0_0d55_11d3_a322_00c04fa321a1, "initshutdown",
        "BaseInitiateShutdown BaseAbortShutdown BaseInitiateShutdownEx"),
    rpc(0xd95afe70_a6d5_4259_822e_2c84da1ddb0d, "WindowsShutdown", "WsdrInitiateShutdown WsdrAbortShutdown"),
    rpc(0x50abc2a4_574d_40b3_9d66_ee4fd5fba076, "dnsserver",
        "DnssrvOperation DnssrvQuery DnssrvComplexOperation DnssrvEnumRecords DnssrvUpdateRecord \
        DnssrvOperation2 DnssrvQuery2 DnssrvComplexOperation2 DnssrvEnumRecords2 DnssrvUpdateRecord2"),
    Interface {
        uuid: 0x885d85fb_c754_4062_a0e7_6872ce0064f4, name: "mdssvc", returns: Returns::Other, first: 0,
        operations: "mdssvc_open mdssvc_unknown1 mdssvc_cmd mdssvc_close",
    },
    rpc(0x99fcfec4_5260_101b_bbcb_00aa0021347a, "IOXIDResolver",
        "ResolveOxid SimplePing ComplexPing ServerAlive ResolveOxid2 ServerAlive2"),
    rpc(0x4d9f4ab8_7d1c_11cf_861e_0020af6e7c57, "IActivation", "RemoteActivation"),
    com(COM + (0x1a0 << 96), "ISystemActivator", "RemoteGetClassObject RemoteCreateInstance"),
    com(COM + (0x1 << 96), "IClassFactory", "CreateInstance LockServer"),
    com(COM + (0x131 << 96), "IRemUnknown", "RemQueryInterface RemAddRef RemRelease"),
    com(COM + (0x143 << 96), "IRemUnknown2", "RemQueryInterface RemAddRef RemRelease RemQueryInterface2"),
    // Address books and mail of Exchange (MS-OXNSPI, MS-OXABREF, MS-OXCRPC).
    Interface {
        uuid: 0xf5cc5a18_4264_101a_8c59_08002b2f8426, name: "nspi", returns: Returns::Com, first: 0,
        operations: "NspiBind NspiUnbind NspiUpdateStat NspiQueryRows NspiSeekEntries NspiGetMatches \
            NspiResortRestriction NspiDNToMId NspiGetPropList NspiGetProps NspiCompareMIds NspiModProps \
            NspiGetSpecialTable NspiGetTemplateInfo NspiModLinkAtt - NspiQueryColumns \
            NspiGetNamesFromIDs NspiGetIDsFromNames NspiResolveNames NspiResolveNamesW",
    },
    Interface {
        uuid: 0x1544f5e0_613c_11d1_93df_00c04fd7bd09, name: "exchange_rfr", returns: Returns::Com, first: 0,
        operations: "RfrGetNewDSA RfrGetFQDNFromServerDN",
    },
    Interface {
        uuid: 0xa4f1db00_ca47_1067_b31f_00dd010662da, name: "exchange_mapi", returns: Returns::Com, first: 0,
        operations: "EcDoConnect EcDoDisconnect EcDoRpc EcGetMoreRpc EcRRegisterPushNotification \
            EcRUnregisterPushNotification EcDummyRpc EcRGetDCName EcRNetGetDCName EcDoRpcExt \
            EcDoConnectEx EcDoRpcExt2 - - EcDoAsyncConnectEx",
    },
    Interface {
        uuid: 0x5261574a_4572_206e_b268_6b199213b4e4, name: "AsyncEMSMDB", returns: Returns::Com, first: 0,
        operations: "EcDoAsyncWaitEx",
    },
    Interface {
        uuid: COM, name: "IUnknown", returns: Returns::Com, first: 0,
        operations: "QueryInterface AddRef Release",
    },
    com(COM + (0x20400 << 96), "IDispatch", "GetTypeInfoCount GetTypeInfo GetIDsOfNames Invoke"),
    com(COM + (0x20401 << 96), "ITypeInfo",
        "GetTypeAttr GetTypeComp GetFuncDesc GetVarDesc GetNames GetRefTypeOfImplType GetImplTypeFlags \
        LocalGetIDsOfNames LocalInvoke GetDocumentation GetDllEntry GetRefTypeInfo \
        LocalAddressOfMember CreateInstance GetMops GetContainingTypeLib"),
    com(COM + (0x100 << 96), "IEnumUnknown", ENUM),
    com(COM + (0x101 << 96), "IEnumString", ENUM),
    com(COM + (0x2e000 << 96), "IEnumGUID", ENUM),
    com(COM + (0x2e013 << 96), "ICatInformation",
        "EnumCategories GetCategoryDesc EnumClassesOfCategories IsClassOfCategories \
        EnumImplCategoriesOfClass EnumReqCategoriesOfClass"),
    com(0xb196b283_bab4_101a_b69c_00aa00341d07, "IProvideClassInfo", "GetClassInfo"),
    com(0xb196b284_bab4_101a_b69c_00aa00341d07, "IConnectionPointContainer",
        "EnumConnectionPoints FindConnectionPoint"),
    com(0xb196b286_bab4_101a_b69c_00aa00341d07, "IConnectionPoint",
        "GetConnectionInterface GetConnectionPointContainer Advise Unadvise EnumConnections"),
    com(0xf309ad18_d86a_11d0_a075_00c04fb68820, "IWbemLevel1Login",
        "EstablishPosition RequestChallenge WBEMLogin NTLMLogin"),
    com(0x9556dc99_828c_11cf_a37e_00aa003240c7, "IWbemServices",
        "OpenNamespace CancelAsyncCall QueryObjectSink GetObject GetObjectAsync PutClass PutClassAsync \
        DeleteClass DeleteClassAsync CreateClassEnum CreateClassEnumAsync PutInstance \
        PutInstanceAsync DeleteInstance DeleteInstanceAsync CreateInstanceEnum \
        CreateInstanceEnumAsync ExecQuery ExecQueryAsync ExecNotificationQuery \
        ExecNotificationQueryAsync ExecMethod ExecMethodAsync"),
    // OPC Data Access 2.05 and 3.0, Common 1.1.
    da(0x4d, "IOPCServer", "AddGroup GetErrorString GetGroupByName GetStatus RemoveGroup CreateGroupEnumerator"),
    da(0x4e, "IOPCServerPublicGroups", "GetPublicGroupByName RemovePublicGroup"),
    da(0x4f, "IOPCBrowseServerAddressSpace",
        "QueryOrganization ChangeBrowsePosition BrowseOPCItemIDs GetItemID BrowseAccessPaths"),
    da(0x50, "IOPCGroupStateMgt", "GetState SetState SetName CloneGroup"),
    da(0x51, "IOPCPublicGroupStateMgt", "GetState MoveToPublic"),
    da(0x52, "IOPCSyncIO", "Read Write"),
    da(0x53, "IOPCAsyncIO", "Read Write Refresh Cancel"),
    da(0x54, "IOPCItemMgt",
        "AddItems ValidateItems RemoveItems SetActiveState SetClientHandles SetDatatypes CreateEnumerator"),
    da(0x55, "IEnumOPCItemAttributes", ENUM),
    da(0x70, "IOPCDataCallback", "OnDataChange OnReadComplete OnWriteComplete OnCancelComplete"),
    da(0x71, "IOPCAsyncIO2", "Read Write Refresh2 Cancel2 SetEnable GetEnable"),
    da(0x72, "IOPCItemProperties", "QueryAvailableProperties GetItemProperties LookupItemIDs"),
    com(0x8e368666_d72e_4f78_87ed_647611c61c9f, "IOPCGroupStateMgt2",
        "GetState SetState SetName CloneGroup SetKeepAlive GetKeepAlive"),
    com(0x39227004_a18f_4b57_8b0a_5235670f4468, "IOPCBrowse", "GetProperties Browse"),
    com(0x85c0b427_2893_4cbc_bd78_e5fc5146f08f, "IOPCItemIO", "Read WriteVQT"),
    com(0x730f5f0f_55b1_4c81_9e18_ff8a0904e1fa, "IOPCSyncIO2", "Read Write ReadMaxAge WriteVQT"),
    com(0x0967b97b_36ef_423e_b6f8_6bff1e40d39d, "IOPCAsyncIO3",
        "Read Write Refresh2 Cancel2 SetEnable GetEnable ReadMaxAge WriteVQT RefreshMaxAge"),
    com(0x5946da93_8b39_4ec8_ab3d_aa73df5bc86f, "IOPCItemDeadbandMgt",
        "SetItemDeadband GetItemDeadband ClearItemDeadband"),
    com(0x3e22d313_f08b_41a5_86c8_95e95cb49ffc, "IOPCItemSamplingMgt",
        "SetItemSamplingRate GetItemSamplingRate ClearItemSamplingRate SetItemBufferEnable \
        GetItemBufferEnable"),
    com(0xf31dfde1_07b6_11d2_b2d8_0060083ba1fb, "IOPCShutdown", "ShutdownRequest"),
    com(0xf31dfde2_07b6_11d2_b2d8_0060083ba1fb, "IOPCCommon",
        "SetLocaleID GetLocaleID QueryAvailableLocaleIDs GetErrorString SetClientName"),
    com(0x13486d50_4821_11d2_a494_3cb306c10000, "IOPCServerList", SERVERS),
    com(0x9dd0b56c_ad9e_43ee_8305_487f3188bf7a, "IOPCServerList2", SERVERS),
    com(0x55c382c8_21c7_4e88_96c1_becfb1e3f483, "IOPCEnumGUID", ENUM),
    // OPC Alarms and Events 1.10.
    com(OPC_AE + (0x51 << 96), "IOPCEventServer",
        "GetStatus CreateEventSubscription QueryAvailableFilters QueryEventCategories \
        QueryConditionNames QuerySubConditionNames QuerySourceConditions QueryEventAttributes \
        TranslateToItemIDs GetConditionState EnableConditionByArea EnableConditionBySource \
        DisableConditionByArea DisableConditionBySource AckCondition CreateAreaBrowser"),
    com(OPC_AE + (0x55 << 96), "IOPCEventSubscriptionMgt",
        "SetFilter GetFilter SelectReturnedAttributes GetReturnedAttributes Refresh CancelRefresh \
        GetState SetState"),
    com(OPC_AE + (0x57 << 96), "IOPCEventAreaBrowser",
        "ChangeBrowsePosition BrowseOPCAreas GetQualifiedAreaName GetQualifiedSourceName"),
    com(OPC_AE + (0x5f << 96), "IOPCEventSink", "OnEvent"),
    // OPC Historical Data Access 1.20.
    com(OPC_HDA + (0xb0 << 96), "IOPCHDA_Server",
        "GetItemAttributes GetAggregates GetHistorianStatus GetItemHandles ReleaseItemHandles \
        ValidateItemIDs CreateBrowse"),
    com(OPC_HDA + (0xb1 << 96), "IOPCHDA_Browser",
        "GetEnum ChangeBrowsePosition GetItemID GetBranchPosition"),
    com(OPC_HDA + (0xb2 << 96), "IOPCHDA_SyncRead",
        "ReadRaw ReadProcessed ReadAtTime ReadModified ReadAttribute"),
    com(OPC_HDA + (0xb3 << 96), "IOPCHDA_SyncUpdate",
        "QueryCapabilities Insert Replace InsertReplace DeleteRaw DeleteAtTime"),
];

const ENUM: &str = "Next Skip Reset Clone";
const SERVERS: &str = "EnumClassesOfCategories GetClassDetails CLSIDFromProgID";
const EFS: &str = "EfsRpcOpenFileRaw EfsRpcReadFileRaw EfsRpcWriteFileRaw EfsRpcCloseRaw \
    EfsRpcEncryptFileSrv EfsRpcDecryptFileSrv EfsRpcQueryUsersOnFile EfsRpcQueryRecoveryAgents \
    EfsRpcRemoveUsersFromFile EfsRpcAddUsersToFile - EfsRpcNotSupported EfsRpcFileKeyInfo \
    EfsRpcDuplicateEncryptionInfoFile - EfsRpcAddUsersToFileEx EfsRpcFileKeyInfoEx - \
    EfsRpcGetEncryptedFileMetadata EfsRpcSetEncryptedFileMetadata EfsRpcFlushEfsCache";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_found_once_and_its_operations_by_number() {
        for interface in INTERFACES {
            assert!(std::ptr::eq(known(interface.uuid).unwrap(), interface), "{}", interface.name);
            assert!(interface.operation(interface.first).is_some(), "{}", interface.name);
        }
        let operation = |uuid, number| known(uuid).and_then(|interface| interface.operation(number));
        assert_eq!(operation(0x39c13a52_011e_11d0_9675_0020afd8adb3, 4), Some("Write"));
        assert_eq!(operation(0x39c13a52_011e_11d0_9675_0020afd8adb3, 2), None);
        assert_eq!(operation(0x12345778_1234_abcd_ef00_0123456789ac, 64), Some("SamrConnect5"));
        assert_eq!(operation(0x12345778_1234_abcd_ef00_0123456789ab, 76), Some("LsarLookupSids3"));
        assert_eq!(operation(0x12345678_1234_abcd_ef00_01234567cffb, 39), Some("NetrLogonSamLogonEx"));
        assert_eq!(operation(0x367abb81_9844_35f1_ad32_98f038001003, 64), Some("OpenSCManager2"));
        assert_eq!(operation(0x367abb81_9844_35f1_ad32_98f038001003, 42), Some("EnumServicesStatusExW"));
        assert_eq!(operation(0x367abb81_9844_35f1_ad32_98f038001003, 55), None);
        assert_eq!(operation(0xa4f1db00_ca47_1067_b31f_00dd010662da, 14), Some("EcDoAsyncConnectEx"));
        assert_eq!(operation(0xf5cc5a18_4264_101a_8c59_08002b2f8426, 20), Some("NspiResolveNamesW"));
        assert_eq!(operation(0x4b324fc8_1670_01d3_1278_5a47bf6ee188, 36), Some("NetrShareEnumSticky"));
        assert_eq!(operation(0x12345678_1234_abcd_ef00_0123456789ab, 89), Some("RpcAddPrinterDriverEx"));
    }

    #[test]
    fn operations_are_classed_by_their_verbs() {
        for (interface, name, expected) in [
            ("svcctl", "CreateServiceW", "program.write"),
            ("svcctl", "StartServiceW", "control"),
            ("svcctl", "OpenServiceW", "session.open"),
            ("samr", "SamrEnumerateUsersInDomain", "discover"),
            ("samr", "SamrSetInformationUser2", "configure"),
            ("netlogon", "NetrServerAuthenticate3", "authenticate"),
            ("srvsvc", "NetrShareEnum", "discover"),
            ("srvsvc", "NetrShareAdd", "configure"),
            ("winreg", "BaseRegQueryValue", "read"),
            ("winreg", "BaseRegSetValue", "configure"),
            ("drsuapi", "DRSGetNCChanges", "read"),
            ("IOPCSyncIO", "Write", "write"),
            ("IOPCItemMgt", "AddItems", "configure"),
            ("IOPCDataCallback", "OnDataChange", "report"),
            ("epmapper", "ept_map", "discover"),
            ("IWbemServices", "ExecMethod", "control"),
            ("IRemUnknown2", "RemRelease", "session.close"),
            ("nspi", "NspiQueryRows", "discover"),
            ("exchange_mapi", "EcDoConnectEx", "session.open"),
            ("exchange_mapi", "EcDoDisconnect", "session.close"),
        ] {
            assert_eq!(class(interface, name), expected, "{interface} {name}");
        }
    }

    #[test]
    fn profinet_is_another_protocol() {
        assert!(is_profinet(0xdea00001_6c97_11d1_8271_00a02442df7d));
        assert!(!is_profinet(NDR));
    }
}
